//! For whom a plan holds, and when.

use super::PlanId;
use crate::{Result, Tx};
use chrono::{DateTime, Datelike, Utc};
use serde::Serialize;
use switchyard_domain::{AgencyId, AgentId, PortalId};
use uuid::Uuid;

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

    /// Whether nobody said when it ends.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        // Without an end it is read as the year 9999.
        self.valid_until.year() >= 9999
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

/// All assignments of these plans that hold at a moment or later, the most exact first, at most 500.
///
/// # Errors
/// If the database is not available.
pub async fn assignments_of(
    tx: &mut Tx,
    plans: &[PlanId],
    at: DateTime<Utc>,
) -> Result<Vec<Assignment>> {
    let mut found: Vec<Assignment> = sqlx::query_as(
        "select id, plan_id, agency_id, portal_id, agent_id,
           greatest(valid_from, '0001-01-01') as valid_from, least(valid_until, '9999-01-01') as valid_until
         from switchyard.commission_assignments where plan_id = any($1) and valid_until > $2
         order by created_at desc, id limit 500",
    )
    .bind(plans.iter().map(|p| p.0).collect::<Vec<_>>())
    .bind(at)
    .fetch_all(tx.conn())
    .await?;
    found.sort_by_key(|a| std::cmp::Reverse((a.rank(), a.valid_from, a.id)));
    Ok(found)
}
