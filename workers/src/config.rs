//! How a worker is to behave.

use std::time::Duration;
use switchyard_queue::RetryPolicy;

/// Settings of one worker. The defaults suit a mixed load of short jobs.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Queues to serve; empty means every queue that a registered kind waits in.
    pub queues: Vec<String>,
    /// Attempts that may run at the same time (at least 1).
    pub concurrency: usize,
    /// Most jobs taken by one claim (at least 1).
    pub claim_batch: usize,
    /// How long a claim holds without renewal. It is renewed every third of this.
    pub lease: Duration,
    /// How often an idle worker looks for work that no wake-up named.
    pub poll_interval: Duration,
    /// How long running jobs may go on after the shutdown was asked for.
    pub drain_timeout: Duration,
    /// How long a cancelled job may take to stop by itself before its future is dropped. A job under a
    /// limit whose claim is in doubt has none of it, because another may have its place.
    pub cancel_grace: Duration,
    /// When failed jobs run again.
    pub retry: RetryPolicy,
    /// How long results are collected before they are written in one statement.
    pub settle_window: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            concurrency: 64,
            claim_batch: 500,
            lease: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            // The timer ticks in milliseconds; a shorter window would be rounded up to this.
            settle_window: Duration::from_millis(1),
        }
    }
}
