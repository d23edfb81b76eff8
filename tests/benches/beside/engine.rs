//! Switchyard's engine alone: empty jobs, one worker in this process or several in others.

mod piles;

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_queue::{
    Context, Job, JobResult, NewJob, Options, Outcome, QueueName, Registry, SystemClock,
    SystemEntropy,
};
use switchyard_store::limits::{self, LimitScope};
use switchyard_store::{Db, DbConfig, PgJobStore, PgWake, Scope};
use switchyard_workers::WorkerConfig;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "bench";
/// Tells a copy of this program that it is a worker, and of which database.
pub const WORKER_OF: &str = "SWITCHYARD_BENCH_WORKER_OF";
/// Slots of such a worker, as in its configuration by default.
const SLOTS: usize = 64;

/// What the jobs are like.
#[derive(Clone, Copy, Default)]
pub struct Mix {
    /// They go round so many partitions; 0: none has one.
    pub partitions: u64,
    /// So many of the partitions have a limit of their own, which does not bind.
    pub limited: u64,
    /// Each has a unique key.
    pub unique: bool,
    /// Priorities 0 to 9 in turns.
    pub priorities: bool,
}

/// A job that does nothing, with arguments as large as the peers'.
#[derive(Serialize, Deserialize)]
struct Nothing {
    i: u64,
    /// When it was enqueued, in microseconds of this process.
    at: u64,
    pad: String,
}

impl Job for Nothing {
    type State = Tally;
    const KIND: &'static str = "bench.nothing";
    const ABOUT: &'static str = "Does nothing.";
    const QUEUE: QueueName = QueueName(QUEUE);

    async fn run(self, cx: &Context<Tally>) -> JobResult {
        cx.state().count(&self);
        Ok(Outcome::Done)
    }
}

#[derive(Clone)]
struct Tally {
    epoch: Instant,
    left: Arc<AtomicU64>,
    done: Arc<Notify>,
    /// Microseconds from enqueue to start, if somebody wants to know.
    delays: Option<Arc<Mutex<Vec<u64>>>>,
}

