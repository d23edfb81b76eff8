//! Writing results down: sets of rows, at most two statements, and only where the fence stands.
//!
//! A job is held while `worker` is set and `fence` is the claim's. Every statement here matches
//! both, so a result that comes twice, or from a worker that was presumed dead, changes nothing.

use super::plans::{keys_freed, of_job, places, uncharged};
use super::seconds;
use crate::{Result, StoreFault};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use switchyard_queue::{Fence, Held, JobId, LaneId, SettleAs, Settlement, WakeToken};
use uuid::Uuid;

/// Longest error text kept: a chain of causes is short, a provider's HTML page is not.
const LONGEST_TEXT: usize = 16 * 1024;

/// Locks the job's row at its fence, until the transaction ends.
///
/// Renewals step over a locked row, and a job whose transactions follow each other closely hides its row
/// from all of them. So a lease of which a third is over is renewed here.
///
/// # Errors
/// [`StoreFault::LeaseLost`] if nobody holds it under this fence.
pub(crate) async fn lock(connection: &mut PgConnection, held: Held, lease: Duration) -> Result<()> {
    let low: Option<bool> = sqlx::query_scalar(
        "select coalesce(lease_until < clock_timestamp() + $3 * interval '1 second' * 2 / 3, true)
         from engine.jobs where id = $1 and fence = $2 and worker is not null for update",
    )
    .bind(held.id.0)
    .bind(held.fence.0)
    .bind(seconds(lease))
    .fetch_optional(&mut *connection)
    .await?;
    match low {
        None => Err(StoreFault::LeaseLost),
        Some(true) => extend(connection, held, lease).await,
        Some(false) => Ok(()),
    }
}

/// Locks the rows of several jobs of one worker, in the order of their ids, and renews what [`lock`] would
/// renew; gives those that are held under their fence.
pub(crate) async fn lock_all(
    connection: &mut PgConnection,
    held: &[Held],
    lease: Duration,
) -> Result<Vec<Held>> {
    let mut ids: Vec<Uuid> = held.iter().map(|h| h.id.0).collect();
    ids.sort_unstable();
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(
        "select j.id, j.fence,
           coalesce(j.lease_until < clock_timestamp() + $2 * interval '1 second' * 2 / 3, true)
         from unnest($1::uuid[]) listed(id) cross join lateral (
           select w.id, w.fence, w.lease_until from engine.jobs w
           where w.id = listed.id and w.worker is not null for update) j",
    )
    .bind(ids)
    .bind(seconds(lease))
    .fetch_all(&mut *connection)
    .await?;
    let mut stand = Vec::with_capacity(rows.len());
    for (id, fence, low) in rows {
        let row = Held { id: JobId(id), fence: Fence(fence) };
        if !held.contains(&row) {
            continue;
        }
        if low {
            extend(&mut *connection, row, lease).await?;
        }
        stand.push(row);
    }
    Ok(stand)
}

/// Renews the lease of a job whose row this transaction has locked.
pub(crate) async fn extend(
    connection: &mut PgConnection,
    held: Held,
    lease: Duration,
) -> Result<()> {
    sqlx::query(
        "update engine.jobs set lease_until = clock_timestamp() + $3 * interval '1 second'
         where id = $1 and fence = $2 and worker is not null",
    )
    .bind(held.id.0)
    .bind(held.fence.0)
    .bind(seconds(lease))
    .execute(connection)
    .await?;
    Ok(())
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The jobs whose fence still stood.
    pub stood: Vec<JobId>,
    /// Work that came back to its lane and can run at once.
    pub freed: Vec<WakeToken>,
    /// Workflows that are to be told (see `workflows::advance`), once this is committed.
    pub workflows: BTreeSet<Uuid>,
}

/// Writes results down. Where more than one statement may be needed (see [`mixed`]) the caller
/// brings a transaction.
///
/// A job that somebody asked to cancel does not go round again: unless it completed, it ends as
/// cancelled. A dead letter gives its unique key up, so that a new job of the key may be enqueued;
/// retrying the dead letter takes the key again, or is refused.
pub(crate) async fn write(
    connection: &mut PgConnection,
    results: &[Settlement],
) -> Result<Written> {
    let mut rows = Rows::default();
    for s in results {
        rows.push(s.held, &s.result, Some(s.ran));
    }
    rows.write(connection).await
}

