//! What Prometheus reads.

use crate::auth::bearer;
use crate::{Api, ApiError, RequestContext};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(render))
}

/// Metrics in the Prometheus text format
///
/// Only for programs on this machine, or with the bearer token of the configuration.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses(
        (status = 200, description = "All metrics.", body = String, content_type = "text/plain"),
        (status = 401, description = "From elsewhere, without the token.",
            body = crate::ErrorEnvelope)))]
async fn render(
    State(api): State<Api>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    if !context.local {
        check_token(&api, &headers)?;
    }
    let version = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, version)], api.metrics.render()))
}

fn check_token(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    let given = Sha256::digest(bearer(headers)?);
    let right = api.config.metrics_token.as_ref().is_some_and(|token| {
        bool::from(Sha256::digest(token.expose_secret()).ct_eq(given.as_slice()))
    });
    let message = "metrics are for this machine, or for the token of the configuration";
    right.then_some(()).ok_or_else(|| ApiError::unauthorized("unauthenticated", message))
}
