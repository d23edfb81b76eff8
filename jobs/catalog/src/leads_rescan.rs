//! `leads.rescan_unassigned`: finds leads that nobody holds though somebody could.

use crate::fault::OrFail;
use crate::{DistributeLead, Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::LeadId;
use switchyard_queue::{Context, Job, JobResult, NewJob, Options, QueueName, Retention};
use switchyard_store::leads::{self, Place};

/// Leads a transaction.
const BATCH: u32 = 500;
/// A lead that is `new` for longer than this lost its job (it was discarded, say).
const STALE: Duration = Duration::from_secs(60);

/// Finds leads that wait though an agency may get them now. Without arguments it looks everywhere.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RescanUnassigned {
    /// Only this place: what an agency that added a territory waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Job for RescanUnassigned {
    type State = Platform;

    const KIND: &'static str = "leads.rescan_unassigned";
    const ABOUT: &'static str = "Gives leads out again that nobody could get before.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 5;
    const RETENTION: Retention = Retention::Short;
    const STUCK_AFTER: Option<Duration> = Some(Duration::from_secs(60));

    fn options(&self) -> Options {
        // One place is not unique: a job that is running may have looked before the territory was
        // there.
        let options = Options::new();
        if self.place.is_some() { options } else { options.unique_by("all") }
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut after: Option<LeadId> = None;
        let mut given_out = 0;
        loop {
            let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
            let stretch = leads::waiting(&mut tx, self.place.as_ref(), STALE, after, BATCH).await;
            let stretch = stretch.or_fail()?;
            let jobs = stretch.found.into_iter().map(|lead| {
                let job = DistributeLead { lead };
                Ok(cx.follow_up(NewJob::with_options(&job, job.unhurried())?))
            });
            let jobs: Vec<NewJob> = jobs.collect::<Result<_, serde_json::Error>>().or_fail()?;
            given_out += jobs.len();
            tx.enqueue_all(jobs).await.or_fail()?;
            after = stretch.last;
            if after.is_none() || cx.cancelled().is_cancelled() {
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
            cx.heartbeat(format!("{given_out} leads given out so far"));
        }
    }
}
