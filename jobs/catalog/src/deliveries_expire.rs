//! `deliveries.expire_keys`: forgets which bodies were seen more than a day ago.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::{Scope, events, persons, replays};

/// Rows a transaction: short enough that ingest does not wait for it.
const BATCH: u32 = 2_000;

/// Forgets delivery keys and persons whose time is over. A key that is still there is taken over when the same
/// body comes again, so nothing depends on when this runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExpireKeys {}

impl Job for ExpireKeys {
    type State = Platform;

    const KIND: &'static str = "deliveries.expire_keys";
    const ABOUT: &'static str =
        "Forgets body hashes over a day old, persons whose time is over, and old replays.";
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
            let gone = events::expire_keys(&mut tx, i64::from(BATCH)).await.or_fail()?;
            let persons = persons::expire(&mut tx, i64::from(BATCH)).await.or_fail()?;
            replays::forget(&mut tx).await.or_fail()?;
            tx.commit().await.or_fail()?;
            if gone.max(persons) < u64::from(BATCH) || cx.cancelled().is_cancelled() {
                return Ok(Outcome::Done);
            }
        }
    }
}