impl Tally {
    fn new(jobs: u64, delays: bool) -> Self {
        let delays = delays.then(Arc::default);
        let left = Arc::new(AtomicU64::new(jobs));
        Self { epoch: Instant::now(), left, done: Arc::default(), delays }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn count(&self, job: &Nothing) {
        if let Some(delays) = &self.delays {
            let delay = self.now().saturating_sub(job.at);
            delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }

    fn job(&self, i: u64, mix: Mix) -> anyhow::Result<NewJob> {
        self.job_with(i, mix.options(i)?)
    }

    fn job_with(&self, i: u64, options: Options) -> anyhow::Result<NewJob> {
        let job = Nothing { i, at: self.now(), pad: "x".repeat(180) };
        Ok(NewJob::with_options(&job, options)?)
    }
}

impl Mix {
    fn options(self, i: u64) -> anyhow::Result<Options> {
        let mut options = Options::new();
        if self.partitions > 0 {
            options = options.partition(i % self.partitions);
        }
        if self.unique {
            options = options.unique_by(i);
        }
        if self.priorities {
            options = options.priority(i16::try_from(i % 10)?);
        }
        Ok(options)
    }
}

/// A database and whatever is needed to work at it.
pub struct Engine {
    url: SecretString,
    db: Db,
    wake: Arc<PgWake>,
    end: CancellationToken,
}

impl Engine {
    /// Connects to a database that is migrated.
    pub fn connect(url: &SecretString) -> anyhow::Result<Self> {
        let end = CancellationToken::new();
        let config = DbConfig::new(url.clone());
        let wake = PgWake::start(&config, end.clone())?;
        let db = Db::connect(config, wake.clone())?;
        Ok(Self { url: url.clone(), db, wake, end })
    }

    /// Ends its connections.
    pub async fn close(self) {
        self.end.cancel();
        self.db.close().await;
    }

    fn worker(&self, tally: &Tally, slots: usize) -> (CancellationToken, JoinHandle<()>) {
        let end = CancellationToken::new();
        let dispatcher = Registry::new().with::<Nothing>().bind(
            tally.clone(),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        let config = WorkerConfig { concurrency: slots, ..WorkerConfig::default() };
        let store = PgJobStore::new(&self.db);
        let wake = self.wake.clone();
        let worker = switchyard_workers::run(store, dispatcher, wake, config, end.clone());
        (end, tokio::spawn(worker))
    }

    async fn enqueue(
        &self,
        tally: &Tally,
        jobs: std::ops::Range<u64>,
        mix: Mix,
    ) -> anyhow::Result<()> {
        let mut next = jobs.start;
        while next < jobs.end {
            let batch = next..(next + 1000).min(jobs.end);
            next = batch.end;
            let made: Vec<NewJob> = batch.map(|i| tally.job(i, mix)).collect::<Result<_, _>>()?;
            let mut tx = self.db.begin(Scope::Platform).await?;
            tx.enqueue_all(made).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Jobs a second that go in, a thousand at a time.
    pub async fn enqueue_batches(&self, jobs: u64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.enqueue(&Tally::new(jobs, false), 0..jobs, Mix::default()).await?;
        let took = begun.elapsed();
        self.empty().await?;
        Ok(jobs as f64 / took.as_secs_f64())
    }

    /// Jobs a second that go in one by one, from so many callers at once; each is durable when its
    /// caller goes on.
    pub async fn enqueue_singly(&self, callers: u64, jobs: u64) -> anyhow::Result<f64> {
        let tally = Tally::new(jobs, false);
        let next = AtomicU64::new(0);
        let begun = Instant::now();
        let caller = async || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= jobs {
                    return anyhow::Ok(());
                }
                self.db.enqueue(tally.job(i, Mix::default())?).await?;
            }
        };
        futures::future::try_join_all((0..callers).map(|_| caller())).await?;
        let took = begun.elapsed();
        ensure!(self.open().await? == jobs, "some jobs are missing");
        self.empty().await?;
        Ok(jobs as f64 / took.as_secs_f64())
    }

    /// Processes empty jobs that were enqueued before; jobs a second, until the last one's result is
    /// durable and in history.
    pub async fn process(&self, jobs: u64, mix: Mix) -> anyhow::Result<f64> {
        for n in 0..mix.limited {
            let partition = (n * (mix.partitions / mix.limited.max(1))).to_string();
            let scope = LimitScope::Partition { queue: QUEUE.to_owned(), partition };
            limits::set(&self.db, &scope, Some(1000), None).await?;
        }
        let tally = Tally::new(jobs, false);
        self.enqueue(&tally, 0..jobs, mix).await?;
        self.work_off(&tally, jobs).await
    }

    async fn work_off(&self, tally: &Tally, jobs: u64) -> anyhow::Result<f64> {
        let goal = self.finished().await? + jobs;
        let begun = Instant::now();
        let (end, worker) = self.worker(tally, 500);
        tally.done.notified().await;
        while self.finished().await? < goal {}
        let took = begun.elapsed();
        end.cancel();
        worker.await?;
        Ok(jobs as f64 / took.as_secs_f64())
    }

    /// Processes jobs of mixed priorities, half of them enqueued meanwhile; with `old`, somebody
    /// holds a snapshot from before the first job to after the last.
    pub async fn process_beside_a_snapshot(&self, jobs: u64, old: bool) -> anyhow::Result<f64> {
        let mut reader = PgConnection::connect(self.url.expose_secret()).await?;
        if old {
            sqlx::raw_sql(
                "begin isolation level repeatable read; select count(*) from engine.lanes",
            )
            .execute(&mut reader)
            .await?;
        }
        let mix = Mix { priorities: true, ..Mix::default() };
        let tally = Tally::new(jobs, false);
        self.enqueue(&tally, 0..jobs / 2, mix).await?;
        let (rate, rest) =
            tokio::join!(self.work_off(&tally, jobs), self.enqueue(&tally, jobs / 2..jobs, mix));
        rest?;
        reader.close().await?;
        rate
    }

    /// Microseconds from the enqueue of a job to its start, of jobs that come every 10 ms, sorted.
    pub async fn delays(&self, jobs: u64) -> anyhow::Result<Vec<u64>> {
        let tally = Tally::new(jobs, true);
        let (end, worker) = self.worker(&tally, 50);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        let mut callers = tokio::task::JoinSet::new();
        for i in 0..jobs {
            tick.tick().await;
            let (db, job) = (self.db.clone(), tally.job(i, Mix::default())?);
            callers.spawn(async move { db.enqueue(job).await });
        }
        while let Some(done) = callers.join_next().await {
            done??;
        }
        tally.done.notified().await;
        end.cancel();
        worker.await?;
        let delays = tally.delays.context("nobody counted")?;
        let mut delays =
            std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner));
        delays.sort_unstable();
        Ok(delays)
    }

    /// Processes jobs by so many processes of their own; jobs a second, and the largest memory that
    /// one of them ever had, in MiB.
    pub async fn process_by(&self, processes: usize, jobs: u64) -> anyhow::Result<(f64, f64)> {
        self.enqueue(&Tally::new(jobs, false), 0..jobs, Mix::default()).await?;
        let goal = self.finished().await? + jobs;
        let begun = Instant::now();
        let mut workers = Vec::new();
        for _ in 0..processes {
            workers.push(self.worker_process()?);
        }
        while self.finished().await? < goal {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = begun.elapsed();
        let mut largest: f64 = 0.0;
        for mut worker in workers {
            largest = largest.max(peak_memory(worker.id().context("it has ended")?)?);
            worker.kill().await?;
        }
        Ok((jobs as f64 / took.as_secs_f64(), largest))
    }

    /// A copy of this program that is a worker.
    fn worker_process(&self) -> anyhow::Result<tokio::process::Child> {
        let mut worker = tokio::process::Command::new(std::env::current_exe()?);
        worker.env(WORKER_OF, self.url.expose_secret()).stdout(Stdio::null()).kill_on_drop(true);
        Ok(worker.spawn()?)
    }

    async fn one(&self, question: &'static str) -> anyhow::Result<u64> {
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let n: i64 = sqlx::query_scalar(question).fetch_one(&mut owner).await?;
        Ok(n.unsigned_abs())
    }

    async fn open(&self) -> anyhow::Result<u64> {
        self.one("select count(*) from engine.jobs where kind = 'bench.nothing'").await
    }

    /// From the counters, which a settlement writes with its results: counting rows takes longer than
    /// processing some.
    async fn finished(&self) -> anyhow::Result<u64> {
        self.one(
            "select coalesce(sum(n), 0)::int8 from (
               select n from engine.counters where kind = 'bench.nothing' and state = 8
               union all
               select n from engine.counter_deltas where kind = 'bench.nothing' and state = 8) c",
        )
        .await
    }

    async fn empty(&self) -> anyhow::Result<()> {
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let tables =
            "truncate engine.jobs, engine.job_uniques, engine.counters, engine.counter_deltas";
        sqlx::raw_sql(tables).execute(&mut owner).await?;
        Ok(())
    }
}

/// What a copy of this program does that is told to be a worker: works until it is killed.
pub async fn be_a_worker(url: String) -> anyhow::Result<()> {
    let engine = Engine::connect(&SecretString::from(url))?;
    let (_end, worker) = engine.worker(&Tally::new(u64::MAX, false), SLOTS);
    Ok(worker.await?)
}

/// The largest resident set that a process ever had, in MiB.
fn peak_memory(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
