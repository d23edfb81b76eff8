//! Failures in groups, and acting on the dead letters of a whole group.

use super::job_views::{ActedView, ErrorGroupView};
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::envelope::Envelope;
use crate::extract::{ApiPath, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use serde::Deserialize;
use switchyard_store::jobs::errors::{self, ErrorFilter};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(retry))
        .routes(routes!(cancel))
}

/// Which groups.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only failures of this kind of job.
    #[param(example = "notify.email")]
    kind: Option<String>,
    /// At most this many, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// List failures in groups
///
/// Failures are alike if they are of the same kind and class, and their messages are the same but
/// for numbers, ids, addresses and quotations.
#[utoipa::path(get, path = "/api/admin/errors", tag = "jobs", operation_id = "errors",
    params(Filter),
    responses((status = 200, description = "The groups that failed last, the latest first.",
        body = Envelope<Vec<ErrorGroupView>>)))]
async fn list(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiQuery(Filter { kind, limit }): ApiQuery<Filter>,
) -> Answer<Vec<ErrorGroupView>> {
    let limit = limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::bad_request("invalid_query", "`limit` is a number from 1 to 200"));
    }
    let groups = errors::list(&api.db, &ErrorFilter { kind, limit }).await?;
    Ok(Reply::ok("errors", groups.into_iter().map(ErrorGroupView::from).collect()))
}

/// See one group of failures
#[utoipa::path(get, path = "/api/admin/errors/{fingerprint}", tag = "jobs", operation_id = "error",
    params(("fingerprint" = String, Path, description = "The group", example = "9f86d081884c7d65")),
    responses(
        (status = 200, description = "The group.", body = Envelope<ErrorGroupView>),
        (status = 404, description = "There is no such group.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiPath(fingerprint): ApiPath<String>,
) -> Answer<ErrorGroupView> {
    Ok(Reply::ok("error", errors::find(&api.db, &fingerprint).await?.into()))
}

/// Run all dead letters of a group again
#[utoipa::path(post, path = "/api/admin/errors/{fingerprint}/retry", tag = "jobs",
    operation_id = "error_retry",
    params(("fingerprint" = String, Path, description = "The group", example = "9f86d081884c7d65")),
    responses(
        (status = 200, description = "They are due.", body = Envelope<ActedView>),
        (status = 404, description = "There is no such group.", body = ErrorEnvelope)))]
async fn retry(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(fingerprint): ApiPath<String>,
) -> Answer<ActedView> {
    Ok(Reply::ok("due now", errors::retry(&api.db, &fingerprint).await?.into()))
}

/// Give all dead letters of a group up
///
/// They move to the history as cancelled.
#[utoipa::path(post, path = "/api/admin/errors/{fingerprint}/cancel", tag = "jobs",
    operation_id = "error_cancel",
    params(("fingerprint" = String, Path, description = "The group", example = "9f86d081884c7d65")),
    responses(
        (status = 200, description = "They are given up.", body = Envelope<ActedView>),
        (status = 404, description = "There is no such group.", body = ErrorEnvelope)))]
async fn cancel(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    ApiPath(fingerprint): ApiPath<String>,
) -> Answer<ActedView> {
    Ok(Reply::ok("cancelled", errors::cancel(&api.db, &fingerprint).await?.into()))
}
