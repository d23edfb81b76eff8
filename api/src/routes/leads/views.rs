//! What is sent and answered about leads.

use super::LeadView;
use crate::ApiError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use switchyard_store::leads::{FollowUp, Note, Sale};
use utoipa::ToSchema;
use uuid::Uuid;

/// A lead that somebody enters. It needs an e-mail address or a phone number.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LeadEntry {
    #[schema(example = "Jan")]
    first_name: Option<String>,
    #[schema(example = "Kowalski")]
    last_name: Option<String>,
    company: Option<String>,
    #[schema(example = "jan.kowalski@example.com")]
    email: Option<String>,
    /// As people write it; with a `country` the national form will do.
    #[schema(example = "+48501234567")]
    phone: Option<String>,
    /// ISO 3166-1 alpha-2, or a name.
    #[schema(example = "PL")]
    country: Option<String>,
    #[schema(example = "00-950")]
    postal_code: Option<String>,
    #[schema(example = "Warszawa")]
    city: Option<String>,
    /// What is asked for.
    #[schema(example = "2-room flat")]
    interest: Option<String>,
    #[schema(example = "When can I see it?")]
    message: Option<String>,
    /// In units of the currency, as a decimal number in a string.
    #[schema(example = "650000.00")]
    budget: Option<String>,
    /// ISO 4217.
    #[schema(example = "PLN")]
    currency: Option<String>,
    /// Where the lead came from, in your words.
    #[schema(example = "trade fair")]
    source: Option<String>,
    /// Whether the person agreed to the processing of the data.
    privacy_consent: Option<bool>,
    /// Whether the person agreed to marketing messages.
    marketing_consent: Option<bool>,
    /// A test: agents are told so, and it counts nowhere.
    is_test: bool,
}

/// What is to change: the members of a new lead, and `agent_id`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(value_type = Object, example = json!({ "phone": "+48501234567", "agent_id": null }))]
pub(crate) struct LeadChange(pub(super) Map<String, Value>);

/// Takes `agent_id` out of the changes. `Some(None)`: nobody works on it from now on.
pub(super) fn agent_of(changes: &mut Map<String, Value>) -> Result<Option<Option<Uuid>>, ApiError> {
    let Some(agent) = changes.remove("agent_id") else { return Ok(None) };
    serde_json::from_value(agent).map(Some).map_err(|_| {
        ApiError::unprocessable("invalid_body", "`agent_id` is the id of an agent, or null")
    })
}

/// Refuses members that a lead does not have, and values that it cannot have.
pub(super) fn check_names(changes: &Map<String, Value>) -> Result<(), ApiError> {
    // A null is no boolean to the entry; here it removes what stands.
    let given = changes.iter().filter(|(name, v)| !(v.is_null() && *name == "is_test"));
    let given: Map<String, Value> = given.map(|(n, v)| (n.clone(), v.clone())).collect();
    match serde_json::from_value::<LeadEntry>(Value::Object(given)) {
        Ok(_) => Ok(()),
        Err(e) => Err(ApiError::unprocessable("invalid_body", e.to_string())),
    }
}

/// What became of a lead that was entered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EnteredView {
    /// The lead; `null` if another agency's lead stands for it.
    id: Option<Uuid>,
    /// `created`, `repeated` (by its idempotency key) or `known` (the person asked before).
    #[schema(example = "created")]
    outcome: &'static str,
}

impl EnteredView {
    pub(super) fn new(id: Uuid) -> Self {
        Self { id: Some(id), outcome: "created" }
    }

    pub(super) fn again(id: Uuid) -> Self {
        Self { id: Some(id), outcome: "repeated" }
    }

    pub(super) fn known(id: Option<Uuid>) -> Self {
        Self { id, outcome: "known" }
    }
}

/// A lead with what was done about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LeadDetailView {
    lead: LeadView,
    /// The oldest first. Agencies see their own only.
    notes: Vec<NoteView>,
    /// The oldest first.
    follow_ups: Vec<FollowUpView>,
    /// `null`: it was not sold.
    sale: Option<SaleView>,
}

impl LeadDetailView {
    pub(super) fn new(
        lead: LeadView,
        notes: Vec<Note>,
        follow_ups: Vec<FollowUp>,
        sale: Option<Sale>,
    ) -> Self {
        Self {
            lead,
            notes: notes.into_iter().map(NoteView::from).collect(),
            follow_ups: follow_ups.into_iter().map(FollowUpView::from).collect(),
            sale: sale.map(SaleView::from),
        }
    }
}

/// A note about a lead.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct NoteView {
    id: Uuid,
    /// `admin:<id>`, `agency:<id>` or `cli:<name>`.
    author: String,
    #[schema(example = "Prefers mornings.")]
    body: String,
    created_at: DateTime<Utc>,
}

impl From<Note> for NoteView {
    fn from(n: Note) -> Self {
        Self { id: n.id.0, author: n.author, body: n.body, created_at: n.created_at }
    }
}

/// A reminder about a lead.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FollowUpView {
    id: Uuid,
    /// Who is told; `null`: the agency.
    agent_id: Option<Uuid>,
    due_at: DateTime<Utc>,
    note: Option<String>,
    author: String,
    /// `planned`, `told` or `dropped`.
    #[schema(example = "planned")]
    state: String,
    /// Why it was dropped.
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<FollowUp> for FollowUpView {
    fn from(f: FollowUp) -> Self {
        Self {
            id: f.id.0,
            agent_id: f.agent.map(|a| a.0),
            due_at: f.due_at,
            note: f.note,
            author: f.author,
            state: f.state.to_string(),
            reason: f.reason,
            created_at: f.created_at,
        }
    }
}

/// The sale that a lead became.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SaleView {
    lead_id: Uuid,
    agency_id: Uuid,
    /// Who closed it.
    agent_id: Option<Uuid>,
    /// The conversion, by which its commission is booked.
    event_id: Uuid,
    /// The deal's value in minor units: cents, grosze.
    #[schema(example = 65_000_000)]
    amount_minor: i64,
    /// What the platform earns by it, in minor units.
    fee_minor: Option<i64>,
    /// ISO 4217.
    #[schema(example = "PLN")]
    currency: String,
    product: Option<String>,
    sold_at: DateTime<Utc>,
    recorded_by: String,
    recorded_at: DateTime<Utc>,
}

impl From<Sale> for SaleView {
    fn from(s: Sale) -> Self {
        Self {
            lead_id: s.lead.0,
            agency_id: s.agency.0,
            agent_id: s.agent.map(|a| a.0),
            event_id: s.event,
            amount_minor: s.amount_minor,
            fee_minor: s.fee_minor,
            currency: s.currency,
            product: s.product,
            sold_at: s.sold_at,
            recorded_by: s.recorded_by,
            recorded_at: s.recorded_at,
        }
    }
}
