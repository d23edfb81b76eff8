//! `webhook.send`: tells one endpoint of one thing.
//!
//! 1. A transaction writes the intent into the delivery log.
//! 2. The endpoint is called with no transaction open.
//! 3. A transaction writes the answer, the delivery's state and, unless it is tried again, the end of
//!    the job.
//!
//! Unlike a message to a person, a webhook whose call was interrupted is sent again: it carries the
//! same `webhook-id`, by which receivers know what they have seen, and a webhook that is lost is worse
//! than one that comes twice.

use crate::fault::OrFail;
use crate::outbound::send;
use crate::{Platform, TellOwner, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::outbound::{ATTEMPTS, wait_after};
use switchyard_domain::{EndpointId, OutboundMessageId};
use switchyard_providers::{Fetched, Webhook, WebhookFault};
use switchyard_queue::{
    Context, ErrorClass, Job, JobError, JobResult, NewJob, Outcome, QueueName, causes,
};
use switchyard_store::effects::PATIENCE;
use switchyard_store::outbound::{self, Begun, Ended, Outgoing, Verdict};
use switchyard_store::{JobTx, StoreFault};

/// What is kept of an answer, in bytes.
const KEPT: usize = 2_048;
/// How long a webhook waits that could not be sent for a reason of ours, such as a missing key.
const OUR_FAULT: Duration = Duration::from_secs(15 * 60);

/// Tells one endpoint of one thing.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendWebhook {
    /// To whom.
    pub endpoint: EndpointId,
    /// What.
    pub message: OutboundMessageId,
}

/// Why a webhook is tried again. What the endpoint said stands in the delivery log, under row-level
/// security.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint did not take the webhook: {0}")]
struct NotTaken(String);

impl Job for SendWebhook {
    type State = Platform;

    const KIND: &'static str = "webhook.send";
    const ABOUT: &'static str = "Tells one webhook endpoint of one event.";
    const QUEUE: QueueName = queues::OUTBOUND;
    /// A call takes 15 s at most.
    const TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_ATTEMPTS: u16 = ATTEMPTS;

    // Not unique: the delivery names the one job that may send it.

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let outgoing =
            match outbound::begin(&mut tx, self.endpoint, self.message).await.or_fail()? {
                Begun::Send(outgoing) => outgoing,
                Begun::Held(why) | Begun::Over(why) => return tx.cancelled(why).await,
            };
        tx.commit().await.or_fail()?;
        let timestamp = cx.clock().now().timestamp();
        let answer = call(cx, &outgoing, timestamp).await;
        let (ended, verdict) = judge(cx, &answer);
        record(cx, &outgoing, &ended, verdict).await
    }
}

async fn call(
    cx: &Context<Platform>,
    outgoing: &Outgoing,
    timestamp: i64,
) -> Result<Fetched, WebhookFault> {
    let webhook = Webhook {
        message: outgoing.message,
        url: &outgoing.endpoint.url,
        payload: outgoing.payload.clone(),
        sealed: &outgoing.endpoint.secrets,
        timestamp,
    };
    cx.state().providers.webhooks.send(&webhook).await
}

/// What the answer means. Only 2xx is a yes; 410 means that nothing is wanted any more; everything
/// else, a redirect too, is tried again.
fn judge(cx: &Context<Platform>, answer: &Result<Fetched, WebhookFault>) -> (Ended, Verdict) {
    let (mut ended, asked) = match answer {
        Ok(fetched) => (of_answer(fetched), fetched.retry_after),
        Err(fault) => (of_silence(fault), None),
    };
    if ended.error.is_none() {
        return (ended, Verdict::Delivered);
    }
    if let Err(WebhookFault::Sealed(_)) = answer {
        return (ended, Verdict::NotSent(OUR_FAULT));
    }
    if ended.status == Some(410) {
        ended.error = Some("it answered 410 Gone".to_owned());
        return (ended, Verdict::Gone);
    }
    let job = cx.job();
    let failed = u16::try_from(job.attempt).unwrap_or(u16::MAX);
    let wait = wait_after(failed, cx.entropy().unit(), asked);
    let verdict = match wait.filter(|_| job.attempt < job.max_attempts) {
        Some(wait) => Verdict::Again(wait),
        None => Verdict::Failed,
    };
    (ended, verdict)
}

