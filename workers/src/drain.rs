//! Leaving in good order.

use crate::Worker;
use crate::flight::Stop;
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::JobStore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long the last results may take to be written. Longer than a failover of the database.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// What an attempt gets beyond its grace to be dropped and to hand its result in.
const LEEWAY: Duration = Duration::from_secs(1);

/// The tasks of the worker that end one after the other.
pub(crate) struct Tasks {
    pub(crate) claim: AbortOnDropHandle<()>,
    pub(crate) apalis: AbortOnDropHandle<()>,
    pub(crate) settlers: Vec<AbortOnDropHandle<()>>,
    pub(crate) presence: AbortOnDropHandle<()>,
    /// Those that run on until the very end.
    pub(crate) others: Vec<AbortOnDropHandle<()>>,
}

/// The signals by which they end.
#[derive(Default)]
pub(crate) struct Signs {
    /// apalis finishes what runs.
    pub(crate) finish_running: CancellationToken,
    /// The settlers write what is there and end.
    pub(crate) finish_settling: CancellationToken,
    /// Presence is given up.
    pub(crate) leave: CancellationToken,
}

/// Stops claiming, gives back what did not begin, lets what runs finish, then stops it, writes
/// everything down, and leaves.
pub(crate) async fn drain<S: JobStore>(worker: Arc<Worker<S>>, tasks: Tasks, signs: Signs) {
    let Tasks { claim, apalis, mut settlers, presence, others } = tasks;
    let config = &worker.config;
    tracing::info!(
        running = worker.handoff.running(),
        prefetched = worker.handoff.waiting(),
        "the worker finishes what it runs and leaves"
    );
    worker.no_more.cancel();
    let unbegun = worker.settle.clone().give_back(worker.handoff.close());
    signs.finish_running.cancel();

    let mut finished = Box::pin(async move {
        // All of this waits while the store is away. A claim that was under way gives back what it
        // brings.
        unbegun.await;
        let _ = claim.await;
        let _ = apalis.await;
    });
    if tokio::time::timeout(config.drain_timeout, &mut finished).await.is_err() {
        tracing::warn!(running = worker.handoff.running(), "running jobs are told to stop");
        worker.flight.stop_all(Stop::Drain);
        if tokio::time::timeout(config.cancel_grace + LEEWAY, &mut finished).await.is_err() {
            // A handler that blocks its thread can be neither cancelled nor dropped.
            tracing::error!(running = worker.handoff.running(), "jobs that do not stop are left");
        }
    }
    drop(finished);

    signs.finish_settling.cancel();
    let written = futures::future::join_all(settlers.iter_mut());
    if tokio::time::timeout(LAST_WORDS, written).await.is_err() {
        tracing::error!(results = worker.flight.len(), "the last results could not be written");
    }
    drop(settlers);

    signs.leave.cancel();
    let _ = presence.await;
    drop(others);
    tracing::info!("the worker is gone");
}