/// The same for one job in its own transaction, whose start is the claim's.
pub(crate) async fn write_one(
    connection: &mut PgConnection,
    held: Held,
    result: &SettleAs,
) -> Result<Written> {
    let mut rows = Rows::default();
    rows.push(held, result, None);
    rows.write(connection).await
}

/// The same for jobs that were claimed but never run, all with one result.
pub(crate) async fn write_all(
    connection: &mut PgConnection,
    held: &[Held],
    result: &SettleAs,
) -> Result<Written> {
    let mut rows = Rows::default();
    for h in held {
        rows.push(*h, result, None);
    }
    rows.write(connection).await
}

/// How often a row is looked for that somebody else changed at that moment.
const TRIES: usize = 3;

/// Whether [`write`] will need more than one statement for these.
pub(crate) fn mixed(results: &[Settlement]) -> bool {
    !results.iter().all(|s| code(&s.result) <= CANCELLED)
}

const COMPLETED: i16 = 0;
const CANCELLED: i16 = 1;
const RETRY: i16 = 2;
const SNOOZE: i16 = 3;
const DISCARD: i16 = 4;
const GIVE_BACK: i16 = 5;

/// The numbers by which the statements below know the results.
fn code(result: &SettleAs) -> i16 {
    match result {
        SettleAs::Completed | SettleAs::CompletedWith(_) => COMPLETED,
        SettleAs::Cancelled(_) => CANCELLED,
        SettleAs::Retry(..) => RETRY,
        SettleAs::Snooze(_) => SNOOZE,
        SettleAs::Discard(_) => DISCARD,
        SettleAs::GiveBack => GIVE_BACK,
    }
}

#[derive(Default)]
struct Rows<'a>(Vec<Row<'a>>);

