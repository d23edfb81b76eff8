//! Bulk operations: one action on all jobs that meet a filter, in the background.
//!
//! An operation is a row with a cursor. Whoever works on it locks the row, acts on the next batch and
//! commits the acts together with the new cursor, so any number of processes may try, and a crash goes
//! on exactly where it was. Jobs that are made or finish after its start are none of its business:
//! what it sets going it does not meet again.

mod batch;
mod undo;

use super::filter::Filter;
use super::read::JobRow;
use super::search::{Cursor, page};
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_queue::JobState;
use uuid::Uuid;

pub(super) use batch::run;
pub use batch::work;

/// Jobs that a dry run shows.
const SAMPLE: usize = 10;
/// How long a dry run counts, and how long the start of an operation does.
const COUNTING: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(1));

/// What to do with each job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Run it again, as `jobs::retry` does: without states, dead letters and quarantined jobs. Of a
    /// finished one a copy is enqueued.
    Retry,
    /// Give it up, as `jobs::cancel` does: without states, every open job.
    Cancel,
    /// Make a dead letter of it, as `jobs::discard` does: without states, every other open job that
    /// waits for no other one.
    Discard,
    /// Put it elsewhere, if nobody holds it. What is not given stays as it is.
    Move {
        /// To this queue, which must exist.
        queue: Option<String>,
        /// To this partition; an empty one is none.
        partition: Option<String>,
        /// To this priority.
        priority: Option<i16>,
    },
}

impl Action {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
            Self::Move { .. } => "move",
        }
    }

    /// The states that it can act on, and those of them that are meant if nobody names any.
    fn states(&self) -> (&'static [JobState], &'static [JobState]) {
        use JobState::*;
        match self {
            Self::Retry => (
                &[Discarded, Quarantined, Scheduled, Retryable, Completed, Cancelled],
                &[Discarded, Quarantined],
            ),
            Self::Cancel => {
                let all =
                    &[Available, Running, Scheduled, Retryable, Pending, Discarded, Quarantined];
                (all, all)
            }
            Self::Discard => {
                let all = &[Available, Running, Scheduled, Retryable, Quarantined];
                (all, all)
            }
            Self::Move { .. } => {
                let all = &[Available, Scheduled, Retryable, Pending, Discarded, Quarantined];
                (all, all)
            }
        }
    }

    /// The filter with the states that are really meant.
    fn narrowed(&self, filter: &Filter) -> Result<Filter, BulkRefusal> {
        if filter.pairs().is_empty() {
            let what = "name at least one condition, so that not simply every job is meant";
            return Err(BulkRefusal::Unfit(what.to_owned()));
        }
        let (able, usual) = self.states();
        let states: Vec<JobState> = if filter.states.is_empty() {
            usual.to_vec()
        } else {
            filter.states.iter().filter(|s| able.contains(s)).copied().collect()
        };
        if states.is_empty() {
            let able: Vec<&str> = able.iter().map(|s| s.as_str()).collect();
            let what = format!("{} acts on jobs that are {}", self.as_str(), able.join(", "));
            return Err(BulkRefusal::Unfit(what));
        }
        if matches!(self, Self::Move { queue: None, partition: None, priority: None }) {
            let what = "say where to: a queue, a partition or a priority";
            return Err(BulkRefusal::Unfit(what.to_owned()));
        }
        Ok(Filter { states, ..filter.clone() })
    }
}

/// Why an operation was not started, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum BulkRefusal {
    /// There is no such operation.
    #[error("there is no such operation")]
    NotFound,
    /// Filter and action do not fit.
    #[error("{0}")]
    Unfit(String),
    /// It has ended, or is not over yet, or was undone before.
    #[error("the operation {0}")]
    WrongState(&'static str),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for BulkRefusal {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BulkOp {
    /// Its id.
    pub id: Uuid,
    /// `retry`, `cancel`, `discard`, `move` or `undo`.
    pub action: String,
    /// Which jobs.
    pub filter: Filter,
    /// Of a move: where to.
    pub params: serde_json::Value,
    /// `waiting` for a scheduler, `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// Somebody asked it to stop.
    pub stop: bool,
    /// Jobs that met the filter when it began.
    pub total: Option<i64>,
    /// False: there were at least so many.
    pub total_exact: bool,
    /// Jobs that were acted on.
    pub done: i64,
    /// Jobs that were left alone, by the reason.
    pub skipped: BTreeMap<String, i64>,
    /// Why it failed, or cannot go on just now.
    pub error: Option<String>,
    /// Who started it.
    pub by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When its first batch began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The operation that it undoes.
    pub undo_of: Option<Uuid>,
    /// The operation that undoes it.
    pub undone_by: Option<Uuid>,
    #[serde(skip)]
    cursor: Option<String>,
}

