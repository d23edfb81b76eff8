//! Looking at jobs, open and finished alike.

use super::effects::{self, EffectRow};
use super::filter::Filter;
use super::search::HELD;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use switchyard_queue::{JobId, JobState, LaneId, WorkerId, WorkflowId, shown_args};
use uuid::Uuid;

/// One job, without its arguments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Stored kind.
    pub kind: String,
    /// Queue.
    pub queue: String,
    /// Partition, empty for none.
    pub partition: String,
    /// The key under whose limit it runs besides those of queue and partition, empty for none.
    pub limit_key: String,
    /// Lane: queue, partition and limit key as a number.
    pub lane: LaneId,
    /// State.
    pub state: JobState,
    /// Lower runs first.
    pub priority: i16,
    /// Attempts used up; of a finished job, the number of its last attempt.
    pub attempt: i16,
    /// Attempts allowed.
    pub max_attempts: i16,
    /// Workers that vanished in a row while they held it.
    pub crashes: i16,
    /// Who holds it, or finished it.
    pub worker: Option<WorkerId>,
    /// Somebody asked to cancel it while it runs.
    pub cancel_requested: bool,
    /// Longest time of one attempt, milliseconds.
    pub timeout_ms: i32,
    /// Tenant scope.
    pub tenant: Option<Uuid>,
    /// Kind and unique key.
    pub unique_key: Option<String>,
    /// The last error, or why it was cancelled.
    pub error: Option<String>,
    /// W3C traceparent.
    pub trace: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The workflow that it belongs to.
    pub workflow: Option<WorkflowId>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it was or will be due.
    pub run_at: DateTime<Utc>,
    /// When it must have begun, of an open job.
    pub deadline: Option<DateTime<Utc>>,
    /// When the present or last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was completed or cancelled.
    pub finished_at: Option<DateTime<Utc>>,
    /// How far the running attempt is, from 0 to 1, if it said so.
    pub progress: Option<f32>,
    /// What it said last.
    pub progress_note: Option<String>,
    /// When it said so.
    pub progress_at: Option<DateTime<Utc>>,
    /// It runs, and has been silent since then, which is longer than its kind allows.
    pub stuck_since: Option<DateTime<Utc>>,
}

impl sqlx::FromRow<'_, PgRow> for JobRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let code: i16 = row.try_get("state")?;
        let state = JobState::from_code(code).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "state".to_owned(),
            source: format!("{code} is no job state").into(),
        })?;
        Ok(Self {
            id: JobId(row.try_get("id")?),
            kind: row.try_get("kind")?,
            queue: row.try_get("queue")?,
            partition: row.try_get("partition")?,
            limit_key: row.try_get("limit_key")?,
            lane: LaneId(row.try_get("lane")?),
            state,
            priority: row.try_get("priority")?,
            attempt: row.try_get("attempt")?,
            max_attempts: row.try_get("max_attempts")?,
            crashes: row.try_get("crashes")?,
            worker: row.try_get::<Option<i64>, _>("worker")?.map(WorkerId),
            cancel_requested: row.try_get("cancel_requested")?,
            timeout_ms: row.try_get("timeout_ms")?,
            tenant: row.try_get("tenant")?,
            unique_key: row.try_get("unique_key")?,
            error: row.try_get("error")?,
            trace: row.try_get("trace")?,
            request_id: row.try_get("request_id")?,
            workflow: row.try_get::<Option<Uuid>, _>("workflow")?.map(WorkflowId),
            created_at: row.try_get("created_at")?,
            run_at: row.try_get("run_at")?,
            deadline: row.try_get("deadline")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
            progress: row.try_get("progress")?,
            progress_note: row.try_get("progress_note")?,
            progress_at: row.try_get("progress_at")?,
            stuck_since: row.try_get("stuck_since")?,
        })
    }
}

/// One attempt that did not finish its job.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct AttemptRow {
    /// Its number, from 1. Snoozes and crashes use no number up.
    pub attempt: i16,
    /// The claim.
    pub fence: i64,
    /// Who made it.
    pub worker: Option<i64>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When its end was written down.
    pub ended_at: DateTime<Utc>,
    /// `retry`, `snooze`, `discard` or `crash`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// One job with everything there is about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobDetail {
    /// The job.
    pub row: JobRow,
    /// Its arguments; of encrypted ones only the key's id, see [`crate::sealing::reveal`].
    pub args: Value,
    /// Its earlier attempts, oldest first. The one that finished it is the row itself.
    pub attempts: Vec<AttemptRow>,
    /// What it did outside the database, in the order in which that was begun.
    pub effects: Vec<EffectRow>,
}

