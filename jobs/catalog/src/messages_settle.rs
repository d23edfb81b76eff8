//! `messages.settle_stranded`: finds messages that still wait though their job has given up.

use crate::deliver::EFFECT;
use crate::fault::OrFail;
use crate::{NotifyEmail, NotifyWhatsApp, Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobId, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::{Scope, messages};

/// Dead letters a transaction.
const BATCH: u32 = 500;

/// Settles messages whose job is a dead letter. An attempt that ends by itself writes down how its
/// message stands; one that was cut off by its time, whose worker died once too often, or whose job
/// an operator discarded, had nobody to do so.
#[derive(Debug, Serialize, Deserialize)]
pub struct SettleMessages {}

impl Job for SettleMessages {
    type State = Platform;

    const KIND: &'static str = "messages.settle_stranded";
    const ABOUT: &'static str = "Marks messages as failed or in doubt whose jobs have given up.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let kinds = [NotifyEmail::KIND, NotifyWhatsApp::KIND];
        let mut after: Option<JobId> = None;
        loop {
            let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
            let looked = messages::settle_stranded(&mut tx, &kinds, EFFECT, after, BATCH).await;
            let looked = looked.or_fail()?;
            let stamp = |job| cx.follow_up(job);
            outbound::messages_failed(&mut tx, &looked.failed, stamp).await.or_fail()?;
            tx.commit().await.or_fail()?;
            if looked.settled > 0 {
                tracing::warn!(messages = looked.settled, "messages whose jobs gave up");
            }
            after = looked.next;
            if after.is_none() || cx.cancelled().is_cancelled() {
                return Ok(Outcome::Done);
            }
        }
    }
}
