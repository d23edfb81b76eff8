//! Groups: the deals of one agent under one plan in one period, which are evaluated together.

use super::PlanId;
use crate::ledger::derived;
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use switchyard_domain::commission::PeriodKey;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use uuid::Uuid;

/// A group's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GroupId(pub Uuid);

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupKey {
    /// The agent's agency.
    pub agency: AgencyId,
    /// Whose deals.
    pub agent: AgentId,
    /// Under which plan.
    pub plan: PlanId,
    /// By which of its versions: the one that held when the period began; of a lifetime, in the month of
    /// its first deal.
    pub version: i32,
    /// In which of its periods.
    pub period: PeriodKey,
}

impl GroupKey {
    /// Its id: follows from what it is, the version left out.
    #[must_use]
    pub fn id(&self) -> GroupId {
        let Self { agency, agent, plan, version: _, period } = self;
        GroupId(derived(&format!("commission group {agency} {agent} {} {period}", plan.0)))
    }
}

/// A group as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// What it is.
    pub key: GroupKey,
    /// What the rules have added up; `None`: to be evaluated anew.
    pub totals: Option<Value>,
    /// Its last event in the canonical order.
    pub newest: Option<(DateTime<Utc>, CommissionEventId)>,
    /// How many events it has.
    pub events: i64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! columns {
    () => {
        "select id, agency_id, agent_id, plan_id, plan_version, period, totals, newest_at, newest_event,
           events, updated_at
         from switchyard.commission_groups "
    };
}

fn read(row: &PgRow) -> sqlx::Result<Group> {
    let newest_at: Option<DateTime<Utc>> = row.try_get("newest_at")?;
    let newest_event: Option<Uuid> = row.try_get("newest_event")?;
    let period: &str = row.try_get("period")?;
    Ok(Group {
        id: GroupId(row.try_get("id")?),
        key: GroupKey {
            agency: AgencyId(row.try_get("agency_id")?),
            agent: AgentId(row.try_get("agent_id")?),
            plan: PlanId(row.try_get("plan_id")?),
            version: row.try_get("plan_version")?,
            period: period.parse().map_err(|e: String| sqlx::Error::Decode(e.into()))?,
        },
        totals: row.try_get("totals")?,
        newest: newest_at.zip(newest_event.map(CommissionEventId)),
        events: row.try_get("events")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Groups by id; those that are not there are left out.
///
/// # Errors
/// If the database is not available.
pub async fn groups_by_id(tx: &mut Tx, ids: &[GroupId]) -> Result<Vec<Group>> {
    let rows = sqlx::query(concat!(columns!(), "where id = any($1)"))
        .bind(ids.iter().map(|g| g.0).collect::<Vec<_>>())
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// All groups of these agents.
///
/// # Errors
/// If the database is not available.
pub async fn of_agents(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<Group>> {
    let rows = sqlx::query(concat!(columns!(), "where agent_id = any($1) order by id"))
        .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Which groups to list.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// Of this agency.
    pub agency: Option<AgencyId>,
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this period.
    pub period: Option<PeriodKey>,
    /// At most so many.
    pub limit: i64,
}

/// Groups, those that changed last first.
///
/// # Errors
/// If the database is not available.
pub async fn groups(tx: &mut Tx, filter: &GroupFilter) -> Result<Vec<Group>> {
    let rows = sqlx::query(concat!(
        columns!(),
        "where ($1::uuid is null or agency_id = $1) and ($2::uuid is null or agent_id = $2)
           and ($3::text is null or period = $3) order by updated_at desc, id limit $4"
    ))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.agent.map(|a| a.0))
    .bind(filter.period.map(|p| p.to_string()))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Where a group stands after a booking.
#[derive(Clone, Debug)]
pub struct NewTotals {
    /// Which one.
    pub key: GroupKey,
    /// What the rules have added up.
    pub totals: Option<Value>,
    /// Its last event.
    pub newest: Option<(DateTime<Utc>, CommissionEventId)>,
    /// How many events it has.
    pub events: i64,
}

/// Writes groups whose agents this transaction has locked.
///
/// # Errors
/// If the database is not available.
pub async fn save(tx: &mut Tx, all: &[NewTotals]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into switchyard.commission_groups as g (id, agency_id, agent_id, plan_id, plan_version,
           period, totals, newest_at, newest_event, events)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int4[], $6::text[],
           $7::jsonb[], $8::timestamptz[], $9::uuid[], $10::int8[])
         on conflict (id) do update set totals = excluded.totals, plan_version = excluded.plan_version,
           newest_at = excluded.newest_at, newest_event = excluded.newest_event, events = excluded.events,
           updated_at = statement_timestamp()",
    )
    .bind(all.iter().map(|n| n.key.id().0).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.key.agency.0).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.key.agent.0).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.key.plan.0).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.key.version).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.key.period.to_string()).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.totals.as_ref().map(Json)).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.newest.map(|(at, _)| at)).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.newest.map(|(_, event)| event.0)).collect::<Vec<_>>())
    .bind(all.iter().map(|n| n.events).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}
