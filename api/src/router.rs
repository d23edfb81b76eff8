//! Puts the routes, the documentation and the layers together.

use crate::audit::Audit;
use crate::auth::require_token;
use crate::ingest::Ingest;
use crate::middleware::{describe, harden, observe};
use crate::openapi::{self, Common};
use crate::{Api, ApiError, dashboard, routes};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use axum::{Extension, Router};
use utoipa::Modify;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// The whole front. For tests and embedding; a server goes through [`crate::serve`], which also
/// drains the ingest writers at the end. Needs a tokio runtime, for the writers.
pub fn router(api: Api) -> Router {
    app(api).0
}

/// The OpenAPI document of every route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    split().1
}

fn split() -> (Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::base())
        .merge(routes::webhooks::routes())
        .merge(routes::admin_auth::routes())
        .merge(routes::agencies::routes())
        .merge(routes::own_leads::routes())
        .merge(routes::territories::routes())
        .merge(routes::events::routes())
        .merge(routes::line::routes())
        .merge(routes::leads::routes())
        .merge(routes::commissions::routes())
        .merge(routes::portals::routes())
        .merge(routes::endpoints::routes())
        .merge(routes::portal_doors::routes())
        .merge(routes::portal_steer::routes())
        .merge(routes::replays::routes())
        .merge(routes::queues::routes())
        .merge(routes::limits::routes())
        .merge(routes::jobs::routes())
        .merge(routes::search::routes())
        .merge(routes::bulk::routes())
        .merge(routes::errors::routes())
        .merge(routes::jobs_enqueue::routes())
        .merge(routes::workflows::routes())
        .merge(routes::backups::routes())
        .merge(routes::health::routes())
        .merge(routes::metrics::routes())
        .split_for_parts();
    Common.modify(&mut document);
    (router, document)
}

/// What is written behind the webhooks.
pub(crate) struct Writers {
    ingest: Ingest,
    audit: Audit,
}

impl Writers {
    /// Writes what waits and ends.
    pub(crate) async fn drain(&self) {
        self.ingest.drain().await;
        self.audit.drain().await;
    }
}

/// The front and the writers behind its webhooks.
pub(crate) fn app(api: Api) -> (Router, Writers) {
    describe();
    let ingest = Ingest::start(&api.db, &api.config.ingest);
    let audit = Audit::start(&api.db);
    let (router, document) = split();
    let docs = SwaggerUi::new("/api/docs").url("/api/openapi.json", document);
    let router = router
        .merge(Router::from(docs))
        .layer(Extension(ingest.clone()))
        .layer(Extension(audit.clone()))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), require_token))
        .nest("/ops", dashboard::router(api.clone()))
        .route("/ops/", get(|| async { Redirect::permanent("/ops") }))
        .fallback(unknown_route)
        .layer(from_fn(harden))
        .layer(from_fn_with_state(api.clone(), observe))
        .with_state(api);
    (router, Writers { ingest, audit })
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
