//! Events: recorded once, in whatever order they come, and what became of each.
//!
//! Locks are taken in one order, so that no two bookings can deadlock: rows of events first, only those
//! that are free (or a single one, holding nothing else), then agents by their keys.

use super::GroupId;
use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::{BTreeSet, HashMap};
use switchyard_domain::commission::CommissionEvent;
use switchyard_domain::ledger::content_hash;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_queue::canonical;
use uuid::Uuid;

stored_words! {
    /// What became of an event.
    EventState {
        /// It waits for its booking.
        Pending = "pending",
        /// It waits for the conversion that it names.
        Waiting = "waiting",
        /// It was booked; it may have changed nothing.
        Booked = "booked",
        /// It cannot be booked; the reason is with it.
        Refused = "refused",
    }
}

/// First key of the advisory locks that put bookings of one agent one after another.
const AGENT: i32 = 1_279_607_880;
/// The same for the jobs of one agency. (Of 1,279,607,881 the ledger has two keys of its own.)
const AGENCY: i32 = 1_279_607_883;

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    /// The id was used for another event.
    #[error("the event {0} was recorded before with other content; another event needs another id")]
    OtherContent(CommissionEventId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for RecordFault {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

impl From<serde_json::Error> for RecordFault {
    fn from(e: serde_json::Error) -> Self {
        Self::Store(e.into())
    }
}

/// An event with what became of it.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// The event.
    pub event: CommissionEvent,
    /// What became of it.
    pub state: EventState,
    /// Where it is evaluated, once it was booked.
    pub group: Option<GroupId>,
    /// Why it was refused, or what it waits for.
    pub reason: Option<String>,
    /// The hash of what it says.
    pub content_hash: Vec<u8>,
    /// When it was booked or refused.
    pub booked_at: Option<DateTime<Utc>>,
}

macro_rules! columns {
    () => {
        "e.document, e.state, e.group_id, e.reason, e.content_hash, e.booked_at "
    };
}
pub(super) use columns;

pub(super) fn read(row: &PgRow) -> sqlx::Result<EventRow> {
    let Json(event) = row.try_get::<Json<CommissionEvent>, _>("document")?;
    Ok(EventRow {
        event,
        state: word(row, "state")?,
        group: row.try_get::<Option<Uuid>, _>("group_id")?.map(GroupId),
        reason: row.try_get("reason")?,
        content_hash: row.try_get("content_hash")?,
        booked_at: row.try_get("booked_at")?,
    })
}

/// What it says as it is stored, and the hash of it; when it was heard of is no part of that.
fn written(event: &CommissionEvent) -> Result<(Value, [u8; 32]), serde_json::Error> {
    let document = serde_json::to_value(event)?;
    let mut said = document.clone();
    if let Some(members) = said.as_object_mut() {
        members.remove("received_at");
    }
    Ok((document, content_hash(&[canonical(&said).as_bytes()])))
}

/// Records events in this transaction; gives those that are new, in the order of their ids. One that
/// was recorded before with the same content is no fault and changes nothing.
///
/// # Errors
/// [`RecordFault`].
pub async fn record(
    tx: &mut Tx,
    events: &[CommissionEvent],
) -> Result<BTreeSet<CommissionEventId>, RecordFault> {
    let mut all: Vec<(&CommissionEvent, Value, [u8; 32])> = Vec::with_capacity(events.len());
    for event in events {
        let (document, hash) = written(event)?;
        all.push((event, document, hash));
    }
    // Sorted, so that two transactions with the same events wait for each other in one order.
    all.sort_by_key(|(event, ..)| event.id);
    let new: Vec<Uuid> = sqlx::query_scalar(
        "insert into switchyard.commission_events
           (id, content_hash, kind, agency_id, agent_id, lead_id, of_id, occurred_at, document)
         select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[],
           $7::uuid[], $8::timestamptz[], $9::jsonb[])
         on conflict (id) do nothing returning id",
    )
    .bind(all.iter().map(|(e, ..)| e.id.0).collect::<Vec<_>>())
    .bind(all.iter().map(|(.., hash)| hash.to_vec()).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.kind.word().as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.agency.0).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.agent.0).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.lead.map(|l| l.0)).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.of.map(|o| o.0)).collect::<Vec<_>>())
    .bind(all.iter().map(|(e, ..)| e.occurred_at).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, document, _)| document).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let new: BTreeSet<CommissionEventId> = new.into_iter().map(CommissionEventId).collect();
    let seen = stored(tx, &all, &new).await?;
    for (event, _, hash) in &all {
        if seen.get(&event.id).is_none_or(|known| known.as_slice() != hash) {
            return Err(RecordFault::OtherContent(event.id));
        }
    }
    Ok(new)
}

/// What is stored under these ids: asked only where something was there before, or an id came twice.
async fn stored(
    tx: &mut Tx,
    all: &[(&CommissionEvent, Value, [u8; 32])],
    new: &BTreeSet<CommissionEventId>,
) -> Result<HashMap<CommissionEventId, Vec<u8>>> {
    if new.len() == all.len() {
        return Ok(all.iter().map(|(e, _, hash)| (e.id, hash.to_vec())).collect());
    }
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "select id, content_hash from switchyard.commission_events where id = any($1)",
    )
    .bind(all.iter().map(|(e, ..)| e.id.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|(id, hash)| (CommissionEventId(id), hash)).collect())
}

/// What became of an event; `None` if it was never recorded.
///
/// # Errors
/// If the database is not available.
pub async fn state(tx: &mut Tx, id: CommissionEventId) -> Result<Option<EventState>> {
    let row = sqlx::query("select state from switchyard.commission_events where id = $1")
        .bind(id.0)
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.as_ref().map(|row| word(row, "state")).transpose()?)
}

