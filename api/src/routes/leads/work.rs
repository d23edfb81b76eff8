//! Notes, reminders and sales.

use super::actor;
use super::views::SaleView;
use crate::auth::{Caller, LeadWorkManage, LeadsConvert};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath, IdempotencyKey};
use crate::routes::once::Once;
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_catalog::lead_work::{self, Deal, Reminder};
use switchyard_domain::commission::LARGEST_AMOUNT;
use switchyard_domain::normalise;
use switchyard_domain::{AgentId, LeadId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Characters of a note.
const LONGEST_NOTE: usize = 4_000;
/// Characters of what a reminder is about.
const LONGEST_REMINDER: usize = 1_000;
/// Characters of what was sold.
const LONGEST_PRODUCT: usize = 500;
/// A reminder is at most a year ahead; a sale is told of at most ten years late.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(add_note))
        .routes(routes!(follow_up))
        .routes(routes!(convert))
}

/// What was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MadeView {
    id: Uuid,
}

fn unfit(code: &'static str, message: String) -> ApiError {
    ApiError::unprocessable(code, message)
}

/// The text as it is kept, or why it is not.
fn text(name: &str, raw: &str, most: usize) -> Result<String, ApiError> {
    let kept = normalise::text(raw).filter(|t| t.chars().count() <= most);
    kept.ok_or_else(|| unfit("invalid_text", format!("`{name}` has 1 to {most} characters")))
}

/// A note.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNote {
    /// 1 to 4,000 characters.
    #[schema(example = "Prefers mornings.")]
    body: String,
}

/// Write a note about a lead
///
/// An agency's notes are seen by the agency and by operators, an operator's by operators only.
#[utoipa::path(post, path = "/api/v1/leads/{id}/notes", tag = "leads", operation_id = "lead_note",
    params(("id" = Uuid, Path, description = "The lead"), IdempotencyKey), request_body = NewNote,
    responses(
        (status = 200, description = "It was written before.", body = Envelope<MadeView>),
        (status = 201, description = "Written.", body = Envelope<MadeView>),
        (status = 404, description = "There is no such lead, or it is not yours.",
            body = ErrorEnvelope)))]
async fn add_note(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    key: IdempotencyKey,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(note): ApiJson<NewNote>,
) -> Answer<MadeView> {
    let body = text("body", &note.body, LONGEST_NOTE)?;
    let once = Once::of(&api, &caller.claims, key, &format!("leads.note {id}"), &json!(note));
    let mut tx = api.db.begin(caller.scope()).await?;
    if let Some(id) = once.earlier(&mut tx).await? {
        return Ok(Reply::ok("written already", MadeView { id }));
    }
    let made = lead_work::note(&mut tx, LeadId(id), &body, &actor(&caller.claims)).await?;
    once.answered(&mut tx, made.0).await?;
    tx.commit().await?;
    Ok(Reply::created("written", MadeView { id: made.0 }))
}

/// A reminder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewReminder {
    /// When to remind: within a year.
    #[schema(example = "2027-03-01T09:00:00Z")]
    due_at: DateTime<Utc>,
    /// Who is reminded; left out: whoever works on the lead, else the agency.
    agent_id: Option<Uuid>,
    /// What about; at most 1,000 characters.
    #[schema(example = "Ask about the balcony.")]
    note: Option<String>,
}

/// Be reminded of a lead by e-mail
///
/// The e-mail goes out at `due_at`, if the agency still has the lead and it was not sold by then.
#[utoipa::path(post, path = "/api/v1/leads/{id}/follow-up", tag = "leads",
    operation_id = "lead_follow_up",
    params(("id" = Uuid, Path, description = "The lead"), IdempotencyKey),
    request_body = NewReminder,
    responses(
        (status = 200, description = "It was planned before.", body = Envelope<MadeView>),
        (status = 201, description = "Planned.", body = Envelope<MadeView>),
        (status = 404, description = "There is no such lead, or it is not yours.",
            body = ErrorEnvelope),
        (status = 409, description = "No agency holds the lead.", body = ErrorEnvelope)))]
