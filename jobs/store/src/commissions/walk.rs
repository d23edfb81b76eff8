//! Walking over all agents, a page at a time, for recomputing and closing.

use super::EventRow;
use super::events::{columns, read};
use crate::ledger::AccountId;
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use uuid::Uuid;

/// Agents that have events, and how many.
pub type AgentPage = Vec<(AgentId, i64)>;

/// The next agents after `after` with their events, as many as hold together at most `events` of
/// them (but at least one agent). A jump over the index an agent. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn agents_after(
    tx: &mut Tx,
    after: Option<AgentId>,
    agency: Option<AgencyId>,
    events: i64,
) -> Result<AgentPage> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "with recursive walk as (
           (select agent_id, 1 as n from switchyard.commission_events
            where ($1::uuid is null or agent_id > $1) order by agent_id limit 1)
           union all
           (select next.agent_id, walk.n + 1 from walk cross join lateral (
              select agent_id from switchyard.commission_events
              where agent_id > walk.agent_id order by agent_id limit 1) next
            where walk.n < 256)
         )
         select w.agent_id, (select count(*) from switchyard.commission_events e
           where e.agent_id = w.agent_id and ($2::uuid is null or e.agency_id = $2))
         from walk w order by 1",
    )
    .bind(after.map(|a| a.0))
    .bind(agency.map(|a| a.0))
    .fetch_all(tx.conn())
    .await?;
    let mut page = Vec::new();
    let mut sum = 0;
    for (agent, n) in rows {
        sum += n;
        if sum > events && !page.is_empty() {
            break;
        }
        page.push((AgentId(agent), n));
    }
    Ok(page)
}

/// Makes all that this transaction reads be of one moment. Must be its first statement.
///
/// # Errors
/// If the database is not available.
pub async fn freeze(tx: &mut Tx) -> Result<()> {
    sqlx::raw_sql("set transaction isolation level repeatable read, read only")
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// All events of these agents, and what others said of their conversions, in no order.
///
/// # Errors
/// If the database is not available.
pub async fn events_of_agents(tx: &mut Tx, agents: &[AgentId]) -> Result<Vec<EventRow>> {
    let agents: Vec<Uuid> = agents.iter().map(|a| a.0).collect();
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e where e.agent_id = any($1)
         union all
         select ",
        columns!(),
        "from switchyard.commission_events c
         join switchyard.commission_events e on e.of_id = c.id and e.agent_id <> c.agent_id
         where c.agent_id = any($1) and c.kind = 'converted'"
    ))
    .bind(agents)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// What the ledger holds for the lines of these agents' events, by event: what each account got.
///
/// # Errors
/// If the database is not available.
pub async fn posted_for(
    tx: &mut Tx,
    agents: &[AgentId],
) -> Result<HashMap<CommissionEventId, HashMap<AccountId, i64>>> {
    let mut all: HashMap<CommissionEventId, HashMap<AccountId, i64>> = HashMap::new();
    let rows: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(
        "select e.event_id, p.account_id, p.amount
         from ledger.entries e join ledger.postings p on p.entry_id = e.id
         where e.agent_id = any($1) and e.event_id is not null",
    )
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    for (event, account, amount) in rows {
        *all.entry(CommissionEventId(event)).or_default().entry(AccountId(account)).or_default() +=
            amount;
    }
    Ok(all)
}

/// Agencies with entries that happened before this moment. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn agencies(tx: &mut Tx, before: DateTime<Utc>) -> Result<Vec<AgencyId>> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "select a.id from switchyard.agencies a where exists (
           select from ledger.entries e where e.agency_id = a.id and e.occurred_at < $1) order by 1",
    )
    .bind(before)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(AgencyId).collect())
}
