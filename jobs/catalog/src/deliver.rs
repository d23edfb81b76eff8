//! Sending one message, never twice: intent, call, result.
//!
//! 1. A transaction writes the intent and counts the attempt.
//! 2. The provider is called with no transaction open.
//! 3. A transaction writes the result, the message's state and the end of the job.
//!
//! Whatever ends the worker between 1 and 3 leaves an intent without a result: the message may
//! have gone out. The next attempt finds the intent, marks the message `unknown` and gives up; only
//! an operator sends it again, as a new message.

mod many;

pub(crate) use many::{Beginning, Recording};

use crate::fault::OrFail;
use crate::{Platform, outbound};
use serde_json::Value;
use std::future::Future;
use switchyard_domain::MessageId;
use switchyard_providers::{Receipt, SendError, SendFault};
use switchyard_queue::{Context, ErrorClass, JobError, JobResult, Outcome};
use switchyard_store::JobTx;
use switchyard_store::effects::{self, EffectOutcome, EffectState};
use switchyard_store::messages::{self, Message, MessageState};

/// Why a message was not sent. The provider's own words may name the recipient: they stand with
/// the message, under row-level security, and not with the job.
#[derive(Debug, thiserror::Error)]
#[error("message {message} was not sent ({code}); its row has the provider's words")]
struct NotSent {
    message: MessageId,
    code: String,
}

/// Sends one message with `send`.
pub(crate) async fn deliver<F, Fut>(cx: &Context<Platform>, id: MessageId, send: F) -> JobResult
where
    F: FnOnce(Message) -> Fut,
    Fut: Future<Output = Result<Receipt, SendError>>,
{
    let message = match begin(cx, id).await? {
        Begun::Send(message) => message,
        Begun::Over(outcome) => return Ok(outcome),
    };
    let answer = send(*message).await;
    let settled = record(cx, id, &answer).await?;
    let fault = match answer {
        Ok(_) => return Ok(settled),
        Err(e) => e,
    };
    let not_sent = NotSent { message: id, code: fault.code };
    match fault.class {
        SendFault::Unknown => Ok(settled),
        SendFault::Permanent => Err(JobError::permanent(not_sent)),
        SendFault::Retry { after: None } => Err(JobError::retry(not_sent)),
        SendFault::Retry { after: Some(wait) } => Err(JobError::retry_after(wait, not_sent)),
    }
}

pub(crate) enum Begun {
    /// The intent is committed.
    Send(Box<Message>),
    /// There is nothing to send; the job is settled.
    Over(Outcome),
}

/// What the permanent name of a message's sending begins with.
pub(crate) const EFFECT: &str = "message ";

/// The effect's permanent name.
fn key(id: MessageId) -> String {
    format!("{EFFECT}{id}")
}

async fn begin(cx: &Context<Platform>, id: MessageId) -> Result<Begun, JobError> {
    cx.state().line.beginning.run(Beginning { message: id, cx: cx.clone() }).await
}

/// Also after going together came to nothing, perhaps by a commit that nobody heard of: no call was made in
/// this attempt yet.
async fn begin_alone(cx: &Context<Platform>, id: MessageId) -> Result<Begun, JobError> {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    let message = messages::begin_attempt(&mut tx, id).await.or_fail()?;
    match message.state {
        MessageState::Sent => return Ok(Begun::Over(tx.done().await?)),
        MessageState::Unknown => return Ok(Begun::Over(tx.cancelled(IN_DOUBT).await?)),
        MessageState::Queued | MessageState::Failed => {}
    }
    match effects::begin_uncalled(&mut tx, &key(id)).await.or_fail()? {
        EffectState::New => {
            tx.commit().await.or_fail()?;
            Ok(Begun::Send(Box::new(message)))
        }
        EffectState::InDoubt => {
            let why = "The worker ended while the message was being sent; it may have gone out.";
            messages::mark(&mut tx, id, MessageState::Unknown, why).await.or_fail()?;
            Ok(Begun::Over(tx.cancelled(IN_DOUBT).await?))
        }
        // Result and state are one commit, so the state was changed by hand; the result is believed.
        EffectState::AlreadyDone(result) => {
            let word = |key: &str| result.get(key).and_then(Value::as_str);
            let provider = word("provider").unwrap_or("unknown");
            messages::mark_sent(&mut tx, id, provider, word("provider_id")).await.or_fail()?;
            Ok(Begun::Over(tx.done().await?))
        }
    }
}

/// Kept with the job.
const IN_DOUBT: &str =
    "in doubt: the message may have been sent, so it is not sent again by itself";

/// Writes the answer down, waiting for the database if it is away.
async fn record(
    cx: &Context<Platform>,
    id: MessageId,
    answer: &Result<Receipt, SendError>,
) -> JobResult {
    let mut waits = effects::PATIENCE.iter();
    loop {
        let written = match answer {
            Ok(receipt) => {
                let sent = Recording { message: id, receipt: receipt.clone(), cx: cx.clone() };
                cx.state().line.recording.run(sent).await
            }
            Err(_) => record_alone(cx, id, answer).await,
        };
        let fault = match written {
            Ok(outcome) => return Ok(outcome),
            Err(fault) => fault,
        };
        match (fault.class(), waits.next()) {
            (ErrorClass::Retry { .. }, Some(wait)) => {
                tracing::warn!(message = %id, "a message's result is not written yet: {fault}");
                tokio::time::sleep(*wait).await;
            }
            _ => return Err(fault),
        }
    }
}

async fn record_alone(
    cx: &Context<Platform>,
    id: MessageId,
    answer: &Result<Receipt, SendError>,
) -> JobResult {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    match answer {
        Ok(receipt) => {
            finish(&mut tx, id, taken(receipt)).await?;
            let provider_id = receipt.provider_id.as_deref();
            messages::mark_sent(&mut tx, id, receipt.provider, provider_id).await.or_fail()?;
            tx.done().await
        }
        Err(fault) if fault.class == SendFault::Unknown => {
            finish(&mut tx, id, EffectOutcome::Unknown(fault.code.clone())).await?;
            let why = fault.to_string();
            messages::mark(&mut tx, id, MessageState::Unknown, &why).await.or_fail()?;
            tx.cancelled(IN_DOUBT).await
        }
        Err(fault) => {
            finish(&mut tx, id, EffectOutcome::Failed(fault.code.clone())).await?;
            let last = cx.job().attempt >= cx.job().max_attempts;
            let state = if last || fault.class == SendFault::Permanent {
                MessageState::Failed
            } else {
                MessageState::Queued
            };
            messages::mark(&mut tx, id, state, &fault.to_string()).await.or_fail()?;
            if state == MessageState::Failed {
                let stamp = |job| cx.follow_up(job);
                outbound::messages_failed(&mut tx, &[id], stamp).await.or_fail()?;
            }
            tx.commit().await.or_fail()?;
            // The worker settles the job by the error that `deliver` makes of the answer.
            Ok(Outcome::Done)
        }
    }
}

/// What is kept of a call that the provider answered well.
fn taken(receipt: &Receipt) -> EffectOutcome {
    EffectOutcome::Done(serde_json::json!({
        "provider": receipt.provider,
        "provider_id": receipt.provider_id,
    }))
}

async fn finish(tx: &mut JobTx, id: MessageId, outcome: EffectOutcome) -> Result<(), JobError> {
    effects::finish(tx, &key(id), outcome).await.or_fail()
}
