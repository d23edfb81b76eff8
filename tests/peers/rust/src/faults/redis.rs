//! apalis-redis 1.0.0.

use super::{Verdict, ended_before};
use crate::bench::in_batches;
use crate::job::{Nothing, Tally};
use crate::queues::apalis_postgres::nothing;
use crate::queues::apalis_redis::{ApalisRedis, connect};
use crate::queues::{Queue, worker_name};
use anyhow::{Context as _, bail};
use apalis::prelude::{
    BackendExt as _, BoxDynError, Data, TaskBuilder, TaskSink as _, WorkerBuilder,
    WorkerBuilderExt as _,
};
use apalis_core::backend::Vacuum as _;
use apalis_redis::Config;
use redis::AsyncCommands as _;
use std::time::{Duration, Instant};

/// A queue of this name in a database that was flushed.
async fn fresh(config: Config) -> anyhow::Result<ApalisRedis> {
    let queue = ApalisRedis::with(config).await?;
    queue.empty().await?;
    Ok(queue)
}

/// `fetch_next.lua` unpacks all that is due into one call, and Lua's stack ends at 8,000: no worker
/// can fetch from the queue any more.
pub async fn many_due() -> anyhow::Result<Verdict> {
    const JOBS: u64 = 8_000;
    let queue = fresh(Config::default().queue("many-due")).await?;
    in_batches(&queue, JOBS).await?;
    let mut said = String::new();
    for worker in ["first", "second"] {
        let tally = Tally::new(JOBS);
        match ended_before(queue.work(tally.clone()), &tally).await? {
            None => {
                let seen = format!("the {worker} worker ran all of {JOBS} jobs due at once");
                return Ok(Verdict { still_there: false, seen });
            }
            Some(error) if error.contains("too many results") => said = error,
            Some(error) => bail!("the {worker} worker ended with something else: {error}"),
        }
    }
    let seen =
        format!("{JOBS} jobs due at once, two workers one after the other ended with: {said}");
    Ok(Verdict { still_there: true, seen })
}

/// A connection that is cut once ends the worker, though the connection comes back. Cuts all
/// connections of this Redis.
pub async fn error_ends_worker() -> anyhow::Result<Verdict> {
    let queue = fresh(Config::default().queue("error")).await?;
    queue.add(Nothing::new(1)).await?;
    let tally = Tally::new(2);
    let cut = async {
        until(|| tally.done() == 1).await?;
        let mut other = connect().await?;
        let kill =
            redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).to_owned();
        kill.query_async::<u64>(&mut other).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = ApalisRedis::with(Config::default().queue("error")).await?;
        again.add(Nothing::new(2)).await?;
        anyhow::Ok(())
    };
    let (ended, cut) = tokio::join!(ended_before(queue.work(tally.clone()), &tally), cut);
    cut?;
    Ok(match ended? {
        Some(error) => {
            let seen = format!("a connection was cut once, and the worker ended with: {error}");
            Verdict { still_there: true, seen }
        }
        None => {
            let seen = "a connection was cut once, and the worker went on".to_owned();
            Verdict { still_there: false, seen }
        }
    })
}

/// While a worker's buffer is not empty it sends no heartbeat, so another takes its jobs for
/// orphans: heartbeats every second, dead after five, jobs of 5 s.
pub async fn no_heartbeat() -> anyhow::Result<Verdict> {
    const JOBS: u64 = 12;
    /// All of them after each other by one worker, and the time to be taken for dead.
    const LONG: Duration = Duration::from_secs(75);
    let beats = Config::default().heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(5);
    let queue = fresh(beats.queue("heartbeat")).await?;
    queue.add_all(Nothing::several(JOBS)).await?;
    let tally = Tally::new(JOBS + 1);
    let worker = || {
        WorkerBuilder::new(worker_name())
            .backend(queue.storage().poll_with_interval(Duration::from_millis(100)))
            .data(tally.clone())
            .concurrency(1)
            .build(slow)
            .run()
    };
    let ended = tokio::select! {
        ended = worker() => Some(ended),
        ended = worker() => Some(ended),
        _ = until_for(LONG, || tally.done() > JOBS) => None,
    };
    let runs = tally.done();
    if let Some(ended) = ended
        && runs <= JOBS
    {
        bail!("a worker ended: {ended:?}");
    }
    if runs < JOBS {
        bail!("only {runs} of {JOBS} jobs ran");
    }
    let seen = format!("{JOBS} jobs of 5 s on two workers ran {runs} times until then");
    Ok(Verdict { still_there: runs > JOBS, seen })
}

