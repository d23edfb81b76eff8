//! What is done to jobs from outside, be it one or many: a statement for a set. The caller holds the
//! rows' locks and has seen to their states. With an operation's id the set is remembered as it was
//! before, in the same statement, for the undo. What ends writes an event for its workflow; the caller
//! lets the workflows that it is given go on once it has committed.

use crate::Result;
use crate::engine::enqueue;
use crate::engine::plans::{keys_freed, places};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{
    ArgsCipher, JobId, JobState, LaneId, NewJob, Options, SealFault, opened_args, sealed_parts,
};
use uuid::Uuid;

/// What is said of a job that an operator gave up.
pub(super) const BY_OPERATOR: &str = "cancelled by an operator";

/// Locks open jobs and gives the states that they have under the lock. Those that somebody else has
/// locked are theirs.
pub(super) async fn lock(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, JobState>> {
    let rows: Vec<(Uuid, i16)> = sqlx::query_as(
        "select id, engine.job_state(stage, attempt, worker) from engine.jobs
         where id = any($1) order by id for update skip locked",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(id, code)| Some((id, JobState::from_code(code)?))).collect())
}

/// Runs jobs again, now: those that wait for their time are due, dead letters and quarantined ones
/// start over. A deadline no longer counts. Gives id and lane of each; the others' unique keys are
/// taken.
pub(super) async fn revive(
    connection: &mut PgConnection,
    ids: &[Uuid],
    op: Option<Uuid>,
) -> Result<Vec<(Uuid, i32)>> {
    let rows = sqlx::query_as(
        "with was as materialized (
           select id, ctid as place, stage, unique_key, engine.job_state(stage, attempt, worker) as state,
             to_jsonb(j) as prior
           from engine.jobs j where id = any($1)
         ), keyed as (
           insert into engine.job_uniques (key, job_id)
           select unique_key, id from was
           where stage = 5 and unique_key is not null order by unique_key, id
           on conflict do nothing
           returning job_id
         ), back as (
           update engine.jobs j set stage = 0, run_at = statement_timestamp(), crashes = 0,
             lone_crashes = 0, attempt = case when w.stage = 1 then j.attempt else 0 end,
             deadline = null
           from was w
           where j.ctid = w.place and (w.stage <> 5 or w.unique_key is null
             or w.id in (select job_id from keyed))
           returning j.id, j.lane, j.kind, w.state, w.prior
         ), remembered as (
           insert into engine.bulk_undo (op, job_id, did, prior)
           select $2, id, 'revived', prior from back where $2::uuid is not null
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select b.lane, b.kind, s.state, sum(s.n) from back b
           cross join lateral (values (b.state, -1), (0::int2, 1)) s(state, n)
           group by 1, 2, 3
         )
         select id, lane from back",
    )
    .bind(ids)
    .bind(op)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Jobs that nobody holds move to history, with what is said of them. Gives the workflows that are to
/// be told once this is committed.
pub(in crate::engine) async fn end_waiting(
    connection: &mut PgConnection,
    ids: &[Uuid],
    why: &str,
    op: Option<Uuid>,
) -> Result<Vec<Uuid>> {
    let told = sqlx::query_scalar(concat!(
        "with ended as (
           delete from engine.jobs where ctid = any (",
        places!("engine.jobs", "id", "$1::uuid[]"),
        ") returning *
         ), keys as (",
        keys_freed!("ended"),
        "), remembered as (
           insert into engine.bulk_undo (op, job_id, did, prior, at)
           select $3, e.id, 'cancelled', to_jsonb(e), statement_timestamp() from ended e
           where $3::uuid is not null
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select e.lane, e.kind, s.state, sum(s.n) from ended e
           cross join lateral (values (engine.job_state(e.stage, e.attempt, e.worker), -1),
             (9::int2, 1)) s(state, n)
           group by 1, 2, 3
         ), kept as (
           insert into engine.job_history
             (id, class, lane, kind, priority, outcome, attempt, max_attempts, crashes, timeout_ms,
              worker, tenant, unique_key, args, error, trace, request_id, workflow, created_at, run_at,
              started_at, finished_at)
           select e.id, coalesce(((select classes from engine.kept_otherwise) ->> e.kind)::int2, 0), e.lane,
             e.kind, e.priority, 9, e.attempt, e.max_attempts, e.crashes, e.timeout_ms, null, e.tenant,
             e.unique_key, e.args, concat_ws(E'\\n', $2, e.last_error), e.trace, e.request_id, e.workflow,
             e.created_at, e.run_at, e.prior_claimed_at, statement_timestamp()
           from ended e
         ), told as (
           insert into engine.workflow_events (workflow, job_id, outcome)
           select workflow, id, 9 from ended where workflow is not null
         )
         select distinct workflow from ended where workflow is not null"
    ))
    .bind(ids)
    .bind(why)
    .bind(op)
    .fetch_all(connection)
    .await?;
    Ok(told)
}

/// Asks running jobs to stop, and leaves word for the workers that hold them.
pub(in crate::engine) async fn ask_to_stop(
    connection: &mut PgConnection,
    ids: &[Uuid],
    op: Option<Uuid>,
) -> Result<()> {
    sqlx::query(concat!(
        "with asked as (
           update engine.jobs set cancel_requested = true where ctid = any (",
        places!("engine.jobs", "id", "$1::uuid[]"),
        ") returning id, worker
         ), told as (
           insert into engine.stop_requests (worker, job_id)
           select worker, id from asked where worker is not null
           on conflict do nothing
         )
         insert into engine.bulk_undo (op, job_id, did)
         select $2, id, 'asked' from asked where $2::uuid is not null"
    ))
    .bind(ids)
    .bind(op)
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes dead letters of jobs that wait for a worker or their time. Gives the workflows that are to be
/// told once this is committed.
pub(super) async fn discard(
    connection: &mut PgConnection,
    ids: &[Uuid],
    op: Option<Uuid>,
) -> Result<Vec<Uuid>> {
    let told = sqlx::query_scalar(concat!(
        "with was as materialized (
           select id, ctid as place, engine.job_state(stage, attempt, worker) as state, to_jsonb(j) as prior
           from engine.jobs j where id = any($1)
         ), dead as (
           update engine.jobs j set stage = 5,
             last_error = concat_ws(E'\\n', 'discarded by an operator', j.last_error)
           from was w where j.ctid = w.place
           returning j.id, j.lane, j.kind, j.unique_key, j.workflow, w.state, w.prior
         ), keys as (",
        keys_freed!("dead"),
        "), remembered as (
           insert into engine.bulk_undo (op, job_id, did, prior)
           select $2, id, 'discarded', prior from dead where $2::uuid is not null
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select d.lane, d.kind, s.state, sum(s.n) from dead d
           cross join lateral (values (d.state, -1), (7::int2, 1)) s(state, n)
           group by 1, 2, 3
         ), told as (
           insert into engine.workflow_events (workflow, job_id, outcome)
           select workflow, id, 7 from dead where workflow is not null
         )
         select distinct workflow from dead where workflow is not null"
    ))
    .bind(ids)
    .bind(op)
    .fetch_all(connection)
    .await?;
    Ok(told)
}

/// Where jobs are moved to; what is not given stays as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub queue: Option<&'a str>,
    pub partition: Option<&'a str>,
    pub priority: Option<i16>,
}

/// The queues, partitions and limit keys in which jobs would be after a move: a job keeps the key.
pub(super) async fn targets(
    connection: &mut PgConnection,
    ids: &[Uuid],
    to: Target<'_>,
) -> Result<Vec<(String, String, String)>> {
    let rows = sqlx::query_as(
        "select distinct coalesce($2, l.queue), coalesce($3, l.partition), l.limit_key
         from engine.jobs j join engine.lanes l on l.id = j.lane where j.id = any($1)",
    )
    .bind(ids)
    .bind(to.queue)
    .bind(to.partition)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Moves jobs that nobody holds to lanes that exist; gives id and lane of each.
pub(super) async fn put(
    connection: &mut PgConnection,
    ids: &[Uuid],
    to: Target<'_>,
    op: Option<Uuid>,
) -> Result<Vec<(Uuid, i32)>> {
    let rows = sqlx::query_as(
        "with was as materialized (
           select j.ctid as place, j.lane, t.id as target, engine.job_state(j.stage, j.attempt, j.worker) as state,
             to_jsonb(j) as prior
           from engine.jobs j join engine.lanes l on l.id = j.lane
           join engine.lanes t
             on t.queue = coalesce($2, l.queue) and t.partition = coalesce($3, l.partition)
               and t.limit_key = l.limit_key
           where j.id = any($1)
         ), put as (
           update engine.jobs j set lane = w.target, priority = coalesce($4, j.priority)
           from was w where j.ctid = w.place
           returning j.id, j.kind, j.lane, j.priority, w.lane as lane_before, w.state, w.prior
         ), remembered as (
           insert into engine.bulk_undo (op, job_id, did, prior, lane, priority)
           select $5, id, 'moved', prior, lane, priority from put where $5::uuid is not null
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select s.lane, p.kind, p.state, sum(s.n) from put p
           cross join lateral (values (p.lane_before, -1), (p.lane, 1)) s(lane, n)
           where p.lane <> p.lane_before
           group by 1, 2, 3
         )
         select id, lane from put",
    )
    .bind(ids)
    .bind(to.queue)
    .bind(to.partition)
    .bind(to.priority)
    .bind(op)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// A finished job with what a copy of it needs.
#[derive(sqlx::FromRow)]
struct Finished {
    id: Uuid,
    lane: i32,
    queue: String,
    partition: String,
    kind: String,
    priority: i16,
    max_attempts: i16,
    timeout_ms: i32,
    tenant: Option<Uuid>,
    unique_key: Option<String>,
    args: Value,
    trace: Option<String>,
    request_id: Option<String>,
}

impl Finished {
    /// What was sealed for the old job is opened, to be sealed for the new one.
    fn into_job(self, cipher: Option<&dyn ArgsCipher>) -> Result<NewJob, SealFault> {
        let encrypted = sealed_parts(&self.args).is_some();
        let args = opened_args(cipher, &self.kind, JobId(self.id), self.args)?;
        let timeout = Duration::from_millis(u64::from(self.timeout_ms.unsigned_abs()));
        let mut job = NewJob::raw(self.kind, self.queue, timeout, args, Options::new());
        job.encrypted = encrypted;
        job.partition = self.partition;
        job.priority = self.priority;
        job.max_attempts = self.max_attempts;
        job.tenant = self.tenant;
        // As stored: the kind is part of it already.
        job.unique_key = self.unique_key;
        Ok(job.caused_by(self.trace.and_then(|t| t.parse().ok()), self.request_id.as_deref()))
    }
}

/// A finished job that is to run again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    /// The finished job.
    pub old: Uuid,
    /// Its copy, or the job that holds its unique key.
    pub id: Uuid,
    pub lane: LaneId,
    pub inserted: bool,
}

/// What became of the wish to run finished jobs again.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub made: Vec<Copied>,
    /// Why the others' arguments could not be opened.
    pub sealed: Vec<SealFault>,
}