/// Which jobs to list, in the order of their ids. `None` means any. For everything else that one can
/// ask see [`super::Filter`].
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// State.
    pub state: Option<JobState>,
    /// Stored kind.
    pub kind: Option<String>,
    /// Queue.
    pub queue: Option<String>,
    /// Tenant.
    pub tenant: Option<Uuid>,
    /// Only running jobs that are stuck.
    pub stuck: bool,
    /// Only jobs made before this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most this many (0 means 50; never more than 1,000).
    pub limit: u32,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct WorkerRow {
    /// Its number.
    pub id: i64,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: i32,
    /// Program version.
    pub version: String,
    /// Names of the kinds it can run.
    pub kinds: Vec<String>,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// It was told to finish what it has and to claim no more.
    pub quiet: bool,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// When it left in good order.
    pub stopped_at: Option<DateTime<Utc>>,
    /// When it was found dead.
    pub died_at: Option<DateTime<Utc>>,
}

impl WorkerRow {
    /// Neither left nor found dead.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.stopped_at.is_none() && self.died_at.is_none()
    }
}

/// The columns of [`JobRow`], of an open job `j` in lane `l`. A job that nobody holds has no
/// `claimed_at`, and what was said before the claim is another attempt's.
macro_rules! open_columns {
    () => {
        "select j.id, j.kind, l.queue, l.partition, l.limit_key, j.lane,
           engine.job_state(j.stage, j.attempt, j.worker) as state, j.priority, j.attempt,
           j.max_attempts, j.crashes, j.worker, j.cancel_requested, j.timeout_ms, j.tenant,
           j.unique_key, j.last_error as error, j.trace, j.request_id, j.workflow, j.created_at, j.run_at,
           coalesce(j.claimed_at, j.prior_claimed_at) as started_at,
           null::timestamptz as finished_at, j.deadline,
           case when j.progress_at >= j.claimed_at then j.progress end as progress,
           case when j.progress_at >= j.claimed_at then j.progress_note end as progress_note,
           case when j.progress_at >= j.claimed_at then j.progress_at end as progress_at,
           engine.stuck_since(j.claimed_at, j.progress_at,
             (select k.stuck_after_ms from engine.kinds k where k.kind = j.kind)) as stuck_since "
    };
}

/// The same of a finished job.
macro_rules! finished_columns {
    () => {
        "select j.id, j.kind, l.queue, l.partition, l.limit_key, j.lane, j.outcome as state, j.priority,
           j.attempt, j.max_attempts, j.crashes, j.worker, false as cancel_requested, j.timeout_ms,
           j.tenant, j.unique_key, j.error, j.trace, j.request_id, j.workflow, j.created_at, j.run_at,
           j.started_at, j.finished_at, null::float4 as progress, null::text as progress_note,
           null::timestamptz as progress_at, null::timestamptz as stuck_since,
           null::timestamptz as deadline "
    };
}

macro_rules! open {
    () => {
        concat!(open_columns!(), "from engine.jobs j join engine.lanes l on l.id = j.lane ")
    };
}

macro_rules! finished {
    () => {
        concat!(
            finished_columns!(),
            "from engine.job_history j join engine.lanes l on l.id = j.lane "
        )
    };
}

/// `select` and the columns of an open job, for [`super::search`].
pub(super) const OPEN: &str = open_columns!();
/// The same of a finished job.
pub(super) const FINISHED: &str = finished_columns!();

const DEFAULT_LIMIT: u32 = 50;
const LONGEST_PAGE: u32 = 1000;

/// Jobs that meet the filter, youngest id first, open and finished ones together.
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db, filter: &JobFilter) -> Result<Vec<JobRow>> {
    let limit = if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit.min(LONGEST_PAGE) };
    let mut rows = Vec::new();
    match filter.state {
        Some(state) if filter.stuck && state != JobState::Running => {}
        None if filter.stuck => rows = running_page(db, filter, limit).await?,
        Some(JobState::Running) => rows = running_page(db, filter, limit).await?,
        Some(state) if state.is_final() => rows = finished_page(db, filter, limit).await?,
        Some(_) => rows = open_page(db, filter, limit).await?,
        None => {
            rows.extend(open_page(db, filter, limit).await?);
            rows.extend(finished_page(db, filter, limit).await?);
        }
    }
    rows.sort_by_key(|r| std::cmp::Reverse(r.id));
    rows.truncate(limit as usize);
    Ok(rows)
}

impl JobFilter {
    fn conditions(&self) -> Filter {
        Filter {
            states: self.state.into_iter().collect(),
            kinds: self.kind.clone().into_iter().collect(),
            queue: self.queue.clone(),
            tenant: self.tenant,
            stuck: self.stuck,
            ..Filter::default()
        }
    }

