//! Webhook events: what came in, byte for byte, and what became of it. Platform scope.

mod bodies;
mod ingest;
mod judged;
mod settings;
mod straight;
mod walk;

pub(crate) use bodies::body_of;
pub use bodies::{Compressed, compress_old};
pub use ingest::{Ingested, NewEvent, enter, ingest};
pub use judged::{hold, mark_ignored, mark_processed, mark_rejected, note_partial};
pub use settings::ReadSettings;
pub(crate) use settings::SettingsCache;
pub(crate) use straight::IngestLines;
pub use walk::{EventMark, Range, count_in, lock, lock_all, lock_many, next_in, now};

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use switchyard_domain::{EventId, FieldFault, LeadId, PortalId};
use switchyard_queue::NewJob;

stored_words! {
    /// Where an event stands.
    EventState {
        /// Committed, not judged yet.
        Received = "received",
        /// It became a lead, or repeats one.
        Processed = "processed",
        /// It does not fit the portal's mapping; the reasons say why.
        Rejected = "rejected",
        /// Nothing that anybody waits for; the reasons say why.
        Ignored = "ignored",
        /// Its portal is paused; it is judged when that goes on.
        Held = "held",
    }
}

/// An event with what is needed to judge it.
#[derive(Clone, Debug)]
pub struct EventToProcess {
    /// The event.
    pub id: EventId,
    /// Its portal.
    pub portal: PortalId,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// Exactly as it came.
    pub body: Vec<u8>,
    /// Without credentials.
    pub headers: Value,
    /// The public URL with its query, without credentials.
    pub url: Option<String>,
    /// Where it stands.
    pub state: EventState,
    /// The lead it became or repeats, if it was judged before.
    pub lead: Option<LeadId>,
    /// Version of the settings that judged it before.
    pub judged_by: Option<i32>,
    /// The portal's settings as they are now, read.
    pub settings: ReadSettings,
    /// Their version.
    pub portal_version: i32,
    /// What comes for the portal is held.
    pub paused: bool,
}

macro_rules! judging {
    () => {
        "select e.id, e.portal_id, e.received_at, e.body, e.body_encoding, e.body_bytes, e.headers,
           e.url, e.state, e.lead_id, e.portal_version, p.settings, p.version,
           p.paused_at is not null as paused
         from switchyard.webhook_events e join switchyard.portals p on p.id = e.portal_id"
    };
}
use judging;

/// Loads an event and its portal's settings of today.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such event.
pub async fn load(tx: &mut Tx, id: EventId) -> Result<EventToProcess> {
    let row = sqlx::query(concat!(judging!(), " where e.id = $1"))
        .bind(id.0)
        .fetch_one(tx.conn())
        .await?;
    to_process(&row, tx.settings())
}

fn to_process(row: &PgRow, known: &SettingsCache) -> Result<EventToProcess> {
    let portal = PortalId(row.try_get("portal_id")?);
    Ok(EventToProcess {
        id: EventId(row.try_get("id")?),
        portal,
        received_at: row.try_get("received_at")?,
        body: body_of(row)?,
        headers: row.try_get("headers")?,
        url: row.try_get("url")?,
        state: word(row, "state")?,
        lead: row.try_get::<Option<_>, _>("lead_id")?.map(LeadId),
        judged_by: row.try_get("portal_version")?,
        settings: known.of(portal, row)?,
        portal_version: row.try_get("version")?,
        paused: row.try_get("paused")?,
    })
}

