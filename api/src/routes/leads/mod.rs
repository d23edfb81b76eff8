//! Leads as people work on them: an agency on its own, operators on all. They are entered by hand,
//! looked at, mended and counted here; `work` has notes, reminders and sales.

mod analytics;
mod views;
mod work;

use super::events::portal_id;
use super::once::Once;
use super::views::LeadView;
use crate::auth::{Caller, Claims, LeadWorkManage, LeadWorkRead, Role};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyKey, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use switchyard_catalog::lead_work::{self, Actor, Entered, WorkFault};
use switchyard_domain::{AgencyId, AgentId, LeadId, LeadState};
use switchyard_store::Scope;
use switchyard_store::leads::{self, FollowUp, LeadFilter, Note, Sale};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use views::{EnteredView, LeadChange, LeadDetailView, LeadEntry};

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(show, change))
        .merge(analytics::routes())
        .merge(work::routes())
}

/// Who does it, for the record.
fn actor(claims: &Claims) -> Actor {
    let role = match claims.role {
        Role::Admin => "admin",
        Role::Agency => "agency",
    };
    Actor { agency: claims.agency, name: format!("{role}:{}", claims.sub) }
}

impl From<WorkFault> for ApiError {
    fn from(fault: WorkFault) -> Self {
        let message = fault.to_string();
        match fault {
            WorkFault::Fields(faults) => {
                Self::unprocessable("invalid_lead", message).details(json!({ "fields": faults }))
            }
            WorkFault::NotHeld => Self::conflict("lead_not_held", message),
            WorkFault::NotAccepted(_) => Self::conflict("lead_not_accepted", message),
            WorkFault::NotItsAgent(_) => Self::unprocessable("not_its_agent", message),
            WorkFault::Amount => Self::unprocessable("invalid_deal", message),
            WorkFault::NoAgent => Self::unprocessable("agent_missing", message),
            WorkFault::Commission(fault) => Self::internal(fault),
            WorkFault::SoldOtherwise(_) => Self::conflict("already_converted", message),
            WorkFault::Store(fault) => fault.into(),
        }
    }
}

/// Enter a lead by hand
///
/// It is checked and written like a portal's lead and belongs to the portal `by-hand`. An agency keeps
/// what it enters: the lead is `accepted` at once and takes nobody's turn. What an operator enters is
/// offered to the agency whose turn it is. With an `Idempotency-Key` the same request again (within a
/// day) makes no second lead.
#[utoipa::path(post, path = "/api/v1/leads/create", tag = "leads", operation_id = "lead_create",
    params(IdempotencyKey), request_body = LeadEntry,
    responses(
        (status = 200, description = "It was entered before, or the person's first lead stands for \
            it (see `duplicates` in the settings of the portal `by-hand`).",
            body = Envelope<EnteredView>),
        (status = 201, description = "Entered: your own, or an agency is being found.",
            body = Envelope<EnteredView>),
        (status = 422, description = "`error.details.fields` says what is wrong with which field.",
            body = ErrorEnvelope)))]
async fn create(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    context: RequestContext,
    key: IdempotencyKey,
    ApiJson(entry): ApiJson<LeadEntry>,
) -> Answer<EnteredView> {
    let fields = json!(entry);
    let once = Once::of(&api, &caller.claims, key, "leads.create", &fields);
    // The portal and its events are the platform's, whoever enters the lead.
    let mut tx = api.db.begin(Scope::Platform).await?;
    if let Some(id) = once.earlier(&mut tx).await? {
        return Ok(Reply::ok("entered already", EnteredView::again(id)));
    }
    let by = actor(&caller.claims);
    let entered = lead_work::enter(&mut tx, &fields, &by, &context.as_cause()).await?;
    let (Entered::New(id) | Entered::Known(id)) = entered;
    once.answered(&mut tx, id.0).await?;
    tx.commit().await?;
    Ok(match entered {
        Entered::New(_) => Reply::created("entered", EnteredView::new(id.0)),
        // Whose lead that is, is nobody's business but the operators'.
        Entered::Known(_) if by.agency.is_some() => {
            Reply::ok("this person asked before", EnteredView::known(None))
        }
        Entered::Known(_) => Reply::ok("this person asked before", EnteredView::known(Some(id.0))),
    })
}

