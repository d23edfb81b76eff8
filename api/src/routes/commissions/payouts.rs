//! Where money goes, and asking for it.

use super::views::{PayeeView, PayoutView};
use super::{actor, books_of, currency};
use crate::auth::{Caller, CommissionsRead, PayoutsRequest};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiJson, ApiQuery, IdempotencyKey, Paging, paged};
use crate::routes::once::Once;
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchyard_catalog::payouts::{self as paying, PayoutFault, Wanted};
use switchyard_domain::payment::{AccountFault, Bic, SepaIban, sepa_name};
use switchyard_domain::{AgencyId, AgentId, PayoutId, normalise};
use switchyard_store::ledger::Owner;
use switchyard_store::payouts::{self, Payee, PayoutFilter, PayoutMethod, PayoutState};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(set_payee)).routes(routes!(request)).routes(routes!(list))
}

impl From<PayoutFault> for ApiError {
    fn from(fault: PayoutFault) -> Self {
        let message = fault.to_string();
        match fault {
            PayoutFault::NotOwed { .. } => Self::conflict("not_owed", message),
            PayoutFault::NoAccount(_) => Self::conflict("no_account", message),
            PayoutFault::OneIsOpen => Self::conflict("payout_open", message),
            PayoutFault::WrongState(_) => Self::conflict("wrong_state", message),
            PayoutFault::SamePerson => Self::forbidden(message),
            PayoutFault::NotEuro(_) => Self::unprocessable("not_euro", message),
            PayoutFault::Sepa(_) => Self::unprocessable("refused_by_sepa", message),
            PayoutFault::NotItsAgent(_) => Self::unprocessable("not_its_agent", message),
            PayoutFault::Post(fault) => Self::internal(fault),
            PayoutFault::Store(fault) => fault.into(),
        }
    }
}

/// An account to pay to. What is left out is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayee {
    /// Operators: in whose books.
    agency_id: Option<Uuid>,
    /// Whose account; left out: the agency's own.
    agent_id: Option<Uuid>,
    /// The account's holder.
    #[schema(example = "Ann Nowak")]
    name: String,
    /// Of an account in the single euro payments area.
    #[schema(example = "PL61 1090 1014 0000 0712 1981 2874")]
    iban: Option<String>,
    /// The bank's code, if it wants one.
    #[schema(example = "WBKPPLPP")]
    bic: Option<String>,
    /// A connected account of Stripe.
    #[schema(example = "acct_1MTfjCQ9PRzxEwkZ")]
    stripe_account: Option<String>,
}

impl NewPayee {
    fn checked(&self, agency: AgencyId) -> Result<Payee, ApiError> {
        let unfit = |e: AccountFault| ApiError::unprocessable("invalid_account", e.to_string());
        let refuse = |message| Err(ApiError::unprocessable("invalid_account", message));
        let Some(name) = normalise::line(&self.name).filter(|n| n.chars().count() <= 140) else {
            return refuse("`name` has 1 to 140 characters");
        };
        let iban: Option<SepaIban> =
            self.iban.as_deref().map(str::parse).transpose().map_err(unfit)?;
        let bic: Option<Bic> = self.bic.as_deref().map(str::parse).transpose().map_err(unfit)?;
        match (&iban, &bic) {
            (Some(iban), Some(bic)) => bic.fits(iban).map_err(unfit)?,
            (None, Some(_)) => return refuse("`bic` goes with an `iban`"),
            _ => {}
        }
        if iban.is_some() && sepa_name(&name).is_none() {
            return refuse(
                "`name` has no Latin letter, and banks refuse such a transfer; write it as the bank has it",
            );
        }
        let account = |a: &String| {
            let id = a.strip_prefix("acct_").unwrap_or_default();
            (1..=60).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if self.stripe_account.as_ref().is_some_and(|a| !account(a)) {
            return refuse("`stripe_account` is the id of a connected account: acct_...");
        }
        if iban.is_none() && self.stripe_account.is_none() {
            return refuse("say where the money goes: `iban` or `stripe_account`");
        }
        Ok(Payee {
            owner: self.agent_id.map_or(Owner::Agency(agency), |id| Owner::Agent(AgentId(id))),
            agency,
            name,
            iban: iban.map(|i| i.as_str().to_owned()),
            bic: bic.map(|b| b.as_str().to_owned()),
            stripe_account: self.stripe_account.clone(),
        })
    }
}

/// Say where somebody's money goes
///
/// Payouts that were asked for before keep where they go.
#[utoipa::path(put, path = "/api/v1/commissions/payee", tag = "commissions",
    operation_id = "payee_set", request_body = NewPayee,
    responses(
        (status = 200, description = "Set.", body = Envelope<PayeeView>),
        (status = 422, description = "The account cannot be paid to; says why.",
            body = ErrorEnvelope)))]
