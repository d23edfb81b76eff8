//! Plans, their versions, and whom they hold for. What a document says is the domain's business.

use crate::ledger::derived;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use switchyard_domain::{AgencyId, AgentId, PortalId};
use uuid::Uuid;

/// A plan's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PlanId(pub Uuid);

/// The code of the plan that holds where nothing else was assigned.
pub const DEFAULT_PLAN: &str = "default";

impl PlanId {
    /// The id of the plan with this code, if [`ensure`] made it.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        Self(derived(&format!("commission plan {code}")))
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Plan {
    /// Its id.
    pub id: Uuid,
    /// Made for one agency, which alone sees it; `None`: for all.
    pub agency_id: Option<Uuid>,
    /// For people and programs; unique.
    pub code: String,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A new plan.
#[derive(Clone, Debug)]
pub struct NewPlan {
    /// See [`Plan::agency_id`].
    pub agency: Option<AgencyId>,
    /// See [`Plan::code`].
    pub code: String,
    /// See [`Plan::name`].
    pub name: String,
}

/// A version of a plan. It is never changed.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct PlanVersion {
    /// Of which plan.
    pub plan_id: Uuid,
    /// From 1.
    pub version: i32,
    /// What it says.
    pub document: Value,
    /// It holds for periods that begin then or later; the first version also for those before.
    pub valid_from: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A new version.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Of which plan.
    pub plan: PlanId,
    /// What it says.
    pub document: Value,
    /// See [`PlanVersion::valid_from`]; not before that of the version before it.
    pub valid_from: DateTime<Utc>,
    /// Who makes it.
    pub by: String,
}

/// Makes a plan. Platform scope.
///
/// # Errors
/// The constraint `commission_plans_code` if the code is taken.
pub async fn create(tx: &mut Tx, plan: &NewPlan) -> Result<PlanId> {
    let id = PlanId(Uuid::now_v7());
    insert(tx, id, plan, false).await?;
    Ok(id)
}

/// Makes a plan with a first version that holds for all time, unless there is one with this code.
/// Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn ensure(tx: &mut Tx, plan: &NewPlan, document: &Value) -> Result<PlanId> {
    let id = PlanId::of_code(&plan.code);
    insert(tx, id, plan, true).await?;
    sqlx::query(
        "insert into switchyard.commission_plan_versions
           (plan_id, version, agency_id, document, valid_from, created_by)
         select $1, 1, $2, $3, '-infinity', 'switchyard'
         where exists (select from switchyard.commission_plans where id = $1)
         on conflict do nothing",
    )
    .bind(id.0)
    .bind(plan.agency.map(|a| a.0))
    .bind(document)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

async fn insert(tx: &mut Tx, id: PlanId, plan: &NewPlan, lenient: bool) -> Result<()> {
    let strict = "insert into switchyard.commission_plans (id, agency_id, code, name) values ($1, $2, $3, $4)";
    let kind = "insert into switchyard.commission_plans (id, agency_id, code, name) values ($1, $2, $3, $4)
                on conflict do nothing";
    sqlx::query(if lenient { kind } else { strict })
        .bind(id.0)
        .bind(plan.agency.map(|a| a.0))
        .bind(&plan.code)
        .bind(&plan.name)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Adds a version; gives its number. Platform scope. Versions of one plan come one after another.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such plan, or the version would begin before the one before
/// it: then periods that began with that one would change.
pub async fn add_version(tx: &mut Tx, new: &NewVersion) -> Result<i32> {
    sqlx::query_scalar::<_, Uuid>(
        "select id from switchyard.commission_plans where id = $1 for update",
    )
    .bind(new.plan.0)
    .fetch_one(tx.conn())
    .await?;
    let version: Option<i32> = sqlx::query_scalar(
        "insert into switchyard.commission_plan_versions
           (plan_id, version, agency_id, document, valid_from, created_by)
         select p.id, coalesce(max(v.version), 0) + 1, p.agency_id, $2, $3, $4
         from switchyard.commission_plans p
         left join switchyard.commission_plan_versions v on v.plan_id = p.id
         where p.id = $1 group by p.id having coalesce(max(v.valid_from), '-infinity') <= $3
         returning version",
    )
    .bind(new.plan.0)
    .bind(&new.document)
    .bind(new.valid_from)
    .bind(&new.by)
    .fetch_optional(tx.conn())
    .await?;
    version.ok_or(StoreFault::NotFound)
}

/// A plan by its code.
///
/// # Errors
/// If the database is not available.
pub async fn find(tx: &mut Tx, code: &str) -> Result<Option<Plan>> {
    let found = sqlx::query_as("select * from switchyard.commission_plans where code = $1");
    Ok(found.bind(code).fetch_optional(tx.conn()).await?)
}

/// All plans that the scope shows, by code, at most 1,000.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx) -> Result<Vec<Plan>> {
    let found =
        sqlx::query_as("select * from switchyard.commission_plans order by code limit 1000");
    Ok(found.fetch_all(tx.conn()).await?)
}

/// The versions of a plan, the first one first.
///
/// # Errors
/// If the database is not available.
pub async fn versions(tx: &mut Tx, plan: PlanId) -> Result<Vec<PlanVersion>> {
    versions_of(tx, &[plan]).await
}

macro_rules! version {
    () => {
        "select plan_id, version, document,
           case when isfinite(valid_from) then valid_from else '0001-01-01' end as valid_from,
           created_by, created_at
         from switchyard.commission_plan_versions "
    };
}

/// The versions of these plans, by plan and number.
///
/// # Errors
/// If the database is not available.
pub async fn versions_of(tx: &mut Tx, plans: &[PlanId]) -> Result<Vec<PlanVersion>> {
    let query = concat!(version!(), "where plan_id = any($1) order by plan_id, version");
    let plans: Vec<Uuid> = plans.iter().map(|p| p.0).collect();
    Ok(sqlx::query_as(query).bind(plans).fetch_all(tx.conn()).await?)
}

/// For whom a plan holds, and when. What is `None` is everybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Assignment {
    /// Its id.
    pub id: Uuid,
    /// Which plan.
    pub plan_id: Uuid,
    /// Deals of this agency.
    pub agency_id: Option<Uuid>,
    /// Deals of leads from this portal.
    pub portal_id: Option<Uuid>,
    /// Deals of this agent.
    pub agent_id: Option<Uuid>,
    /// Deals that happened then or later.
    pub valid_from: DateTime<Utc>,
    /// Deals that happened before.
    pub valid_until: DateTime<Utc>,
}