/// Enqueues copies of finished jobs, in their lanes and as nobody's part of a workflow; those that are
/// not in the history (any more) are left out. The times between which they finished, if they are
/// known, save looking into every slice.
pub(super) async fn copy(
    connection: &mut PgConnection,
    ids: &[Uuid],
    between: Option<(DateTime<Utc>, DateTime<Utc>)>,
    cipher: Option<&dyn ArgsCipher>,
    op: Option<Uuid>,
) -> Result<Copies> {
    let finished: Vec<Finished> = sqlx::query_as(
        "select h.id, h.lane, l.queue, l.partition, h.kind, h.priority, h.max_attempts, h.timeout_ms,
           h.tenant, h.unique_key, h.args, h.trace, h.request_id
         from engine.job_history h join engine.lanes l on l.id = h.lane
         where h.id = any($1) and h.finished_at >= coalesce($2, '-infinity')
           and h.finished_at <= coalesce($3, 'infinity')
         order by h.id",
    )
    .bind(ids)
    .bind(between.map(|b| b.0))
    .bind(between.map(|b| b.1))
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let mut copies = Copies::default();
    let (mut old, mut lanes, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for job in finished {
        let (id, lane) = (job.id, LaneId(job.lane));
        match job.into_job(cipher) {
            Ok(job) => {
                old.push(id);
                lanes.push(lane);
                jobs.push(job);
            }
            Err(fault) => copies.sealed.push(fault),
        }
    }
    let placed = enqueue::insert(&mut *connection, &jobs, &lanes, cipher).await?;
    let each = old.into_iter().zip(lanes).zip(placed);
    copies.made.extend(each.map(|((old, lane), p)| Copied {
        old,
        id: p.answer.id.0,
        lane,
        inserted: p.answer.inserted(),
    }));
    if let Some(op) = op {
        let (olds, ids): (Vec<Uuid>, Vec<Uuid>) =
            copies.made.iter().filter(|c| c.inserted).map(|c| (c.old, c.id)).unzip();
        sqlx::query(
            "insert into engine.bulk_undo (op, job_id, did, copy)
             select $1, old, 'copied', id from unnest($2::uuid[], $3::uuid[]) c(old, id)",
        )
        .bind(op)
        .bind(olds)
        .bind(ids)
        .execute(connection)
        .await?;
    }
    Ok(copies)
}
