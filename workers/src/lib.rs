//! Workers: claim jobs in batches, run them under apalis, write their results down.
//!
//! A job's way: [`claim`] takes it from the store and enters it into the [`flight`] table, the
//! [`handoff`] holds it until a slot is free, [`backend`] feeds it to apalis, [`execute`] runs it
//! and [`verdict`] decides what became of it, [`settle`] writes that down. Beside this way
//! [`lease`] keeps the claims alive, [`presence`] keeps the worker seen and finds the dead,
//! [`progress`] passes on how far jobs say they are, [`wakeups`] hears of new work and cancellations. [`drain`] ends it all.
//!
//! What bounds memory: the claim loop never holds more than the slots and a prefetch of at most one
//! batch, and the queue of results is bounded; when the store is away both fill up and everything
//! waits. What makes waiting safe: every loop that waits for a signal also has a timer.

mod backend;
mod backoff;
mod claim;
mod config;
mod drain;
mod execute;
mod flight;
mod handoff;
mod kinds;
mod lanes;
mod lease;
mod meters;
mod pace;
mod presence;
mod progress;
mod reach;
mod settle;
mod supervise;
mod suspects;
mod verdict;
mod wakeups;

pub use config::WorkerConfig;

use crate::drain::{Signs, Tasks};
use crate::execute::{Router, SettleLayer};
use crate::flight::Flight;
use crate::handoff::Handoff;
use crate::kinds::Kinds;
use crate::meters::Meters;
use crate::settle::{SettleQueue, SettleReceiver};
use crate::wakeups::Signals;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_queue::{Dispatcher, JobStore, KindInfo, Wake, WorkerId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often the slots are looked after.
const TEND: Duration = Duration::from_millis(250);
/// A claimed job that found no free slot in this time is given back: the prefetch was measured on
/// shorter jobs than those that run now.
const STALE: Duration = Duration::from_millis(500);

/// What the loops of one worker share.
struct Worker<S> {
    store: S,
    wake: Arc<dyn Wake>,
    config: WorkerConfig,
    /// Names of the kinds it can run.
    kinds: Kinds,
    /// Queues it serves.
    queues: Vec<String>,
    /// What it tells others of the kinds.
    declares: Vec<KindInfo>,
    flight: Arc<Flight>,
    handoff: Arc<Handoff>,
    settle: SettleQueue,
    signals: Signals,
    meters: Arc<Meters>,
    /// The number it is registered under, while it is.
    session: watch::Sender<Option<WorkerId>>,
    /// An operator wants it to claim no more.
    quiet: watch::Sender<bool>,
    /// The store counts this very worker among the dead.
    declared_dead: Notify,
    /// Leases are to be renewed now.
    renew_now: Notify,
    /// Claiming is over.
    no_more: CancellationToken,
    dead: Mutex<Arc<Vec<WorkerId>>>,
}

impl<S> Worker<S> {
    /// Workers whose claims are void.
    fn dead(&self) -> Arc<Vec<WorkerId>> {
        Arc::clone(&self.dead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in the dead. `true` if there are some that were not known.
    fn bury(&self, dead: Vec<WorkerId>) -> bool {
        let mut known = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        let new = dead.iter().any(|id| !known.contains(id));
        if **known != dead {
            *known = Arc::new(dead);
        }
        new
    }
}

/// Runs one worker until `shutdown` fires and what it was running has come to an end.
///
/// Never fails: while the store is away the worker waits, and goes on when it is back. Returns at
/// the latest after `drain_timeout`, `cancel_grace` and the time for the last results (10 s). If the
/// future is dropped instead, everything stops at once and the jobs in hand run again elsewhere.
pub async fn run<S: JobStore>(
    store: S,
    dispatcher: Dispatcher,
    wake: Arc<dyn Wake>,
    config: WorkerConfig,
    shutdown: CancellationToken,
) {
    let (settle, results) = SettleQueue::new();
    let worker = Arc::new(worker(store, &dispatcher, wake, config, settle));
    let signs = Signs::default();
    let tasks = start(&worker, dispatcher, &signs, results);
    shutdown.cancelled().await;
    drain::drain(worker, tasks, signs).await;
}

fn worker<S>(
    store: S,
    dispatcher: &Dispatcher,
    wake: Arc<dyn Wake>,
    config: WorkerConfig,
    settle: SettleQueue,
) -> Worker<S> {
    let mut queues = config.queues.clone();
    if queues.is_empty() {
        queues = dispatcher.kinds().iter().map(|k| k.queue.0.to_owned()).collect();
    }
    queues.sort_unstable();
    queues.dedup();
    let config = WorkerConfig {
        concurrency: config.concurrency.max(1),
        claim_batch: config.claim_batch.max(1),
        ..config
    };
    Worker {
        store,
        wake,
        kinds: Kinds::new(dispatcher.names()),
        queues,
        declares: dispatcher.kinds().to_vec(),
        flight: Arc::default(),
        handoff: Handoff::new(config.concurrency),
        settle,
        signals: Signals::default(),
        meters: Arc::new(Meters::new(dispatcher)),
        session: watch::Sender::new(None),
        quiet: watch::Sender::new(false),
        declared_dead: Notify::new(),
        renew_now: Notify::new(),
        no_more: CancellationToken::new(),
        dead: Mutex::default(),
        config,
    }
}

fn start<S: JobStore>(
    worker: &Arc<Worker<S>>,
    dispatcher: Dispatcher,
    signs: &Signs,
    results: SettleReceiver,
) -> Tasks {
    let never = CancellationToken::new();
    let keep = |name, body: fn(Arc<Worker<S>>) -> futures::future::BoxFuture<'static, ()>| {
        let worker = Arc::clone(worker);
        supervise::keep(name, &never, move || body(Arc::clone(&worker)))
    };
    let settler = || {
        let (worker, results) = (Arc::clone(worker), Arc::clone(&results));
        let finish = signs.finish_settling.clone();
        supervise::keep("settle", &never, move || {
            settle::run(Arc::clone(&worker), Arc::clone(&results), finish.clone())
        })
    };
    let (present, leave) = (Arc::clone(worker), signs.leave.clone());
    Tasks {
        claim: keep("claim", |w| Box::pin(claim::run(w))),
        apalis: apalis(worker, dispatcher, signs.finish_running.clone()),
        settlers: vec![settler(), settler()],
        presence: supervise::keep("presence", &never, move || {
            presence::run(Arc::clone(&present), leave.clone())
        }),
        others: vec![
            keep("wake-ups", |w| Box::pin(wakeups::run(w))),
            keep("lease", |w| Box::pin(lease::run(w))),
            keep("reap", |w| Box::pin(presence::reap(w))),
            keep("progress", |w| Box::pin(progress::run(w))),
            keep("tend", |w| Box::pin(tend(w))),
        ],
    }
}

fn apalis<S: JobStore>(
    worker: &Worker<S>,
    dispatcher: Dispatcher,
    finish: CancellationToken,
) -> AbortOnDropHandle<()> {
    let layer = SettleLayer {
        queue: worker.settle.clone(),
        policy: worker.config.retry,
        meters: Arc::clone(&worker.meters),
    };
    let router = Router { dispatcher, cancel_grace: worker.config.cancel_grace };
    let monitor =
        execute::monitor(Arc::clone(&worker.handoff), worker.settle.clone(), layer, router);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let signal = async move {
            finish.cancelled().await;
            Ok(())
        };
        if let Err(error) = monitor.run_with_signal(signal).await {
            tracing::error!(%error, "apalis ended with an error");
        }
    }))
}

/// Shows the state of the slots, and gives back what waits for one in vain.
async fn tend<S: JobStore>(worker: Arc<Worker<S>>) {
    let slots = worker.config.concurrency;
    loop {
        tokio::time::sleep(TEND).await;
        worker.meters.slots(worker.handoff.running(), worker.handoff.waiting(), slots);
        let stale = worker.handoff.take_stale(STALE);
        if !stale.is_empty() {
            tracing::info!(jobs = stale.len(), "claimed jobs that find no slot are given back");
            worker.settle.clone().give_back(stale).await;
        }
    }
}