async fn slow(_: Nothing, tally: Data<Tally>) -> Result<(), BoxDynError> {
    tally.count();
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(())
}

/// Vacuum takes a job that failed and waits for its next attempt for finished.
pub async fn vacuum() -> anyhow::Result<Verdict> {
    let config = Config::default().queue("vacuum");
    let queue = fresh(config.clone()).await?;
    let mut storage = queue.storage();
    // The pause before the next attempt is as many seconds: there is time to look.
    storage.push_task(TaskBuilder::new(Nothing::new(1)).attempt(15).build()).await?;
    let tally = Tally::new(1);
    let worker = WorkerBuilder::new(worker_name())
        .backend(queue.storage().poll_with_interval(Duration::from_millis(5)))
        .data(tally.clone())
        .build(fail)
        .run();
    let mut redis = connect().await?;
    let look = async {
        until(|| tally.done() == 1).await?;
        let begun = Instant::now();
        loop {
            let waiting: u64 = redis.zcard(config.scheduled_jobs_set()).await?;
            if waiting > 0 {
                break;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("the failed job does not wait for another attempt");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        storage.vacuum().await?;
        let payloads: u64 = redis.hlen(config.job_data_hash()).await?;
        anyhow::Ok(payloads)
    };
    let payloads = tokio::select! {
        ended = worker => bail!("the worker ended: {ended:?}"),
        payloads = look => payloads?,
    };
    let seen = format!("a job waited for its retry; after vacuum {payloads} of 1 payload was left");
    Ok(Verdict { still_there: payloads == 0, seen })
}

async fn fail(_: Nothing, tally: Data<Tally>) -> Result<(), BoxDynError> {
    tally.count();
    Err("it fails".into())
}

/// Without a time to live the key gets one of 0 s, which is over at once.
pub async fn idempotency() -> anyhow::Result<Verdict> {
    let config = Config::default().queue("idempotency");
    let queue = fresh(config.clone()).await?;
    let mut storage = queue.storage();
    for i in 0..2 {
        let task = TaskBuilder::new(Nothing::new(i)).idempotency_key("the same").build();
        storage.push_task(task).await?;
    }
    let jobs: u64 = connect().await?.hlen(config.job_data_hash()).await?;
    let seen = format!("two jobs with one idempotency key: {jobs} in the queue");
    Ok(Verdict { still_there: jobs == 2, seen })
}

/// With locks, as is the default, each start looks through the list of what waits.
pub async fn backlog() -> anyhow::Result<Verdict> {
    const JOBS: u64 = 2_000;
    const BACKLOG: u64 = 50_000;
    let mut rates = Vec::new();
    for waiting in [JOBS, BACKLOG] {
        let queue = fresh(Config::default().queue("backlog").batch_size(500)).await?;
        in_batches(&queue, waiting).await?;
        queue.prepare().await?;
        let tally = Tally::new(JOBS);
        let worker = WorkerBuilder::new(worker_name())
            .backend(queue.storage().poll_with_interval(Duration::from_millis(5)))
            .data(tally.clone())
            .build(nothing);
        if let Some(error) = ended_before(worker.run(), &tally).await? {
            if waiting == JOBS {
                bail!("the worker ended with only {JOBS} waiting: {error}");
            }
            let seen = format!("with {waiting} waiting the worker ended: {error}");
            return Ok(Verdict { still_there: true, seen });
        }
        rates.push(tally.rate().await?);
    }
    let seen =
        format!("{:.0} jobs/s with {JOBS} waiting, {:.0} with {BACKLOG}", rates[0], rates[1]);
    Ok(Verdict { still_there: rates[1] < rates[0] / 2.0, seen })
}

async fn until(holds: impl Fn() -> bool) -> anyhow::Result<()> {
    until_for(Duration::from_secs(10), holds).await.context("the job did not run")
}

/// Looks often whether something holds, and gives up after a time.
async fn until_for(time: Duration, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(time, look).await.context("in vain")
}