    /// Not kept as a prepared statement: planned with its values, the partial index of the stage is
    /// found.
    async fn fetch(
        &self,
        db: &Db,
        mut sql: QueryBuilder<Postgres>,
        limit: u32,
    ) -> Result<Vec<JobRow>> {
        if let Some(before) = self.before {
            sql.push(" and j.id < ").push_bind(before.0);
        }
        sql.push(" order by j.id desc limit ").push_bind(i64::from(limit));
        Ok(sql.build_query_as().persistent(false).fetch_all(db.engine()).await?)
    }
}

async fn open_page(db: &Db, filter: &JobFilter, limit: u32) -> Result<Vec<JobRow>> {
    let conditions = filter.conditions();
    let mut sql = QueryBuilder::new(concat!(open!(), "where true"));
    if let Some(stages) = conditions.stages() {
        sql.push(" and j.stage = any(").push_bind(stages).push(")");
    }
    conditions.push_open(&mut sql);
    filter.fetch(db, sql, limit).await
}

async fn running_page(db: &Db, filter: &JobFilter, limit: u32) -> Result<Vec<JobRow>> {
    let mut sql = QueryBuilder::new(HELD);
    sql.push(concat!(open!(), "where j.id in (select id from held)"));
    filter.conditions().push_open(&mut sql);
    filter.fetch(db, sql, limit).await
}

async fn finished_page(db: &Db, filter: &JobFilter, limit: u32) -> Result<Vec<JobRow>> {
    let mut sql = QueryBuilder::new(concat!(finished!(), "where true"));
    filter.conditions().push_finished(&mut sql);
    filter.fetch(db, sql, limit).await
}

/// One job, wherever it is.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or its history was dropped.
pub async fn find(db: &Db, id: JobId) -> Result<JobRow> {
    // First the open jobs: a job that moves to history in between is found there.
    let open: Option<JobRow> = sqlx::query_as(concat!(open!(), "where j.id = $1"))
        .bind(id.0)
        .fetch_optional(db.engine())
        .await?;
    if let Some(row) = open {
        return Ok(row);
    }
    let finished: Option<JobRow> = sqlx::query_as(concat!(finished!(), "where j.id = $1"))
        .bind(id.0)
        .fetch_optional(db.engine())
        .await?;
    finished.ok_or(StoreFault::NotFound)
}

/// One job with its arguments and earlier attempts.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or its history was dropped.
pub async fn show(db: &Db, id: JobId) -> Result<JobDetail> {
    let row = find(db, id).await?;
    let args: Option<Value> = sqlx::query_scalar(
        "select args from engine.jobs where id = $1
         union all
         select args from engine.job_history where id = $1
         limit 1",
    )
    .bind(id.0)
    .fetch_optional(db.engine())
    .await?;
    let attempts = sqlx::query_as(
        "select attempt, fence, worker, started_at, ended_at, outcome, error
         from engine.job_attempts where job_id = $1 order by fence",
    )
    .bind(id.0)
    .fetch_all(db.engine())
    .await?;
    let args = shown_args(args.ok_or(StoreFault::NotFound)?);
    let effects = effects::of(db, id).await?;
    Ok(JobDetail { row, args, attempts, effects })
}

/// Every job that a request caused, directly or through other jobs, oldest first (at most 1,000).
///
/// # Errors
/// If the database is not available.
pub async fn by_request(db: &Db, request_id: &str) -> Result<Vec<JobRow>> {
    let mut rows: Vec<JobRow> =
        sqlx::query_as(concat!(open!(), "where j.request_id = $1 order by j.id limit $2"))
            .bind(request_id)
            .bind(i64::from(LONGEST_PAGE))
            .fetch_all(db.engine())
            .await?;
    let finished: Vec<JobRow> =
        sqlx::query_as(concat!(finished!(), "where j.request_id = $1 order by j.id limit $2"))
            .bind(request_id)
            .bind(i64::from(LONGEST_PAGE))
            .fetch_all(db.engine())
            .await?;
    // One that finished between the two questions is in both answers; the later one holds.
    rows.retain(|r| finished.iter().all(|f| f.id != r.id));
    rows.extend(finished);
    rows.sort_by_key(|r| r.id);
    Ok(rows)
}

/// The workers that live, and the last hundred that went; the youngest first.
///
/// # Errors
/// If the database is not available.
pub async fn workers(db: &Db) -> Result<Vec<WorkerRow>> {
    let rows = sqlx::query_as(
        "select id, host, pid, version, kinds, queues, quiet, started_at, stopped_at, died_at
         from engine.workers where stopped_at is null and died_at is null
         union all
         (select id, host, pid, version, kinds, queues, quiet, started_at, stopped_at, died_at
          from engine.workers where stopped_at is not null or died_at is not null
          order by coalesce(died_at, stopped_at) desc limit 100)
         order by id desc",
    )
    .fetch_all(db.engine())
    .await?;
    Ok(rows)
}
