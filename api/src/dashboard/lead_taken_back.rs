//! What operators do with a lead that was sold, if the sale does not stand: refund, charge-back,
//! cancellation.

use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::session::back;
use super::shell::Notice;
use crate::auth::{Caller, CommissionsManage};
use crate::routes::commissions::actor;
use crate::{Api, RequestContext};
use axum::Form;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use switchyard_catalog::commission_record::{self, About, NotRecorded, Told};
use switchyard_domain::commission::KindWord;
use switchyard_domain::money::Money;
use switchyard_domain::{CommissionEventId, LeadId};
use switchyard_store::{Scope, StoreFault};

/// What the form offers, and in which words.
pub(super) const KINDS: [(KindWord, &str); 3] = [
    (KindWord::Refunded, "Refunded"),
    (KindWord::ChargedBack, "Charged back by the bank"),
    (KindWord::Cancelled, "Called off"),
];

/// What became of the sale.
#[derive(Debug, Deserialize)]
pub(super) struct TakenBack {
    /// The form's own id: sent twice, it counts once.
    event: CommissionEventId,
    kind: KindWord,
    /// Empty: everything.
    #[serde(default)]
    amount: String,
    currency: String,
}

impl TakenBack {
    /// What was typed, or the sentence that says what is wrong with it.
    fn read(&self, lead: LeadId) -> Result<Told, String> {
        let currency = self.currency.parse()?;
        let amount = match self.amount.trim() {
            "" => None,
            units => Some(Money::parse(units, currency)?.minor),
        };
        // People say "refunded" to a part of it, too.
        let kind = match (self.kind, amount) {
            (KindWord::Refunded, Some(_)) => KindWord::RefundedPartly,
            (kind, _) if KINDS.iter().any(|(known, _)| *known == kind) => kind,
            (kind, _) => return Err(format!("`{}` is not recorded here", kind.as_str())),
        };
        Ok(Told {
            id: self.event,
            about: About::Lead(lead),
            agency: None,
            kind,
            amount_minor: amount,
            fee_minor: None,
            currency: amount.map(|_| currency),
            tier: None,
            split: None,
            occurred_at: None,
        })
    }
}

/// `POST /ops/leads/{id}/taken-back`
pub(super) async fn take_back(
    State(api): State<Api>,
    caller: Caller<CommissionsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<LeadId>,
    Form(form): Form<TakenBack>,
) -> Screen {
    let to = format!("/ops/leads/{id}");
    let refused = |why: String| -> Screen {
        Ok(back(&to, &Notice::failed(format!("Not recorded: {why}.")), &headers))
    };
    let told = match form.read(id) {
        Ok(told) => told,
        Err(why) => return refused(why),
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (by, now) = (actor(&caller.claims), api.clock.now());
    match commission_record::record(&mut tx, &told, &by.name, now, &cause(&context)).await {
        Ok(_) => tx.commit().await?,
        Err(NotRecorded::Store(StoreFault::NotFound)) => {
            return Err(OpsError::not_found("There is no such lead."));
        }
        Err(NotRecorded::Store(fault)) => return Err(fault.into()),
        Err(NotRecorded::Known(_)) => {
            return Ok(back(&to, &Notice::done("It was recorded already."), &headers));
        }
        Err(refusal) => return refused(refusal.to_string()),
    }
    let notice = Notice::done("Recorded. What it changes is being booked.");
    Ok(back(&to, &notice, &headers))
}
