//! What an operator can do with one job, or with a queue.

use super::read::{JobRow, find};
use crate::engine::{enqueue, workflows};
use crate::{Db, Result, StoreFault};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};
use std::time::Duration;
use switchyard_queue::{
    ArgsCipher, JobId, JobState, LaneId, NewJob, Options, SealFault, WakeToken, opened_args,
    sealed_parts,
};
use uuid::Uuid;

/// Why an action was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such job, or its history was dropped.
    #[error("there is no such job")]
    NotFound,
    /// The action makes no sense in this state.
    #[error("the job is {0}")]
    WrongState(JobState),
    /// Another job holds its unique key by now.
    #[error("job {0} holds the unique key by now")]
    KeyHeld(JobId),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for Refusal {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// What is said of a job that an operator gave up.
pub(super) const BY_OPERATOR: &str = "cancelled by an operator";

/// An open job whose row is locked.
struct Open {
    workflow: Option<Uuid>,
    lane: i32,
    kind: String,
    state: JobState,
    unique_key: Option<String>,
}

/// Locks an open job; `None` if there is none (then it may be in history, and a statement that
/// looks there now sees it). The lock waits for a job's own transaction, but not for ever.
async fn lock(connection: &mut PgConnection, id: JobId) -> Result<Option<Open>> {
    type Row = (i32, String, i16, Option<String>, Option<Uuid>);
    sqlx::query("select set_config('lock_timeout', '3s', true)").execute(&mut *connection).await?;
    let row: Option<Row> = sqlx::query_as(
        "select lane, kind, engine.job_state(stage, attempt, worker), unique_key, workflow
         from engine.jobs where id = $1 for update",
    )
    .bind(id.0)
    .fetch_optional(connection)
    .await?;
    Ok(row.and_then(|(lane, kind, state, unique_key, workflow)| {
        Some(Open { workflow, lane, kind, state: JobState::from_code(state)?, unique_key })
    }))
}

/// Runs a job again, now.
///
/// A scheduled or retryable job becomes due at once. A dead letter or a quarantined job starts over
/// with all its attempts and takes its unique key again. A deadline no longer counts. Of a finished job a copy is enqueued,
/// and the copy is the answer.
///
/// # Errors
/// [`Refusal::WrongState`] if it is due, running or waiting for a parent; [`Refusal::KeyHeld`].
pub async fn retry(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    let mut tx = db.engine().begin().await?;
    let (id, lane) = match lock(&mut tx, id).await? {
        Some(job) => {
            if let Err(refusal) = revive(&mut tx, id, &job).await {
                return refuse(tx, refusal).await;
            }
            (id, LaneId(job.lane))
        }
        None => enqueue_copy(&mut tx, id, db.cipher()).await?,
    };
    tx.commit().await?;
    db.wake().send(&[WakeToken::Lane(lane)]);
    found(db, id).await
}

/// Lets the job's row go before the caller hears of the refusal: a transaction that is only dropped
/// rolls back a little later, and until then a claim passes the locked row over.
async fn refuse<T>(tx: Transaction<'_, Postgres>, refusal: Refusal) -> Result<T, Refusal> {
    tx.rollback().await?;
    Err(refusal)
}

async fn revive(connection: &mut PgConnection, id: JobId, job: &Open) -> Result<(), Refusal> {
    match job.state {
        JobState::Scheduled | JobState::Retryable | JobState::Quarantined => {}
        JobState::Discarded => take_key(connection, id, job.unique_key.as_deref()).await?,
        other => return Err(Refusal::WrongState(other)),
    }
    sqlx::query(
        "update engine.jobs set stage = 0, run_at = statement_timestamp(), crashes = 0, lone_crashes = 0,
           attempt = case when stage = 1 then attempt else 0 end, deadline = null
         where id = $1",
    )
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    count(connection, job, JobState::Available).await
}

async fn take_key(
    connection: &mut PgConnection,
    id: JobId,
    key: Option<&str>,
) -> Result<(), Refusal> {
    let Some(key) = key else { return Ok(()) };
    let taken = sqlx::query(
        "insert into engine.job_uniques (key, job_id) values ($1, $2) on conflict do nothing",
    )
    .bind(key)
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(());
    }
    let holder: Option<Uuid> =
        sqlx::query_scalar("select job_id from engine.job_uniques where key = $1")
            .bind(key)
            .fetch_optional(connection)
            .await?;
    // A holder that let go in this very moment is named as nobody: the operator tries again.
    Err(Refusal::KeyHeld(holder.map_or(JobId(Uuid::nil()), JobId)))
}

