//! `webhook.tend`: looks after the outbound webhooks once a minute.

use crate::fault::OrFail;
use crate::outbound::{AT_ONCE, QUEUE, keep_limit};
use crate::{FlushEndpoint, Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{
    Context, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName, Retention,
};
use switchyard_store::limits::{self, LimitScope};
use switchyard_store::{Scope, StoreFault, outbound};

/// How long messages and the log of delivering them are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Messages a transaction.
const MESSAGES: u32 = 1_000;
/// Endpoints a transaction.
const ENDPOINTS: u32 = 100;

/// Drops records whose time is over, wipes secrets that were rotated out, and mends what a crash
/// left: deliveries that no job will send, limits that do not say what their endpoint says.
#[derive(Debug, Serialize, Deserialize)]
pub struct TendWebhooks {}

impl Job for TendWebhooks {
    type State = Platform;

    const KIND: &'static str = "webhook.tend";
    const ABOUT: &'static str =
        "Drops old webhook records and mends deliveries that no job will send.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        settle_stranded(cx).await?;
        wake(cx).await?;
        keep_limits(cx).await?;
        expire(cx).await?;
        Ok(Outcome::Done)
    }
}

async fn settle_stranded(cx: &Context<Platform>) -> Result<(), JobError> {
    loop {
        let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
        let (settled, more) = outbound::settle_stranded(&mut tx, ENDPOINTS).await.or_fail()?;
        tx.commit().await.or_fail()?;
        if settled > 0 {
            tracing::warn!(deliveries = settled, "webhooks whose jobs gave up");
        }
        if !more || settled == 0 || cx.cancelled().is_cancelled() {
            return Ok(());
        }
    }
}

/// Endpoints with deliveries that nobody sends.
async fn wake(cx: &Context<Platform>) -> Result<(), JobError> {
    let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
    let found = outbound::unattended(&mut tx, ENDPOINTS).await.or_fail()?;
    let jobs = found.into_iter().map(|endpoint| {
        let job = FlushEndpoint { endpoint, failed_since: None };
        Ok(cx.follow_up(NewJob::with_options(&job, Options::new().unique_by(endpoint))?))
    });
    let jobs: Vec<NewJob> = jobs.collect::<Result<_, serde_json::Error>>().or_fail()?;
    tx.enqueue_all(jobs).await.or_fail()?;
    tx.commit().await.or_fail()
}

async fn keep_limits(cx: &Context<Platform>) -> Result<(), JobError> {
    let db = &cx.state().db;
    let mut tx = db.begin(Scope::Platform).await.or_fail()?;
    let wrong = outbound::limits_that_differ(&mut tx, QUEUE, AT_ONCE).await.or_fail()?;
    let orphans = outbound::limits_without_endpoint(&mut tx, QUEUE).await.or_fail()?;
    outbound::forget_old_secrets(&mut tx).await.or_fail()?;
    tx.commit().await.or_fail()?;
    for limit in wrong {
        keep_limit(db, limit.endpoint, limit.ordered, limit.rate).await;
    }
    for partition in orphans {
        let scope = LimitScope::Partition { queue: QUEUE.to_owned(), partition };
        match limits::remove(db, &scope).await {
            // Somebody else was quicker.
            Ok(()) | Err(StoreFault::NotFound) => {}
            Err(e) => return Err(e).or_fail(),
        }
    }
    Ok(())
}

async fn expire(cx: &Context<Platform>) -> Result<(), JobError> {
    loop {
        let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
        let gone = outbound::expire(&mut tx, KEPT, MESSAGES).await.or_fail()?;
        tx.commit().await.or_fail()?;
        if gone < u64::from(MESSAGES) || cx.cancelled().is_cancelled() {
            return Ok(());
        }
    }
}
