//! Leads and messages for operators.

use super::events::portal_id;
use super::views::LeadView;
use crate::auth::{Caller, LeadsRead, MessagesRead};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiQuery, Paging, paged};
use crate::{Answer, Api};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_domain::{AgencyId, LeadId, LeadState, MessageId};
use switchyard_store::Scope;
use switchyard_store::leads::{self, LeadFilter};
use switchyard_store::messages::{self, Channel, Message, MessageFilter, MessageState};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(leads_list)).routes(routes!(messages_list))
}

/// Which leads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LeadQuery {
    /// Only leads in this state.
    #[param(value_type = Option<String>, example = "unassigned")]
    state: Option<LeadState>,
    /// Only leads of this portal, by code.
    #[param(example = "demo")]
    portal: Option<String>,
    /// Only leads that this agency holds.
    agency: Option<Uuid>,
}

/// List leads
#[utoipa::path(get, path = "/api/admin/leads", tag = "line", operation_id = "leads",
    params(LeadQuery, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<LeadView>>)))]
async fn leads_list(
    State(api): State<Api>,
    _: Caller<LeadsRead>,
    ApiQuery(query): ApiQuery<LeadQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<LeadView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let filter = LeadFilter {
        state: query.state,
        portal: portal_id(&mut tx, query.portal.as_deref()).await?,
        agency: query.agency.map(AgencyId),
        before: paging.cursor.map(LeadId),
        limit: paging.rows()?,
        ..LeadFilter::default()
    };
    let rows = leads::list(&mut tx, &filter).await?;
    paged("leads", paging, rows, |l| l.id.0, LeadView::from)
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MessageQuery {
    /// Only messages about this lead.
    lead: Option<Uuid>,
    /// `queued`, `sent`, `failed` or `unknown`.
    #[param(value_type = Option<String>, example = "failed")]
    state: Option<MessageState>,
    /// `email` or `whatsapp`.
    #[param(value_type = Option<String>, example = "email")]
    channel: Option<Channel>,
}

/// A message to an agency.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    id: Uuid,
    agency_id: Uuid,
    lead_id: Uuid,
    /// Who is told; `null`: the agency itself.
    agent_id: Option<Uuid>,
    #[schema(example = "email")]
    channel: String,
    #[schema(example = "biuro@nowak.example")]
    recipient: String,
    subject: Option<String>,
    body_text: String,
    body_html: Option<String>,
    /// `queued`, `sent`, `failed`, or `unknown` (it may have been sent: the answer was lost).
    #[schema(example = "sent")]
    state: String,
    provider: Option<String>,
    provider_id: Option<String>,
    error: Option<String>,
    attempts: i32,
    created_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
}

impl From<Message> for MessageView {
    fn from(m: Message) -> Self {
        Self {
            id: m.id.0,
            agency_id: m.agency.0,
            lead_id: m.lead.0,
            agent_id: m.agent.map(|a| a.0),
            channel: m.channel.to_string(),
            recipient: m.recipient,
            subject: m.subject,
            body_text: m.body_text,
            body_html: m.body_html,
            state: m.state.to_string(),
            provider: m.provider,
            provider_id: m.provider_id,
            error: m.error,
            attempts: m.attempts,
            created_at: m.created_at,
            sent_at: m.sent_at,
        }
    }
}

/// List messages
#[utoipa::path(get, path = "/api/admin/messages", tag = "line", operation_id = "messages",
    params(MessageQuery, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<MessageView>>)))]
async fn messages_list(
    State(api): State<Api>,
    _: Caller<MessagesRead>,
    ApiQuery(query): ApiQuery<MessageQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<MessageView>> {
    let filter = MessageFilter {
        lead: query.lead.map(LeadId),
        state: query.state,
        channel: query.channel,
        before: paging.cursor.map(MessageId),
        limit: paging.rows()?,
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let rows = messages::list(&mut tx, &filter).await?;
    paged("messages", paging, rows, |m| m.id.0, MessageView::from)
}
