//! Plans, their versions, and whom they hold for. What a document says is the domain's business, and only
//! what the domain has read and checked is stored.

use crate::ledger::derived;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Value;
use switchyard_domain::AgencyId;
use switchyard_domain::commission::Plan as Rules;
use uuid::Uuid;

/// A plan's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PlanId(pub Uuid);

/// The code of the plan that holds where nothing else was assigned.
pub const DEFAULT_PLAN: &str = "default";

impl PlanId {
    /// The id of the plan with this code, if [`ensure`] made it, or it is [`DEFAULT_PLAN`].
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
    /// What it says: read and checked, because deals under a document that cannot be read are refused
    /// for good. Its `version` is the number that it gets.
    pub rules: Rules,
    /// See [`PlanVersion::valid_from`]; not before that of the version before it, and the document's
    /// own `valid_from` where it has one.
    pub valid_from: DateTime<Utc>,
    /// Who makes it.
    pub by: String,
}

/// Makes a plan. Platform scope.
///
/// # Errors
/// The constraint `commission_plans_code` if the code is taken.
pub async fn create(tx: &mut Tx, plan: &NewPlan) -> Result<PlanId> {
    // The one that holds where nothing was assigned is found by its code.
    let standard = plan.code == DEFAULT_PLAN;
    let id = if standard { PlanId::of_code(DEFAULT_PLAN) } else { PlanId(Uuid::now_v7()) };
    insert(tx, id, plan, false).await?;
    Ok(id)
}

/// Makes a plan with a first version that holds for all time, unless there is one with this code.
/// Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn ensure(tx: &mut Tx, plan: &NewPlan, rules: &Rules) -> Result<PlanId> {
    let id = PlanId::of_code(&plan.code);
    let document = serde_json::to_value(rules)?;
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

/// Why a version was not added.
#[derive(Debug, thiserror::Error)]
pub enum VersionFault {
    /// A document names another number than the one that it would get.
    #[error(
        "the document says version {said}, and the plan's next one is {next}; write `\"version\": {next}`"
    )]
    Number {
        /// What the document says.
        said: u32,
        /// What it has to say.
        next: u32,
    },
    /// Periods that began with the version before would change.
    #[error("the version would begin before the one before it, at {0}; let it begin then or later")]
    TooEarly(DateTime<Utc>),
    /// The document and whoever applies it name different beginnings.
    #[error(
        "the document says `valid_from` {said}, and it was to begin at {given}; name one day only, in \
         the document or beside it"
    )]
    Beginning {
        /// What the document says.
        said: NaiveDate,
        /// What was given beside it.
        given: DateTime<Utc>,
    },
    /// The database; `NotFound` if there is no such plan.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for VersionFault {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// Adds a version; gives its number. Platform scope. Versions of one plan come one after another.
///
/// # Errors
/// [`VersionFault`].
pub async fn add_version(tx: &mut Tx, new: &NewVersion) -> Result<i32, VersionFault> {
    sqlx::query_scalar::<_, Uuid>(
        "select id from switchyard.commission_plans where id = $1 for update",
    )
    .bind(new.plan.0)
    .fetch_one(tx.conn())
    .await?;
    let (last, began): (i32, Option<DateTime<Utc>>) = sqlx::query_as(
        "select coalesce(max(version), 0), max(valid_from) filter (where isfinite(valid_from))
         from switchyard.commission_plan_versions where plan_id = $1",
    )
    .bind(new.plan.0)
    .fetch_one(tx.conn())
    .await?;
    if let Some(began) = began.filter(|began| *began > new.valid_from) {
        return Err(VersionFault::TooEarly(began));
    }
    let (said, next) = (new.rules.reference().version, last.unsigned_abs() + 1);
    if said != next {
        return Err(VersionFault::Number { said, next });
    }
    let day = new.rules.terms().valid_from;
    if let Some(said) = day.filter(|day| *day != new.rules.first_day_from(new.valid_from)) {
        return Err(VersionFault::Beginning { said, given: new.valid_from });
    }
    let version = sqlx::query_scalar(
        "insert into switchyard.commission_plan_versions
           (plan_id, version, agency_id, document, valid_from, created_by)
         select p.id, $5, p.agency_id, $2, $3, $4 from switchyard.commission_plans p where p.id = $1
         returning version",
    )
    .bind(new.plan.0)
    .bind(serde_json::to_value(&new.rules).map_err(StoreFault::from)?)
    .bind(new.valid_from)
    .bind(&new.by)
    .bind(last + 1)
    .fetch_one(tx.conn())
    .await?;
    Ok(version)
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