impl Assignment {
    /// How exact it is: the most exact one wins.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match (self.agent_id, self.agency_id, self.portal_id) {
            (Some(_), _, _) => 4,
            (None, Some(_), Some(_)) => 3,
            (None, Some(_), None) => 2,
            (None, None, Some(_)) => 1,
            (None, None, None) => 0,
        }
    }

    /// Whether it holds for a deal.
    #[must_use]
    pub fn holds(
        &self,
        agency: AgencyId,
        agent: AgentId,
        portal: Option<PortalId>,
        at: DateTime<Utc>,
    ) -> bool {
        let own = |wanted: Option<Uuid>, is: Option<Uuid>| wanted.is_none() || wanted == is;
        own(self.agency_id, Some(agency.0))
            && own(self.agent_id, Some(agent.0))
            && own(self.portal_id, portal.map(|p| p.0))
            && self.valid_from <= at
            && at < self.valid_until
    }
}

/// A new assignment.
#[derive(Clone, Debug, Default)]
pub struct NewAssignment {
    /// See [`Assignment::agency_id`].
    pub agency: Option<AgencyId>,
    /// See [`Assignment::portal_id`].
    pub portal: Option<PortalId>,
    /// See [`Assignment::agent_id`].
    pub agent: Option<AgentId>,
    /// See [`Assignment::valid_from`]; `None`: always.
    pub valid_from: Option<DateTime<Utc>>,
    /// See [`Assignment::valid_until`]; `None`: for good.
    pub valid_until: Option<DateTime<Utc>>,
    /// Who makes it.
    pub by: String,
}

/// Assigns a plan; gives the assignment's id. Platform scope. What was booked before stays as it is
/// until somebody recomputes.
///
/// # Errors
/// If there is no such plan, agency, portal or agent.
pub async fn assign(tx: &mut Tx, plan: PlanId, new: &NewAssignment) -> Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into switchyard.commission_assignments
           (id, plan_id, agency_id, portal_id, agent_id, valid_from, valid_until, created_by)
         values ($1, $2, $3, $4, $5, coalesce($6::timestamptz, '-infinity'), coalesce($7::timestamptz, 'infinity'), $8)",
    )
    .bind(id)
    .bind(plan.0)
    .bind(new.agency.map(|a| a.0))
    .bind(new.portal.map(|p| p.0))
    .bind(new.agent.map(|a| a.0))
    .bind(new.valid_from)
    .bind(new.valid_until)
    .bind(&new.by)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// Lets an assignment end; gives whether there was one that held on. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn end_assignment(tx: &mut Tx, id: Uuid, at: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query(
        "update switchyard.commission_assignments set valid_until = $2
         where id = $1 and valid_until > $2 and valid_from < $2",
    )
    .bind(id)
    .bind(at)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The assignments that may hold for these agents and agencies, the most exact first, of equals the
/// one that began last.
///
/// # Errors
/// If the database is not available.
pub async fn assignments_for(
    tx: &mut Tx,
    agencies: &[AgencyId],
    agents: &[AgentId],
) -> Result<Vec<Assignment>> {
    let mut found: Vec<Assignment> = sqlx::query_as(
        "select id, plan_id, agency_id, portal_id, agent_id,
           greatest(valid_from, '0001-01-01') as valid_from, least(valid_until, '9999-01-01') as valid_until
         from switchyard.commission_assignments where agent_id = any($2)
         union all
         select id, plan_id, agency_id, portal_id, agent_id,
           greatest(valid_from, '0001-01-01'), least(valid_until, '9999-01-01')
         from switchyard.commission_assignments
         where agent_id is null and (agency_id = any($1) or agency_id is null)",
    )
    .bind(agencies.iter().map(|a| a.0).collect::<Vec<_>>())
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    found.sort_by_key(|a| std::cmp::Reverse((a.rank(), a.valid_from, a.id)));
    Ok(found)
}
