//! Jobs for operators: look at them, act on them.

use super::job_views::{JobDetailView, JobView, WhyView};
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use serde::Deserialize;
use switchyard_queue::{JobId, JobState};
use switchyard_store::StoreFault;
use switchyard_store::jobs::{self, JobFilter, Refusal};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
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
    /// Only running jobs that have been silent for longer than their kind allows.
    #[serde(default)]
    stuck: bool,
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
    let Filter { state, kind, queue, stuck, tenant, .. } = filter;
    let limit = u32::try_from(paging.rows()?).unwrap_or(u32::MAX);
    let before = paging.cursor.map(JobId);
    let filter = JobFilter { state, kind, queue, stuck, tenant, before, limit };
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
