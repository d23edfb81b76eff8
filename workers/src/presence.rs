//! Being seen: registering, noticing that the presence was lost, and looking for workers that died.

use crate::Worker;
use crate::backoff::{Backoff, cause, jittered, within};
use crate::flight::Stop;
use futures::FutureExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, JobStore, Presence, Reaped, WorkerInfo};
use tokio_util::sync::CancellationToken;

/// How often the dead are looked for, by all the workers together: each of them the less often the
/// more there are.
const REAP: Duration = Duration::from_millis(25);
/// How often at least, however many there are: with the jitter within a second, which is how soon an
/// operator's word arrives.
const REAP_AT_LEAST: Duration = Duration::from_millis(750);
/// How often at most: one worker alone has only those of other machines to look for.
const REAP_AT_MOST: Duration = Duration::from_millis(50);
/// How long registering or leaving may take before it is tried again or left.
const PATIENCE: Duration = Duration::from_secs(10);
/// What stopped attempts get beyond their grace to be written down, before others are claimed.
const LEEWAY: Duration = Duration::from_secs(3);

/// Registers, and whenever the presence is lost, again under a new number. After `leave` it says
/// goodbye and returns.
pub(crate) async fn run<S: JobStore>(worker: Arc<Worker<S>>, leave: CancellationToken) {
    let info = info(&worker);
    let mut backoff = Backoff::store();
    loop {
        let registered = tokio::select! {
            () = leave.cancelled() => return,
            registered = within(PATIENCE, "register", worker.store.register(&info)) => registered,
        };
        let presence = match registered {
            Ok(presence) => presence,
            Err(error) => {
                tracing::warn!(
                    error = cause(&error),
                    "the worker could not register; trying again"
                );
                tokio::select! {
                    () = leave.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => continue,
                }
            }
        };
        backoff.reset();
        tracing::info!(worker = presence.id.0, host = info.host, "worker registered");
        let left = present(&worker, &presence, &leave).await;
        if left {
            return goodbye(&worker, presence).await;
        }
        // Others see the free lock and take the jobs, so nothing may go on as if they were ours.
        worker.flight.end_session();
        tracing::warn!(
            worker = presence.id.0,
            "the presence was lost: attempts are stopped, the worker registers anew"
        );
    }
}

/// Holds a presence. `true`: the worker leaves; `false`: the presence was lost.
async fn present<S: JobStore>(
    worker: &Worker<S>,
    presence: &Presence,
    leave: &CancellationToken,
) -> bool {
    // What was said of an earlier number must not end this one.
    let _ = worker.declared_dead.notified().now_or_never();
    let claiming = async {
        finish_with_the_past(worker).await;
        worker.flight.begin_session(presence.id);
        worker.session.send_replace(Some(presence.id));
        std::future::pending::<()>().await;
    };
    let left = tokio::select! {
        () = leave.cancelled() => true,
        () = presence.lost.cancelled() => false,
        () = worker.declared_dead.notified() => false,
        () = claiming => false,
    };
    worker.session.send_replace(None);
    left
}

/// What was in hand under an earlier number is being stopped. As long as its end is not written
/// down, a claim would find it among the jobs of the dead and count a crash that was none.
async fn finish_with_the_past<S: JobStore>(worker: &Worker<S>) {
    let until = Instant::now() + worker.config.cancel_grace + LEEWAY;
    while worker.flight.len() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn goodbye<S: JobStore>(worker: &Worker<S>, presence: Presence) {
    let left = worker.flight.len();
    if left > 0 {
        // Unseen it counts as dead, and its jobs are free at once instead of after the lease.
        tracing::warn!(jobs = left, "the worker leaves jobs behind; others will take them");
        return;
    }
    let leaving = within(PATIENCE, "deregister", worker.store.deregister(presence.id));
    if let Err(error) = leaving.await {
        tracing::warn!(error = cause(&error), "the worker left without goodbye");
    }
}

/// Looks for the dead, wakes the claim loop when there are new ones, and takes in what operators
/// want of this worker.
pub(crate) async fn reap<S: JobStore>(worker: Arc<Worker<S>>) {
    let mut backoff = Backoff::store();
    let mut wait = REAP_AT_MOST;
    let mut stops = Stops::default();
    loop {
        tokio::time::sleep(wait).await;
        let me = *worker.session.borrow();
        wait = match within(PATIENCE, "look for dead workers", worker.store.reap(me)).await {
            Ok(Reaped { gone, live, quiet, paused_kinds, stop }) => {
                backoff.reset();
                stops.take(&worker, stop);
                tell(&worker, quiet);
                pause(&worker, paused_kinds);
                if worker.session.borrow().is_some_and(|me| gone.contains(&me)) {
                    worker.declared_dead.notify_one();
                }
                if worker.bury(gone) {
                    worker.signals.everywhere();
                }
                let share = REAP.saturating_mul(u32::try_from(live).unwrap_or(u32::MAX));
                jittered(share.clamp(REAP_AT_MOST, REAP_AT_LEAST))
            }
            Err(error) => {
                tracing::warn!(
                    error = cause(&error),
                    "the dead could not be looked for; trying again"
                );
                stops.missed = true;
                backoff.next().max(REAP_AT_MOST)
            }
        };
    }
}

/// What is to be stopped, as the store told it. Wake-ups say the same sooner, and may be lost.
#[derive(Default)]
struct Stops {
    /// Told at the last look, and not here: their claims were on their way, or they have ended.
    late: Vec<JobId>,
    /// An answer did not come, and what it told is not told again.
    missed: bool,
}

impl Stops {
    fn take<S>(&mut self, worker: &Worker<S>, told: Vec<JobId>) {
        for id in std::mem::take(&mut self.late) {
            worker.flight.stop(id, Stop::Operator);
        }
        self.late = told;
        self.late.retain(|id| !worker.flight.stop(*id, Stop::Operator));
        if std::mem::take(&mut self.missed) {
            // The answer to a renewal names them all.
            worker.renew_now.notify_one();
        }
    }
}

/// Takes in whether this worker is to claim.
fn tell<S>(worker: &Worker<S>, quiet: bool) {
    let changed = worker.quiet.send_if_modified(|now| std::mem::replace(now, quiet) != quiet);
    if changed {
        let says = if quiet { "be quiet: no more jobs are claimed" } else { "claim again" };
        tracing::info!("an operator told this worker to {says}");
    }
}

/// Takes in which kinds are paused. What was stepped over may lie anywhere in its lane.
fn pause<S>(worker: &Worker<S>, mut paused: Vec<String>) {
    paused.sort_unstable();
    if worker.kinds.pause(paused) {
        tracing::info!(paused = ?worker.kinds.paused(), "the kinds that are paused have changed");
        worker.signals.everywhere();
    }
}

fn info<S: JobStore>(worker: &Worker<S>) -> WorkerInfo {
    WorkerInfo {
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kinds: worker.kinds.all().to_vec(),
        queues: worker.queues.clone(),
        declares: worker.declares.clone(),
    }
}

/// The machine's name, for people: what the environment says, or the kernel.
fn host() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
