//! Puts the routes, the documentation and the layers together.

use crate::auth::require_token;
use crate::middleware::{harden, observe};
use crate::{Api, ApiError, dashboard, routes};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// The whole front. For tests and embedding; a server goes through [`crate::serve`], which also
/// drains the ingest writers at the end.
pub fn router(api: Api) -> Router {
    app(api)
}

/// The OpenAPI document of every route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    declared().into_openapi()
}

fn declared() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(routes::health::routes())
        .merge(routes::metrics::routes())
        .merge(routes::admin_auth::routes())
        .merge(routes::agencies::routes())
}

pub(crate) fn app(api: Api) -> Router {
    let (router, document) = declared().split_for_parts();
    let docs = SwaggerUi::new("/api/docs").url("/api/openapi.json", document);
    router
        .merge(Router::from(docs))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), require_token))
        .nest("/ops", dashboard::router(api.clone()))
        .route("/ops/", get(|| async { Redirect::permanent("/ops") }))
        .fallback(unknown_route)
        .layer(from_fn(harden))
        .layer(from_fn_with_state(api.clone(), observe))
        .with_state(api)
}

async fn unknown_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", "there is nothing at this address")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take this method; see the `Allow` header",
    )
}