async fn follow_up(
    State(api): State<Api>,
    caller: Caller<LeadWorkManage>,
    context: RequestContext,
    key: IdempotencyKey,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(new): ApiJson<NewReminder>,
) -> Answer<MadeView> {
    let now = api.clock.now();
    if new.due_at <= now || new.due_at > now + YEAR {
        let message = "`due_at` lies ahead, by a year at most";
        return Err(unfit("invalid_due_at", message.to_owned()));
    }
    let note = new.note.as_deref().map(|n| text("note", n, LONGEST_REMINDER)).transpose()?;
    let what = format!("leads.follow_up {id}");
    let once = Once::of(&api, &caller.claims, key, &what, &json!(new));
    let mut tx = api.db.begin(caller.scope()).await?;
    if let Some(id) = once.earlier(&mut tx).await? {
        return Ok(Reply::ok("planned already", MadeView { id }));
    }
    let agent = new.agent_id.map(AgentId);
    let reminder = Reminder { due_at: new.due_at, agent, note: note.as_deref() };
    let (by, cause) = (actor(&caller.claims), context.as_cause());
    let made = lead_work::follow_up(&mut tx, LeadId(id), &reminder, &by, &cause).await?;
    once.answered(&mut tx, made.0).await?;
    tx.commit().await?;
    Ok(Reply::created("planned", MadeView { id: made.0 }))
}

/// A sale.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDeal {
    /// The deal's value in minor units (cents, grosze): 65000000 is 650,000.00.
    #[schema(minimum = 1, example = 65_000_000)]
    amount_minor: i64,
    /// What the platform earns by it, in minor units.
    #[schema(minimum = 0, example = 1_300_000)]
    fee_minor: Option<i64>,
    /// ISO 4217.
    #[schema(example = "PLN")]
    currency: String,
    /// What was sold; left out: what the lead asked for.
    #[schema(example = "2-room flat")]
    product: Option<String>,
    /// Who closed it; left out: whoever works on the lead, or the agency's only agent.
    agent_id: Option<Uuid>,
    /// When; left out: now.
    sold_at: Option<DateTime<Utc>>,
}

impl NewDeal {
    fn check(&self, now: DateTime<Utc>) -> Result<(), ApiError> {
        let known = normalise::currency(&self.currency) == Some(self.currency.as_str());
        let fault = if !(1..=LARGEST_AMOUNT).contains(&self.amount_minor) {
            "`amount_minor` is a number of minor units from 1 to 10^15"
        } else if self.fee_minor.is_some_and(|fee| !(0..=LARGEST_AMOUNT).contains(&fee)) {
            "`fee_minor` is a number of minor units from 0 to 10^15"
        } else if !known {
            "`currency` is an ISO 4217 code in capitals, such as EUR"
        } else if self.sold_at.is_some_and(|at| at > now || at < now - 10 * YEAR) {
            "`sold_at` lies in the past, ten years back at most"
        } else {
            return Ok(());
        };
        Err(unfit("invalid_deal", fault.to_owned()))
    }
}

/// Record that a lead was sold
///
/// Its commission is booked by it. The same sale twice is fine: a lead is sold once.
#[utoipa::path(post, path = "/api/v1/leads/{id}/convert", tag = "leads",
    operation_id = "lead_convert", params(("id" = Uuid, Path, description = "The lead")),
    request_body = NewDeal,
    responses(
        (status = 200, description = "It was recorded before.", body = Envelope<SaleView>),
        (status = 201, description = "Recorded.", body = Envelope<SaleView>),
        (status = 404, description = "There is no such lead, or it is not yours.",
            body = ErrorEnvelope),
        (status = 409, description = "The lead was not accepted, or it was sold for another amount.",
            body = ErrorEnvelope)))]
async fn convert(
    State(api): State<Api>,
    caller: Caller<LeadsConvert>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(deal): ApiJson<NewDeal>,
) -> Answer<SaleView> {
    let now = api.clock.now();
    deal.check(now)?;
    let product = deal.product.as_deref().map(|p| text("product", p, LONGEST_PRODUCT));
    let product = product.transpose()?;
    let deal = Deal {
        amount_minor: deal.amount_minor,
        fee_minor: deal.fee_minor,
        currency: &deal.currency,
        product: product.as_deref(),
        agent: deal.agent_id.map(AgentId),
        sold_at: deal.sold_at.unwrap_or(now),
    };
    let (by, cause) = (actor(&caller.claims), context.as_cause());
    let mut tx = api.db.begin(caller.scope()).await?;
    let (new, sale) = lead_work::convert(&mut tx, LeadId(id), &deal, &by, &cause).await?;
    tx.commit().await?;
    Ok(if new {
        Reply::created("sold", sale.into())
    } else {
        Reply::ok("recorded already", sale.into())
    })
}
