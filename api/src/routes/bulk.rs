//! Bulk operations: one action on all jobs that meet a filter.

use super::job_views::JobView;
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_store::StoreFault;
use switchyard_store::jobs::Filter;
use switchyard_store::jobs::bulk::{self, Action, BulkOp, BulkRefusal, DryRun};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(dry_run))
        .routes(routes!(show))
        .routes(routes!(stop))
        .routes(routes!(undo))
}

/// What to do, and with which jobs.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct BulkRequest {
    /// `retry`, `cancel`, `discard` or `move`.
    #[schema(example = "cancel")]
    action: String,
    /// Names and texts as in a search; a list where there are several. At least one condition.
    #[schema(value_type = Object, example = json!({"kind": "notify.email", "state": ["scheduled"]}))]
    filter: Filter,
    /// Of a move: to this queue.
    queue: Option<String>,
    /// Of a move: to this partition.
    partition: Option<String>,
    /// Of a move: to this priority.
    priority: Option<i16>,
}

impl BulkRequest {
    fn action(&self) -> Result<Action, ApiError> {
        action_of(&self.action, self.queue.clone(), self.partition.clone(), self.priority)
    }
}

/// The action of this name.
///
/// # Errors
/// 422 if there is none.
pub(crate) fn action_of(
    name: &str,
    queue: Option<String>,
    partition: Option<String>,
    priority: Option<i16>,
) -> Result<Action, ApiError> {
    match name {
        "retry" => Ok(Action::Retry),
        "cancel" => Ok(Action::Cancel),
        "discard" => Ok(Action::Discard),
        "move" => Ok(Action::Move { queue, partition, priority }),
        _ => Err(ApiError::unprocessable(
            "invalid_action",
            "`action` is `retry`, `cancel`, `discard` or `move`",
        )),
    }
}

/// A bulk operation.
#[derive(Debug, Serialize, ToSchema)]
struct BulkView {
    id: Uuid,
    /// `retry`, `cancel`, `discard`, `move` or `undo`.
    #[schema(example = "cancel")]
    action: String,
    #[schema(value_type = Object)]
    filter: Filter,
    /// Of a move: where to.
    #[schema(value_type = Object)]
    params: Value,
    /// `waiting` for a scheduler, `running`, `done`, `stopped` or `failed`.
    #[schema(example = "running")]
    state: String,
    /// Jobs that met the filter when it was started.
    total: Option<i64>,
    /// False: there were at least so many.
    total_exact: bool,
    /// Jobs that were acted on.
    done: i64,
    /// Jobs that were left alone, by the reason.
    #[schema(example = json!({"key_held": 2}))]
    skipped: BTreeMap<String, i64>,
    /// Why it failed, or cannot go on just now.
    error: Option<String>,
    by: String,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// The operation that it undoes.
    undo_of: Option<Uuid>,
    /// The operation that undoes it.
    undone_by: Option<Uuid>,
}

impl From<BulkOp> for BulkView {
    fn from(o: BulkOp) -> Self {
        Self {
            id: o.id,
            action: o.action,
            filter: o.filter,
            params: o.params,
            state: o.state,
            total: o.total,
            total_exact: o.total_exact,
            done: o.done,
            skipped: o.skipped,
            error: o.error,
            by: o.by,
            created_at: o.created_at,
            started_at: o.started_at,
            finished_at: o.finished_at,
            undo_of: o.undo_of,
            undone_by: o.undone_by,
        }
    }
}

/// What an operation would do.
#[derive(Debug, Serialize, ToSchema)]
struct DryRunView {
    #[schema(example = "cancel")]
    action: &'static str,
    /// With the states that are meant.
    #[schema(value_type = Object)]
    filter: Filter,
    /// Jobs that meet the filter.
    count: i64,
    /// False: counting took too long, there are at least so many.
    exact: bool,
    /// Ten of them.
    sample: Vec<JobView>,
}

impl From<DryRun> for DryRunView {
    fn from(d: DryRun) -> Self {
        let sample = d.sample.into_iter().map(JobView::from).collect();
        Self { action: d.action, filter: d.filter, count: d.count, exact: d.exact, sample }
    }
}

/// List bulk operations
#[utoipa::path(get, path = "/api/admin/bulk", tag = "jobs", operation_id = "bulk_list",
    responses((status = 200, description = "The last hundred, the youngest first.",
        body = Envelope<Vec<BulkView>>)))]
