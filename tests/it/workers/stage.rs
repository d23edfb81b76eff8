//! A stage for workers: a database, one kind of job that does what it is told, a record of what
//! ran, and wake-ups within the process.

mod acts;

pub use acts::{Act, Other};

use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use switchyard_queue::{
    ActiveLane, ClaimedJob, Enqueued, JobId, JobState, JobStore, NewJob, Options, Registry,
    RetryPolicy, SystemClock, SystemEntropy, Wake, WakeToken, WorkerId,
};
use switchyard_store::jobs::{self, JobDetail};
use switchyard_store::{Db, PgJobStore, Scope, maintenance};
use switchyard_tests::TestDb;
use switchyard_workers::WorkerConfig;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One attempt that was begun.
#[derive(Clone, Debug)]
pub struct Run {
    pub job: Arc<ClaimedJob>,
    /// Attempts that ran at the same time when it began, in the same worker.
    pub beside: usize,
    /// The same in all workers.
    pub under_way: usize,
    pub at: Instant,
    pub ended: bool,
}

/// The record, shared by all workers of a test.
#[derive(Default)]
pub struct Record {
    runs: Mutex<Vec<Run>>,
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
}

impl Record {
    pub fn runs(&self) -> Vec<Run> {
        self.runs.lock().unwrap().clone()
    }

    pub fn runs_of(&self, id: JobId) -> Vec<Run> {
        self.runs().into_iter().filter(|r| r.job.id == id).collect()
    }

    /// Lets the jobs go that wait for this.
    pub fn open(&self, gate: &str) {
        self.gate(gate).send_replace(true);
    }

    fn gate(&self, name: &str) -> watch::Sender<bool> {
        let mut gates = self.gates.lock().unwrap();
        gates.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(false)).clone()
    }

    fn begin(&self, job: Arc<ClaimedJob>) -> usize {
        let mut runs = self.runs.lock().unwrap();
        let open = || runs.iter().filter(|r| !r.ended);
        let (beside, under_way) =
            (open().filter(|r| r.job.worker == job.worker).count(), open().count());
        runs.push(Run { job, beside, under_way, at: Instant::now(), ended: false });
        runs.len() - 1
    }
}

/// Marks the run as ended however the attempt ends, dropped included.
struct Running<'a>(&'a Record, usize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.runs.lock().unwrap()[self.1].ended = true;
    }
}

/// What jobs of the test get.
#[derive(Clone)]
pub struct State {
    pub record: Arc<Record>,
    db: Db,
}

/// Wake-ups within the process.
struct Loopback(broadcast::Sender<WakeToken>);

impl Wake for Loopback {
    fn send(&self, tokens: &[WakeToken]) {
        for token in tokens {
            let _ = self.0.send(*token);
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
        self.0.subscribe()
    }
}

/// See the module.
pub struct Stage {
    pub test: TestDb,
    pub db: Db,
    pub record: Arc<Record>,
    wake: Arc<dyn Wake>,
}

impl Stage {
    pub async fn new() -> Self {
        Self::woken_by(Arc::new(Loopback(broadcast::channel(4096).0))).await
    }

    /// One with other wake-ups.
    pub async fn woken_by(wake: Arc<dyn Wake>) -> Self {
        let test = TestDb::new().await;
        let db = test.with_wake(Arc::clone(&wake));
        Self { test, db, record: Arc::default(), wake }
    }

    /// Enqueues one job.
    pub async fn enqueue(&self, act: Act, options: Options) -> JobId {
        self.enqueue_all(vec![(act, options)]).await[0]
    }

    /// Enqueues jobs in one transaction.
    pub async fn enqueue_all(&self, acts: Vec<(Act, Options)>) -> Vec<JobId> {
        let jobs = acts.into_iter().map(|(act, o)| NewJob::with_options(&act, o).unwrap());
        self.enqueue_raw(jobs.collect()).await.into_iter().map(|e| e.id).collect()
    }

    pub async fn enqueue_raw(&self, jobs: Vec<NewJob>) -> Vec<Enqueued> {
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        let enqueued = tx.enqueue_all(jobs).await.unwrap();
        tx.commit().await.unwrap();
        enqueued
    }

    /// Starts a worker on this database.
    pub fn worker(&self, config: WorkerConfig) -> Actor {
        self.worker_over(PgJobStore::new(&self.db), config, Arc::clone(&self.wake))
    }

    /// A worker that hears of nothing.
    pub fn deaf_worker(&self, config: WorkerConfig) -> Actor {
        let deaf = Arc::new(Loopback(broadcast::channel(1).0));
        self.worker_over(PgJobStore::new(&self.db), config, deaf)
    }

    /// A worker over another store.
    pub fn worker_over<S: JobStore>(
        &self,
        store: S,
        config: WorkerConfig,
        wake: Arc<dyn Wake>,
    ) -> Actor {
        let state = State { record: Arc::clone(&self.record), db: self.db.clone() };
        let dispatcher = Registry::new().with::<Act>().with::<Other>().bind(
            state,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        let shutdown = CancellationToken::new();
        let run = switchyard_workers::run(store, dispatcher, wake, config, shutdown.clone());
        Actor { shutdown, task: tokio::spawn(run) }
    }

    pub fn wake(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake)
    }

