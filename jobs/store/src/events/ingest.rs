//! Taking deliveries in: many in one commit, each delivery key once.

use super::straight;
use crate::{Db, Result, Scope, StoreFault, Tx};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use switchyard_domain::{EventId, PortalId};
use switchyard_queue::NewJob;

/// One delivery on its way in.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Made by the caller, because the job names it.
    pub id: EventId,
    /// Whose it is.
    pub portal: PortalId,
    /// What makes it the same delivery: `id:...` (the sender's id) or `sha256:...` (the body's).
    pub key: String,
    /// How long the key counts; `None`: for good.
    pub key_ttl: Option<Duration>,
    /// Exactly as it came.
    pub body: Vec<u8>,
    /// Without credentials.
    pub headers: Value,
    /// The public URL with its query, without credentials.
    pub url: Option<String>,
    /// Who sent it.
    pub remote_addr: Option<String>,
    /// The body held the sender's key, which is asterisks now.
    pub redacted: bool,
    /// The job that will process it, enqueued in the same commit. Its request id is the event's.
    pub job: NewJob,
}

/// The answer to one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The event: the new one, or the first with the same key.
    pub event: EventId,
    /// Seen before: nothing was written.
    pub duplicate: bool,
}

/// Commits deliveries and their jobs; the answers come in their order.
///
/// What is new goes in by one statement. The rest goes in by one transaction: it repeats another
/// delivery, or its portal is paused; deliveries of a paused portal are held, and their jobs are enqueued
/// when it goes on.
///
/// Keys are written in one order by everybody, so two writers never wait for each other in a
/// circle; the second writer of a key waits for the first to commit and then sees a duplicate.
///
/// # Errors
/// If the database is not available. What was written nevertheless is recognised when the same events
/// are brought again: they are no duplicates of themselves.
pub async fn ingest(db: &Db, batch: impl AsRef<[NewEvent]>) -> Result<Vec<Ingested>> {
    let batch = batch.as_ref();
    let straight: Vec<&NewEvent> = batch.iter().filter(|e| straight::takes(e)).collect();
    let new = match straight.is_empty() {
        true => HashSet::new(),
        false => match straight::write(db, &straight).await {
            // A connection that was kept may have ended meanwhile; the other way makes sure of its own.
            Err(fault) if was_cut(&fault) => HashSet::new(),
            written => written?,
        },
    };
    let rest: Vec<&NewEvent> = batch.iter().filter(|e| !new.contains(&e.id)).collect();
    let mut others = by_transaction(db, &rest).await?.into_iter();
    let answer = |e: &NewEvent| match new.contains(&e.id) {
        true => Ok(Ingested { event: e.id, duplicate: false }),
        false => others.next().ok_or(StoreFault::NotFound),
    };
    batch.iter().map(answer).collect()
}

/// Did the connection end? The server says so on its way down (class 57P), or nothing at all.
fn was_cut(fault: &StoreFault) -> bool {
    fault.is_transient() && fault.sqlstate().is_none_or(|code| code.starts_with("57P"))
}

async fn by_transaction(db: &Db, batch: &[&NewEvent]) -> Result<Vec<Ingested>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin(Scope::Platform).await?;
    let written = write(&mut tx, batch).await?;
    let held = still_held(&mut tx, batch, &written).await?;
    let written: Vec<EventId> = written.into_iter().map(|w| w.event).collect();
    let answers = if written.len() < batch.len() {
        answer_all(&mut tx, batch, &written).await?
    } else {
        batch.iter().map(|e| Ingested { event: e.id, duplicate: false }).collect()
    };
    let jobs: Vec<NewJob> = batch
        .iter()
        .filter(|event| written.contains(&event.id) && !held.contains(&event.id))
        .map(|event| event.job.clone())
        .collect();
    if !jobs.is_empty() {
        tx.enqueue_all(jobs).await?;
    }
    tx.commit().await?;
    Ok(answers)
}