async fn list(State(api): State<Api>, _: Caller<JobsRead>) -> Answer<Vec<BulkView>> {
    let ops = bulk::list(&api.db, 100).await?;
    Ok(Reply::ok("bulk operations", ops.into_iter().map(BulkView::from).collect()))
}

/// Count what a bulk operation would act on
///
/// Changes nothing. Counting takes three seconds at most.
#[utoipa::path(post, path = "/api/admin/bulk/dry-run", tag = "jobs", operation_id = "bulk_dry_run",
    request_body = BulkRequest,
    responses((status = 200, description = "How many, and some of them.",
        body = Envelope<DryRunView>)))]
async fn dry_run(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiJson(request): ApiJson<BulkRequest>,
) -> Answer<DryRunView> {
    let told = bulk::dry_run(&api.db, &request.action()?, &request.filter).await?;
    Ok(Reply::ok("nothing was changed", told.into()))
}

/// Start a bulk operation
///
/// It is done in the background, by a scheduler. Jobs that are made after its start are none of its
/// business. A filter without states means, for `retry`, dead letters and quarantined jobs; for the
/// others every open job that they can act on.
#[utoipa::path(post, path = "/api/admin/bulk", tag = "jobs", operation_id = "bulk_start",
    request_body = BulkRequest,
    responses((status = 202, description = "It will be done.", body = Envelope<BulkView>)))]
async fn start(
    State(api): State<Api>,
    caller: Caller<JobsManage>,
    ApiJson(request): ApiJson<BulkRequest>,
) -> Answer<BulkView> {
    let by = caller.claims.sub.to_string();
    let op = bulk::start(&api.db, &request.action()?, &request.filter, &by).await?;
    Ok(Reply::ok("it will be done", op.into()).status(StatusCode::ACCEPTED))
}

/// See how far a bulk operation is
#[utoipa::path(get, path = "/api/admin/bulk/{id}", tag = "jobs", operation_id = "bulk",
    params(("id" = Uuid, Path, description = "The operation")),
    responses(
        (status = 200, description = "The operation.", body = Envelope<BulkView>),
        (status = 404, description = "There is no such operation.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<BulkView> {
    Ok(Reply::ok("bulk operation", bulk::find(&api.db, id).await?.into()))
}

/// Stop a bulk operation
///
/// It ends before its next batch; what it has done stands, and can be undone.
#[utoipa::path(post, path = "/api/admin/bulk/{id}/stop", tag = "jobs", operation_id = "bulk_stop",
    params(("id" = Uuid, Path, description = "The operation")),
    responses(
        (status = 200, description = "It stops.", body = Envelope<BulkView>),
        (status = 404, description = "There is no such operation.", body = ErrorEnvelope),
        (status = 409, description = "It has ended.", body = ErrorEnvelope)))]
async fn stop(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<BulkView> {
    Ok(Reply::ok("it stops", bulk::stop(&api.db, id).await?.into()))
}

/// Undo a bulk operation
///
/// An operation of its own, in the background. Cancelled and discarded jobs are open again as they were,
/// moved ones go back, retried ones that have not begun wait as before. What has changed since is left
/// alone and counted.
#[utoipa::path(post, path = "/api/admin/bulk/{id}/undo", tag = "jobs", operation_id = "bulk_undo",
    params(("id" = Uuid, Path, description = "The operation")),
    responses(
        (status = 202, description = "The undo.", body = Envelope<BulkView>),
        (status = 404, description = "There is no such operation.", body = ErrorEnvelope),
        (status = 409, description = "It is not over, or was undone before.", body = ErrorEnvelope)))]
async fn undo(
    State(api): State<Api>,
    caller: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<BulkView> {
    let op = bulk::undo(&api.db, id, &caller.claims.sub.to_string()).await?;
    Ok(Reply::ok("it will be undone", op.into()).status(StatusCode::ACCEPTED))
}

impl From<BulkRefusal> for ApiError {
    fn from(refusal: BulkRefusal) -> Self {
        match refusal {
            BulkRefusal::NotFound => StoreFault::NotFound.into(),
            BulkRefusal::Unfit(what) => Self::unprocessable("unfit", what),
            BulkRefusal::WrongState(_) => Self::conflict("wrong_state", refusal.to_string()),
            BulkRefusal::Store(fault) => fault.into(),
        }
    }
}