fn of_answer(fetched: &Fetched) -> Ended {
    let error = (!fetched.is_success()).then(|| match fetched.status {
        300..=399 => format!("it answered {}: redirects are not followed", fetched.status),
        status => format!("it answered {status}"),
    });
    Ended {
        status: Some(fetched.status),
        body: Some(beginning(&fetched.body)),
        error,
        took: fetched.took,
    }
}

fn of_silence(fault: &WebhookFault) -> Ended {
    Ended { status: None, body: None, error: Some(causes(fault).join(": ")), took: Duration::ZERO }
}

/// The first bytes as text that PostgreSQL keeps.
fn beginning(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(KEPT)]).replace('\0', "\u{fffd}");
    let cut = (0..=KEPT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(cut.unwrap_or_default());
    text
}

/// Writes the answer down, waiting for the database if it is away.
async fn record(
    cx: &Context<Platform>,
    of: &Outgoing,
    ended: &Ended,
    verdict: Verdict,
) -> JobResult {
    let mut waits = PATIENCE.iter();
    let settled = loop {
        let fault = match record_once(cx, of, ended, verdict).await {
            Ok(settled) => break settled,
            Err(fault) => fault,
        };
        match (fault.class(), waits.next()) {
            (ErrorClass::Retry { .. }, Some(wait)) => {
                tracing::warn!(endpoint = %of.endpoint.id, "a webhook's answer is not written yet: {fault}");
                tokio::time::sleep(*wait).await;
            }
            _ => return Err(fault),
        }
    };
    match (settled, verdict) {
        (Some(outcome), _) => Ok(outcome),
        (None, Verdict::NotSent(wait)) => Ok(Outcome::Snooze(wait)),
        (None, Verdict::Again(wait)) => {
            Err(JobError::retry_after(wait, NotTaken(ended.error.clone().unwrap_or_default())))
        }
        (None, _) => Ok(Outcome::Done),
    }
}

/// `None`: the job goes on living.
async fn record_once(
    cx: &Context<Platform>,
    of: &Outgoing,
    ended: &Ended,
    verdict: Verdict,
) -> Result<Option<Outcome>, JobError> {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    let disabled = outbound::end(&mut tx, of, ended, verdict).await.or_fail()?;
    if disabled.is_some() {
        let notice = NewJob::of(&TellOwner { endpoint: of.endpoint.id }).or_fail()?;
        tx.enqueue(cx.follow_up(notice)).await.or_fail()?;
    }
    let why = || ended.error.clone().unwrap_or_default();
    match (verdict, disabled) {
        (Verdict::Delivered, _) => {
            next_in_line(&mut tx, cx, of).await?;
            tx.done().await.map(Some)
        }
        (Verdict::Again(_) | Verdict::NotSent(_), None) => {
            tx.commit().await.or_fail()?;
            Ok(None)
        }
        (Verdict::Failed, None) => {
            next_in_line(&mut tx, cx, of).await?;
            let attempts = cx.job().attempt;
            tx.cancelled(format!("given up after {attempts} attempts: {}", why())).await.map(Some)
        }
        (_, Some(reason)) => {
            tx.cancelled(format!("the endpoint is disabled: {reason}")).await.map(Some)
        }
        (Verdict::Gone, None) => tx.cancelled(why()).await.map(Some),
    }
}

/// Of an ordered endpoint the next message may go now.
async fn next_in_line(
    tx: &mut JobTx,
    cx: &Context<Platform>,
    of: &Outgoing,
) -> Result<(), JobError> {
    if !of.endpoint.ordered {
        return Ok(());
    }
    match outbound::flush(tx, of.endpoint.id, None, 1).await {
        Ok(flushed) => send(tx, &flushed.due, |_, job| cx.follow_up(job)).await.or_fail(),
        // It was removed during the call.
        Err(StoreFault::NotFound) => Ok(()),
        Err(e) => Err(e).or_fail(),
    }
}
