//! The job of all benches, and who counts that it ran.

use anyhow::bail;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// After so long without a single job a bench gives up.
const STALLED: Duration = Duration::from_secs(30);

/// A job that does nothing, with about 200 bytes of arguments: what `proc_load.js` enqueues.
#[derive(Clone, Debug, Serialize, Deserialize, riverqueue::JobArgs)]
#[river(kind = "nothing")]
pub struct Nothing {
    i: u64,
    pad: String,
}

impl Nothing {
    /// The `i`th.
    pub fn new(i: u64) -> Self {
        Self { i, pad: "x".repeat(180) }
    }

    /// So many of them.
    pub fn several(jobs: u64) -> Vec<Self> {
        (0..jobs).map(Self::new).collect()
    }
}

/// Counts jobs up to a goal, and the time from the first to that one.
#[derive(Clone, Debug)]
pub struct Tally(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    goal: u64,
    done: AtomicU64,
    begun: OnceLock<Instant>,
    took: OnceLock<Duration>,
    reached: Notify,
}

impl Tally {
    /// One that waits for so many jobs.
    pub fn new(goal: u64) -> Self {
        let (begun, took) = (OnceLock::new(), OnceLock::new());
        let inner = Inner { goal, done: AtomicU64::new(0), begun, took, reached: Notify::new() };
        Self(Arc::new(inner))
    }

    /// A job ran.
    pub fn count(&self) {
        let begun = self.0.begun.get_or_init(Instant::now);
        if self.0.done.fetch_add(1, Ordering::Relaxed) + 1 == self.0.goal {
            let _ = self.0.took.set(begun.elapsed());
            self.0.reached.notify_one();
        }
    }

    /// Jobs that ran so far.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Jobs a second, once the goal is reached. An error if nothing runs for 30 s before that.
    pub async fn rate(&self) -> anyhow::Result<f64> {
        let took = self.took().await?;
        Ok(self.0.goal as f64 / took.as_secs_f64())
    }

    /// The time from the first job to the goal. An error if nothing runs for 30 s before that.
    pub async fn took(&self) -> anyhow::Result<Duration> {
        let mut seen = self.done();
        loop {
            if let Some(took) = self.0.took.get() {
                return Ok(*took);
            }
            if tokio::time::timeout(STALLED, self.0.reached.notified()).await.is_err() {
                let done = self.done();
                if done == seen {
                    bail!("{done} of {} jobs ran, then none for {STALLED:?}", self.0.goal);
                }
                seen = done;
            }
        }
    }
}