/// Writes keys and events; gives the ids of those that are new. A key whose time is over is taken
/// over. Of equal keys in one batch the first wins.
async fn write(tx: &mut Tx, batch: &[&NewEvent]) -> Result<Vec<Written>> {
    let ids: Vec<_> = batch.iter().map(|e| e.id.0).collect();
    let portals: Vec<_> = batch.iter().map(|e| e.portal.0).collect();
    let keys: Vec<_> = batch.iter().map(|e| e.key.as_str()).collect();
    let ttls: Vec<_> = batch.iter().map(|e| e.key_ttl.map(|t| t.as_secs_f64())).collect();
    let bodies: Vec<_> = batch.iter().map(|e| e.body.as_slice()).collect();
    let headers: Vec<_> = batch.iter().map(|e| Json(&e.headers)).collect();
    let addresses: Vec<_> = batch.iter().map(|e| e.remote_addr.as_deref()).collect();
    let urls: Vec<_> = batch.iter().map(|e| e.url.as_deref()).collect();
    let requests: Vec<_> = batch.iter().map(|e| e.job.request_id.as_deref()).collect();
    let redacted: Vec<_> = batch.iter().map(|e| e.redacted).collect();
    let rows = sqlx::query(
        "with input as (
           select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::bytea[],
             $6::jsonb[], $7::text[], $8::text[], $9::text[], $10::bool[]) with ordinality
             as u (id, portal, key, ttl, body, headers, addr, request, url, redacted, n)
           where exists (select from switchyard.portals p where p.id = u.portal)
         ), keys as (
           insert into switchyard.delivery_keys as k (portal_id, key, event_id, expires_at)
           select distinct on (portal, key) portal, key, id, now() + make_interval(secs => ttl)
           from input order by portal, key, n
           on conflict (portal_id, key) do update
             set event_id = excluded.event_id, expires_at = excluded.expires_at
             where k.expires_at <= now()
           returning event_id
         )
         insert into switchyard.webhook_events
           (id, portal_id, body, headers, remote_addr, request_id, url, redacted, state)
         select i.id, i.portal, i.body, i.headers, i.addr, i.request, i.url, i.redacted,
           case when exists (select from switchyard.portals p
                             where p.id = i.portal and p.paused_at is not null)
             then 'held' else 'received' end
         from input i join keys k on k.event_id = i.id order by i.n
         returning id, state",
    )
    .bind(ids)
    .bind(portals)
    .bind(keys)
    .bind(ttls)
    .bind(bodies)
    .bind(headers)
    .bind(addresses)
    .bind(requests)
    .bind(urls)
    .bind(redacted)
    .fetch_all(tx.conn())
    .await?;
    let written = |row: &PgRow| {
        let held = row.try_get::<String, _>("state")? == "held";
        Ok(Written { event: EventId(row.try_get("id")?), held })
    };
    Ok(rows.iter().map(written).collect::<sqlx::Result<_>>()?)
}

/// An event that was new.
struct Written {
    event: EventId,
    held: bool,
}

/// The events that stay held. A portal that goes on at this moment may have looked for held events
/// before ours were there: its lock decides, and then it is ours to let them go.
async fn still_held(
    tx: &mut Tx,
    batch: &[&NewEvent],
    written: &[Written],
) -> Result<HashSet<EventId>> {
    let held: HashSet<EventId> = written.iter().filter(|w| w.held).map(|w| w.event).collect();
    if held.is_empty() {
        return Ok(held);
    }
    let mut portals: Vec<_> =
        batch.iter().filter(|e| held.contains(&e.id)).map(|e| e.portal.0).collect();
    portals.sort_unstable();
    portals.dedup();
    let paused: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from switchyard.portals where id = any($1) and paused_at is not null
         order by id for share",
    )
    .bind(portals)
    .fetch_all(tx.conn())
    .await?;
    let (stay, go): (Vec<&NewEvent>, Vec<&NewEvent>) = batch
        .iter()
        .copied()
        .filter(|e| held.contains(&e.id))
        .partition(|e| paused.contains(&e.portal.0));
    if !go.is_empty() {
        sqlx::query("update switchyard.webhook_events set state = 'received' where id = any($1)")
            .bind(go.iter().map(|e| e.id.0).collect::<Vec<_>>())
            .execute(tx.conn())
            .await?;
    }
    Ok(stay.into_iter().map(|e| e.id).collect())
}

/// Answers a batch with duplicates: a new statement sees what a concurrent writer committed while
/// the first one waited for it.
async fn answer_all(
    tx: &mut Tx,
    batch: &[&NewEvent],
    written: &[EventId],
) -> Result<Vec<Ingested>> {
    let old: Vec<&&NewEvent> = batch.iter().filter(|e| !written.contains(&e.id)).collect();
    let portals: Vec<_> = old.iter().map(|e| e.portal.0).collect();
    let keys: Vec<_> = old.iter().map(|e| e.key.as_str()).collect();
    let rows = sqlx::query(
        "select k.portal_id, k.key, k.event_id from switchyard.delivery_keys k
         join unnest($1::uuid[], $2::text[]) as u (portal, key)
           on k.portal_id = u.portal and k.key = u.key",
    )
    .bind(portals)
    .bind(keys)
    .fetch_all(tx.conn())
    .await?;
    let mut first = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key = (PortalId(row.try_get("portal_id")?), row.try_get::<String, _>("key")?);
        first.insert(key, EventId(row.try_get("event_id")?));
    }
    batch
        .iter()
        .map(|e| {
            if written.contains(&e.id) {
                return Ok(Ingested { event: e.id, duplicate: false });
            }
            let event = first.get(&(e.portal, e.key.clone())).ok_or(StoreFault::NotFound)?;
            // Its own, if a first try was committed and its answer lost.
            Ok(Ingested { event: *event, duplicate: *event != e.id })
        })
        .collect()
}

/// An event that a person enters, received in the caller's transaction; it judges it there too.
///
/// # Errors
/// If the database refuses it.
pub async fn enter(
    tx: &mut Tx,
    id: EventId,
    portal: PortalId,
    body: &Value,
    headers: &Value,
    request_id: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "insert into switchyard.webhook_events (id, portal_id, body, headers, request_id)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(id.0)
    .bind(portal.0)
    .bind(serde_json::to_vec(body)?)
    .bind(headers)
    .bind(request_id)
    .execute(tx.conn())
    .await?;
    Ok(())
}
