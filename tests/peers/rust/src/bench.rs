//! What is measured, the same for every queue.

use crate::job::{Nothing, Tally};
use crate::queues::Queue;
use anyhow::bail;
use futures::future::try_join_all;
use serde_json::json;
use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

const BATCH: u64 = 1000;
const CALLERS: usize = 50;
/// How long the last results get to become durable after the clock has stopped.
const GRACE: Duration = Duration::from_millis(300);

/// What to do, with how many jobs.
#[derive(Clone, Copy)]
pub enum Task {
    /// Enqueue them for `Work`.
    Load(u64),
    /// Process them.
    Work(u64),
    /// Measure how fast they go in.
    Enqueue(u64),
}

/// Does it; figures go to standard output, a line of JSON each.
pub async fn run<Q: Queue>(task: Task) -> anyhow::Result<()> {
    let queue = Q::connect().await?;
    match task {
        Task::Load(jobs) => {
            queue.empty().await?;
            in_batches(&queue, jobs).await?;
            queue.prepare().await
        }
        Task::Work(jobs) => work(&queue, jobs).await,
        Task::Enqueue(jobs) => enqueue(&queue, jobs).await,
    }
}

async fn work<Q: Queue>(queue: &Q, jobs: u64) -> anyhow::Result<()> {
    let tally = Tally::new(jobs);
    let mut worker = pin!(queue.work(tally.clone()));
    let rate = tokio::select! {
        ended = &mut worker => bail!("the worker ended: {ended:?}"),
        rate = tally.rate() => rate?,
    };
    println!("{}", json!({ "n": jobs, "jobs_s": rate.round() }));
    let _ = tokio::time::timeout(GRACE, worker).await;
    Ok(())
}

async fn enqueue<Q: Queue>(queue: &Q, jobs: u64) -> anyhow::Result<()> {
    let singly = (jobs / 10).max(1);
    let mut runs = [0.0; 3];
    for run in &mut runs {
        queue.empty().await?;
        let begun = Instant::now();
        one_by_one(queue, singly).await?;
        *run = singly as f64 / begun.elapsed().as_secs_f64();
    }
    print_median(&format!("{} {CALLERS} in flight", Q::SINGLY), runs);
    for run in &mut runs {
        queue.empty().await?;
        let begun = Instant::now();
        in_batches(queue, jobs).await?;
        *run = jobs as f64 / begun.elapsed().as_secs_f64();
    }
    print_median(&format!("{} batch {BATCH}", Q::BATCHED), runs);
    queue.empty().await
}

/// Enqueues in batches of 1,000, one after the other.
pub async fn in_batches<Q: Queue>(queue: &Q, jobs: u64) -> anyhow::Result<()> {
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(BATCH);
        queue.add_all(Nothing::several(batch)).await?;
        left -= batch;
    }
    Ok(())
}

async fn one_by_one<Q: Queue>(queue: &Q, jobs: u64) -> anyhow::Result<()> {
    let next = Cell::new(0);
    let caller = async || {
        while next.get() < jobs {
            let i = next.replace(next.get() + 1);
            queue.add(Nothing::new(i)).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..CALLERS).map(|_| caller())).await?;
    Ok(())
}

fn print_median(test: &str, mut runs: [f64; 3]) {
    runs.sort_by(f64::total_cmp);
    let runs = runs.map(f64::round);
    println!("{}", json!({ "test": test, "median": runs[1], "runs": runs }));
}
