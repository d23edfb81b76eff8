//! `events.compress_bodies`: compresses what portals sent more than a day ago.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::events;

/// Events a transaction.
const BATCH: i64 = 200;
/// Batches a firing, with a pause after each: what is left waits for the next minute. That is up to
/// 6,000 events a minute for a few per cent of one processor.
const BATCHES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

/// Compresses old bodies. They are read as if they were not.
#[derive(Debug, Serialize, Deserialize)]
pub struct CompressBodies {}

impl Job for CompressBodies {
    type State = Platform;

    const KIND: &'static str = "events.compress_bodies";
    const ABOUT: &'static str = "Compresses the bodies of deliveries that are over a day old.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let (mut bodies, mut saved) = (0, 0);
        for batch in 1..=BATCHES {
            let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
            let done = events::compress_old(&mut tx, BATCH).await.or_fail()?;
            bodies += done.compressed;
            saved += done.before - done.after;
            if done.looked_at == 0 || batch == BATCHES || cx.cancelled().is_cancelled() {
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
            cx.heartbeat(format!("{bodies} bodies, {saved} bytes saved"));
            tokio::time::sleep(PAUSE).await;
        }
        Ok(switchyard_queue::Outcome::Done)
    }
}
