//! Looking at workflows: operators at all of them, a job at those that it waited for.

use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_queue::{FailurePolicy, JobId, JobState, WorkflowId, WorkflowState};
use uuid::Uuid;

/// One workflow, without its jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowRow {
    /// The workflow.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What a failure means for the rest.
    pub policy: FailurePolicy,
    /// Its state.
    pub state: WorkflowState,
    /// Jobs in it.
    pub total: i32,
    /// Jobs that completed.
    pub completed: i32,
    /// Jobs that became dead letters.
    pub failed: i32,
    /// Jobs that were cancelled.
    pub cancelled: i32,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When its last job ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl WorkflowRow {
    /// Jobs that have not ended.
    #[must_use]
    pub fn open(&self) -> i32 {
        self.total - self.completed - self.failed - self.cancelled
    }
}

fn decoded<T>(index: &str, code: i16, value: Option<T>) -> sqlx::Result<T> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: index.to_owned(),
        source: format!("{code} stands for nothing").into(),
    })
}

impl sqlx::FromRow<'_, PgRow> for WorkflowRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let (policy, state): (i16, i16) = (row.try_get("policy")?, row.try_get("state")?);
        Ok(Self {
            id: WorkflowId(row.try_get("id")?),
            name: row.try_get("name")?,
            policy: decoded("policy", policy, FailurePolicy::from_code(policy))?,
            state: decoded("state", state, WorkflowState::from_code(state))?,
            total: row.try_get("total")?,
            completed: row.try_get("completed")?,
            failed: row.try_get("failed")?,
            cancelled: row.try_get("cancelled")?,
            request_id: row.try_get("request_id")?,
            created_at: row.try_get("created_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }
}

/// Which workflows to list. `None` means any.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    /// State.
    pub state: Option<WorkflowState>,
    /// Name.
    pub name: Option<String>,
    /// Only workflows made before this one: the last id of the page before.
    pub before: Option<WorkflowId>,
    /// At most this many (0 means 50; never more than 1,000).
    pub limit: u32,
}

/// The columns of [`WorkflowRow`].
macro_rules! rows {
    () => {
        "select id, name, policy, state, total, completed, failed, cancelled, request_id, created_at,
           finished_at
         from engine.workflows "
    };
}

/// Workflows that meet the filter, the youngest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db, filter: &WorkflowFilter) -> Result<Vec<WorkflowRow>> {
    let limit = if filter.limit == 0 { 50 } else { filter.limit.min(1000) };
    let rows = sqlx::query_as(concat!(
        rows!(),
        "where ($1::int2 is null or state = $1) and ($2::text is null or name = $2)
           and ($3::uuid is null or id < $3)
         order by id desc limit $4"
    ))
    .bind(filter.state.map(WorkflowState::code))
    .bind(&filter.name)
    .bind(filter.before.map(|id| id.0))
    .bind(i64::from(limit))
    .persistent(false)
    .fetch_all(db.engine())
    .await?;
    Ok(rows)
}

/// One workflow.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or it was forgotten.
pub async fn find(db: &Db, id: WorkflowId) -> Result<WorkflowRow> {
    let row = sqlx::query_as(concat!(rows!(), "where id = $1"))
        .bind(id.0)
        .fetch_optional(db.engine())
        .await?;
    row.ok_or(StoreFault::NotFound)
}

/// One job of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeRow {
    /// Its position in the description, from 0.
    pub place: i32,
    /// Its name in the workflow.
    pub node: String,
    /// The job.
    pub job: JobId,
    /// Stored kind.
    pub kind: String,
    /// Its state now.
    pub state: JobState,
    /// For how many others it still waits.
    pub waits_on: i32,
    /// What it handed on.
    pub result: Option<Value>,
}

impl sqlx::FromRow<'_, PgRow> for NodeRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let state: i16 = row.try_get("state")?;
        Ok(Self {
            place: row.try_get("place")?,
            node: row.try_get("node")?,
            job: JobId(row.try_get("job_id")?),
            kind: row.try_get("kind")?,
            state: decoded("state", state, JobState::from_code(state))?,
            waits_on: row.try_get("waits_on")?,
            result: row.try_get("result")?,
        })
    }
}

/// A job and one that waits for it, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Fan {
    /// Who is waited for.
    pub parent: i32,
    /// Who waits.
    pub child: i32,
}

/// A workflow with its jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowDetail {
    /// The workflow.
    pub row: WorkflowRow,
    /// Its jobs in the order of their places, as many as were asked for.
    pub nodes: Vec<NodeRow>,
    /// Who waits for whom among them.
    pub edges: Vec<Fan>,
}