/// The same, after whoever books it at the moment is through. To be called by a transaction that
/// holds nothing.
///
/// # Errors
/// If the database is not available.
pub async fn wait_for(tx: &mut Tx, id: CommissionEventId) -> Result<Option<EventState>> {
    let row =
        sqlx::query("select state from switchyard.commission_events where id = $1 for update")
            .bind(id.0)
            .fetch_optional(tx.conn())
            .await?;
    Ok(row.as_ref().map(|row| word(row, "state")).transpose()?)
}

/// One event.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn event(tx: &mut Tx, id: CommissionEventId) -> Result<EventRow> {
    let query =
        concat!("select ", columns!(), "from switchyard.commission_events e where e.id = $1");
    Ok(read(&sqlx::query(query).bind(id.0).fetch_one(tx.conn()).await?)?)
}

/// Locks this event and up to `more` others of its agency that wait longest, for booking. What somebody
/// else books at the moment is left out; if that is the event itself, nothing is taken.
///
/// # Errors
/// If the database is not available.
pub async fn take(
    tx: &mut Tx,
    agency: AgencyId,
    id: CommissionEventId,
    more: i64,
) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "with own as materialized (
           select id from switchyard.commission_events
           where id = $2 and state in ('pending', 'waiting') for update skip locked
         ), others as materialized (
           select id from switchyard.commission_events
           where agency_id = $1 and state = 'pending' and id <> $2 and exists (select from own)
           order by occurred_at, id limit $3 for update skip locked
         )
         select ",
        columns!(),
        "from switchyard.commission_events e
         where e.id = any (array(select id from own union all select id from others))"
    ))
    .bind(agency.0)
    .bind(id.0)
    .bind(more)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Locks the events that name one of these conversions and are not booked. What somebody else books at
/// the moment is left out: that one looks for the conversion again when it is through.
///
/// # Errors
/// If the database is not available.
pub async fn followers(tx: &mut Tx, conversions: &[CommissionEventId]) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e
         where e.of_id = any($1) and e.state in ('pending', 'waiting') for update skip locked"
    ))
    .bind(conversions.iter().map(|c| c.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Events by id; those that are not there are left out.
///
/// # Errors
/// If the database is not available.
pub async fn roots(tx: &mut Tx, ids: &[CommissionEventId]) -> Result<Vec<EventRow>> {
    let query =
        concat!("select ", columns!(), "from switchyard.commission_events e where e.id = any($1)");
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(query).bind(ids).fetch_all(tx.conn()).await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Puts the jobs that book for an agency one after another, to the end of this transaction. To be called
/// before anything else is locked.
///
/// # Errors
/// If the database is not available.
pub async fn lock_agency(tx: &mut Tx, agency: AgencyId) -> Result<()> {
    sqlx::query("select pg_advisory_xact_lock($1, hashtext($2::uuid::text))")
        .bind(AGENCY)
        .bind(agency.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Puts bookings of these agents one after another, to the end of this transaction.
///
/// # Errors
/// If the database is not available.
pub async fn lock_agents(tx: &mut Tx, agents: &BTreeSet<AgentId>) -> Result<()> {
    sqlx::query(
        "select pg_advisory_xact_lock($1, k.key) from (
           select distinct hashtext(a::text) as key from unnest($2::uuid[]) a order by 1) k",
    )
    .bind(AGENT)
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Decisions about these agents, whether they were booked or not: they count from the moment that
/// they were recorded.
///
/// # Errors
/// If the database is not available.
pub async fn decisions(tx: &mut Tx, agents: &BTreeSet<AgentId>) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e where e.agent_id = any($1) and e.of_id is null
           and e.kind in ('tier_changed', 'split_changed')"
    ))
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// The events that were booked or refused in these groups, in no order.
///
/// # Errors
/// If the database is not available.
pub async fn in_groups(tx: &mut Tx, groups: &[GroupId]) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e where e.group_id = any($1)"
    ))
    .bind(groups.iter().map(|g| g.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// Locks the events of these agents' deals that were refused before they had a group: no plan could be
/// used for them then. What somebody else holds is left out. To be called before the agents are locked.
///
/// # Errors
/// If the database is not available.
pub async fn refused_ungrouped(tx: &mut Tx, agents: &BTreeSet<AgentId>) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e where e.agent_id = any($1) and e.state = 'refused'
           and e.group_id is null and (e.kind = 'converted' or e.of_id is not null)
         order by e.id for update skip locked"
    ))
    .bind(agents.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// What becomes of an event.
#[derive(Clone, Debug)]
pub struct Settle {
    /// Which one.
    pub id: CommissionEventId,
    /// What became of it.
    pub state: EventState,
    /// Where it is evaluated.
    pub group: Option<GroupId>,
    /// Why it was refused, or what it waits for.
    pub reason: Option<String>,
}

/// Writes down what became of events that this transaction holds.
///
/// # Errors
/// If the database is not available.
pub async fn settle(tx: &mut Tx, all: &[Settle]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update switchyard.commission_events e
         set state = s.state, group_id = s.grp, reason = s.reason,
           booked_at = case when s.state <> 'waiting' then statement_timestamp() end
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) as s(id, state, grp, reason)
         where e.id = s.id",
    )
    .bind(all.iter().map(|s| s.id.0).collect::<Vec<_>>())
    .bind(all.iter().map(|s| s.state.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|s| s.group.map(|g| g.0)).collect::<Vec<_>>())
    .bind(all.iter().map(|s| s.reason.as_deref()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}
