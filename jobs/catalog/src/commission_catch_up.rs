//! `commission.catch_up`: books events whose own job came to nothing.

use crate::fault::OrFail;
use crate::{BookCommission, Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, NewJob, Options, QueueName, Retention};
use switchyard_store::commissions::{self, Left};

/// Events a transaction.
const BATCH: i64 = 500;
/// Transactions of one run; what is left is for the next one.
const BATCHES: usize = 20;
/// An event that waits for longer than this may have lost its job: it became a dead letter, or
/// somebody discarded it.
const STALE: Duration = Duration::from_secs(300);

/// Enqueues the booking of events that have waited for long. An event whose job is only late gets a
/// second one, which finds it booked: that costs a look and does no harm.
#[derive(Debug, Serialize, Deserialize)]
pub struct CatchUpCommissions {}

impl CatchUpCommissions {
    /// The booking of one event, once while it is open. Behind the bookings of what happens now.
    ///
    /// # Errors
    /// If the arguments cannot be written as JSON.
    pub fn booking(left: &Left) -> Result<NewJob, serde_json::Error> {
        let job = BookCommission { event: left.event, agency: left.agency };
        let options = job.options().unique_by(left.event).priority(10);
        NewJob::with_options(&job, options)
    }
}

impl Job for CatchUpCommissions {
    type State = Platform;

    const KIND: &'static str = "commission.catch_up";
    const ABOUT: &'static str = "Books events whose own job became a dead letter or was discarded.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 5;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let (mut after, mut found): (Option<Left>, usize) = (None, 0);
        for last in (0..BATCHES).rev() {
            let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
            let page = commissions::left(&mut tx, STALE, after.as_ref(), BATCH).await.or_fail()?;
            let jobs = page.iter().map(|left| Ok(cx.follow_up(Self::booking(left)?)));
            let jobs: Vec<NewJob> = jobs.collect::<Result<_, serde_json::Error>>().or_fail()?;
            found += jobs.len();
            let full = jobs.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
            tx.enqueue_all(jobs).await.or_fail()?;
            after = page.last().copied();
            if !full || last == 0 || cx.cancelled().is_cancelled() {
                if found > 0 {
                    tracing::warn!(
                        events = found,
                        "commission events waited for long; their booking is enqueued again"
                    );
                }
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
            cx.heartbeat(format!("{found} events so far"));
        }
        Ok(switchyard_queue::Outcome::Done)
    }
}