/// A workflow with up to this many of its jobs and what they wait for.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or it was forgotten.
pub async fn show(db: &Db, id: WorkflowId, most: u32) -> Result<WorkflowDetail> {
    let row = find(db, id).await?;
    // A job that just ended may not have been taken up: then the history knows.
    let nodes = sqlx::query_as(
        "select n.place, n.node, n.job_id, n.kind, n.waits_on, n.result,
           coalesce(case when j.id is not null then engine.job_state(j.stage, j.attempt, j.worker) end,
             n.state, h.outcome, 9::int2) as state
         from engine.workflow_jobs n
         left join engine.jobs j on j.id = n.job_id
         left join lateral (
           select k.outcome from engine.job_history k
           where k.id = n.job_id and j.id is null and n.state is null limit 1) h on true
         where n.workflow = $1 and n.place < $2 order by n.place",
    )
    .bind(id.0)
    .bind(i64::from(most))
    .fetch_all(db.engine())
    .await?;
    let edges = sqlx::query_as(
        "select parent, child from engine.workflow_edges
         where workflow = $1 and parent < $2 and child < $2 order by child, parent",
    )
    .bind(id.0)
    .bind(i64::from(most))
    .fetch_all(db.engine())
    .await?;
    Ok(WorkflowDetail { row, nodes, edges })
}

/// A job that another waited for, and what it handed on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parent {
    /// Its name in the workflow.
    pub node: String,
    /// The job.
    pub job: JobId,
    /// How it ended: completed, or with [`FailurePolicy::Continue`] discarded or cancelled. `Pending`
    /// if it has not.
    pub state: JobState,
    /// What it handed on.
    pub result: Option<Value>,
}

/// The jobs that this one waited for, with their results, in the order in which they were added; none
/// if it is in no workflow.
///
/// A batch may have thousands: where only their number matters, ask for the [`tally`].
///
/// # Errors
/// If the database is not available.
pub async fn parents(db: &Db, job: JobId) -> Result<Vec<Parent>> {
    let rows: Vec<(String, Uuid, Option<i16>, Option<Value>)> = sqlx::query_as(
        "select n.node, n.job_id, n.state, n.result
         from engine.workflow_jobs me
         join engine.workflow_edges e on e.workflow = me.workflow and e.child = me.place
         cross join lateral (select p.* from engine.workflow_jobs p
           where p.workflow = e.workflow and p.place = e.parent offset 0) n
         where me.job_id = $1 order by n.place",
    )
    .bind(job.0)
    .fetch_all(db.app())
    .await?;
    let parent = |(node, job, state, result): (String, Uuid, Option<i16>, Option<Value>)| {
        let state = state.and_then(JobState::from_code).unwrap_or(JobState::Pending);
        Parent { node, job: JobId(job), state, result }
    };
    Ok(rows.into_iter().map(parent).collect())
}

/// How the jobs ended that another waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Tally {
    /// Completed.
    pub completed: i64,
    /// Dead letters.
    pub failed: i64,
    /// Cancelled.
    pub cancelled: i64,
}

/// How the jobs ended that this one waited for; all zero if it is in no workflow.
///
/// # Errors
/// If the database is not available.
pub async fn tally(db: &Db, job: JobId) -> Result<Tally> {
    let tally = sqlx::query_as(
        "select count(*) filter (where n.state = 8) as completed,
           count(*) filter (where n.state = 7) as failed,
           count(*) filter (where n.state = 9) as cancelled
         from engine.workflow_jobs me
         join engine.workflow_edges e on e.workflow = me.workflow and e.child = me.place
         cross join lateral (select p.state from engine.workflow_jobs p
           where p.workflow = e.workflow and p.place = e.parent offset 0) n
         where me.job_id = $1",
    )
    .bind(job.0)
    .fetch_one(db.app())
    .await?;
    Ok(tally)
}

/// What a pending job waits for.
#[derive(sqlx::FromRow)]
pub(in crate::engine) struct Waits {
    pub name: String,
    /// Names of some.
    pub parents: Vec<String>,
    /// How many there are.
    pub waits_on: i32,
}

/// What keeps a job of a workflow pending, with the names of up to `most` of those it waits for.
pub(in crate::engine) async fn waits_for(db: &Db, job: JobId, most: i64) -> Result<Option<Waits>> {
    let waits = sqlx::query_as(
        "select w.name, me.waits_on, array(
           select n.node from engine.workflow_edges e
           join engine.workflow_jobs n on n.workflow = e.workflow and n.place = e.parent
           where e.workflow = me.workflow and e.child = me.place
             and n.state is distinct from 8 and (w.policy <> 2 or n.state is null)
           order by n.place limit $2) as parents
         from engine.workflow_jobs me join engine.workflows w on w.id = me.workflow
         where me.job_id = $1",
    )
    .bind(job.0)
    .bind(most)
    .fetch_optional(db.engine())
    .await?;
    Ok(waits)
}
