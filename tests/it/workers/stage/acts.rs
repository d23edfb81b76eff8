//! What jobs on the stage can do.

use super::{Record, Running, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{Context, Job, JobError, JobResult, Outcome, QueueName};
use tokio::sync::watch;

/// What a job does when it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Act {
    Finish,
    /// Takes so many milliseconds.
    Take(u64),
    /// Fails its first attempts, this many.
    Fail(i16),
    /// Fails, and wants to wait that many milliseconds.
    FailFor(u64),
    Never,
    Panic,
    /// Runs until the gate of this name is opened, deaf to everything else.
    Wait(String),
    /// Runs until it is told to stop, and fails then.
    Obey,
    /// Snoozes that many milliseconds the first time, then finishes.
    Snooze(u64),
    /// Finishes in its own transaction.
    Settle,
    /// So many transactions of its own, each of so many milliseconds, and so many milliseconds after each.
    Transactions {
        n: u32,
        ms: u64,
        rest: u64,
    },
    /// Says that it is so many percent done, waits for the gate, and fails; the second attempt says
    /// nothing and waits for the gate with a `2` behind its name.
    Tell(u8, String),
}

impl Job for Act {
    type State = State;

    const KIND: &'static str = "act";
    const ALIASES: &'static [&'static str] = &["old.act"];
    const ABOUT: &'static str = "Does what it is told.";
    const QUEUE: QueueName = QueueName("stage");

    async fn run(self, cx: &Context<State>) -> JobResult {
        let state = cx.state();
        let run = state.record.begin(Arc::new(cx.job().clone()));
        let _running = Running(&state.record, run);
        let first = cx.job().attempt == 1;
        let returning = state.record.runs_of(cx.job().id).len() > 1;
        match self {
            Self::Finish => Ok(Outcome::Done),
            Self::Take(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(Outcome::Done)
            }
            Self::Fail(n) if cx.job().attempt <= n => Err(JobError::retry("not yet")),
            Self::Fail(_) => Ok(Outcome::Done),
            Self::FailFor(ms) if first => {
                Err(JobError::retry_after(Duration::from_millis(ms), "busy"))
            }
            Self::FailFor(_) => Ok(Outcome::Done),
            Self::Never => Err(JobError::permanent("never")),
            Self::Panic => panic!("stage fright"),
            Self::Wait(gate) => {
                wait(&state.record, &gate).await?;
                Ok(Outcome::Done)
            }
            Self::Obey => {
                cx.cancelled().cancelled().await;
                Err(JobError::retry("told to stop"))
            }
            Self::Snooze(_) if returning => Ok(Outcome::Done),
            Self::Snooze(ms) => Ok(Outcome::Snooze(Duration::from_millis(ms))),
            Self::Tell(percent, gate) if first => {
                cx.progress(f64::from(percent) / 100.0, format!("{percent} of 100"));
                wait(&state.record, &gate).await?;
                Err(JobError::retry("so far"))
            }
            Self::Tell(_, gate) => {
                wait(&state.record, &format!("{gate}2")).await?;
                Ok(Outcome::Done)
            }
            Self::Settle => state.db.begin_job(cx.job()).await?.done().await,
            Self::Transactions { n, ms, rest } => {
                for _ in 0..n {
                    let tx = state.db.begin_job(cx.job()).await?;
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    tx.commit().await?;
                    tokio::time::sleep(Duration::from_millis(rest)).await;
                }
                Ok(Outcome::Done)
            }
        }
    }
}

/// The same as [`Act`] under another kind, in the same queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Other(pub Act);

impl Job for Other {
    type State = State;

    const KIND: &'static str = "other";
    const ABOUT: &'static str = "Does what it is told, too.";
    const QUEUE: QueueName = QueueName("stage");

    async fn run(self, cx: &Context<State>) -> JobResult {
        self.0.run(cx).await
    }
}

async fn wait(record: &Record, gate: &str) -> Result<(), watch::error::RecvError> {
    let mut gate = record.gate(gate).subscribe();
    gate.wait_for(|open| *open).await.map(|_| ())
}
