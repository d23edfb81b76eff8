//! Keeping the claims alive, and hearing with every renewal what was lost or is to be cancelled.

use crate::Worker;
use crate::backoff::{Backoff, cause, within};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_queue::{JobStore, StoreError};

/// Most leases in one statement.
const MAX_BATCH: usize = 1000;

/// Renews every third of the lease, for everything claimed, started or not.
pub(crate) async fn run<S: JobStore>(worker: Arc<Worker<S>>) {
    let every = worker.config.lease / 3;
    let mut backoff = Backoff::store();
    let mut wait = every;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = worker.renew_now.notified() => {}
        }
        wait = match renew(&worker, every).await {
            Ok(()) => {
                backoff.reset();
                every
            }
            Err(error) => {
                tracing::warn!(error = cause(&error), "leases could not be renewed; trying again");
                backoff.next().min(every)
            }
        };
        let doubtful = worker.flight.doubt_expired(Instant::now());
        if doubtful > 0 {
            tracing::warn!(jobs = doubtful, "leases ran out before they could be renewed");
        }
        // While renewals fail, whatever stands the shortest is told in time.
        if let Some(left) = worker.flight.stands_for(Instant::now()) {
            wait = wait.min(left);
        }
    }
}

async fn renew<S: JobStore>(worker: &Worker<S>, at_most: Duration) -> Result<(), StoreError> {
    let lease = worker.config.lease;
    for held in worker.flight.held().chunks(MAX_BATCH) {
        let began = Instant::now();
        let answer = within(at_most, "renew leases", worker.store.renew(held, lease)).await?;
        let lost = worker.flight.renewed(held, &answer, began + lease);
        if lost > 0 {
            tracing::warn!(jobs = lost, "claims were lost to others; their attempts are stopped");
        }
    }
    Ok(())
}