struct Row<'a> {
    id: Uuid,
    fence: i64,
    result: i16,
    /// What it hands on to the jobs that wait for it.
    value: Option<&'a Value>,
    wait: f64,
    ran: Option<f64>,
    said: Option<String>,
    /// What the failure has in common with others: its class and the pattern of its message.
    group: Option<(&'static str, String)>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, held: Held, result: &'a SettleAs, ran: Option<Duration>) {
        let (wait, said) = match result {
            SettleAs::Completed | SettleAs::CompletedWith(_) | SettleAs::GiveBack => {
                (Duration::ZERO, None)
            }
            SettleAs::Cancelled(reason) => (Duration::ZERO, Some(clean(reason))),
            SettleAs::Retry(wait, error) => (*wait, Some(report(error))),
            SettleAs::Snooze(wait) => (*wait, None),
            SettleAs::Discard(error) => (Duration::ZERO, Some(report(error))),
        };
        let group = match result {
            SettleAs::Retry(_, error) | SettleAs::Discard(error) => {
                Some((error.class, clean(&error.pattern())))
            }
            _ => None,
        };
        let value = match result {
            SettleAs::CompletedWith(value) => Some(value),
            _ => None,
        };
        self.0.push(Row {
            id: held.id.0,
            fence: held.fence.0,
            result: code(result),
            value,
            wait: seconds(wait),
            ran: ran.map(seconds),
            said,
            group,
        });
    }

    /// What was not written because somebody changed the row at that moment (a renewal, a word on its
    /// progress) is tried again: its new version is not in the statement's snapshot, but it is in the next
    /// one's. What is lost stays unwritten.
    async fn write(mut self, connection: &mut PgConnection) -> Result<Written> {
        // Rows are locked in the order of their ids, against deadlocks with others who do. Of one job under
        // two fences only the newer can stand, and that is the one which is found.
        self.0.sort_by_key(|r| (r.id, r.fence));
        let mut written = Written::default();
        for _ in 0..TRIES {
            self.write_once(&mut *connection, &mut written).await?;
            if self.0.is_empty() {
                break;
            }
        }
        Ok(written)
    }

    /// First what stays open, then what ends. A request to cancel that arrives in between makes
    /// the first statement skip the job, and the second, whose snapshot is younger, end it.
    async fn write_once(
        &mut self,
        connection: &mut PgConnection,
        written: &mut Written,
    ) -> Result<()> {
        let begun = written.stood.len();
        if self.0.iter().any(|r| r.result > CANCELLED) {
            for (id, lane, result, priority, run_at, workflow) in
                self.keep_open(&mut *connection).await?
            {
                written.stood.push(JobId(id));
                written.workflows.extend(workflow.filter(|_| result == DISCARD));
                if result == GIVE_BACK {
                    written.freed.push(WakeToken::Work(LaneId(lane), priority, run_at));
                }
            }
            self.without(&written.stood[begun..]);
        }
        if !self.0.is_empty() {
            let ended = self.end(connection).await?;
            let begun = written.stood.len();
            written.stood.extend(ended.iter().map(|(id, _)| JobId(*id)));
            written.workflows.extend(ended.into_iter().filter_map(|(_, workflow)| workflow));
            self.without(&written.stood[begun..]);
        }
        Ok(())
    }

    fn without(&mut self, stood: &[JobId]) {
        if stood.len() == self.0.len() {
            self.0.clear();
        } else {
            let stood: HashSet<JobId> = stood.iter().copied().collect();
            self.0.retain(|r| !stood.contains(&JobId(r.id)));
        }
    }

    /// Retry, snooze, discard, give back: the row stays, its holder goes. A give-back changes no
    /// indexed column. `prior_worker` carries the holder to the evidence, because PostgreSQL 15
    /// returns only the new row. A result that was written clears the crashes: the job has shown
    /// that it need not kill its worker. Failures are counted by their fingerprint, see `jobs::errors`.
    async fn keep_open(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(Uuid, i32, i16, i16, DateTime<Utc>, Option<Uuid>)>> {
        let open: Vec<&Row> = self.0.iter().filter(|r| r.result > CANCELLED).collect();
        let rows = sqlx::query_as(concat!(
            "with standing as materialized (
               select i.*, s.place
               from unnest($1::uuid[], $2::int8[], $3::int2[], $4::float8[], $5::float8[], $6::text[],
                           $7::text[], $8::text[])
                 i(id, fence, result, wait, ran, said, class, pattern)
               cross join lateral (select ctid as place from engine.jobs
                 where id = i.id and fence = i.fence and worker is not null and not cancel_requested
                 offset 0) s
             ), back as (
               update engine.jobs j set
                 stage = case i.result when 2 then 1 when 3 then 1 when 4 then 5 else 0 end,
                 run_at = case when i.result in (2, 3)
                   then statement_timestamp() + i.wait * interval '1 second' else j.run_at end,
                 attempt = case when i.result in (2, 4) then j.attempt + 1 else j.attempt end,
                 last_error = case when i.result in (2, 4) then i.said else j.last_error end,
                 fingerprint = case when i.result in (2, 4) then left(encode(sha256(convert_to(
                   concat_ws(E'\\n', j.kind, i.class, i.pattern), 'UTF8')), 'hex'), 16)
                   else j.fingerprint end,
                 crashes = case when i.result = 5 then j.crashes else 0 end,
                 lone_crashes = case when i.result = 5 then j.lone_crashes else 0 end,
                 prior_worker = j.worker, prior_claimed_at = j.claimed_at,
                 worker = null, claimed_at = null, lease_until = null
               from standing i where j.ctid = i.place
               returning j.id, j.lane, j.kind, j.priority, j.run_at, j.stage, j.attempt, j.fence, j.unique_key,
                 j.charged, j.prior_worker, j.prior_claimed_at, j.fingerprint, j.workflow,
                 i.result, i.ran, i.said, i.class, i.pattern
             ), keys as (",
            keys_freed!("(select * from back where result = 4)"),
            "), uncharged as (",
            uncharged!("back"),
            "), evidence as (
               insert into engine.job_attempts
                 (job_id, attempt, fence, worker, started_at, ended_at, outcome, error)
               select id, case result when 3 then attempt + 1 else attempt end, fence, prior_worker,
                 coalesce(statement_timestamp() - ran * interval '1 second', prior_claimed_at),
                 statement_timestamp(),
                 case result when 2 then 'retry' when 3 then 'snooze' else 'discard' end, said
               from back where result <> 5
             ), failed as (
               insert into engine.error_deltas (fingerprint, kind, class, pattern, n, at, example)
               select fingerprint, min(kind), min(class), min(pattern), count(*), statement_timestamp(),
                 (array_agg(id))[1]
               from back where result in (2, 4) group by fingerprint
             ), counted as (
               insert into engine.counter_deltas (lane, kind, state, n)
               select b.lane, b.kind, s.state, sum(s.n) from back b
               cross join lateral (values (3::int2, -1),
                 (engine.job_state(b.stage, b.attempt, null), 1)) s(state, n)
               group by 1, 2, 3
             ), told as (
               insert into engine.workflow_events (workflow, job_id, outcome)
               select workflow, id, 7 from back where result = 4 and workflow is not null
             )
             select id, lane, result, priority, run_at, workflow from back"
        ))
        .bind(open.iter().map(|r| r.id).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.fence).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.result).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.wait).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.ran).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.said.as_deref()).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.group.as_ref().map(|g| g.0)).collect::<Vec<_>>())
        .bind(open.iter().map(|r| r.group.as_ref().map(|g| &*g.1)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        Ok(rows)
    }

    /// Completed, cancelled, and whatever is to be cancelled: the row moves to history, into the class
    /// that its kind asked for, and the unique key is free again. Gives the jobs and their workflows.
    async fn end(&self, connection: &mut PgConnection) -> Result<Vec<(Uuid, Option<Uuid>)>> {
        // Almost always nobody has a result, and then there is no column of them: what is missing
        // in an array is null.
        let some = self.0.iter().any(|r| r.value.is_some());
        let values = self.0.iter().filter(|_| some).map(|r| r.value.map(Json));
        let ids = sqlx::query_as(concat!(
            "with gone as (
               delete from engine.jobs j where j.ctid = any (",
            places!("engine.jobs", "id", "$1::uuid[]"),
            ") and j.worker is not null and j.fence = ",
            of_job!("$2::int8[]"),
            " and (",
            of_job!("$3::int2[]"),
            " in (0, 1) or j.cancel_requested)
               returning j.id, j.lane, j.kind, j.priority, j.attempt, j.max_attempts, j.crashes, j.timeout_ms,
                 j.worker, j.tenant, j.unique_key, j.args, j.last_error, j.trace, j.request_id, j.workflow,
                 j.created_at, j.run_at, j.claimed_at, j.charged, width_bucket(j.id, $1) as n
             ), ended as materialized (
               select g.*, ($3)[n] as result, ($4::float8[])[n] as ran, ($5::text[])[n] as said,
                 ($6::jsonb[])[n] as value,
                 case ($3)[n] when 0 then 8::int2 else 9::int2 end as outcome
               from gone g
             ), keys as (",
            keys_freed!("ended"),
            "), uncharged as (",
            uncharged!("ended"),
            "), kept as (
               insert into engine.job_history
                 (id, class, lane, kind, priority, outcome, attempt, max_attempts, crashes, timeout_ms,
                  worker, tenant, unique_key, args, error, trace, request_id, workflow, created_at, run_at,
                  started_at, finished_at)
               select e.id,
                 coalesce(((select classes from engine.kept_otherwise) ->> e.kind)::int2, 0), e.lane, e.kind, e.priority, e.outcome,
                 case e.result when 5 then e.attempt else e.attempt + 1 end, e.max_attempts, e.crashes,
                 e.timeout_ms, e.worker, e.tenant, e.unique_key, e.args,
                 case e.result when 0 then e.last_error when 1 then e.said
                   else concat_ws(': ', 'cancelled by an operator', e.said) end,
                 e.trace, e.request_id, e.workflow, e.created_at, e.run_at,
                 coalesce(statement_timestamp() - e.ran * interval '1 second', e.claimed_at),
                 statement_timestamp()
               from ended e
             ), counted as (
               insert into engine.counter_deltas (lane, kind, state, n)
               select e.lane, e.kind, s.state, s.sign * e.n
               from (select lane, kind, outcome, count(*) as n from ended group by 1, 2, 3) e
               cross join lateral (values (3::int2, -1), (e.outcome, 1)) s(state, sign)
             ), told as (
               insert into engine.workflow_events (workflow, job_id, outcome, result)
               select workflow, id, outcome, value from ended where workflow is not null
             )
             select id, workflow from ended"
        ))
        .bind(self.0.iter().map(|r| r.id).collect::<Vec<_>>())
        .bind(self.0.iter().map(|r| r.fence).collect::<Vec<_>>())
        .bind(self.0.iter().map(|r| r.result).collect::<Vec<_>>())
        .bind(self.0.iter().map(|r| r.ran).collect::<Vec<_>>())
        .bind(self.0.iter().map(|r| r.said.as_deref()).collect::<Vec<_>>())
        .bind(values.collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        Ok(ids)
    }
}

fn report(error: &switchyard_queue::ErrorReport) -> String {
    clean(&format!("{}: {}", error.class, error.message))
}

/// PostgreSQL refuses a zero byte in text, and one such text would hold up the whole batch.
fn clean(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}
