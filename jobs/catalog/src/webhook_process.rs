//! `webhook.process`: judges one event by its portal's settings of today; what fits becomes leads.

use crate::fault::OrFail;
use crate::judging::{placed, verdict};
use crate::keeping::{Keeper, Kept};
use crate::{Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::mapping::{Judged, Judgement};
use switchyard_domain::{EventId, FieldFault, LeadId};
use switchyard_queue::{Context, Job, JobResult, QueueName};
use switchyard_store::events::{self, EventState};
use switchyard_store::{Result, Tx, persons};

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
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        // Event, persons, leads: the order in which everybody locks.
        let event = events::lock(&mut tx, self.event).await.or_fail()?;
        if event.state == EventState::Processed {
            return tx.done().await;
        }
        if event.paused && events::hold(&mut tx, event.id, event.portal).await.or_fail()? {
            return tx.done().await;
        }
        let version = event.portal_version;
        let verdict = verdict(&event);
        match verdict.judgement {
            Ok(Judgement::Leads(leads)) => {
                let rule = verdict.settings.as_ref().and_then(|s| s.duplicates.as_ref());
                let mut keeper = Keeper::new(&event, rule);
                let (stored, made, faults) =
                    keep_all(&mut tx, &mut keeper, leads).await.or_fail()?;
                if !stored {
                    events::mark_rejected(&mut tx, event.id, version, &faults).await.or_fail()?;
                } else if !faults.is_empty() {
                    events::note_partial(&mut tx, event.id, &faults).await.or_fail()?;
                }
                keeper.enqueue(&mut tx, |job| cx.follow_up(job)).await.or_fail()?;
                outbound::leads_created(&mut tx, &made, |job| cx.follow_up(job)).await.or_fail()?;
            }
            Ok(Judgement::Ignored { code, message }) => {
                let reason = FieldFault::new("event", code, message);
                events::mark_ignored(&mut tx, event.id, version, &reason).await.or_fail()?;
            }
            Err(reasons) => {
                events::mark_rejected(&mut tx, event.id, version, &reasons).await.or_fail()?;
            }
        }
        tx.done().await
    }
}

/// Keeps what became leads. Says whether any did, which are new and whole, and what kept the others from
/// it.
async fn keep_all(
    tx: &mut Tx,
    keeper: &mut Keeper<'_>,
    judged: Vec<Judged>,
) -> Result<(bool, Vec<LeadId>, Vec<FieldFault>)> {
    let (mut stored, mut made, mut faults, many) = (false, Vec::new(), Vec::new(), judged.len());
    let locked = keeper.lock(tx, &judged).await?;
    for (n, judged) in judged.into_iter().enumerate() {
        let whole = judged.fetch.is_none();
        match keeper.keep(tx, i32::try_from(n).unwrap_or(i32::MAX), judged).await? {
            Kept::Refused(reasons) => {
                faults.extend(reasons.into_iter().map(|f| placed(n, many, f)));
            }
            Kept::New(id) | Kept::Linked(id) if whole => {
                stored = true;
                made.push(id);
            }
            _ => stored = true,
        }
    }
    persons::unlock(tx, &locked).await?;
    Ok((stored, made, faults))
}
