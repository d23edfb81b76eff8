//! What operators do at a portal's door: hold it, let it go, see what was refused.

use super::portals::PortalView;
use crate::auth::{Caller, PortalsManage, PortalsRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use switchyard_catalog::line;
use switchyard_domain::PortalId;
use switchyard_store::refusals::{self, Circuit, Refusal};
use switchyard_store::{Scope, Tx, portals};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(list))
        .routes(routes!(circuit))
}

async fn portal_of(tx: &mut Tx, code: &str) -> Result<PortalId, ApiError> {
    let portal = portals::by_code(tx, code).await?;
    portal.map(|p| p.id).ok_or_else(|| ApiError::not_found("there is no portal with this code"))
}

/// Hold a portal's deliveries
///
/// They are taken and answered as always, but not judged until the portal goes on.
#[utoipa::path(post, path = "/api/admin/portals/{code}/pause", tag = "line",
    operation_id = "portal_pause",
    params(("code" = String, Path, description = "The portal", example = "demo")),
    responses(
        (status = 200, description = "Held from now on, or already.", body = Envelope<PortalView>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn pause(
    State(api): State<Api>,
    _: Caller<PortalsManage>,
    ApiPath(code): ApiPath<String>,
) -> Answer<PortalView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let id = portal_of(&mut tx, &code).await?;
    let new = line::pause(&mut tx, id).await?;
    let view = PortalView::from(portals::get(&mut tx, id).await?);
    tx.commit().await?;
    Ok(Reply::ok(if new { "paused" } else { "was paused before" }, view))
}

/// Let a portal's deliveries go
///
/// What was held is judged in the order in which it came, in the background.
#[utoipa::path(post, path = "/api/admin/portals/{code}/resume", tag = "line",
    operation_id = "portal_resume",
    params(("code" = String, Path, description = "The portal", example = "demo")),
    responses(
        (status = 200, description = "Goes on, or did not stop.", body = Envelope<PortalView>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn resume(
    State(api): State<Api>,
    _: Caller<PortalsManage>,
    context: RequestContext,
    ApiPath(code): ApiPath<String>,
) -> Answer<PortalView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let id = portal_of(&mut tx, &code).await?;
    let held = line::resume(&mut tx, id, &context.as_cause()).await?;
    let view = PortalView::from(portals::get(&mut tx, id).await?);
    tx.commit().await?;
    Ok(Reply::ok(if held { "resumed" } else { "was not paused" }, view))
}

/// A refused request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RefusalView {
    id: Uuid,
    at: DateTime<Utc>,
    /// Who sent it.
    #[schema(example = "203.0.113.7")]
    address: String,
    #[schema(example = "POST")]
    method: String,
    #[schema(example = 401)]
    status: u16,
    #[schema(example = "signature_mismatch")]
    code: String,
    /// The sentence that its sender got.
    message: String,
    request_id: Option<String>,
    /// Without credentials.
    #[schema(value_type = Object)]
    headers: Value,
    /// The first 2 KiB of the body as text, where they are text.
    body: Option<String>,
    /// The same in base64, where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// How long the body was; `null` if it was not read.
    body_bytes: Option<i64>,
}

impl From<Refusal> for RefusalView {
    fn from(r: Refusal) -> Self {
        let request = r.request;
        let (body, body_base64) = match request.body.map(String::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(e)) => (None, Some(BASE64_STANDARD.encode(e.into_bytes()))),
        };
        Self {
            id: r.id,
            at: r.at,
            address: request.address,
            method: request.method,
            status: request.status,
            code: request.code,
            message: request.message,
            request_id: request.request_id,
            headers: request.headers,
            body,
            body_base64,
            body_bytes: request.body_bytes,
        }
    }
}

/// List what was refused at a portal's door
///
/// Samples: beyond one a second only the counts rise. Kept for 30 days.
#[utoipa::path(get, path = "/api/admin/portals/{code}/refusals", tag = "line",
    operation_id = "portal_refusals",
    params(("code" = String, Path, description = "The portal", example = "demo"), Paging),
    responses(
        (status = 200, description = "A page, newest first.", body = Envelope<Page<RefusalView>>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn list(
    State(api): State<Api>,
    _: Caller<PortalsRead>,
    ApiPath(code): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<RefusalView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let id = portal_of(&mut tx, &code).await?;
    let rows = refusals::list(&mut tx, id, paging.cursor, paging.rows()?).await?;
    paged("refusals", paging, rows, |r| r.id, RefusalView::from)
}

/// The last hour at a portal's door.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CircuitView {
    /// Deliveries taken, repeated ones among them.
    taken: i64,
    /// Requests refused.
    refused: i64,
    /// The share that was refused, 0 to 1; `null` if nothing came.
    #[schema(example = 0.02)]
    error_rate: Option<f64>,
    /// Refusals by code, the most frequent first.
    codes: Vec<CodeCount>,
}

/// How often one code was answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CodeCount {
    #[schema(example = "signature_mismatch")]
    code: String,
    n: i64,
}

impl From<Option<Circuit>> for CircuitView {
    fn from(circuit: Option<Circuit>) -> Self {
        let error_rate = circuit.as_ref().and_then(Circuit::error_rate);
        let (taken, refused, codes) =
            circuit.map_or((0, 0, Vec::new()), |c| (c.taken, c.refused, c.codes));
        let codes = codes.into_iter().map(|(code, n)| CodeCount { code, n }).collect();
        Self { taken, refused, error_rate, codes }
    }
}

/// See the last hour at a portal's door
#[utoipa::path(get, path = "/api/admin/portals/{code}/circuit", tag = "line",
    operation_id = "portal_circuit",
    params(("code" = String, Path, description = "The portal", example = "demo")),
    responses(
        (status = 200, description = "What came and what was refused.",
            body = Envelope<CircuitView>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn circuit(
    State(api): State<Api>,
    _: Caller<PortalsRead>,
    ApiPath(code): ApiPath<String>,
) -> Answer<CircuitView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let id = portal_of(&mut tx, &code).await?;
    let found = refusals::circuits(&mut tx, Some(id)).await?;
    Ok(Reply::ok("the last hour", CircuitView::from(found.into_iter().next())))
}
