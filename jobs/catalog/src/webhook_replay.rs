//! `webhook.replay`: judges the events of a range again, in small steps that are kept.

use crate::fault::OrFail;
use crate::replay::Locked;
use crate::{Platform, queues, replay};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::EventId;
use switchyard_queue::{Context, Job, JobError, JobResult, Options, QueueName};
use switchyard_store::events::{self, EventMark};
use switchyard_store::replays::{self, MOST_KEPT, Replay};
use switchyard_store::{Db, Scope, StoreFault, Tx};
use uuid::Uuid;

/// Events of one step: what a crash would do again, and how long its locks last.
const BATCH: i64 = 50;

/// Goes through one replay.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplayWebhooks {
    /// The replay.
    pub replay: Uuid,
}

impl Job for ReplayWebhooks {
    type State = Platform;

    const KIND: &'static str = "webhook.replay";
    const ABOUT: &'static str =
        "Judges the events of a range again, by their portals' settings of today.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const MAX_ATTEMPTS: u16 = 25;
    const STUCK_AFTER: Option<Duration> = Some(Duration::from_secs(60));

    fn options(&self) -> Options {
        Options::new().unique_by(self.replay)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let db = &cx.state().db;
        loop {
            let mut tx = db.begin_job(cx.job()).await.or_fail()?;
            let mut replay = replays::get(&mut tx, self.replay).await.or_fail()?;
            if replay.finished_at.is_some() {
                return tx.done().await;
            }
            let range = replay.range().map_err(JobError::permanent)?;
            let next = events::next_in(&mut tx, &range, replay.mark, BATCH).await.or_fail()?;
            if next.is_empty() {
                replays::advance(&mut tx, &replay, true).await.or_fail()?;
                return tx.done().await;
            }
            if replay.dry_run {
                // A dry run undoes what it wrote: it cannot do that in the transaction that keeps
                // how far it is.
                tx.commit().await.or_fail()?;
                preview(db, &mut replay, &next).await.or_fail()?;
                tx = db.begin_job(cx.job()).await.or_fail()?;
            } else {
                match apply(&mut tx, cx, &mut replay, &next).await {
                    Ok(()) => {}
                    Err(fault) if fault.is_transient() => return Err(fault.into_job_error()),
                    Err(StoreFault::LeaseLost) => {
                        return Err(StoreFault::LeaseLost.into_job_error());
                    }
                    Err(fault) => {
                        tracing::warn!(error = %fault, replay = %replay.id, "one by one");
                        drop(tx);
                        one_by_one(cx, self.replay, &next).await?;
                        continue;
                    }
                }
            }
            replays::advance(&mut tx, &replay, false).await.or_fail()?;
            tx.commit().await.or_fail()?;
            tell(cx, &replay);
            if cx.cancelled().is_cancelled() {
                return Err(JobError::retry("it was asked to stop; it goes on where it was"));
            }
        }
    }
}

async fn apply(
    tx: &mut Tx,
    cx: &Context<Platform>,
    replay: &mut Replay,
    next: &[EventMark],
) -> switchyard_store::Result<()> {
    let ids: Vec<EventId> = next.iter().map(|mark| mark.id).collect();
    let locked = Locked::these(tx, &ids).await?;
    for mark in next {
        let told = locked.again(tx, mark.id, |job| cx.follow_up(job)).await?;
        keep(replay, &told, *mark);
    }
    locked.free(tx).await
}

/// One bad event must not hold up the others: it is counted as failed and passed over.
async fn one_by_one(cx: &Context<Platform>, id: Uuid, next: &[EventMark]) -> Result<(), JobError> {
    for mark in next {
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let mut replay = replays::get(&mut tx, id).await.or_fail()?;
        match apply(&mut tx, cx, &mut replay, std::slice::from_ref(mark)).await {
            Ok(()) => {}
            Err(fault) if fault.is_transient() => return Err(fault.into_job_error()),
            Err(fault) => {
                tracing::error!(error = %fault, event = %mark.id, "an event cannot be replayed");
                drop(tx);
                tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
                failed(&mut replay, *mark);
            }
        }
        replays::advance(&mut tx, &replay, false).await.or_fail()?;
        tx.commit().await.or_fail()?;
        tell(cx, &replay);
    }
    Ok(())
}

/// The dry run of these events: each in a transaction that is undone.
///
/// # Errors
/// If the database is not available.
pub(crate) async fn preview(
    db: &Db,
    replay: &mut Replay,
    next: &[EventMark],
) -> switchyard_store::Result<()> {
    for mark in next {
        match replay::preview(db, mark.id).await {
            Ok(told) => keep(replay, &told, *mark),
            Err(fault) if fault.is_transient() => return Err(fault),
            Err(fault) => {
                tracing::error!(error = %fault, event = %mark.id, "an event cannot be replayed");
                failed(replay, *mark);
            }
        }
    }
    Ok(())
}

/// The dry run of a whole range, here and now, without a job.
///
/// # Errors
/// If the database is not available.
pub async fn preview_range(
    db: &Db,
    range: &events::Range,
    requested_by: &str,
) -> switchyard_store::Result<Replay> {
    let mut replay = Replay::passing(range, requested_by);
    loop {
        let mut tx = db.begin(Scope::Platform).await?;
        let next = events::next_in(&mut tx, range, replay.mark, BATCH).await?;
        tx.rollback().await?;
        if next.is_empty() {
            replay.total = replay.counts.get("events").copied().unwrap_or_default();
            return Ok(replay);
        }
        preview(db, &mut replay, &next).await?;
    }
}

fn keep(replay: &mut Replay, told: &replay::EventReplay, mark: EventMark) {
    told.count(&mut replay.counts);
    if told.differs() && replay.changes.len() < MOST_KEPT {
        replay.changes.extend(serde_json::to_value(told));
    }
    replay.mark = mark;
}

fn failed(replay: &mut Replay, mark: EventMark) {
    for name in ["events", "events_failed"] {
        *replay.counts.entry(name.to_owned()).or_default() += 1;
    }
    replay.mark = mark;
}

#[allow(clippy::cast_precision_loss)] // a share for people
fn tell(cx: &Context<Platform>, replay: &Replay) {
    let done = replay.counts.get("events").copied().unwrap_or_default();
    let changed = replay.counts.get("events_changed").copied().unwrap_or_default();
    let share = done as f64 / replay.total.max(done).max(1) as f64;
    cx.progress(share, format!("{done} events, {changed} with a difference"));
}
