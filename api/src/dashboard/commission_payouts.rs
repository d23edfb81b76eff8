//! What operators do with payouts: ask, approve, turn down, make the bank's file, say what became of them.

use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::session::back;
use super::shell::Notice;
use crate::auth::{Caller, PayoutsManage};
use crate::routes::commissions::{actor, currency};
use crate::{Api, ApiError, RequestContext};
use axum::Form;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use switchyard_catalog::payouts::{self as paying, ExportFault, Exported, PayoutFault, Wanted};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, PayoutId};
use switchyard_store::payouts::{PayoutMethod, PayoutState};
use switchyard_store::{Scope, StoreFault};

/// What a payout is asked for by.
#[derive(Debug, Deserialize)]
pub(super) struct AskForm {
    agency: AgencyId,
    agent: Option<AgentId>,
    currency: String,
    method: PayoutMethod,
    /// In units of the currency; empty: all that is owed.
    #[serde(default)]
    amount: String,
}

/// `POST /ops/commissions/payout`: above the limit another person approves it.
pub(super) async fn ask(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<AskForm>,
) -> Screen {
    let currency = currency(Some(&form.currency))?;
    let amount = match form.amount.trim() {
        "" => None,
        units => match Money::parse(units, currency) {
            Ok(money) => Some(money.minor),
            Err(why) => {
                let notice = Notice::failed(format!("Not done: {why}."));
                return Ok(back("/ops/commissions", &notice, &headers));
            }
        },
    };
    let AskForm { agency, agent, method, .. } = form;
    let wanted = Wanted { agency, agent, currency, amount, method };
    let (by, rules) = (actor(&caller.claims), &api.config.payouts);
    let mut tx = api.db.begin(Scope::Platform).await?;
    let notice = match paying::request(&mut tx, &wanted, &by, rules, &cause(&context)).await {
        Ok(payout) => {
            tx.commit().await?;
            Notice::done(match payout.state {
                PayoutState::Requested => "The payout waits for another person's approval.",
                _ => "The payout is approved: nobody has to, up to the limit.",
            })
        }
        Err(PayoutFault::Store(StoreFault::NotFound)) => {
            return Err(OpsError::not_found("There is no such agency or agent."));
        }
        Err(PayoutFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back("/ops/commissions", &notice, &headers))
}

/// `POST /ops/commissions/payouts/{id}/{verb}`: `approve`, `decline`, `arrived` or `returned`.
pub(super) async fn act(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path((id, verb)): Path<(PayoutId, String)>,
) -> Screen {
    let (by, now) = (actor(&caller.claims), api.clock.now());
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (done, said) = match verb.as_str() {
        "approve" => {
            let done = paying::approve(&mut tx, id, &by, &cause(&context)).await;
            (done, "The payout is approved.")
        }
        "decline" => {
            let done = paying::decline(&mut tx, id, &by, "an operator turned it down").await;
            (done, "The payout is turned down. No money has moved.")
        }
        "arrived" => {
            let done = paying::settle(&mut tx, id, &by, None, now).await;
            (done, "The payout has arrived, and is booked.")
        }
        "returned" => {
            let done = paying::settle(&mut tx, id, &by, Some("the bank returned it"), now).await;
            (done, "The payout came back. The money is owed again.")
        }
        _ => {
            let what = "Payouts can be approved, declined, and said to have arrived or returned.";
            return Err(OpsError::not_found(what));
        }
    };
    let notice = match done {
        Ok(_) => {
            tx.commit().await?;
            Notice::done(said)
        }
        Err(PayoutFault::Store(StoreFault::NotFound)) => {
            return Err(OpsError::not_found("There is no such payout."));
        }
        Err(PayoutFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back("/ops/commissions", &notice, &headers))
}

fn told(made: &Exported) -> Notice {
    let failed = match made.left_out.len() {
        0 => String::new(),
        n => format!(" {n} could not be paid and have failed; each says why."),
    };
    match &made.file {
        Some(file) => {
            Notice::done(format!("A file with {} payouts is made.{failed}", file.payouts))
        }
        None => Notice::failed(format!("No file is made.{failed}")),
    }
}

/// `POST /ops/commissions/export/{method}`: a file for the bank, in euros, to be paid today.
pub(super) async fn export(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    headers: HeaderMap,
    Path(method): Path<String>,
) -> Screen {
    let method: PayoutMethod =
        method.parse().map_err(|_| OpsError::not_found("Files are `sepa` or `csv`."))?;
    let euros: Currency = "EUR".parse().map_err(|e: String| ApiError::internal(e))?;
    let (by, now) = (actor(&caller.claims), api.clock.now());
    let debtor = api.config.payouts.debtor.as_ref();
    let mut tx = api.db.begin(Scope::Platform).await?;
    let made = paying::export(&mut tx, method, euros, now.date_naive(), debtor, &by, now).await;
    let notice = match made {
        Ok(made) => {
            tx.commit().await?;
            told(&made)
        }
        Err(ExportFault::Payout(PayoutFault::Store(fault))) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back("/ops/commissions", &notice, &headers))
}
