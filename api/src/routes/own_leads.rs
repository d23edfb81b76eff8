//! An agency's own leads: see them, take them, turn them down.

use super::views::LeadView;
use crate::auth::{Caller, LeadsRespond, OwnLeadsRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiJson, ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use switchyard_catalog::line;
use switchyard_domain::{LeadId, LeadState};
use switchyard_store::distribution::{Answer as Response, RespondFault};
use switchyard_store::leads;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(accept))
        .routes(routes!(reject))
}

/// Which leads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only leads in this state: `assigned` (offered to you) or `accepted`.
    #[param(value_type = Option<String>, example = "assigned")]
    state: Option<LeadState>,
}

/// List your leads
#[utoipa::path(get, path = "/api/mobile/leads", tag = "agency", operation_id = "own_leads",
    params(Filter, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<LeadView>>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller<OwnLeadsRead>,
    ApiQuery(filter): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<LeadView>> {
    let mut tx = api.db.begin(caller.scope()).await?;
    let before = paging.cursor.map(LeadId);
    let rows = leads::list_for_agency(&mut tx, filter.state, before, paging.rows()?).await?;
    paged("leads", paging, rows, |l| l.id.0, LeadView::for_agency)
}

/// See one of your leads
#[utoipa::path(get, path = "/api/mobile/leads/{id}", tag = "agency", operation_id = "own_lead",
    params(("id" = Uuid, Path, description = "The lead")),
    responses(
        (status = 200, description = "The lead.", body = Envelope<LeadView>),
        (status = 404, description = "It is not offered to you.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    caller: Caller<OwnLeadsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<LeadView> {
    let mut tx = api.db.begin(caller.scope()).await?;
    let lead = leads::get_for_agency(&mut tx, LeadId(id)).await?;
    Ok(Reply::ok("lead", LeadView::for_agency(lead)))
}

/// What became of an offer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Responded {
    lead_id: Uuid,
    /// `accepted` or `rejected`.
    #[schema(example = "accepted")]
    answer: &'static str,
}

/// Take a lead that was offered to you
///
/// The same answer twice is fine.
#[utoipa::path(put, path = "/api/mobile/leads/{id}/accept", tag = "agency",
    operation_id = "lead_accept", params(("id" = Uuid, Path, description = "The lead")),
    responses(
        (status = 200, description = "It is yours.", body = Envelope<Responded>),
        (status = 404, description = "It is not offered to you.", body = ErrorEnvelope),
        (status = 409, description = "You turned it down before.", body = ErrorEnvelope)))]
async fn accept(
    State(api): State<Api>,
    caller: Caller<LeadsRespond>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<Responded> {
    respond(&api, &caller, &context, id, Response::Accept).await?;
    Ok(Reply::ok("the lead is yours", Responded { lead_id: id, answer: "accepted" }))
}

/// Why a lead is turned down.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rejection {
    /// At most 1,000 characters.
    #[schema(example = "outside our area")]
    note: Option<String>,
}

/// Turn down a lead that was offered to you
///
/// It goes to the next agency and is never offered to you again. The same answer twice is fine.
#[utoipa::path(put, path = "/api/mobile/leads/{id}/reject", tag = "agency",
    operation_id = "lead_reject", params(("id" = Uuid, Path, description = "The lead")),
    request_body(content = Option<Rejection>, description = "May be left out."),
    responses(
        (status = 200, description = "It goes to the next agency.", body = Envelope<Responded>),
        (status = 404, description = "It is not offered to you.", body = ErrorEnvelope),
        (status = 409, description = "You took it before.", body = ErrorEnvelope)))]
async fn reject(
    State(api): State<Api>,
    caller: Caller<LeadsRespond>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
    body: Option<ApiJson<Rejection>>,
) -> Answer<Responded> {
    let note = body.and_then(|ApiJson(r)| r.note);
    if note.as_ref().is_some_and(|n| n.chars().count() > 1_000) {
        return Err(ApiError::unprocessable("note_too_long", "`note` has up to 1,000 characters"));
    }
    // A text column holds no NUL.
    let note = note.map(|n| n.replace('\0', ""));
    respond(&api, &caller, &context, id, Response::Reject { note }).await?;
    Ok(Reply::ok("the lead goes to the next agency", Responded { lead_id: id, answer: "rejected" }))
}

async fn respond(
    api: &Api,
    caller: &Caller<LeadsRespond>,
    context: &RequestContext,
    id: Uuid,
    answer: Response,
) -> Result<(), ApiError> {
    let mut tx = api.db.begin(caller.scope()).await?;
    line::respond(&mut tx, LeadId(id), &answer, &context.as_cause()).await?;
    Ok(tx.commit().await?)
}

impl From<RespondFault> for ApiError {
    fn from(fault: RespondFault) -> Self {
        match fault {
            RespondFault::Conflict(_) => Self::conflict("already_answered", fault.to_string()),
            RespondFault::Store(fault) => fault.into(),
        }
    }
}
