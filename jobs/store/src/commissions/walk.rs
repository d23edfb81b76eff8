//! Walking over all agents, a page at a time, for recomputing and closing.

use super::EventRow;
use super::events::{columns, read};
use crate::ledger::{AccountId, EntryId};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use uuid::Uuid;

/// Agents that have events or entries, and how many events, about.
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
        // Of both tables, so that an agent is seen for whom only the ledger knows something.
        "with recursive walk as (
           (select least(
              (select agent_id from switchyard.commission_events
               where ($1::uuid is null or agent_id > $1) order by agent_id limit 1),
              (select agent_id from ledger.entries
               where ($1::uuid is null or agent_id > $1) and agent_id is not null
               order by agent_id limit 1)) as agent_id, 1 as n)
           union all
           (select least(
              (select agent_id from switchyard.commission_events
               where agent_id > walk.agent_id order by agent_id limit 1),
              (select agent_id from ledger.entries
               where agent_id > walk.agent_id order by agent_id limit 1)), walk.n + 1
            from walk where walk.n < 256 and walk.agent_id is not null)
         )
         select w.agent_id, (select count(*) from switchyard.commission_events e
             where e.agent_id = w.agent_id and ($2::uuid is null or e.agency_id = $2))
           + (select count(*) from (select from ledger.entries n
              where n.agent_id = w.agent_id and ($2::uuid is null or n.agency_id = $2) limit 1) one)
         from walk w where w.agent_id is not null order by 1",
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

/// What the ledger holds for one event, or for an entry that names none.
#[derive(Clone, Debug)]
pub struct Posting {
    /// Whose entries they are.
    pub agent: AgentId,
    /// What each account got.
    pub amounts: HashMap<AccountId, i64>,
}

/// What the ledger holds for these agents.
#[derive(Clone, Debug, Default)]
pub struct PostedFor {
    /// For the lines of events.
    pub events: HashMap<CommissionEventId, Posting>,
    /// By entries that name no event and are of no payout: nothing explains them.
    pub loose: HashMap<EntryId, Posting>,
}

/// What the ledger holds for the lines of these agents' events, and by entries that name none.
///
/// # Errors
/// If the database is not available.
pub async fn posted_for(tx: &mut Tx, agents: &[AgentId]) -> Result<PostedFor> {
    let mut all = PostedFor::default();
    let rows: Vec<(Uuid, Option<Uuid>, Uuid, Uuid, i64)> = sqlx::query_as(
        "select e.agent_id, e.event_id, e.id, p.account_id, p.amount
         from ledger.entries e join ledger.postings p on p.entry_id = e.id
         where e.agent_id = any($1)
           and (e.event_id is not null
             or e.kind not in ('payout_sent', 'payout_confirmed', 'payout_failed'))",
    )
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    for (agent, event, entry, account, amount) in rows {
        let new = || Posting { agent: AgentId(agent), amounts: HashMap::new() };
        let posting = match event {
            Some(event) => all.events.entry(CommissionEventId(event)).or_insert_with(new),
            None => all.loose.entry(EntryId(entry)).or_insert_with(new),
        };
        *posting.amounts.entry(AccountId(account)).or_default() += amount;
    }
    Ok(all)
}

/// Entries that are nobody's, though they are of no payout: nothing explains them either. At most 1,000 of
/// an agency's, or of all. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn posted_for_nobody(
    tx: &mut Tx,
    agency: Option<AgencyId>,
) -> Result<HashMap<EntryId, HashMap<AccountId, i64>>> {
    let rows: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(
        "select e.id, p.account_id, p.amount from (
           select id from ledger.entries
           where agent_id is null and ($1::uuid is null or agency_id = $1)
             and kind not in ('payout_sent', 'payout_confirmed', 'payout_failed')
           order by id limit 1000) e
         join ledger.postings p on p.entry_id = e.id",
    )
    .bind(agency.map(|a| a.0))
    .fetch_all(tx.conn())
    .await?;
    let mut all: HashMap<EntryId, HashMap<AccountId, i64>> = HashMap::new();
    for (entry, account, amount) in rows {
        *all.entry(EntryId(entry)).or_default().entry(AccountId(account)).or_default() += amount;
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