    /// Promotes due jobs, as the scheduler does, until it is dropped.
    pub fn promoter(&self) -> tokio_util::task::AbortOnDropHandle<()> {
        let db = self.db.clone();
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let _ = maintenance::promote_due(&db).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }

    pub async fn show(&self, id: JobId) -> JobDetail {
        jobs::show(&self.db, id).await.unwrap()
    }

    pub async fn state(&self, id: JobId) -> JobState {
        self.show(id).await.row.state
    }

    /// Waits until the job is in this state.
    pub async fn until(&self, id: JobId, state: JobState) -> JobDetail {
        eventually(&format!("{id} is {state}"), async || {
            let detail = self.show(id).await;
            (detail.row.state == state).then_some(detail)
        })
        .await
    }

    /// Waits until this many jobs are completed.
    pub async fn completed(&self, n: i64) {
        let mut owner = self.test.owner().await;
        eventually(&format!("{n} jobs are completed"), async || {
            let done: i64 =
                sqlx::query_scalar("select count(*) from engine.job_history where outcome = 8")
                    .fetch_one(&mut owner)
                    .await
                    .unwrap();
            (done >= n).then_some(())
        })
        .await;
    }

    /// Waits until an attempt of the job is under way, other than those of `before`.
    pub async fn running(&self, id: JobId, before: usize) -> Run {
        eventually(&format!("{id} runs"), async || self.record.runs_of(id).get(before).cloned())
            .await
    }

    /// A worker that claims jobs and vanishes with them, like a process that is killed.
    pub async fn crash_with(&self, jobs: u32) {
        use switchyard_queue::{ClaimRequest, LaneTake, WorkerInfo};
        let store = PgJobStore::new(&self.db);
        let info = WorkerInfo {
            host: "doomed".to_owned(),
            pid: 1,
            version: "0".to_owned(),
            kinds: vec!["act".to_owned()],
            queues: vec!["stage".to_owned()],
            declares: Vec::new(),
        };
        let dead = store.reap(None).await.unwrap().gone;
        let presence = store.register(&info).await.unwrap();
        let lanes = store.active_lanes(&info.queues).await.unwrap();
        let take = |l: &ActiveLane| {
            let limited = !l.limits.is_empty();
            LaneTake { limited, ..LaneTake::whole(l.lane, jobs) }
        };
        let lanes: Vec<_> = lanes.iter().map(take).collect();
        let request = ClaimRequest {
            worker: presence.id,
            kinds: &info.kinds,
            lanes: &lanes,
            lease: Duration::from_secs(600),
            dead: &dead,
            alone: false,
        };
        let claimed = store.claim(&request).await.unwrap();
        assert_eq!(claimed.jobs.len(), jobs as usize, "the doomed worker claims what it is told");
        let id = presence.id;
        drop(presence);
        eventually("the doomed worker is seen to be gone", async || {
            store.reap(None).await.unwrap().gone.contains(&id).then_some(())
        })
        .await;
    }

    /// Waits until the one worker on the stage knows what an operator said before: which kinds are
    /// paused, whether it is to be quiet. It asks again and again, one question after the other, so
    /// when a second one is seen that began after this call, the answer to the first was taken in.
    pub async fn heard(&self) {
        let mut owner = self.test.owner().await;
        let mut asked: DateTime<Utc> =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut owner).await.unwrap();
        for _ in 0..2 {
            asked = eventually("the worker asks what is new", async || {
                sqlx::query_scalar::<_, Option<DateTime<Utc>>>(
                    "select min(query_start) from pg_stat_activity
                     where datname = current_database() and application_name = 'switchyard renew'
                       and query like '%pg_try_advisory_xact_lock%' and query_start > $1",
                )
                .bind(asked)
                .fetch_one(&mut owner)
                .await
                .unwrap()
            })
            .await;
        }
    }

    /// The workers that are present.
    pub async fn live_workers(&self) -> Vec<WorkerId> {
        let workers = jobs::workers(&self.db).await.unwrap();
        workers.iter().filter(|w| w.is_live()).map(|w| WorkerId(w.id)).collect()
    }
}

/// A worker on the stage.
pub struct Actor {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Actor {
    /// Asks it to leave.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Waits until it is gone; gives the time it took.
    pub async fn gone(self) -> Duration {
        let asked = Instant::now();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker leaves").unwrap();
        asked.elapsed()
    }

    /// Asks it to leave and waits until it is gone.
    pub async fn leave(self) -> Duration {
        self.shutdown();
        self.gone().await
    }
}

/// Settings for tests: nothing waits for long.
pub fn brisk() -> WorkerConfig {
    let soon = Duration::from_millis(50);
    WorkerConfig {
        concurrency: 8,
        poll_interval: Duration::from_millis(200),
        retry: RetryPolicy { base: soon, cap: soon, floor: soon },
        cancel_grace: Duration::from_millis(300),
        drain_timeout: Duration::from_secs(5),
        ..WorkerConfig::default()
    }
}

/// Polls until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
