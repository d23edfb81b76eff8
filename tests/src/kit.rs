//! The kit for people who write jobs: a real database, a real worker, and a clock to move.
//!
//! See the README for an example, and `switchyard_queue::testing` for jobs that need no database.

use crate::TestDb;
use chrono::Utc;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_domain::secrets::MasterKey;
use switchyard_queue::testing::Expected;
use switchyard_queue::{
    ArgsCipher, Enqueued, Job, JobId, JobState, ManualClock, NewJob, Registry, SeededEntropy,
};
use switchyard_store::jobs::{self, JobDetail, JobFilter, JobRow};
use switchyard_store::{Db, Keyring, PgJobStore, Scope, maintenance, sealing};
use switchyard_workers::WorkerConfig;
use tokio_util::sync::CancellationToken;

/// How long a drain may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most jobs that an answer holds.
const PAGE: u32 = 1000;

/// A database of its own with a registry of jobs.
pub struct Kit<S> {
    test: TestDb,
    registry: fn() -> Registry<S>,
    state: S,
    cipher: Arc<dyn ArgsCipher>,
    clock: Arc<ManualClock>,
}

impl<S: Clone + Send + Sync + 'static> Kit<S> {
    /// Makes the database; `state` makes of it what the jobs get.
    pub async fn new(registry: fn() -> Registry<S>, state: impl FnOnce(&Db) -> S) -> Self {
        let mut test = TestDb::new().await;
        let cipher: Arc<dyn ArgsCipher> = Arc::new(ring(&[1]));
        test.db = test.db.sealing_with(Some(Arc::clone(&cipher)));
        let state = state(&test.db);
        Self { test, registry, state, cipher, clock: Arc::new(ManualClock::at(Utc::now())) }
    }

    /// The database, for what the jobs read and write.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.test.db
    }

    /// The clock that the jobs see.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Enqueues a job with its own options.
    pub async fn enqueue<J: Job<State = S>>(&self, job: &J) -> Enqueued {
        let new = NewJob::of(job).expect("a job's arguments are JSON");
        let mut tx = self.db().begin(Scope::Platform).await.expect("a transaction");
        let answer = tx.enqueue(new).await.expect("the job is enqueued");
        tx.commit().await.expect("a commit");
        answer
    }

    /// Enqueues a job, lets a worker run what is due in its queue, and gives what became of it.
    pub async fn run<J: Job<State = S>>(&self, job: &J) -> JobDetail {
        let id = self.enqueue(job).await.id;
        self.drain(J::QUEUE.0).await;
        self.show(id).await
    }

    /// One job as it stands.
    pub async fn show(&self, id: JobId) -> JobDetail {
        jobs::show(self.db(), id).await.expect("the job")
    }

    /// Lets a real worker run one queue until nothing in it is due, jobs that were enqueued on the
    /// way included; gives all jobs of the queue as they stand then, oldest first (at most 1,000).
    /// What is to be tried again later waits for [`Kit::skip`].
    ///
    /// # Panics
    /// If that takes longer than a minute.
    pub async fn drain(&self, queue: &str) -> Vec<JobRow> {
        maintenance::promote_due(self.db()).await.expect("an answer");
        let registry = (self.registry)().opening_with(Some(Arc::clone(&self.cipher)));
        let dispatcher = registry.bind(
            self.state.clone(),
            Arc::clone(&self.clock) as _,
            Arc::new(SeededEntropy::new(1)),
        );
        let config = WorkerConfig {
            queues: vec![queue.to_owned()],
            poll_interval: Duration::from_millis(50),
            ..WorkerConfig::default()
        };
        let store = PgJobStore::new(self.db());
        let wake = Arc::clone(self.db().wake());
        let leave = CancellationToken::new();
        let worker = switchyard_workers::run(store, dispatcher, wake, config, leave.clone());
        let watch = async {
            self.idle(queue).await;
            leave.cancel();
        };
        tokio::join!(worker, watch);
        let mut rows = self.list(JobFilter { queue: Some(queue.to_owned()), ..page() }).await;
        rows.reverse();
        rows
    }

    /// Waits until no job that this registry knows is due or running in the queue.
    async fn idle(&self, queue: &str) {
        let known = (self.registry)().names();
        let until = Instant::now() + PATIENCE;
        loop {
            let counts = jobs::counts(self.db()).await.expect("an answer");
            let busy = counts.iter().any(|c| {
                c.queue == queue
                    && known.contains(&c.kind)
                    && matches!(c.state, JobState::Available | JobState::Running)
            });
            if !busy {
                return;
            }
            assert!(Instant::now() < until, "`{queue}` does not run dry: {counts:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets time pass: the jobs' clock goes forward, and what waits for its time comes nearer (the
    /// queue lives by the database's clock, which nobody can move). What nobody has begun by its
    /// deadline is a dead letter then, as nothing runs but in [`Kit::drain`].
    pub async fn skip(&self, by: Duration) {
        self.clock.advance(chrono::Duration::from_std(by).expect("a sane duration"));
        let mut owner = self.test.owner().await;
        for nearer in [
            "update engine.jobs set run_at = run_at - $1 * interval '1 second' where stage = 1",
            "update engine.jobs set deadline = deadline - $1 * interval '1 second'
             where deadline is not null",
            "update engine.job_uniques set until = until - $1 * interval '1 second'",
        ] {
            let done = sqlx::query(nearer).bind(by.as_secs_f64()).execute(&mut owner).await;
            done.expect("an answer");
        }
        maintenance::end_overdue(self.db()).await.expect("an answer");
        maintenance::promote_due(self.db()).await.expect("an answer");
    }

    /// The job that was enqueued as expected, the youngest if there are several, open or finished.
    ///
    /// # Panics
    /// If there is none; says what there is instead.
    pub async fn assert_enqueued(&self, expected: &Expected) -> JobDetail {
        let mut others = Vec::new();
        for row in self.list(page()).await {
            let job = self.show(row.id).await;
            let r = &job.row;
            let args = self.args(r.id).await;
            match expected.misses(&r.kind, &args, r.created_at, r.run_at) {
                None => return job,
                Some(why) => others.push(why),
            }
        }
        panic!("nothing like {expected:?} was enqueued; of what there is, {others:#?}");
    }

    /// The opposite of [`Kit::assert_enqueued`].
    ///
    /// # Panics
    /// If there is such a job.
    pub async fn assert_not_enqueued(&self, expected: &Expected) {
        for row in self.list(page()).await {
            let job = self.show(row.id).await;
            let r = &job.row;
            let args = self.args(r.id).await;
            let misses = expected.misses(&r.kind, &args, r.created_at, r.run_at);
            assert!(misses.is_some(), "this was enqueued: {job:?}");
        }
    }

    /// The arguments of a job, encrypted ones opened.
    pub async fn args(&self, id: JobId) -> Value {
        sealing::reveal(self.db(), id).await.expect("the arguments")
    }

    async fn list(&self, filter: JobFilter) -> Vec<JobRow> {
        jobs::list(self.db(), &filter).await.expect("an answer")
    }
}

/// A ring of keys for encrypted arguments, each key known by a number.
///
/// # Panics
/// If there is no number.
#[must_use]
pub fn ring(keys: &[u8]) -> Keyring {
    Keyring::new(keys.iter().map(|n| MasterKey::new([*n; 32]))).expect("a number")
}

fn page() -> JobFilter {
    JobFilter { limit: PAGE, ..JobFilter::default() }
}
