//! `commission.payout`: moves one approved payout by the provider's API, once.
//!
//! 1. A transaction takes the money out of what is owed and writes the intent.
//! 2. The provider is called with no transaction open.
//! 3. A transaction writes the result, the entry that follows from it, and the end of the job.
//!
//! Whatever ends the worker between 1 and 3 leaves an intent without a result. The next attempt asks the
//! provider whether the money moved, by the payout's id; if not, it asks for the same transfer with the
//! same idempotency key.

use crate::fault::OrFail;
use crate::payouts::{PayoutFault, arrived, leave, returned};
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_domain::{AgencyId, PayoutId};
use switchyard_providers::payments::{Transfer, Transferred};
use switchyard_providers::{SendError, SendFault};
use switchyard_queue::{
    Context, ErrorClass, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName, Retention,
};
use switchyard_store::effects::{self, EffectOutcome, EffectState};
use switchyard_store::payouts::{self, Change, Payout, PayoutState};
use switchyard_store::{JobTx, Scope};

/// Pays one payout.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommissionPayout {
    /// Which one.
    pub payout: PayoutId,
}

/// Why no money moved. The provider's own words stand with the payout.
#[derive(Debug, thiserror::Error)]
#[error("payout {payout} did not go through ({code}); its row has the provider's words")]
struct NotPaid {
    payout: PayoutId,
    code: String,
}

impl CommissionPayout {
    /// In a partition of the agency's own.
    pub(crate) fn for_agency(&self, agency: AgencyId) -> Result<NewJob, serde_json::Error> {
        NewJob::with_options(self, self.options().partition(agency))
    }
}

impl Job for CommissionPayout {
    type State = Platform;

    const KIND: &'static str = "commission.payout";
    const ABOUT: &'static str = "Pays one approved payout by the payment provider, once.";
    const QUEUE: QueueName = queues::COMMISSIONS;
    /// More than a provider may take.
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 20;
    const RETENTION: Retention = Retention::Long;

    fn options(&self) -> Options {
        Options::new().unique_by(self.payout)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let (payout, doubtful) = match begin(cx, self.payout).await? {
            Begun::Call(payout, doubtful) => (payout, doubtful),
            Begun::Over(outcome) => return Ok(outcome),
        };
        let answer = pay(cx, &payout, doubtful).await;
        let settled = record(cx, &payout, &answer).await?;
        let fault = match answer {
            Ok(_) => return Ok(settled),
            Err(fault) => fault,
        };
        let not_paid = NotPaid { payout: payout.id, code: fault.code };
        match fault.class {
            SendFault::Permanent => Ok(settled),
            SendFault::Unknown | SendFault::Retry { after: None } => Err(JobError::retry(not_paid)),
            SendFault::Retry { after: Some(wait) } => Err(JobError::retry_after(wait, not_paid)),
        }
    }
}

enum Begun {
    /// The intent is committed. `true`: an earlier attempt may have moved the money.
    Call(Box<Payout>, bool),
    /// There is nothing to pay; the job is settled.
    Over(Outcome),
}

/// The effect's permanent name.
fn key(id: PayoutId) -> String {
    format!("payout {id}")
}

async fn begin(cx: &Context<Platform>, id: PayoutId) -> Result<Begun, JobError> {
    let now = cx.clock().now();
    let mut tx = cx.state().db.begin_job_as(cx.job(), Scope::Platform).await.or_fail()?;
    let payout = payouts::lock(&mut tx, id).await.or_fail()?;
    match payout.state {
        PayoutState::Approved => {
            let left = leave(&mut tx, &payout, &Change::default(), now).await;
            if !left.map_err(PayoutFault::into_job_error)? {
                return Ok(Begun::Over(tx.cancelled("less is owed than was to be paid").await?));
            }
        }
        PayoutState::Sent => {}
        PayoutState::Requested => {
            return Ok(Begun::Over(tx.cancelled("the payout is not approved").await?));
        }
        PayoutState::Confirmed | PayoutState::Failed | PayoutState::Declined => {
            return Ok(Begun::Over(tx.done().await?));
        }
    }
    let doubtful = match effects::begin(&mut tx, &key(id)).await.or_fail()? {
        EffectState::New => false,
        EffectState::InDoubt => true,
        // Result and entry are one commit, so the state was changed by hand; the result is believed.
        EffectState::AlreadyDone(result) => {
            let provider_id = result.get("provider_id").and_then(Value::as_str);
            let change = Change { provider_id, ..Change::default() };
            let booked = arrived(&mut tx, &payout, &change, now).await;
            booked.map_err(PayoutFault::into_job_error)?;
            return Ok(Begun::Over(tx.done().await?));
        }
    };
    tx.commit().await.or_fail()?;
    Ok(Begun::Call(Box::new(payout), doubtful))
}