async fn set_payee(
    State(api): State<Api>,
    caller: Caller<PayoutsRequest>,
    ApiJson(new): ApiJson<NewPayee>,
) -> Answer<PayeeView> {
    let agency = books_of(&caller.claims, new.agency_id)?;
    let payee = new.checked(agency)?;
    let mut tx = api.db.begin(caller.scope()).await?;
    if let Owner::Agent(agent) = payee.owner {
        let agents = switchyard_store::agents::list(&mut tx, agency).await?;
        if !agents.iter().any(|a| a.id == agent) {
            return Err(PayoutFault::NotItsAgent(agent).into());
        }
    }
    payouts::set_payee(&mut tx, &payee, &actor(&caller.claims).name).await?;
    tx.commit().await?;
    Ok(Reply::ok("set", payee.into()))
}

/// What is to be paid.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayout {
    /// Operators: in whose books.
    agency_id: Option<Uuid>,
    /// To which agent; left out: to the agency itself.
    agent_id: Option<Uuid>,
    /// ISO 4217; left out: EUR.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// In minor units; left out: everything that is owed.
    #[schema(minimum = 1, example = 125_000)]
    amount_minor: Option<i64>,
    /// `stripe`, `sepa` or `csv`.
    #[schema(value_type = String, example = "sepa")]
    method: PayoutMethod,
}

/// Ask for commissions to be paid out
///
/// Up to the limit of the installation (`payouts.approval_limit`, held against all that the owner asked
/// for in 24 hours) it goes on its way at once; above it another person has to approve it. One payout at a time for each owner and currency. With an
/// `Idempotency-Key` the same request again (within a day) asks for no second payout.
#[utoipa::path(post, path = "/api/v1/commissions/payout", tag = "commissions",
    operation_id = "payout_request", params(IdempotencyKey), request_body = NewPayout,
    responses(
        (status = 200, description = "It was asked for before: the payout as it is now.",
            body = Envelope<PayoutView>),
        (status = 201, description = "Asked for, or approved already.", body = Envelope<PayoutView>),
        (status = 409, description = "Less is owed, nobody said where the money goes, or a payout is \
            on its way.", body = ErrorEnvelope),
        (status = 422, description = "A bank would refuse it; says why.", body = ErrorEnvelope)))]
async fn request(
    State(api): State<Api>,
    caller: Caller<PayoutsRequest>,
    context: RequestContext,
    key: IdempotencyKey,
    ApiJson(new): ApiJson<NewPayout>,
) -> Answer<PayoutView> {
    let once = Once::of(&api, &caller.claims, key, "commissions.payout", &json!(new));
    let wanted = Wanted {
        agency: books_of(&caller.claims, new.agency_id)?,
        agent: new.agent_id.map(AgentId),
        currency: currency(new.currency.as_deref())?,
        amount: new.amount_minor,
        method: new.method,
    };
    let (by, cause) = (actor(&caller.claims), context.as_cause());
    let mut tx = api.db.begin(caller.scope()).await?;
    if let Some(id) = once.earlier(&mut tx).await? {
        let payout = payouts::get(&mut tx, PayoutId(id)).await?;
        return Ok(Reply::ok("asked for already", payout.into()));
    }
    let payout = paying::request(&mut tx, &wanted, &by, &api.config.payouts, &cause).await?;
    once.answered(&mut tx, payout.id.0).await?;
    tx.commit().await?;
    Ok(Reply::created("asked for", payout.into()))
}

/// Which payouts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only payouts in this state.
    #[param(value_type = Option<String>, example = "requested")]
    state: Option<PayoutState>,
    /// Operators: only payouts of this agency.
    agency: Option<Uuid>,
}

/// List payouts
#[utoipa::path(get, path = "/api/v1/commissions/payouts", tag = "commissions",
    operation_id = "payouts", params(Filter, Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<PayoutView>>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiQuery(filter): ApiQuery<Filter>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<PayoutView>> {
    let filter = PayoutFilter {
        state: filter.state,
        agency: filter.agency.map(AgencyId),
        before: paging.cursor.map(PayoutId),
        limit: paging.rows()?,
    };
    let mut tx = api.db.begin(caller.scope()).await?;
    let rows = payouts::list(&mut tx, &filter).await?;
    paged("payouts", paging, rows, |p| p.id.0, PayoutView::from)
}
