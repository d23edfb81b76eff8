//! Shapes that more than one resource answers with.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_domain::FieldFault;
use switchyard_store::leads::Lead;
use utoipa::ToSchema;
use uuid::Uuid;

/// One thing that is wrong with one field.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FaultView {
    /// The field, or a JSON pointer into the settings.
    #[schema(example = "email")]
    field: String,
    /// A stable word for programs.
    #[schema(example = "invalid_email")]
    code: String,
    /// What is wrong and what to do.
    #[schema(example = "The e-mail address has no `@` between name and domain.")]
    message: String,
}

impl From<FieldFault> for FaultView {
    fn from(f: FieldFault) -> Self {
        Self { field: f.field, code: f.code, message: f.message }
    }
}

/// A lead. What the person did not say is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LeadView {
    id: Uuid,
    /// `new`, `assigned` (offered), `accepted`, `unassigned`, `pending` (being fetched), or `duplicate`
    /// (fetched; the person asked before).
    #[schema(example = "assigned")]
    state: String,
    portal_id: Uuid,
    event_id: Uuid,
    /// Who holds it now.
    agency_id: Option<Uuid>,
    /// Who of the agency works on it.
    agent_id: Option<Uuid>,
    /// The sender's own id of the lead.
    #[schema(example = "a-1")]
    external_id: Option<String>,
    #[schema(example = "Jan")]
    first_name: Option<String>,
    #[schema(example = "Kowalski")]
    last_name: Option<String>,
    company: Option<String>,
    #[schema(example = "jan.kowalski@example.com")]
    email: Option<String>,
    /// E.164.
    #[schema(example = "+48501234567")]
    phone: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "PL")]
    country: Option<String>,
    #[schema(example = "00-950")]
    postal_code: Option<String>,
    #[schema(example = "Warszawa")]
    city: Option<String>,
    /// What was asked for.
    #[schema(example = "2-room flat")]
    interest: Option<String>,
    #[schema(example = "When can I see it?")]
    message: Option<String>,
    /// In units of the currency, as exact as it was sent.
    #[schema(example = "650000.00")]
    budget: Option<String>,
    /// ISO 4217.
    #[schema(example = "PLN")]
    currency: Option<String>,
    source: Option<String>,
    /// Consent to processing; `null`: was not asked.
    privacy_consent: Option<bool>,
    /// Consent to marketing; `null`: was not asked.
    marketing_consent: Option<bool>,
    utm: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<Object>)]
    campaign: Option<Value>,
    #[schema(value_type = Option<Object>)]
    custom: Option<Value>,
    /// Classes of things that were mended or dropped on the way in.
    warnings: Vec<String>,
    /// The sender marked it as a test.
    is_test: bool,
    submitted_at: Option<DateTime<Utc>>,
    /// Its place among the leads of its event, from 0.
    ordinal: i32,
    /// The first lead of the same person, where the portal looks for that.
    duplicate_of: Option<Uuid>,
    /// Why the rest of it could not be fetched.
    fetch_error: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl LeadView {
    /// What an agency may know: nothing of other agencies' leads.
    pub(super) fn for_agency(lead: Lead) -> Self {
        Self { duplicate_of: None, fetch_error: None, ..lead.into() }
    }
}

impl From<Lead> for LeadView {
    fn from(lead: Lead) -> Self {
        let d = lead.data;
        Self {
            id: lead.id.0,
            state: lead.state.to_string(),
            portal_id: lead.portal.0,
            event_id: lead.event.0,
            agency_id: lead.agency.map(|a| a.0),
            agent_id: lead.agent.map(|a| a.0),
            external_id: d.external_id,
            first_name: d.first_name,
            last_name: d.last_name,
            company: d.company,
            email: d.email,
            phone: d.phone,
            country: d.country,
            postal_code: d.postal_code,
            city: d.city,
            interest: d.interest,
            message: d.message,
            budget: d.budget.map(|b| b.to_string()),
            currency: d.currency,
            source: d.source,
            privacy_consent: d.consent.as_ref().and_then(|c| c.privacy),
            marketing_consent: d.consent.as_ref().and_then(|c| c.marketing),
            utm: d.utm,
            campaign: d.campaign.map(Value::Object),
            custom: d.custom.map(Value::Object),
            warnings: d.warnings,
            is_test: d.is_test,
            submitted_at: d.submitted_at,
            ordinal: lead.ordinal,
            duplicate_of: lead.duplicate_of.map(|l| l.0),
            fetch_error: lead.fetch_error,
            created_at: lead.created_at,
            updated_at: lead.updated_at,
        }
    }
}
