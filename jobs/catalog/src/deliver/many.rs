//! Messages whose sending begins, or was done, at the same moment: their intents are one commit, and so are
//! their results. The calls lie between, each its own.
//!
//! Only the usual case goes together: a message that waits, whose effect nobody has begun, and an answer that
//! says that it was taken. Whatever else is found sends every one of them on its own way, where all of it is
//! told apart.

use super::{Begun, begin_alone, key, record_alone, taken};
use crate::Platform;
use crate::fault::OrFail;
use crate::together::{AnswerAll, Part};
use std::collections::HashMap;
use switchyard_domain::{AgencyId, MessageId};
use switchyard_providers::Receipt;
use switchyard_queue::{ClaimedJob, Context, Held, JobError, Outcome};
use switchyard_store::effects;
use switchyard_store::messages::{self, Message, MessageState, SentMessage};

/// A message that is about to be sent.
#[derive(Clone)]
pub(crate) struct Beginning {
    pub(super) message: MessageId,
    pub(super) cx: Context<Platform>,
}

/// A message that a provider took.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(super) message: MessageId,
    pub(super) receipt: Receipt,
    pub(super) cx: Context<Platform>,
}

impl Part for Beginning {
    type Answer = Begun;

    async fn run(all: &[Self]) -> AnswerAll<Self> {
        let [first, _, ..] = all else {
            let Some(one) = all.first() else { return Ok(Vec::new()) };
            return Ok(vec![begin_alone(&one.cx, one.message).await]);
        };
        let jobs: Vec<&ClaimedJob> = all.iter().map(|b| b.cx.job()).collect();
        let mut of = Vec::with_capacity(all.len());
        let mut intents = Vec::with_capacity(all.len());
        for beginning in all {
            of.push((beginning.message, agency(&beginning.cx)?));
            intents.push((held(&beginning.cx), key(beginning.message)));
        }
        let mut tx = first.cx.state().db.begin_jobs(&jobs).await.or_fail()?;
        let begun = messages::begin_attempts(&mut tx, &of).await.or_fail()?;
        let mut begun: HashMap<MessageId, Message> = begun.into_iter().map(|m| (m.id, m)).collect();
        let usual = jobs.iter().all(|job| tx.stands(job))
            && begun.len() == all.len()
            && begun.values().all(|message| message.state == MessageState::Queued)
            && effects::begin_all(&mut tx, &intents).await.or_fail()?;
        if !usual {
            return Err(alone());
        }
        tx.commit().await.or_fail()?;
        let message = |b: &Self| begun.remove(&b.message).ok_or_else(alone);
        Ok(all.iter().map(message).map(|found| Ok(Begun::Send(Box::new(found?)))).collect())
    }
}

impl Part for Recording {
    type Answer = Outcome;

    async fn run(all: &[Self]) -> AnswerAll<Self> {
        let [first, _, ..] = all else {
            let Some(one) = all.first() else { return Ok(Vec::new()) };
            return Ok(vec![record_alone(&one.cx, one.message, &Ok(one.receipt.clone())).await]);
        };
        let jobs: Vec<&ClaimedJob> = all.iter().map(|r| r.cx.job()).collect();
        let mut sent = Vec::with_capacity(all.len());
        let mut results = Vec::with_capacity(all.len());
        for Self { message, receipt, cx } in all {
            let Receipt { provider, provider_id } = receipt.clone();
            sent.push(SentMessage { id: *message, agency: agency(cx)?, provider, provider_id });
            results.push((held(cx), key(*message), taken(receipt)));
        }
        let mut tx = first.cx.state().db.begin_jobs(&jobs).await.or_fail()?;
        let usual = jobs.iter().all(|job| tx.stands(job))
            && effects::finish_all(&mut tx, results).await.or_fail()?
            && messages::mark_all_sent(&mut tx, &sent).await.or_fail()? == all.len() as u64;
        if !usual {
            return Err(alone());
        }
        tx.done(&jobs, all.iter().map(|_| Ok(Outcome::Done)).collect()).await.or_fail()
    }
}

/// Whose message a job sends: the transaction of several sees everybody's.
fn agency(cx: &Context<Platform>) -> Result<AgencyId, JobError> {
    cx.job().tenant.map(AgencyId).ok_or_else(alone)
}

fn held(cx: &Context<Platform>) -> Held {
    Held { id: cx.job().id, fence: cx.job().fence }
}

/// Never seen by anybody but a log: it makes each go alone.
fn alone() -> JobError {
    JobError::retry("a message that is not as usual")
}
