//! Job queues in Rust that a user would pick instead of Switchyard, measured as the Node programs
//! beside this folder are, and programs that show the faults which keep us off some of them.
//!
//! `PG_URL` (`postgres://…/peers`) and `REDIS_PORT` say where the servers are. See
//! `tests/peers/README.md`.
#![allow(clippy::print_stdout)] // a program that prints

mod bench;
mod faults;
mod job;
mod queues;

use anyhow::{Context as _, bail};
use bench::Task;
use queues::{apalis_postgres::ApalisPostgres, apalis_redis::ApalisRedis};
use queues::{graphile::Graphile, river::River};

const USAGE: &str = "usage:
  peers load QUEUE N      enqueue N empty jobs in batches, into an empty queue
  peers work QUEUE N      process N of them; prints jobs a second
  peers enqueue QUEUE [N] enqueue N jobs (50,000) in batches and a tenth of it singly, thrice
  peers fault NAME        whether a fault is still there
QUEUE is riverqueue, graphile, apalis-postgres or apalis-redis";

/// Jobs that `enqueue` adds in batches unless it is told otherwise, as `enqueue.js` does.
const ENQUEUED: u64 = 50_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let count = |word: &str| word.parse::<u64>().context(USAGE);
    match words[..] {
        ["load", queue, n] => run(queue, Task::Load(count(n)?)).await,
        ["work", queue, n] => run(queue, Task::Work(count(n)?)).await,
        ["enqueue", queue] => run(queue, Task::Enqueue(ENQUEUED)).await,
        ["enqueue", queue, n] => run(queue, Task::Enqueue(count(n)?)).await,
        ["fault", name] => faults::judge(name).await,
        _ => bail!("{USAGE}\nNAME is one of {}", faults::NAMES.join(", ")),
    }
}

async fn run(queue: &str, task: Task) -> anyhow::Result<()> {
    match queue {
        "riverqueue" => bench::run::<River>(task).await,
        "graphile" => bench::run::<Graphile>(task).await,
        "apalis-postgres" => bench::run::<ApalisPostgres>(task).await,
        "apalis-redis" => bench::run::<ApalisRedis>(task).await,
        _ => bail!("no queue is called {queue}\n{USAGE}"),
    }
}
