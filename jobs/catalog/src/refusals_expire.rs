//! `refusals.expire`: forgets old refusals and counts of the doors.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::{Scope, refusals};

/// Rows a transaction.
const BATCH: u32 = 5_000;

/// Forgets refused requests after 30 days and the counts of the doors after 90.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExpireRefusals {}

impl Job for ExpireRefusals {
    type State = Platform;

    const KIND: &'static str = "refusals.expire";
    const ABOUT: &'static str = "Forgets refused requests after 30 days, their counts after 90.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        loop {
            let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
            let gone = refusals::expire(&mut tx, i64::from(BATCH)).await.or_fail()?;
            tx.commit().await.or_fail()?;
            if gone < u64::from(BATCH) || cx.cancelled().is_cancelled() {
                return Ok(Outcome::Done);
            }
        }
    }
}
