//! Workflows: start one, look at them, cancel one.

use super::jobs_enqueue::Once;
use super::workflow_views::{StartedView, WorkflowDetailView, WorkflowView};
use crate::auth::{Caller, JobsEnqueue, JobsManage, JobsRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiPath, ApiQuery, BatchJson, IdempotencyKey, Paging, paged};
use crate::orders::{NewWorkflowRequest, secret};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use switchyard_queue::{WorkflowId, WorkflowState};
use switchyard_store::workflows::{self, Refusal, WorkflowFilter};
use switchyard_store::{Scope, StoreFault, requests};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Jobs of one workflow that are shown.
const MOST_NODES: u32 = 1000;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(start))
        .routes(routes!(show))
        .routes(routes!(cancel))
}

/// Start a workflow
///
/// Its jobs are enqueued in one transaction, all or none. A job runs when all that it waits for have
/// completed, and can read their results. With an `Idempotency-Key` the same request again (within a
/// day) answers with the same workflow.
#[utoipa::path(post, path = "/api/admin/workflows", tag = "jobs", operation_id = "workflow_start",
    params(IdempotencyKey), request_body = NewWorkflowRequest,
    responses(
        (status = 200, description = "It was started by the same request before.",
            body = Envelope<StartedView>),
        (status = 201, description = "Started.", body = Envelope<StartedView>),
        (status = 409, description = "Another job holds the unique key of one of its jobs.",
            body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 32 MiB.", body = ErrorEnvelope),
        (status = 422, description = "It cannot be started: a job is wrong, a name is taken or \
            missing, or jobs wait for each other.", body = ErrorEnvelope)))]
async fn start(
    State(api): State<Api>,
    caller: Caller<JobsEnqueue>,
    context: RequestContext,
    key: IdempotencyKey,
    BatchJson(new): BatchJson<NewWorkflowRequest>,
) -> Answer<StartedView> {
    let asked = json!(new);
    let parts = new.into_parts(&*api.registry);
    let (jobs, shape) = parts.map_err(|why| ApiError::unprocessable("invalid_job", why))?;
    let jobs = secret(&api.db, &*api.registry, jobs).await?;
    let once = Once::of(&api, &caller, key, &asked, &jobs);
    let flow = shape.with(jobs).caused_by(Some(context.trace), Some(&context.request_id));
    let mut tx = api.db.begin(Scope::Platform).await?;
    if let Some(once) = &once
        && let Some(answer) = once.earlier(&mut tx).await?
    {
        let view = serde_json::from_value(answer).map_err(ApiError::internal)?;
        return Ok(Reply::ok("started before", view));
    }
    let view = StartedView::from(tx.start_workflow(flow).await?);
    if let Some(once) = &once {
        requests::answered(&mut tx, &once.key, &json!(view)).await?;
    }
    tx.commit().await?;
    Ok(Reply::created("started", view))
}

/// Which workflows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only workflows in this state: `running`, `failing`, `cancelling`, `completed`, `failed` or
    /// `cancelled`.
    #[param(value_type = Option<String>, example = "running")]
    state: Option<WorkflowState>,
    /// Only workflows of this name.
    #[param(example = "onboard")]
    name: Option<String>,
}

/// List workflows
#[utoipa::path(get, path = "/api/admin/workflows", tag = "jobs", operation_id = "workflows",
    params(Filter, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<WorkflowView>>)))]
async fn list(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiQuery(Filter { state, name }): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<WorkflowView>> {
    let limit = u32::try_from(paging.rows()?).unwrap_or(u32::MAX);
    let before = paging.cursor.map(WorkflowId);
    let rows = workflows::list(&api.db, &WorkflowFilter { state, name, before, limit }).await?;
    paged("workflows", paging, rows, |w| w.id.0, WorkflowView::from)
}

/// See one workflow with its jobs
#[utoipa::path(get, path = "/api/admin/workflows/{id}", tag = "jobs", operation_id = "workflow",
    params(("id" = Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, description = "The workflow, with up to 1,000 of its jobs.",
            body = Envelope<WorkflowDetailView>),
        (status = 404, description = "There is no such workflow.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<WorkflowDetailView> {
    let detail = workflows::show(&api.db, WorkflowId(id), MOST_NODES).await?;
    Ok(Reply::ok("workflow", detail.into()))
}

/// Cancel a workflow
///
/// Jobs that wait are cancelled at once; running ones are asked to stop; dead letters stay.
#[utoipa::path(post, path = "/api/admin/workflows/{id}/cancel", tag = "jobs",
    operation_id = "workflow_cancel", params(("id" = Uuid, Path, description = "The workflow")),
    responses(
        (status = 200, description = "Cancelled, or on its way.", body = Envelope<WorkflowView>),
        (status = 404, description = "There is no such workflow.", body = ErrorEnvelope),
        (status = 409, description = "It has ended.", body = ErrorEnvelope)))]
async fn cancel(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<WorkflowView> {
    Ok(Reply::ok("cancelled", workflows::cancel(&api.db, WorkflowId(id)).await?.into()))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => StoreFault::NotFound.into(),
            Refusal::Finished(_) => Self::conflict("wrong_state", refusal.to_string()),
            Refusal::Store(fault) => fault.into(),
        }
    }
}
