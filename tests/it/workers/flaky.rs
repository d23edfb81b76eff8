//! A store that sometimes fails, before or after it did what it was asked.

use super::stage::{Act, Stage, brisk};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use switchyard_queue::{
    ActiveLane, Claim, ClaimRequest, Held, JobId, JobStore, LaneId, Options, Presence, Reaped,
    Renewed, Report, Settlement, StoreError, WorkerId, WorkerInfo,
};
use switchyard_store::PgJobStore;

const REGISTER: usize = 0;
const REAP: usize = 1;
const LANES: usize = 2;
const CLAIM: usize = 3;
const RENEW: usize = 4;
const SETTLE: usize = 5;
const REPORT: usize = 6;

#[derive(Clone)]
struct Flaky {
    inner: PgJobStore,
    /// Calls so far, of each method by itself: the methods are called in a rhythm, and one count for
    /// all would let the failures fall on the same method again and again.
    calls: Arc<[AtomicU32; 7]>,
    /// Every so manieth call fails.
    one_in: u32,
}

impl Flaky {
    /// `None`: all is well. `Some(true)`: fail after the work was done, as when an answer is lost.
    fn mood(&self, method: usize) -> Option<bool> {
        let n = self.calls[method].fetch_add(1, Ordering::Relaxed) + 1;
        n.is_multiple_of(self.one_in).then(|| (n / self.one_in).is_multiple_of(2))
    }

    async fn perhaps<T>(
        &self,
        method: usize,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.mood(method) {
            None => call.await,
            Some(true) => {
                call.await?;
                Err(StoreError::new("answer", "the answer was lost"))
            }
            Some(false) => Err(StoreError::new("answer", "no connection")),
        }
    }
}

impl JobStore for Flaky {
    async fn register(&self, info: &WorkerInfo) -> Result<Presence, StoreError> {
        self.perhaps(REGISTER, self.inner.register(info)).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.inner.deregister(worker).await
    }

    async fn reap(&self, me: Option<WorkerId>) -> Result<Reaped, StoreError> {
        self.perhaps(REAP, self.inner.reap(me)).await
    }

    async fn active_lanes(&self, queues: &[String]) -> Result<Vec<ActiveLane>, StoreError> {
        self.perhaps(LANES, self.inner.active_lanes(queues)).await
    }

    async fn lanes_of(
        &self,
        queues: &[String],
        lanes: &[LaneId],
    ) -> Result<Vec<ActiveLane>, StoreError> {
        self.perhaps(LANES, self.inner.lanes_of(queues, lanes)).await
    }

    // A claim whose answer is lost stays claimed until its lease is over, so only the other failure.
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        match self.mood(CLAIM) {
            Some(_) => Err(StoreError::new("claim", "no connection")),
            None => self.inner.claim(request).await,
        }
    }

    async fn renew(&self, held: &[Held], lease: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.perhaps(RENEW, self.inner.renew(held, lease)).await
    }

    async fn report(&self, reports: &[(Held, Report)]) -> Result<Vec<JobId>, StoreError> {
        self.perhaps(REPORT, self.inner.report(reports)).await
    }

    async fn settle(&self, results: &[Settlement]) -> Result<Vec<JobId>, StoreError> {
        self.perhaps(SETTLE, self.inner.settle(results)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_done_exactly_once_over_a_store_that_fails_every_third_time() {
    let stage = Stage::new().await;
    let acts = (0..300).map(|n| (Act::Finish, Options::new().partition(n % 3))).collect();
    stage.enqueue_all(acts).await;
    let store = Flaky { inner: PgJobStore::new(&stage.db), calls: Arc::default(), one_in: 3 };
    let worker = stage.worker_over(store, brisk(), stage.wake());
    stage.completed(300).await;
    worker.leave().await;
    assert_eq!(stage.record.runs().len(), 300, "a result whose answer was lost is not run again");
}
