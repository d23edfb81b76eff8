//! What becomes of deals after the sale, and decisions about agents, as operators tell of them.

use super::actor;
use crate::auth::{Caller, CommissionsManage};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, IdempotencyKey};
use crate::routes::once::Once;
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchyard_catalog::commission_record::{self, About, NotRecorded, Told};
use switchyard_domain::commission::{KindWord, Split};
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_store::Scope;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(record))
}

impl From<NotRecorded> for ApiError {
    fn from(fault: NotRecorded) -> Self {
        let message = fault.to_string();
        match fault {
            NotRecorded::Unfit(_) => Self::unprocessable("invalid_event", message),
            NotRecorded::OtherCurrency { .. } => Self::unprocessable("other_currency", message),
            NotRecorded::NotItsAgent(_) => Self::unprocessable("not_its_agent", message),
            NotRecorded::NotSold => Self::conflict("not_sold", message),
            NotRecorded::NothingLeft => Self::conflict("nothing_left", message),
            NotRecorded::MoreThanLeft { .. } => Self::conflict("more_than_left", message),
            NotRecorded::Known(_) => Self::conflict("event_known", message),
            NotRecorded::Store(fault) => fault.into(),
        }
    }
}

/// Something that happened to a deal, or a decision about an agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCommissionEvent {
    /// `refunded` (all of it), `refunded_partly`, `charged_back` (a part, or without an amount all of
    /// it), `cancelled`, `corrected` (to the true value), `tier_changed` or `split_changed`.
    #[schema(value_type = String, example = "refunded_partly")]
    kind: KindWord,
    /// The lead that was sold. This or `conversion_id` names the deal.
    lead_id: Option<Uuid>,
    /// The sale's event (`event_id` of the answer to the sale).
    conversion_id: Option<Uuid>,
    /// With `agent_id`, in place of a deal: the agent's agency. With a deal: it has to be this agency's.
    agency_id: Option<Uuid>,
    /// Whose tier or split changes, from `occurred_at` on.
    agent_id: Option<Uuid>,
    /// In minor units: what went back, or the deal's true value.
    #[schema(minimum = 0, example = 15_000_000)]
    amount_minor: Option<i64>,
    /// The same of the platform's fee; a partial refund without it takes the fee back in proportion.
    #[schema(minimum = 0, example = 300_000)]
    fee_minor: Option<i64>,
    /// ISO 4217; left out: the deal's. Another one is refused.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// `tier_changed`: a tier of the agent's plan; left out: by the total again.
    #[schema(example = "gold")]
    tier: Option<String>,
    /// `split_changed`: shares as a plan has them; left out: as the plan says.
    #[schema(value_type = Option<Vec<Object>>, example = json!([{ "to": "agent", "percent": "100" }]))]
    split: Option<Split>,
    /// When it happened; left out: now.
    #[schema(example = "2027-03-01T09:00:00Z")]
    occurred_at: Option<DateTime<Utc>>,
}

impl NewCommissionEvent {
    fn about(&self) -> Result<About, ApiError> {
        let deal = self.conversion_id.map(|id| About::Conversion(CommissionEventId(id)));
        let deal = deal.or(self.lead_id.map(|id| About::Lead(LeadId(id))));
        let agent = self.agency_id.zip(self.agent_id);
        let agent = agent.map(|(agency, id)| About::Agent(AgencyId(agency), AgentId(id)));
        let both = self.conversion_id.is_some() && self.lead_id.is_some();
        match (deal, agent, self.agent_id) {
            (Some(deal), None, None) if !both => Ok(deal),
            (None, Some(agent), _) => Ok(agent),
            _ => Err(ApiError::unprocessable(
                "invalid_event",
                "say what it is about: `lead_id` or `conversion_id`, or for an agent's tier or split \
                 `agency_id` and `agent_id`",
            )),
        }
    }

    fn told(self) -> Result<Told, ApiError> {
        let about = self.about()?;
        let currency = self.currency.as_deref().map(str::parse::<Currency>).transpose();
        Ok(Told {
            id: CommissionEventId::new(),
            about,
            agency: self.agency_id.map(AgencyId),
            kind: self.kind,
            amount_minor: self.amount_minor,
            fee_minor: self.fee_minor,
            currency: currency.map_err(|w| ApiError::unprocessable("unknown_currency", w))?,
            tier: self.tier,
            split: self.split,
            occurred_at: self.occurred_at,
        })
    }
}

/// An event that was recorded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RecordedView {
    /// By which `GET /api/v1/commissions/{id}/explain` tells what became of it.
    event_id: Uuid,
}

/// Record a refund, a charge-back, a cancellation, a correction, a change of tier or split
///
/// Its booking follows: what it changes, also of the agent's other deals, is posted as differences, and
/// closed months stay as they are. Whose deal it is and what was sold is taken from the sale.
#[utoipa::path(post, path = "/api/v1/commissions/events", tag = "commissions",
    operation_id = "commission_record", params(IdempotencyKey), request_body = NewCommissionEvent,
    responses(
        (status = 200, description = "It was recorded before.", body = Envelope<RecordedView>),
        (status = 201, description = "Recorded.", body = Envelope<RecordedView>),
        (status = 404, description = "There is no such lead or conversion, or it is not this agency's.",
            body = ErrorEnvelope),
        (status = 409, description = "The lead was not sold, or less is left of the deal.",
            body = ErrorEnvelope),
        (status = 422, description = "Something is missing, too much, or in another currency; says what.",
            body = ErrorEnvelope)))]
async fn record(
    State(api): State<Api>,
    caller: Caller<CommissionsManage>,
    context: RequestContext,
    key: IdempotencyKey,
    ApiJson(new): ApiJson<NewCommissionEvent>,
) -> Answer<RecordedView> {
    let once = Once::of(&api, &caller.claims, key, "commissions.events", &json!(new));
    let told = new.told()?;
    let (by, cause, now) = (actor(&caller.claims), context.as_cause(), api.clock.now());
    let mut tx = api.db.begin(Scope::Platform).await?;
    if let Some(event_id) = once.earlier(&mut tx).await? {
        return Ok(Reply::ok("recorded already", RecordedView { event_id }));
    }
    let event = commission_record::record(&mut tx, &told, &by.name, now, &cause).await?;
    once.answered(&mut tx, event.id.0).await?;
    tx.commit().await?;
    Ok(Reply::created("recorded", RecordedView { event_id: event.id.0 }))
}
