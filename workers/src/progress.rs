//! Writing down how far the running jobs say they are: all of them in one statement, at most twice a
//! second, and never in anybody's way.

use crate::Worker;
use crate::backoff::{Backoff, cause, within};
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{Held, JobStore, Report};

/// How often at most.
const EVERY: Duration = Duration::from_millis(500);
/// How long a statement may take. What a job says is worth little a second later.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most jobs in one statement.
const MAX_BATCH: usize = 1000;

/// Until it is dropped. What could not be written, because the store was away or the job's row was in
/// its own transaction's hands, is written the next time, as it stands then.
pub(crate) async fn run<S: JobStore>(worker: Arc<Worker<S>>) {
    let mut backoff = Backoff::store();
    let mut wait = EVERY;
    loop {
        tokio::time::sleep(wait).await;
        wait = EVERY;
        let said = worker.flight.said();
        for part in said.chunks(MAX_BATCH) {
            let reports: Vec<(Held, Report)> =
                part.iter().map(|(flying, report)| (flying.held(), report.clone())).collect();
            match within(PATIENCE, "report progress", worker.store.report(&reports)).await {
                Ok(written) => {
                    backoff.reset();
                    let missed = part.iter().filter(|(f, _)| !written.contains(&f.job.id));
                    missed.for_each(|(flying, _)| flying.progress.untake());
                }
                Err(error) => {
                    part.iter().for_each(|(flying, _)| flying.progress.untake());
                    wait = backoff.next().max(EVERY);
                    tracing::debug!(error = cause(&error), "progress could not be written");
                }
            }
        }
    }
}
