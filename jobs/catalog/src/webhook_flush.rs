//! `webhook.flush`: sends what waits for an endpoint that takes messages again.

use crate::fault::OrFail;
use crate::outbound::send;
use crate::{Platform, queues};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::EndpointId;
use switchyard_queue::{Context, Job, JobResult, QueueName, Retention};
use switchyard_store::{Scope, StoreFault, outbound};

/// Deliveries a transaction.
const BATCH: u32 = 500;

/// Gives every delivery that waits for an endpoint a job; with `failed_since` also those that were
/// given up since then.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlushEndpoint {
    /// Whose.
    pub endpoint: EndpointId,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_since: Option<DateTime<Utc>>,
}

impl Job for FlushEndpoint {
    type State = Platform;

    const KIND: &'static str = "webhook.flush";
    const ABOUT: &'static str =
        "Sends what waits for a webhook endpoint that takes messages again.";
    const QUEUE: QueueName = queues::OUTBOUND;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const RETENTION: Retention = Retention::Short;

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        loop {
            let mut tx = cx.state().db.begin_job_as(cx.job(), Scope::Platform).await.or_fail()?;
            let flushed = match outbound::flush(&mut tx, self.endpoint, self.failed_since, BATCH)
                .await
            {
                Err(StoreFault::NotFound) => return tx.cancelled("the endpoint was removed").await,
                flushed => flushed.or_fail()?,
            };
            send(&mut tx, &flushed.due, |_, job| cx.follow_up(job)).await.or_fail()?;
            if !flushed.more || cx.cancelled().is_cancelled() {
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
        }
    }
}
