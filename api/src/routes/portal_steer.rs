//! The versions of portals' settings, and going back to earlier ones.

use crate::auth::{Caller, PortalsManage, PortalsRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_store::portals::{self, Portal, PortalVersion};
use switchyard_store::{Scope, StoreFault, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(versions)).routes(routes!(rollback))
}

/// One version of a portal's settings.
#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    version: i32,
    #[schema(value_type = Object)]
    settings: Value,
    /// `cli:ada`, `admin:<id>`, or the database's login.
    changed_by: String,
    changed_at: DateTime<Utc>,
}

impl From<PortalVersion> for VersionView {
    fn from(v: PortalVersion) -> Self {
        let PortalVersion { version, settings, changed_by, changed_at } = v;
        Self { version, settings, changed_by, changed_at }
    }
}

/// Which version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    #[schema(example = 1)]
    version: i32,
}

/// The version in force.
#[derive(Debug, Serialize, ToSchema)]
struct RollbackView {
    #[schema(example = "demo")]
    code: String,
    version: i32,
    /// `false`: its settings were in force already.
    changed: bool,
}

async fn named(tx: &mut Tx, code: &str) -> Result<Portal, ApiError> {
    Ok(portals::by_code(tx, code).await?.ok_or(StoreFault::NotFound)?)
}

/// List the versions of a portal's settings
#[utoipa::path(get, path = "/api/admin/portals/{code}/versions", tag = "line",
    operation_id = "portal_versions", params(("code" = String, Path, example = "demo", description = "The portal")),
    responses(
        (status = 200, description = "The newest first.", body = Envelope<Vec<VersionView>>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn versions(
    State(api): State<Api>,
    _: Caller<PortalsRead>,
    ApiPath(code): ApiPath<String>,
) -> Answer<Vec<VersionView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = named(&mut tx, &code).await?;
    let all = portals::versions(&mut tx, portal.id).await?;
    Ok(Reply::ok("versions", all.into_iter().map(VersionView::from).collect()))
}

/// Put earlier settings in force again
///
/// As a new version: nothing that judged an event is ever rewritten.
#[utoipa::path(post, path = "/api/admin/portals/{code}/rollback", tag = "line",
    operation_id = "portal_rollback", params(("code" = String, Path, example = "demo", description = "The portal")),
    request_body = RollbackRequest,
    responses(
        (status = 200, description = "They are in force.", body = Envelope<RollbackView>),
        (status = 404, description = "There is no such portal or version.", body = ErrorEnvelope)))]
async fn rollback(
    State(api): State<Api>,
    caller: Caller<PortalsManage>,
    ApiPath(code): ApiPath<String>,
    ApiJson(request): ApiJson<RollbackRequest>,
) -> Answer<RollbackView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = named(&mut tx, &code).await?;
    portals::acting(&mut tx, &format!("admin:{}", caller.claims.sub)).await?;
    let version = portals::rollback(&mut tx, portal.id, request.version).await?;
    tx.commit().await?;
    api.portals.forget(&code).await;
    let changed = version != portal.version;
    Ok(Reply::ok("in force", RollbackView { code, version, changed }))
}
