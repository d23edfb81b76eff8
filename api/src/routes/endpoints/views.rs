//! What is said and asked about webhook endpoints.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use switchyard_catalog::outbound::Settings;
use switchyard_domain::OutboundMessageId;
use switchyard_domain::outbound::{EndpointSecret, webhook_id};
use switchyard_store::outbound::{Attempt, Delivery, DeliveryState, Endpoint, Health};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which endpoints.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EndpointQuery {
    /// Only endpoints of this agency. Agencies see their own only, in any case.
    pub(super) agency: Option<Uuid>,
    /// Only endpoints of the platform's partners.
    #[serde(default)]
    #[param(default = false)]
    pub(super) partners: bool,
}

/// What can be said of an endpoint at any time.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointBody {
    /// An `https:` address on the public internet.
    #[schema(example = "https://crm.nowak.example/hooks/switchyard")]
    pub(super) url: String,
    /// For people; up to 500 characters.
    #[serde(default)]
    #[schema(example = "CRM")]
    pub(super) description: String,
    /// Events, groups such as `lead.*`, or `*`.
    #[schema(example = json!(["lead.*", "message.failed"]))]
    pub(super) events: Vec<String>,
    /// Requests a second, 1 to 1,000; `null`: no limit.
    #[schema(example = 10, minimum = 1, maximum = 1000)]
    pub(super) rate: Option<i32>,
}

impl From<EndpointBody> for Settings {
    fn from(body: EndpointBody) -> Self {
        let EndpointBody { url, description, events, rate } = body;
        Self { url, description, events, rate }
    }
}

/// An endpoint to be added.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEndpointBody {
    /// An `https:` address on the public internet.
    #[schema(example = "https://crm.nowak.example/hooks/switchyard")]
    url: String,
    /// For people; up to 500 characters.
    #[serde(default)]
    #[schema(example = "CRM")]
    description: String,
    /// Events, groups such as `lead.*`, or `*`.
    #[schema(example = json!(["lead.*", "message.failed"]))]
    events: Vec<String>,
    /// Requests a second, 1 to 1,000; `null`: no limit.
    #[schema(example = 10, minimum = 1, maximum = 1000)]
    rate: Option<i32>,
    /// Send one message at a time, in the order in which things happened; one that is not taken holds
    /// those behind it. Stands for good.
    #[serde(default)]
    #[schema(example = false)]
    pub(super) ordered: bool,
    /// For operators: whose it is; `null`: a partner's of the platform, who hears of all leads.
    pub(super) agency_id: Option<Uuid>,
}

impl NewEndpointBody {
    pub(super) fn settings(self) -> Settings {
        let Self { url, description, events, rate, .. } = self;
        Settings { url, description, events, rate }
    }
}

/// An endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EndpointView {
    pub(super) id: Uuid,
    /// Whose it is; `null`: a partner's of the platform.
    agency_id: Option<Uuid>,
    #[serde(flatten)]
    pub(super) settings: EndpointBody,
    /// One message at a time, in the order in which things happened.
    pub(super) ordered: bool,
    /// `active`, `paused`, or `disabled` (it is gone, or took nothing for 5 days).
    #[schema(example = "active")]
    state: String,
    /// Why it is paused or disabled.
    reason: Option<String>,
    state_since: DateTime<Utc>,
    /// The secret before the last rotation signs along until then.
    old_secret_until: Option<DateTime<Utc>>,
    /// Since when nothing was taken; `null`: the last attempt was.
    failing_since: Option<DateTime<Utc>>,
    last_failure_at: Option<DateTime<Utc>>,
    last_success_at: Option<DateTime<Utc>>,
    /// How it does.
    health: HealthView,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// How an endpoint does.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct HealthView {
    /// Attempts of the last 24 hours.
    #[schema(example = 120)]
    attempts: i64,
    /// How many of them were taken, in percent; `null`: there were none.
    #[schema(example = 99)]
    success_percent: Option<i64>,
    /// Deliveries that wait, counted up to 10,000.
    #[schema(example = 0)]
    pending: i64,
    /// Deliveries that were given up, counted up to 10,000.
    #[schema(example = 1)]
    failed: i64,
}