async fn pay(
    cx: &Context<Platform>,
    payout: &Payout,
    doubtful: bool,
) -> Result<Transferred, SendError> {
    let provider = &cx.state().providers.payouts;
    if doubtful {
        match provider.find(payout.id).await {
            Ok(Some(made)) => return Ok(made),
            Ok(None) => {}
            // That the question was not answered says nothing about the transfer.
            Err(fault) => return Err(fault.classed(SendFault::Unknown)),
        }
    }
    let account = payout.payee.stripe_account.clone().ok_or_else(|| {
        SendError::permanent("no_account", "the payout names no account at the provider")
    })?;
    let purpose = format!("Commission {}", payout.requested_at.format("%Y-%m-%d"));
    let transfer = Transfer { id: payout.id, amount: payout.amount, account, purpose };
    provider.transfer(&transfer).await
}

/// Writes the answer down, waiting for the database if it is away.
async fn record(
    cx: &Context<Platform>,
    payout: &Payout,
    answer: &Result<Transferred, SendError>,
) -> JobResult {
    let mut waits = effects::PATIENCE.iter();
    loop {
        let fault = match record_once(cx, payout, answer).await {
            Ok(outcome) => return Ok(outcome),
            Err(fault) => fault,
        };
        match (fault.class(), waits.next()) {
            (ErrorClass::Retry { .. }, Some(wait)) => {
                tracing::warn!(payout = %payout.id, "a payout's result is not written yet: {fault}");
                tokio::time::sleep(*wait).await;
            }
            _ => return Err(fault),
        }
    }
}

async fn record_once(
    cx: &Context<Platform>,
    payout: &Payout,
    answer: &Result<Transferred, SendError>,
) -> JobResult {
    let now = cx.clock().now();
    let mut tx = cx.state().db.begin_job_as(cx.job(), Scope::Platform).await.or_fail()?;
    let fault = match answer {
        Ok(made) => {
            let result = json!({ "provider": made.provider, "provider_id": made.provider_id });
            finish(&mut tx, payout.id, EffectOutcome::Done(result)).await?;
            let change = Change { provider_id: Some(&made.provider_id), ..Change::default() };
            let booked = arrived(&mut tx, payout, &change, now).await;
            booked.map_err(PayoutFault::into_job_error)?;
            return tx.done().await;
        }
        Err(fault) => fault,
    };
    let (why, last) = (fault.to_string(), cx.job().attempt >= cx.job().max_attempts);
    match fault.class {
        // It may have moved: it stays on its way until the provider says.
        SendFault::Unknown => {
            finish(&mut tx, payout.id, EffectOutcome::Unknown(fault.code.clone())).await?;
            note(&mut tx, payout.id, &why).await?;
        }
        SendFault::Retry { .. } if !last => {
            finish(&mut tx, payout.id, EffectOutcome::Failed(fault.code.clone())).await?;
            note(&mut tx, payout.id, &why).await?;
        }
        SendFault::Permanent | SendFault::Retry { .. } => {
            finish(&mut tx, payout.id, EffectOutcome::Failed(fault.code.clone())).await?;
            let change = Change { error: Some(&why), ..Change::default() };
            let booked = returned(&mut tx, payout, &change, now).await;
            booked.map_err(PayoutFault::into_job_error)?;
            if fault.class == SendFault::Permanent {
                let reason =
                    format!("the provider refused it ({}); the money is owed again", fault.code);
                return tx.cancelled(reason).await;
            }
        }
    }
    tx.commit().await.or_fail()?;
    // The worker settles the job by the error that `run` makes of the answer.
    Ok(Outcome::Done)
}

async fn note(tx: &mut JobTx, id: PayoutId, why: &str) -> Result<(), JobError> {
    let change = Change { error: Some(why), ..Change::default() };
    payouts::set_state(tx, id, PayoutState::Sent, &change).await.or_fail()
}

async fn finish(tx: &mut JobTx, id: PayoutId, outcome: EffectOutcome) -> Result<(), JobError> {
    effects::finish(tx, &key(id), outcome).await.or_fail()
}
