//! `portal.release_held`: lets the deliveries go that were held while a portal was paused.

use crate::fault::OrFail;
use crate::{Platform, line, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::PortalId;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::{events, portals};

/// Events a transaction.
const BATCH: i64 = 500;

/// Lets the held deliveries of one portal go, the oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReleaseHeld {
    /// The portal.
    pub portal: PortalId,
}

impl Job for ReleaseHeld {
    type State = Platform;

    const KIND: &'static str = "portal.release_held";
    const ABOUT: &'static str = "Judges what came in while a portal was paused.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 10;
    const RETENTION: Retention = Retention::Short;
    const STUCK_AFTER: Option<Duration> = Some(Duration::from_secs(60));

    fn options(&self) -> Options {
        Options::new().partition(self.portal)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut released = 0;
        loop {
            let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
            // Paused again in the meantime: what is left stays held.
            if portals::get(&mut tx, self.portal).await.or_fail()?.paused_at.is_some() {
                return tx.done().await;
            }
            let job = |event| Ok(cx.follow_up(line::process(event, self.portal)?));
            let n = events::release(&mut tx, self.portal, BATCH, job).await.or_fail()?;
            if n == 0 || cx.cancelled().is_cancelled() {
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
            released += n;
            cx.heartbeat(format!("{released} deliveries released so far"));
        }
    }
}
