//! What an operator can do with one job, or with a queue.

use super::read::{JobRow, find};
use super::sets;
use crate::engine::workflows;
use crate::tx::EngineTx;
use crate::{Db, Result, StoreFault};
use sqlx::PgConnection;
use switchyard_queue::{ArgsCipher, JobId, JobState, LaneId, WakeToken};
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

/// An open job whose row is locked.
struct Open {
    lane: i32,
    state: JobState,
    unique_key: Option<String>,
}

/// Locks an open job; `None` if there is none (then it may be in history, and a statement that
/// looks there now sees it). The lock waits for a job's own transaction, but not for ever.
async fn lock(connection: &mut PgConnection, id: JobId) -> Result<Option<Open>> {
    sqlx::query("select set_config('lock_timeout', '3s', true)").execute(&mut *connection).await?;
    let row: Option<(i32, i16, Option<String>)> = sqlx::query_as(
        "select lane, engine.job_state(stage, attempt, worker), unique_key
         from engine.jobs where id = $1 for update",
    )
    .bind(id.0)
    .fetch_optional(connection)
    .await?;
    Ok(row.and_then(|(lane, state, unique_key)| {
        Some(Open { lane, state: JobState::from_code(state)?, unique_key })
    }))
}

/// Runs a job again, now.
///
/// A scheduled or retryable job becomes due at once. A dead letter or a quarantined job starts over
/// with all its attempts and takes its unique key again. A deadline no longer counts. Of a finished job
/// a copy is enqueued, and the copy is the answer.
///
/// # Errors
/// [`Refusal::WrongState`] if it is due, running or waiting for a parent; [`Refusal::KeyHeld`].
pub async fn retry(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    let mut tx = db.begin_engine().await?;
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
async fn refuse<T>(tx: EngineTx, refusal: Refusal) -> Result<T, Refusal> {
    tx.rollback().await?;
    Err(refusal)
}

async fn revive(connection: &mut PgConnection, id: JobId, job: &Open) -> Result<(), Refusal> {
    let able =
        [JobState::Scheduled, JobState::Retryable, JobState::Quarantined, JobState::Discarded];
    if !able.contains(&job.state) {
        return Err(Refusal::WrongState(job.state));
    }
    if !sets::revive(connection, &[id.0], None).await?.is_empty() {
        return Ok(());
    }
    let holder: Option<Uuid> =
        sqlx::query_scalar("select job_id from engine.job_uniques where key = $1")
            .bind(&job.unique_key)
            .fetch_optional(connection)
            .await?;
    // A holder that let go in this very moment is named as nobody: the operator tries again.
    Err(Refusal::KeyHeld(holder.map_or(JobId(Uuid::nil()), JobId)))
}

async fn enqueue_copy(
    connection: &mut PgConnection,
    id: JobId,
    cipher: Option<&dyn ArgsCipher>,
) -> Result<(JobId, LaneId), Refusal> {
    let mut copies = sets::copy(connection, &[id.0], None, cipher, None).await?;
    if let Some(fault) = copies.sealed.pop() {
        return Err(StoreFault::from(fault).into());
    }
    let copied = copies.made.pop().ok_or(Refusal::NotFound)?;
    if copied.inserted {
        Ok((JobId(copied.id), copied.lane))
    } else {
        Err(Refusal::KeyHeld(JobId(copied.id)))
    }
}

/// Gives a job up. One that waits, or is a dead letter, moves to history at once. A running one is
/// asked to stop, and ends as cancelled when its worker hears of it, unless it completes first.
///
/// # Errors
/// [`Refusal::WrongState`] if it has finished.
pub async fn cancel(db: &Db, id: JobId) -> Result<JobRow, Refusal> {
    let mut tx = db.begin_engine().await?;
    match lock(&mut tx, id).await? {
        None => return Err(finished_or_missing(db, id).await),
        Some(job) if job.state == JobState::Running => {
            sets::ask_to_stop(&mut tx, &[id.0], None).await?;
            tx.commit().await?;
            db.wake().send(&[WakeToken::Cancel(id)]);
        }
        Some(_) => {
            let told = sets::end_waiting(&mut tx, &[id.0], sets::BY_OPERATOR, None).await?;
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
    let mut tx = db.begin_engine().await?;
    match lock(&mut tx, id).await? {
        None => return Err(finished_or_missing(db, id).await),
        Some(job) if matches!(job.state, JobState::Discarded | JobState::Pending) => {
            return refuse(tx, Refusal::WrongState(job.state)).await;
        }
        Some(job) if job.state == JobState::Running => {
            sets::ask_to_stop(&mut tx, &[id.0], None).await?;
            tx.commit().await?;
            db.wake().send(&[WakeToken::Cancel(id)]);
        }
        Some(_) => {
            let told = sets::discard(&mut tx, &[id.0], None).await?;
            tx.commit().await?;
            workflows::advance_soon(db, &told).await;
        }
    }
    found(db, id).await
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
