//! New deliveries in one statement, which is a transaction by itself: one round trip instead of four.
//!
//! On connections of its own that stand in the platform's scope. What is not new, or belongs to a paused
//! portal, is left to the longer way ([`super::ingest`]).

use super::NewEvent;
use crate::db::APP_ROLE;
use crate::engine::line::{WATCHFUL, within};
use crate::engine::{enqueue, lanes};
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, Row};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use switchyard_domain::EventId;
use switchyard_queue::{LaneId, NewJob, WakeToken};

/// Connections that wait for the next batch; a process has two writers.
const KEPT: usize = 4;

/// Joins are between arrays of one batch: by hash, never each with each. One plan serves for all.
const SETTINGS: [(&str, &str); 3] = [
    ("switchyard.scope", "platform"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_nestloop", "off"),
];

/// Connections for batches of deliveries. One that failed is not given back.
#[derive(Default)]
pub(crate) struct IngestLines(Mutex<Vec<PgConnection>>);

impl IngestLines {
    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, db: &Db) -> Result<PgConnection> {
        let kept = self.kept().pop();
        match kept {
            Some(connection) => Ok(connection),
            None => {
                let settings: Vec<_> = WATCHFUL.into_iter().chain(SETTINGS).collect();
                db.direct_as(APP_ROLE, "switchyard ingest", &settings).await
            }
        }
    }

    fn keep(&self, connection: PgConnection) {
        let mut kept = self.kept();
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    /// Closes what waits.
    pub(crate) async fn close(&self) {
        let kept = std::mem::take(&mut *self.kept());
        for connection in kept {
            // It is closed by the server as well.
            let _ = connection.close().await;
        }
    }
}

/// Whether the statement can take this delivery.
pub(super) fn takes(event: &NewEvent) -> bool {
    enqueue::is_plain(&event.job)
}

/// Commits those of these deliveries that are new, with their jobs, and gives their ids.
///
/// Keys are taken in one order by everybody; see [`super::ingest`].
///
/// # Errors
/// If the database is not available or refuses one of them. Then nothing was written, unless the
/// connection broke during the commit.
pub(super) async fn write(db: &Db, batch: &[&NewEvent]) -> Result<HashSet<EventId>> {
    let jobs: Vec<NewJob> = batch.iter().map(|e| e.job.clone()).collect();
    let lanes = lanes::of(db, &jobs).await?;
    let mut connection = db.ingest_lines().take(db).await?;
    let limit = db.config().statement_timeout;
    let written = within(limit, run(&mut connection, batch, &jobs, &lanes)).await?;
    db.ingest_lines().keep(connection);
    let mut wakes = Vec::new();
    for (n, due) in &written {
        if let Some(at) = due {
            wakes.push(WakeToken::Work(lanes[*n], jobs[*n].priority, *at));
        }
    }
    wakes.sort_unstable();
    wakes.dedup();
    if !wakes.is_empty() {
        db.wake().send(&wakes);
    }
    Ok(written.into_iter().map(|(n, _)| batch[n].id).collect())
}

/// Which were written, and since when the job of each is due.
type Written = Vec<(usize, Option<DateTime<Utc>>)>;

async fn run(
    connection: &mut PgConnection,
    batch: &[&NewEvent],
    jobs: &[NewJob],
    lanes: &[LaneId],
) -> Result<Written> {
    let all: Vec<usize> = (0..jobs.len()).collect();
    let query = enqueue::Batch::of(jobs, lanes, &all, None).bind(sqlx::query(STATEMENT));
    let rows = query
        .bind(batch.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.portal.0).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.key.as_str()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.key_ttl.map(|t| t.as_secs_f64())).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.body.as_slice()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| Json(&e.headers)).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.remote_addr.as_deref()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.url.as_deref()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.redacted).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut written = Vec::with_capacity(rows.len());
    for row in &rows {
        let n = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or_default();
        written.push((n, row.try_get(1)?));
    }
    Ok(written)
}

/// A key whose time is over is taken over; of equal keys in one batch the first wins. The portal is
/// looked up row by row, by its key, because there may be many portals and a batch is of a few.
const STATEMENT: &str = concat!(
    enqueue::placing!(
        "input as (
           select u.* from unnest($18::uuid[], $19::uuid[], $20::text[], $21::float8[], $22::bytea[],
             $23::jsonb[], $24::text[], $25::text[], $26::bool[]) with ordinality
             as u (id, portal, key, ttl, body, headers, addr, url, redacted, n)
           where (select p.paused_at is null from switchyard.portals p where p.id = u.portal)
         ), keys as (
           insert into switchyard.delivery_keys as k (portal_id, key, event_id, expires_at)
           select distinct on (portal, key) portal, key, id, now() + make_interval(secs => ttl)
           from input order by portal, key, n
           on conflict (portal_id, key) do update
             set event_id = excluded.event_id, expires_at = excluded.expires_at
             where k.expires_at <= now()
           returning event_id
         ), stored as (
           insert into switchyard.webhook_events
             (id, portal_id, body, headers, remote_addr, request_id, url, redacted, state)
           select i.id, i.portal, i.body, i.headers, i.addr, j.request, i.url, i.redacted, 'received'
           from input i join keys k on k.event_id = i.id
           join unnest($13::text[]) with ordinality j(request, n) on j.n = i.n
           returning id
         ), ",
        "where g.n in (select i.n from input i join stored s on s.id = i.id)"
    ),
    " select g.n, case p.stage when 0 then p.run_at end from placed p join given g on g.id = p.id"
);