/// Why an event is not processed again.
#[derive(Debug, thiserror::Error)]
pub enum RerunFault {
    /// Only a rejected event is; this one is in another state.
    #[error("the event is `{0}`; only a rejected event can be processed again")]
    NotRejected(EventState),
    /// The database's answer; `NotFound` if there is no such event.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Takes a rejected event up again; `job` maps its portal to the job that processes it.
///
/// # Errors
/// [`RerunFault`].
pub async fn rerun<F>(tx: &mut Tx, id: EventId, job: F) -> Result<(), RerunFault>
where
    F: FnOnce(PortalId) -> Result<NewJob, serde_json::Error>,
{
    let row = sqlx::query(
        "select portal_id, state from switchyard.webhook_events where id = $1 for no key update",
    )
    .bind(id.0)
    .fetch_one(tx.conn())
    .await
    .map_err(StoreFault::from)?;
    let state: EventState = word(&row, "state").map_err(StoreFault::from)?;
    if state != EventState::Rejected {
        return Err(RerunFault::NotRejected(state));
    }
    let portal = PortalId(row.try_get("portal_id").map_err(StoreFault::from)?);
    sqlx::query("update switchyard.webhook_events set state = 'received' where id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await
        .map_err(StoreFault::from)?;
    tx.enqueue(job(portal).map_err(StoreFault::from)?).await?;
    Ok(())
}

/// Lets events go that were held while their portal was paused, the oldest first, at most `limit`;
/// `job` makes the job that processes one. Gives how many went.
///
/// # Errors
/// If the database is not available.
pub async fn release<F>(tx: &mut Tx, portal: PortalId, limit: i64, job: F) -> Result<u64>
where
    F: Fn(EventId) -> Result<NewJob, serde_json::Error>,
{
    let mut events: Vec<uuid::Uuid> = sqlx::query_scalar(
        "update switchyard.webhook_events set state = 'received' where id in (
           select id from switchyard.webhook_events where portal_id = $1 and state = 'held'
           order by id limit $2 for update skip locked) returning id",
    )
    .bind(portal.0)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    events.sort_unstable();
    let jobs: Vec<NewJob> = events.iter().map(|id| job(EventId(*id))).collect::<Result<_, _>>()?;
    let n = events.len() as u64;
    if !jobs.is_empty() {
        tx.enqueue_all(jobs).await?;
    }
    Ok(n)
}

/// An event for people.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event.
    pub id: EventId,
    /// Its portal.
    pub portal: PortalId,
    /// The portal's code.
    pub portal_code: String,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// Where it stands.
    pub state: EventState,
    /// Why it was rejected (kept while it is processed again).
    pub reasons: Vec<FieldFault>,
    /// Version of the settings that judged it.
    pub portal_version: Option<i32>,
    /// When it was judged.
    pub processed_at: Option<DateTime<Utc>>,
    /// The lead it became, or the one it repeats.
    pub lead: Option<LeadId>,
    /// Who sent it.
    pub remote_addr: Option<String>,
    /// The request that brought it.
    pub request_id: Option<String>,
    /// The public URL with its query, without credentials.
    pub url: Option<String>,
    /// Size of the body.
    pub body_bytes: i32,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this portal.
    pub portal: Option<PortalId>,
    /// In this state.
    pub state: Option<EventState>,
    /// That came then or later.
    pub since: Option<DateTime<Utc>>,
    /// Older than this one (for the next page).
    pub before: Option<EventId>,
    /// At most so many.
    pub limit: i64,
}

macro_rules! columns {
    () => {
        "e.id, e.portal_id, p.code, e.received_at, e.state, e.reasons, e.portal_version, \
         e.processed_at, e.lead_id, e.remote_addr, e.request_id, e.url, \
         coalesce(e.body_bytes, octet_length(e.body)) as bytes"
    };
}

fn event(row: &PgRow) -> sqlx::Result<Event> {
    let reasons: Option<Json<Vec<FieldFault>>> = row.try_get("reasons")?;
    Ok(Event {
        id: EventId(row.try_get("id")?),
        portal: PortalId(row.try_get("portal_id")?),
        portal_code: row.try_get("code")?,
        received_at: row.try_get("received_at")?,
        state: word(row, "state")?,
        reasons: reasons.map(|r| r.0).unwrap_or_default(),
        portal_version: row.try_get("portal_version")?,
        processed_at: row.try_get("processed_at")?,
        lead: row.try_get::<Option<_>, _>("lead_id")?.map(LeadId),
        remote_addr: row.try_get("remote_addr")?,
        request_id: row.try_get("request_id")?,
        url: row.try_get("url")?,
        body_bytes: row.try_get("bytes")?,
    })
}

/// Events, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, filter: &EventFilter) -> Result<Vec<Event>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.webhook_events e join switchyard.portals p on p.id = e.portal_id
          where ($1::uuid is null or e.portal_id = $1) and ($2::text is null or e.state = $2)
            and ($3::uuid is null or e.id < $3)
            and ($5::timestamptz is null or e.received_at >= $5)
          order by e.id desc limit $4"
    ))
    .bind(filter.portal.map(|p| p.0))
    .bind(filter.state.map(EventState::as_str))
    .bind(filter.before.map(|e| e.0))
    .bind(filter.limit)
    .bind(filter.since)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(event).collect::<sqlx::Result<_>>()?)
}

/// One event with its headers and its body.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn get(tx: &mut Tx, id: EventId) -> Result<(Event, Value, Vec<u8>)> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        ", e.headers, e.body, e.body_encoding, e.body_bytes from switchyard.webhook_events e
          join switchyard.portals p on p.id = e.portal_id where e.id = $1"
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok((event(&row)?, row.try_get("headers")?, body_of(&row)?))
}

/// Forgets delivery keys whose time is over; gives how many. Keys in use are left for next time.
///
/// # Errors
/// If the database is not available.
pub async fn expire_keys(tx: &mut Tx, limit: i64) -> Result<u64> {
    let done = sqlx::query(
        "delete from switchyard.delivery_keys where (portal_id, key) in (
           select portal_id, key from switchyard.delivery_keys where expires_at < now()
           order by expires_at limit $1 for update skip locked)",
    )
    .bind(limit)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}