impl BulkOp {
    /// Not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "running")
    }

    /// It can be undone, as far as each job allows.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        !self.is_open() && self.undo_of.is_none() && self.undone_by.is_none() && self.done > 0
    }

    /// Jobs that it has dealt with.
    #[must_use]
    pub fn dealt_with(&self) -> i64 {
        self.done + self.skipped.values().sum::<i64>()
    }
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for BulkOp {
    fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
        use sqlx::Row;
        Ok(Self {
            id: row.try_get("id")?,
            action: row.try_get("action")?,
            filter: row.try_get::<Json<Filter>, _>("filter")?.0,
            params: row.try_get("params")?,
            state: row.try_get("state")?,
            stop: row.try_get("stop")?,
            total: row.try_get("total")?,
            total_exact: row.try_get("total_exact")?,
            done: row.try_get("done")?,
            skipped: row.try_get::<Json<BTreeMap<String, i64>>, _>("skipped")?.0,
            error: row.try_get("error")?,
            by: row.try_get("by")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            undo_of: row.try_get("undo_of")?,
            undone_by: row.try_get("undone_by")?,
            cursor: row.try_get("cursor")?,
        })
    }
}

/// The columns of [`BulkOp`], of an operation `o`.
macro_rules! columns {
    () => {
        "select o.id, o.action, o.filter, o.params, o.state, o.stop, o.cursor, o.total, o.total_exact,
           o.done, o.skipped, o.error, o.by, o.created_at, o.started_at, o.finished_at, o.undo_of,
           (select u.id from engine.bulk_ops u where u.undo_of = o.id and u.state <> 'failed')
             as undone_by
         from engine.bulk_ops o "
    };
}
use columns;

/// What an operation would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryRun {
    /// `retry`, `cancel`, `discard` or `move`.
    pub action: &'static str,
    /// The filter with the states that are meant.
    pub filter: Filter,
    /// Jobs that meet it.
    pub count: i64,
    /// False: counting took too long, there are at least so many.
    pub exact: bool,
    /// Some of them.
    pub sample: Vec<JobRow>,
}

/// Counts what an operation would act on, for three seconds at most, and changes nothing.
///
/// # Errors
/// [`BulkRefusal::Unfit`] if filter and action do not fit.
pub async fn dry_run(db: &Db, action: &Action, filter: &Filter) -> Result<DryRun, BulkRefusal> {
    let filter = action.narrowed(filter)?;
    check_queue(db, action).await?;
    let (count, exact, sample) = count(db, &filter, COUNTING.0).await?;
    Ok(DryRun { action: action.as_str(), filter, count, exact, sample })
}

/// Starts an operation; a scheduler does it in the background.
///
/// # Errors
/// [`BulkRefusal::Unfit`] if filter and action do not fit.
pub async fn start(
    db: &Db,
    action: &Action,
    filter: &Filter,
    by: &str,
) -> Result<BulkOp, BulkRefusal> {
    let filter = action.narrowed(filter)?;
    check_queue(db, action).await?;
    let (total, exact, _) = count(db, &filter, COUNTING.1).await?;
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into engine.bulk_ops (id, action, filter, params, total, total_exact, by)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(action.as_str())
    .bind(Json(&filter))
    .bind(Json(action))
    .bind(total)
    .bind(exact)
    .bind(by)
    .execute(db.engine())
    .await?;
    find(db, id).await
}

async fn check_queue(db: &Db, action: &Action) -> Result<(), BulkRefusal> {
    let Action::Move { queue: Some(queue), .. } = action else { return Ok(()) };
    let known: bool =
        sqlx::query_scalar("select exists (select from engine.queues where queue = $1)")
            .bind(queue)
            .fetch_one(db.engine())
            .await?;
    if known {
        return Ok(());
    }
    Err(BulkRefusal::Unfit(format!("there never was a job in a queue `{queue}`")))
}