/// Which leads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only leads in this state.
    #[param(value_type = Option<String>, example = "accepted")]
    state: Option<LeadState>,
    /// Operators: only leads of this portal, by code.
    #[param(example = "demo")]
    portal: Option<String>,
    /// Operators: only leads that this agency holds.
    agency: Option<Uuid>,
}

/// List leads
///
/// An agency gets those that are offered to it or that it took.
#[utoipa::path(get, path = "/api/v1/leads/list", tag = "leads", operation_id = "lead_list",
    params(Filter, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<LeadView>>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller<LeadWorkRead>,
    ApiQuery(filter): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<LeadView>> {
    let mut tx = api.db.begin(caller.scope()).await?;
    let (before, limit) = (paging.cursor.map(LeadId), paging.rows()?);
    if caller.claims.agency.is_some() {
        if filter.portal.is_some() || filter.agency.is_some() {
            let message = "`portal` and `agency` are for operators; leave them out";
            return Err(ApiError::bad_request("invalid_query", message));
        }
        let rows = leads::list_for_agency(&mut tx, filter.state, before, limit).await?;
        return paged("leads", paging, rows, |l| l.id.0, LeadView::for_agency);
    }
    let filter = LeadFilter {
        state: filter.state,
        portal: portal_id(&mut tx, filter.portal.as_deref()).await?,
        agency: filter.agency.map(AgencyId),
        before,
        limit,
        ..LeadFilter::default()
    };
    let rows = leads::list(&mut tx, &filter).await?;
    paged("leads", paging, rows, |l| l.id.0, LeadView::from)
}

/// See one lead with everything that was done about it
#[utoipa::path(get, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "lead_show",
    params(("id" = Uuid, Path, description = "The lead")),
    responses(
        (status = 200, description = "The lead.", body = Envelope<LeadDetailView>),
        (status = 404, description = "There is none, or it is not yours.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    caller: Caller<LeadWorkRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<LeadDetailView> {
    let mut tx = api.db.begin(caller.scope()).await?;
    let lead = lead_work::seen(&mut tx, LeadId(id), &actor(&caller.claims)).await?;
    let notes = Note::of_lead(&mut tx, lead.id).await?;
    let follow_ups = FollowUp::of_lead(&mut tx, lead.id).await?;
    let sale = Sale::of_lead(&mut tx, lead.id).await?;
    let lead = match caller.claims.agency {
        Some(_) => LeadView::for_agency(lead),
        None => lead.into(),
    };
    Ok(Reply::ok("lead", LeadDetailView::new(lead, notes, follow_ups, sale)))
}

/// Change what a lead says, or who works on it
///
/// What is left out stays as it is; what is `null` is removed. A lead that nobody could get is given
/// out anew.
#[utoipa::path(put, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "lead_change",
    params(("id" = Uuid, Path, description = "The lead")), request_body = LeadChange,
    responses(
        (status = 200, description = "Changed.", body = Envelope<LeadView>),
        (status = 404, description = "There is none, or it is not yours.", body = ErrorEnvelope),
        (status = 422, description = "`error.details.fields` says what is wrong with which field; \
            or the agent is not of the lead's agency.", body = ErrorEnvelope)))]
async fn change(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(LeadChange(mut changes)): ApiJson<LeadChange>,
) -> Answer<LeadView> {
    let (id, by) = (LeadId(id), actor(&caller.claims));
    let agent = views::agent_of(&mut changes)?;
    views::check_names(&changes)?;
    let mut tx = api.db.begin(caller.scope()).await?;
    if let Some(agent) = agent {
        lead_work::hand_to(&mut tx, id, agent.map(AgentId), &by).await?;
    }
    let lead = if changes.is_empty() {
        lead_work::seen(&mut tx, id, &by).await?
    } else {
        lead_work::revise(&mut tx, id, &changes, &by, &context.as_cause()).await?
    };
    tx.commit().await?;
    let view = if by.agency.is_some() { LeadView::for_agency(lead) } else { lead.into() };
    Ok(Reply::ok("changed", view))
}