impl EndpointView {
    pub(super) fn new(e: Endpoint, h: Health) -> Self {
        Self {
            id: e.id.0,
            agency_id: e.agency.map(|a| a.0),
            settings: EndpointBody {
                url: e.url,
                description: e.description,
                events: e.events,
                rate: e.rate,
            },
            ordered: e.ordered,
            state: e.state.to_string(),
            reason: e.reason,
            state_since: e.state_since,
            old_secret_until: e.old_secret_until,
            failing_since: e.failing_since,
            last_failure_at: e.last_failure_at,
            last_success_at: e.last_success_at,
            health: HealthView {
                attempts: h.attempts,
                success_percent: h.success_percent(),
                pending: h.pending,
                failed: h.failed,
            },
            created_at: e.created_at,
            updated_at: e.updated_at,
        }
    }
}

/// An endpoint with its new secret.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct MadeView {
    endpoint: EndpointView,
    /// For verifying signatures. It is shown this once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: String,
}

impl MadeView {
    pub(super) fn new(endpoint: EndpointView, secret: &EndpointSecret) -> Self {
        Self { endpoint, secret: secret.expose().to_string() }
    }
}

/// An endpoint that is gone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RemovedView {
    pub(super) id: Uuid,
}

/// What is on its way.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SentView {
    /// The `webhook-id`.
    #[schema(example = "msg_0198c0de000070008000000000000001")]
    pub(super) id: String,
}

/// From when on.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinceBody {
    /// Everything that was given up at this time or later.
    #[schema(example = "2026-03-01T00:00:00Z")]
    pub(super) since: DateTime<Utc>,
}

/// From when on.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct SinceView {
    pub(super) since: DateTime<Utc>,
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// `pending`, `delivered` or `failed`.
    #[param(value_type = Option<String>, example = "failed")]
    pub(super) state: Option<DeliveryState>,
}

/// A message's id in a path: `msg_...` or a UUID.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageKey(pub(super) OutboundMessageId);

impl<'de> Deserialize<'de> for MessageKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digits = text.strip_prefix("msg_").unwrap_or(&text);
        let id = Uuid::parse_str(digits).map_err(|_| D::Error::custom("no message's id"))?;
        Ok(Self(OutboundMessageId(id)))
    }
}

/// One message for one endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DeliveryView {
    /// The `webhook-id`.
    #[schema(example = "msg_0198c0de000070008000000000000001")]
    id: String,
    /// The same as a UUID: the cursor of lists.
    message_id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "lead.assigned")]
    kind: String,
    lead_id: Option<Uuid>,
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    state: String,
    /// Why it is where it is and what happens next, in one sentence.
    #[schema(example = "The endpoint took it.")]
    why: String,
    attempts: i32,
    /// The last answer's status.
    #[schema(example = 200)]
    last_status: Option<i32>,
    last_error: Option<String>,
    /// When it is tried again.
    next_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
}

impl From<Delivery> for DeliveryView {
    fn from(d: Delivery) -> Self {
        Self {
            id: webhook_id(d.message),
            message_id: d.message.0,
            why: d.why(),
            kind: d.kind,
            lead_id: d.lead.map(|l| l.0),
            state: d.state.to_string(),
            attempts: d.attempts,
            last_status: d.last_status,
            last_error: d.last_error,
            next_at: d.next_at,
            created_at: d.created_at,
            settled_at: d.settled_at,
        }
    }
}

/// One delivery in full.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DeliveryDetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// What is sent.
    #[schema(value_type = Object)]
    payload: Value,
    /// The latest first, up to 200.
    log: Vec<AttemptView>,
}

impl DeliveryDetailView {
    pub(super) fn new(delivery: Delivery, payload: Value, attempts: Vec<Attempt>) -> Self {
        let log = attempts.into_iter().map(AttemptView::from).collect();
        Self { delivery: delivery.into(), payload, log }
    }
}

/// One attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct AttemptView {
    /// Its number, from 1.
    n: i32,
    started_at: DateTime<Utc>,
    /// `null`: it is under way, or was cut off.
    duration_ms: Option<i32>,
    /// `null`: no answer came.
    status: Option<i32>,
    /// The first 2 KiB of the answer.
    body: Option<String>,
    error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(a: Attempt) -> Self {
        let Attempt { n, started_at, duration_ms, status, body, error } = a;
        Self { n, started_at, duration_ms, status, body, error }
    }
}