#[derive(sqlx::FromRow)]
struct Finished {
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

async fn enqueue_copy(
    connection: &mut PgConnection,
    id: JobId,
    cipher: Option<&dyn ArgsCipher>,
) -> Result<(JobId, LaneId), Refusal> {
    let old: Option<Finished> = sqlx::query_as(
        "select h.lane, l.queue, l.partition, h.kind, h.priority, h.max_attempts, h.timeout_ms,
           h.tenant, h.unique_key, h.args, h.trace, h.request_id
         from engine.job_history h join engine.lanes l on l.id = h.lane
         where h.id = $1 limit 1",
    )
    .bind(id.0)
    .fetch_optional(&mut *connection)
    .await?;
    let old = old.ok_or(Refusal::NotFound)?;
    let lane = LaneId(old.lane);
    let copy = old.into_job(id, cipher).map_err(StoreFault::from)?;
    let placed = enqueue::insert(connection, &[copy], &[lane], cipher).await?;
    let answer = placed.first().ok_or(Refusal::NotFound)?.answer;
    if answer.inserted() { Ok((answer.id, lane)) } else { Err(Refusal::KeyHeld(answer.id)) }
}

impl Finished {
    /// What was sealed for the old job is opened, to be sealed for the new one.
    fn into_job(self, id: JobId, cipher: Option<&dyn ArgsCipher>) -> Result<NewJob, SealFault> {
        let encrypted = sealed_parts(&self.args).is_some();
        let args = opened_args(cipher, &self.kind, id, self.args)?;
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

/// Gives a job up. One that waits, or is a dead letter, moves to history at once. A running one is
/// asked to stop, and ends as cancelled when its worker hears of it, unless it completes first.
///
/// # Errors
/// [`Refusal::WrongState`] if it has finished.
pub async fn cancel(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    let mut tx = db.engine().begin().await?;
    match lock(&mut tx, id).await? {
        None => return Err(finished_or_missing(db, id).await),
        Some(job) if job.state == JobState::Running => {
            request_cancel(&mut tx, id).await?;
            tx.commit().await?;
            db.wake().send(&[WakeToken::Cancel(id)]);
        }
        Some(_) => {
            let told = end_waiting(&mut tx, &[id.0], BY_OPERATOR).await?;
            tx.commit().await?;
            workflows::advance_soon(db, &told).await;
        }
    }
    found(db, id).await
}

/// Makes a dead letter of a job that waits: it is not run until somebody retries it, and its
/// unique key is free. A running one is asked to stop, as by [`cancel`].
///
/// # Errors
/// [`Refusal::WrongState`] if it has finished, is a dead letter, or waits for other jobs: retrying it
/// would have to make it wait again.
pub async fn discard(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    let mut tx = db.engine().begin().await?;
    match lock(&mut tx, id).await? {
        None => return Err(finished_or_missing(db, id).await),
        Some(job) if matches!(job.state, JobState::Discarded | JobState::Pending) => {
            return refuse(tx, Refusal::WrongState(job.state)).await;
        }
        Some(job) if job.state == JobState::Running => {
            request_cancel(&mut tx, id).await?;
            tx.commit().await?;
            db.wake().send(&[WakeToken::Cancel(id)]);
        }
        Some(job) => {
            sqlx::query(
                "with dead as (
                   update engine.jobs set stage = 5,
                     last_error = concat_ws(E'\\n', 'discarded by an operator', last_error)
                   where id = $1 returning id, unique_key, workflow
                 ), told as (
                   insert into engine.workflow_events (workflow, job_id, outcome)
                   select workflow, id, 7 from dead where workflow is not null
                 )
                 delete from engine.job_uniques q using dead d
                 where q.key = d.unique_key and q.job_id = d.id",
            )
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
            count(&mut tx, &job, JobState::Discarded).await?;
            tx.commit().await?;
            workflows::advance_soon(db, &Vec::from_iter(job.workflow)).await;
        }
    }
    found(db, id).await
}

async fn request_cancel(connection: &mut PgConnection, id: JobId) -> Result<()> {
    sqlx::query("update engine.jobs set cancel_requested = true where id = $1")
        .bind(id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Jobs that nobody holds move to history, with what is said of them; the caller holds their rows'
/// locks. Gives the workflows that are to be told once this is committed.
pub(in crate::engine) async fn end_waiting(
    connection: &mut PgConnection,
    ids: &[Uuid],
    why: &str,
) -> Result<Vec<Uuid>> {
    let told = sqlx::query_scalar(
        "with ended as (
           delete from engine.jobs where id = any($1) returning *
         ), keys as (
           delete from engine.job_uniques q using ended e
           where q.key = e.unique_key and q.job_id = e.id
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
         select distinct workflow from ended where workflow is not null",
    )
    .bind(ids)
    .bind(why)
    .fetch_all(connection)
    .await?;
    Ok(told)
}

async fn count(connection: &mut PgConnection, job: &Open, to: JobState) -> Result<(), Refusal> {
    sqlx::query(
        "insert into engine.counter_deltas (lane, kind, state, n)
         values ($1, $2, $3, -1), ($1, $2, $4, 1)",
    )
    .bind(job.lane)
    .bind(&job.kind)
    .bind(job.state.code())
    .bind(to.code())
    .execute(connection)
    .await?;
    Ok(())
}

async fn found(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    match find(db, id).await {
        Ok(row) => Ok(row),
        Err(StoreFault::NotFound) => Err(Refusal::NotFound),
        Err(fault) => Err(fault.into()),
    }
}

async fn finished_or_missing(db: &Db, id: JobId) -> Refusal {
    match found(db, id).await {
        Ok(row) => Refusal::WrongState(row.state),
        Err(refusal) => refusal,
    }
}
