//! Jobs for operators: look at them, act on them, enqueue one by hand.

use super::job_views::{JobDetailView, JobView, WhyView};
use crate::auth::{Caller, JobsEnqueue, JobsManage, JobsRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiJson, ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use switchyard_queue::{JobId, JobState};
use switchyard_store::jobs::{self, JobFilter, Refusal};
use switchyard_store::{Scope, StoreFault};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// The longest delay of a job that is enqueued by hand: a year.
const LONGEST_DELAY: u64 = 366 * 24 * 3600;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, enqueue))
        .routes(routes!(show))
        .routes(routes!(why))
        .routes(routes!(retry))
        .routes(routes!(cancel))
        .routes(routes!(discard))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only jobs in this state.
    #[param(value_type = Option<String>, example = "discarded")]
    state: Option<JobState>,
    /// Only jobs of this kind.
    #[param(example = "lead.distribute")]
    kind: Option<String>,
    /// Only jobs in this queue.
    #[param(example = "leads")]
    queue: Option<String>,
    /// Only jobs of this tenant.
    tenant: Option<Uuid>,
    /// Only jobs that this request caused, oldest first (up to 1,000); other filters do not count.
    request_id: Option<String>,
}

/// List jobs
#[utoipa::path(get, path = "/api/admin/jobs", tag = "jobs", operation_id = "jobs",
    params(Filter, Paging),
    responses((status = 200, description = "A page, newest first, open and finished ones.",
        body = Envelope<Page<JobView>>)))]
async fn list(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiQuery(filter): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<JobView>> {
    if let Some(request) = filter.request_id {
        let rows = jobs::by_request(&api.db, &request).await?;
        let items = rows.into_iter().map(JobView::from).collect();
        return Ok(Reply::ok("jobs", Page { items, next: None }));
    }
    let Filter { state, kind, queue, tenant, .. } = filter;
    let limit = u32::try_from(paging.rows()?).unwrap_or(u32::MAX);
    let before = paging.cursor.map(JobId);
    let filter = JobFilter { state, kind, queue, tenant, before, limit };
    let rows = jobs::list(&api.db, &filter).await?;
    paged("jobs", paging, rows, |j| j.id.0, JobView::from)
}

/// See one job with its arguments and attempts
#[utoipa::path(get, path = "/api/admin/jobs/{id}", tag = "jobs", operation_id = "job",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "The job.", body = Envelope<JobDetailView>),
        (status = 404, description = "There is no such job.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<JobDetailView> {
    Ok(Reply::ok("job", jobs::show(&api.db, JobId(id)).await?.into()))
}

/// Ask why a job is not running
///
/// Everything that holds now, each with what to do about it: its time has not come, its queue is
/// paused, no worker is there for it, jobs come before it, it failed; or what became of it.
#[utoipa::path(get, path = "/api/admin/jobs/{id}/why", tag = "jobs", operation_id = "job_why",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "The reasons.", body = Envelope<WhyView>),
        (status = 404, description = "There is no such job.", body = ErrorEnvelope)))]
async fn why(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<WhyView> {
    Ok(Reply::ok("why", jobs::why(&api.db, JobId(id)).await?.into()))
}

/// Run a job again, now
///
/// One that waits becomes due at once; a dead letter starts over; of a finished one a copy is
/// enqueued, and the copy is the answer.
#[utoipa::path(post, path = "/api/admin/jobs/{id}/retry", tag = "jobs", operation_id = "job_retry",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "It is due.", body = Envelope<JobView>),
        (status = 404, description = "There is no such job.", body = ErrorEnvelope),
        (status = 409, description = "Its state does not allow it.", body = ErrorEnvelope)))]
async fn retry(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<JobView> {
    Ok(Reply::ok("due now", jobs::retry(&api.db, JobId(id)).await?.into()))
}

/// Give a job up
///
/// One that waits is cancelled at once; a running one is asked to stop.
#[utoipa::path(post, path = "/api/admin/jobs/{id}/cancel", tag = "jobs",
    operation_id = "job_cancel", params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "Cancelled, or asked to stop.", body = Envelope<JobView>),
        (status = 404, description = "There is no such job.", body = ErrorEnvelope),
        (status = 409, description = "It has finished.", body = ErrorEnvelope)))]
async fn cancel(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<JobView> {
    Ok(Reply::ok("cancelled", jobs::cancel(&api.db, JobId(id)).await?.into()))
}

/// Make a dead letter of a job
///
/// It is kept, and not run until somebody retries it.
#[utoipa::path(post, path = "/api/admin/jobs/{id}/discard", tag = "jobs",
    operation_id = "job_discard", params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "Discarded, or asked to stop.", body = Envelope<JobView>),
        (status = 404, description = "There is no such job.", body = ErrorEnvelope),
        (status = 409, description = "Its state does not allow it.", body = ErrorEnvelope)))]
async fn discard(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<JobView> {
    Ok(Reply::ok("discarded", jobs::discard(&api.db, JobId(id)).await?.into()))
}

/// A job to be enqueued by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJobRequest {
    /// A kind that is registered; see `GET /api/admin/kinds`.
    #[schema(example = "leads.rescan_unassigned")]
    kind: String,
    /// Its arguments.
    #[schema(value_type = Object, example = json!({}))]
    #[serde(default = "no_arguments")]
    args: Value,
    /// Not before this much time has passed.
    #[schema(example = 0)]
    #[serde(default)]
    delay_seconds: u64,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// The answer to an enqueue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EnqueuedView {
    /// The new job, or the one that already holds the unique key.
    id: Uuid,
    /// `false`: nothing was inserted.
    #[schema(example = true)]
    inserted: bool,
}

/// Enqueue a job by hand
#[utoipa::path(post, path = "/api/admin/jobs", tag = "jobs", operation_id = "job_enqueue",
    request_body = NewJobRequest,
    responses(
        (status = 200, description = "A job with the same unique key is open already.",
            body = Envelope<EnqueuedView>),
        (status = 201, description = "Enqueued.", body = Envelope<EnqueuedView>),
        (status = 422, description = "The kind is unknown, or the arguments do not fit.",
            body = ErrorEnvelope)))]
async fn enqueue(
    State(api): State<Api>,
    _: Caller<JobsEnqueue>,
    context: RequestContext,
    ApiJson(new): ApiJson<NewJobRequest>,
) -> Answer<EnqueuedView> {
    let refuse = |message| ApiError::unprocessable("invalid_job", message);
    if new.delay_seconds > LONGEST_DELAY {
        return Err(refuse("`delay_seconds` is at most a year".to_owned()));
    }
    let mut job = context.cause(api.registry.parse(&new.kind, new.args).map_err(refuse)?);
    if new.delay_seconds > 0 {
        job.delay = Some(Duration::from_secs(new.delay_seconds));
    }
    let mut tx = api.db.begin(Scope::Platform).await?;
    let done = tx.enqueue(job).await?;
    tx.commit().await?;
    let view = EnqueuedView { id: done.id.0, inserted: done.inserted };
    Ok(if done.inserted {
        Reply::created("enqueued", view)
    } else {
        Reply::ok("open already", view)
    })
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => StoreFault::NotFound.into(),
            Refusal::WrongState(_) => Self::conflict("wrong_state", refusal.to_string()),
            Refusal::KeyHeld(_) => Self::conflict("unique_key_held", refusal.to_string()),
            Refusal::Store(fault) => fault.into(),
        }
    }
}
