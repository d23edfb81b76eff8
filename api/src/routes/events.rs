//! Webhook events for operators: see them, run a rejected one again.

use super::views::FaultView;
use crate::auth::{Caller, EventsRead, EventsRerun};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_catalog::line;
use switchyard_domain::{EventId, PortalId};
use switchyard_store::events::{self, Event, EventFilter, EventState, RerunFault};
use switchyard_store::{Scope, StoreFault, Tx, portals};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(rerun))
}

/// A delivery that was accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    id: Uuid,
    portal_id: Uuid,
    #[schema(example = "demo")]
    portal: String,
    received_at: DateTime<Utc>,
    /// `received` (not judged yet), `processed` (became leads, or repeats one), `rejected`, `ignored`
    /// or `held` (its portal is paused).
    #[schema(example = "rejected")]
    state: String,
    /// Why it, or some of its leads, are none.
    reasons: Vec<FaultView>,
    /// Version of the portal's settings that judged it.
    portal_version: Option<i32>,
    processed_at: Option<DateTime<Utc>>,
    lead_id: Option<Uuid>,
    remote_addr: Option<String>,
    request_id: Option<String>,
    body_bytes: i32,
}

impl From<Event> for EventView {
    fn from(e: Event) -> Self {
        Self {
            id: e.id.0,
            portal_id: e.portal.0,
            portal: e.portal_code,
            received_at: e.received_at,
            state: e.state.to_string(),
            reasons: e.reasons.into_iter().map(FaultView::from).collect(),
            portal_version: e.portal_version,
            processed_at: e.processed_at,
            lead_id: e.lead.map(|l| l.0),
            remote_addr: e.remote_addr,
            request_id: e.request_id,
            body_bytes: e.body_bytes,
        }
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only events of this portal, by code.
    #[param(example = "demo")]
    portal: Option<String>,
    /// Only events in this state.
    #[param(value_type = Option<String>, example = "rejected")]
    state: Option<EventState>,
}

/// List events
#[utoipa::path(get, path = "/api/admin/events", tag = "line", operation_id = "events",
    params(Filter, Paging),
    responses(
        (status = 200, description = "A page, newest first.", body = Envelope<Page<EventView>>),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope)))]
async fn list(
    State(api): State<Api>,
    _: Caller<EventsRead>,
    ApiQuery(filter): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<EventView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = portal_id(&mut tx, filter.portal.as_deref()).await?;
    let before = paging.cursor.map(EventId);
    let (state, limit) = (filter.state, paging.rows()?);
    let filter = EventFilter { portal, state, before, limit, ..EventFilter::default() };
    let rows = events::list(&mut tx, &filter).await?;
    paged("events", paging, rows, |e| e.id.0, EventView::from)
}

/// The id of a portal that is named by its code.
pub(super) async fn portal_id(
    tx: &mut Tx,
    code: Option<&str>,
) -> Result<Option<PortalId>, ApiError> {
    let Some(code) = code else { return Ok(None) };
    let portal = portals::by_code(tx, code).await?.ok_or(StoreFault::NotFound)?;
    Ok(Some(portal.id))
}

/// An event with what was sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventDetailView {
    event: EventView,
    /// Without credentials.
    #[schema(value_type = Object)]
    headers: Value,
    /// As it came.
    #[schema(value_type = Object)]
    body: Value,
}

/// See one event with its headers and body
#[utoipa::path(get, path = "/api/admin/events/{id}", tag = "line", operation_id = "event",
    params(("id" = Uuid, Path, description = "The event")),
    responses(
        (status = 200, description = "The event.", body = Envelope<EventDetailView>),
        (status = 404, description = "There is no such event.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<EventsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<EventDetailView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (event, headers, body) = events::get(&mut tx, EventId(id)).await?;
    // What was accepted is JSON; should it ever not be, it is shown as text.
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Ok(Reply::ok("event", EventDetailView { event: event.into(), headers, body }))
}

/// Run a rejected event again
///
/// By the portal's settings of today: mend the mapping first.
#[utoipa::path(post, path = "/api/admin/events/{id}/rerun", tag = "line",
    operation_id = "event_rerun", params(("id" = Uuid, Path, description = "The event")),
    responses(
        (status = 202, description = "It is judged anew.", body = Envelope<EventView>),
        (status = 404, description = "There is no such event.", body = ErrorEnvelope),
        (status = 409, description = "It is not rejected.", body = ErrorEnvelope)))]
async fn rerun(
    State(api): State<Api>,
    _: Caller<EventsRerun>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<EventView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    line::rerun(&mut tx, EventId(id), &context.as_cause()).await?;
    let (event, ..) = events::get(&mut tx, EventId(id)).await?;
    tx.commit().await?;
    Ok(Reply::ok("it is judged anew", event.into()).status(StatusCode::ACCEPTED))
}

impl From<RerunFault> for ApiError {
    fn from(fault: RerunFault) -> Self {
        match fault {
            RerunFault::NotRejected(_) => Self::conflict("not_rejected", fault.to_string()),
            RerunFault::Store(fault) => fault.into(),
        }
    }
}