async fn count(db: &Db, filter: &Filter, time: Duration) -> Result<(i64, bool, Vec<JobRow>)> {
    let begun = Instant::now();
    let (mut n, mut sample, mut at) = (0, Vec::new(), Cursor::START);
    loop {
        let mut tx = db.begin_engine().await?;
        let found = page(&mut tx, filter, at, 1000, Duration::from_millis(200)).await?;
        tx.rollback().await?;
        n += i64::try_from(found.rows.len()).unwrap_or(i64::MAX);
        let more = SAMPLE.saturating_sub(sample.len());
        sample.extend(found.rows.into_iter().take(more));
        let Some(next) = found.next else { return Ok((n, true, sample)) };
        if begun.elapsed() > time {
            return Ok((n, false, sample));
        }
        at = next;
    }
}

/// One operation.
///
/// # Errors
/// [`BulkRefusal::NotFound`].
pub async fn find(db: &Db, id: Uuid) -> Result<BulkOp, BulkRefusal> {
    let op = sqlx::query_as(concat!(columns!(), "where o.id = $1"))
        .bind(id)
        .fetch_optional(db.engine())
        .await?;
    op.ok_or(BulkRefusal::NotFound)
}

/// The operations, the youngest first (0 means 50; never more than 1,000).
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db, limit: u32) -> Result<Vec<BulkOp>> {
    let limit = if limit == 0 { 50 } else { limit.min(1000) };
    let ops = sqlx::query_as(concat!(columns!(), "order by o.id desc limit $1"))
        .bind(i64::from(limit))
        .fetch_all(db.engine())
        .await?;
    Ok(ops)
}

/// Stops an operation before its next batch. What it has done stands, and can be undone.
///
/// # Errors
/// [`BulkRefusal::WrongState`] if it has ended.
pub async fn stop(db: &Db, id: Uuid) -> Result<BulkOp, BulkRefusal> {
    let stopped = sqlx::query(
        "update engine.bulk_ops set stop = true where id = $1 and state in ('waiting', 'running')",
    )
    .bind(id)
    .execute(db.engine())
    .await?;
    let op = find(db, id).await?;
    if stopped.rows_affected() == 0 { Err(BulkRefusal::WrongState("has ended")) } else { Ok(op) }
}

/// Starts the undo of an operation that has ended: cancelled and discarded jobs are open again as
/// they were, moved ones go back, retried ones that have not begun wait as before. What has changed
/// since is left alone and counted, and so are cancelled and discarded jobs of a workflow, which has
/// gone on without them.
///
/// # Errors
/// [`BulkRefusal::WrongState`] if it is not over, was undone before, or is an undo itself.
pub async fn undo(db: &Db, id: Uuid, by: &str) -> Result<BulkOp, BulkRefusal> {
    let op = find(db, id).await?;
    if op.is_open() {
        return Err(BulkRefusal::WrongState("is not over; stop it first"));
    }
    if op.undo_of.is_some() {
        return Err(BulkRefusal::WrongState("is an undo itself"));
    }
    let undo = Uuid::now_v7();
    let made = sqlx::query(
        "insert into engine.bulk_ops (id, action, filter, params, total, total_exact, by, undo_of)
         select $2, 'undo', filter, params, (select count(*) from engine.bulk_undo where op = $1), true,
           $3, id
         from engine.bulk_ops where id = $1
         on conflict do nothing",
    )
    .bind(id)
    .bind(undo)
    .bind(by)
    .execute(db.engine())
    .await?;
    if made.rows_affected() == 0 {
        return Err(BulkRefusal::WrongState("was undone before"));
    }
    find(db, undo).await
}

/// Forgets operations that ended more than this many days ago, with what their undo would need; gives
/// how many.
///
/// # Errors
/// If the database is not available.
pub async fn forget(db: &Db, keep_days: u16) -> Result<u64> {
    loop {
        let gone = sqlx::query(
            "delete from engine.bulk_undo where ctid = any (array(
               select u.ctid from engine.bulk_ops o join engine.bulk_undo u on u.op = o.id
               where o.finished_at < now() - $1 * interval '1 day' limit 5000))",
        )
        .bind(i32::from(keep_days))
        .execute(db.engine())
        .await?;
        if gone.rows_affected() == 0 {
            break;
        }
    }
    let gone = sqlx::query(
        "delete from engine.bulk_ops where finished_at < now() - $1 * interval '1 day'",
    )
    .bind(i32::from(keep_days))
    .execute(db.engine())
    .await?;
    Ok(gone.rows_affected())
}
