//! `webhook.process`: judges one event by its portal's settings of today; what fits becomes leads.

use crate::fault::OrFail;
use crate::judging::{Verdict, placed, verdict};
use crate::keeping::{self, Keeper, Kept};
use crate::together::{AnswerAll, Part};
use crate::{Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use switchyard_domain::mapping::{Judged, Judgement};
use switchyard_domain::{EventId, FieldFault, LeadId};
use switchyard_queue::{ClaimedJob, Context, Job, JobResult, Outcome, QueueName};
use switchyard_store::events::{self, EventState, EventToProcess};
use switchyard_store::{Result, StoreFault, Tx};

/// Judges one event.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessWebhook {
    /// The event.
    pub event: EventId,
}

impl Job for ProcessWebhook {
    type State = Platform;

    const KIND: &'static str = "webhook.process";
    const ABOUT: &'static str = "Maps one webhook event to leads, or rejects it with the reasons.";
    const QUEUE: QueueName = queues::WEBHOOKS;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u16 = 15;

    // Not unique: the event's key admits one delivery, and a lead is unique by its place in the event.

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        cx.state().line.judging.run(Judging { event: self.event, cx: cx.clone() }).await
    }
}

/// An event that a job judges.
#[derive(Clone)]
pub(crate) struct Judging {
    event: EventId,
    cx: Context<Platform>,
}

impl Part for Judging {
    type Answer = Outcome;

    async fn run(all: &[Self]) -> AnswerAll<Self> {
        let Some(first) = all.first() else { return Ok(Vec::new()) };
        let jobs: Vec<&ClaimedJob> = all.iter().map(|j| j.cx.job()).collect();
        let mut tx = first.cx.state().db.begin_jobs(&jobs).await.or_fail()?;
        let (mut ids, mut answers) = (HashMap::new(), Vec::with_capacity(all.len()));
        for judging in all {
            answers.push(if tx.stands(judging.cx.job()) {
                ids.insert(judging.event, &judging.cx);
                Ok(Outcome::Done)
            } else {
                Err(StoreFault::LeaseLost.into_job_error())
            });
        }
        // Events, persons, leads: the order in which everybody locks.
        let asked: Vec<EventId> = ids.keys().copied().collect();
        let events = events::lock_many(&mut tx, &asked).await.or_fail()?;
        let known: HashSet<EventId> = events.iter().map(|e| e.id).collect();
        for (judging, answer) in all.iter().zip(&mut answers) {
            if answer.is_ok() && !known.contains(&judging.event) {
                *answer = Err(StoreFault::NotFound.into_job_error());
            }
        }
        judge_all(&mut tx, &events, &ids).await.or_fail()?;
        tx.done(&jobs, answers).await.or_fail()
    }
}

/// Judges events that are locked, in the order in which they came, each for its job.
async fn judge_all(
    tx: &mut Tx,
    events: &[EventToProcess],
    of: &HashMap<EventId, &Context<Platform>>,
) -> Result<()> {
    let mut open = Vec::with_capacity(events.len());
    for event in events.iter().filter(|event| event.state != EventState::Processed) {
        if !(event.paused && events::hold(tx, event.id, event.portal).await?) {
            open.push((event, verdict(event)));
        }
    }
    let mut leads = Vec::new();
    for (event, Verdict { settings, judgement }) in &mut open {
        let settings: &Option<_> = settings;
        match std::mem::replace(judgement, Err(Vec::new())) {
            Ok(Judgement::Leads(judged)) => {
                let rule = settings.as_ref().and_then(|s| s.duplicates.as_ref());
                leads.push((Keeper::new(event, rule), judged));
            }
            Ok(Judgement::Ignored { code, message }) => {
                let reason = FieldFault::new("event", code, message);
                events::mark_ignored(tx, event.id, event.portal_version, &reason).await?;
            }
            Err(reasons) => {
                events::mark_rejected(tx, event.id, event.portal_version, &reasons).await?;
            }
        }
    }
    keep_all(tx, leads, of).await
}

/// Keeps what became leads, and enqueues what follows.
async fn keep_all(
    tx: &mut Tx,
    leads: Vec<(Keeper<'_>, Vec<Judged>)>,
    of: &HashMap<EventId, &Context<Platform>>,
) -> Result<()> {
    let fetched: Vec<Vec<bool>> =
        leads.iter().map(|(_, all)| all.iter().map(|j| j.fetch.is_some()).collect()).collect();
    let (mut jobs, mut made, mut causes) = (Vec::new(), Vec::new(), Vec::new());
    for ((keeper, kept), fetched) in keeping::keep_all(tx, leads).await?.into_iter().zip(fetched) {
        let event = keeper.event();
        let (stored, new, faults) = sum_up(kept, &fetched);
        if !stored {
            events::mark_rejected(tx, event.id, event.portal_version, &faults).await?;
        } else if !faults.is_empty() {
            events::note_partial(tx, event.id, &faults).await?;
        }
        let cause = of.get(&event.id).ok_or(StoreFault::NotFound)?;
        jobs.extend(keeper.jobs().into_iter().map(|job| cause.follow_up(job)));
        causes.extend(new.iter().map(|_| *cause));
        made.extend(new);
    }
    if !jobs.is_empty() {
        tx.enqueue_all(jobs).await?;
    }
    outbound::leads_created(tx, &made, |n, job| causes[n].follow_up(job)).await
}

/// Says of one event's leads whether there are any, which are new and whole (nothing has to be `fetched`),
/// and what kept the others from it.
fn sum_up(kept: Vec<Kept>, fetched: &[bool]) -> (bool, Vec<LeadId>, Vec<FieldFault>) {
    let (mut stored, mut made, mut faults, many) = (false, Vec::new(), Vec::new(), kept.len());
    for (n, (kept, fetched)) in kept.into_iter().zip(fetched).enumerate() {
        match kept {
            Kept::Refused(reasons) => {
                faults.extend(reasons.into_iter().map(|f| placed(n, many, f)));
            }
            Kept::New(id) | Kept::Linked(id) if !fetched => {
                stored = true;
                made.push(id);
            }
            _ => stored = true,
        }
    }
    (stored, made, faults)
}
