//! The faults that keep us off a queue, one program each, so that a later release can be judged.

mod postgres;
mod redis;

use crate::job::Tally;
use anyhow::bail;
use std::pin::pin;

/// What `peers fault` knows.
pub const NAMES: [&str; 7] = [
    "redis-many-due",
    "redis-error",
    "redis-heartbeat",
    "redis-vacuum",
    "redis-idempotency",
    "redis-backlog",
    "postgres-attempts",
];

/// What came of it.
struct Verdict {
    still_there: bool,
    /// What was seen.
    seen: String,
}

/// Tries one and prints a line that begins with `fault still there:` or `not reproduced:`.
pub async fn judge(name: &str) -> anyhow::Result<()> {
    let verdict = match name {
        "redis-many-due" => redis::many_due().await?,
        "redis-error" => redis::error_ends_worker().await?,
        "redis-heartbeat" => redis::no_heartbeat().await?,
        "redis-vacuum" => redis::vacuum().await?,
        "redis-idempotency" => redis::idempotency().await?,
        "redis-backlog" => redis::backlog().await?,
        "postgres-attempts" => postgres::attempts().await?,
        _ => bail!("no fault is called {name}; there are {}", NAMES.join(", ")),
    };
    let begin = if verdict.still_there { "fault still there" } else { "not reproduced" };
    println!("{begin}: {}", verdict.seen);
    Ok(())
}

/// Waits until a worker ends (what it said is the error) or the tally's goal is reached.
async fn ended_before<F, T, E>(worker: F, tally: &Tally) -> anyhow::Result<Option<String>>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let worker = pin!(worker);
    tokio::select! {
        ended = worker => Ok(Some(ended.err().map_or("no error".to_owned(), |e| e.to_string()))),
        took = tally.took() => took.map(|_| None),
    }
}
