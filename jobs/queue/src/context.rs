//! What a running job can reach.

use crate::{ClaimedJob, Clock, Entropy, NewJob};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Handed to [`crate::Job::run`]: the platform, the job's own record, the clock, and the signal to
/// stop.
#[derive(Clone)]
pub struct Context<S> {
    state: S,
    job: Arc<ClaimedJob>,
    cancel: CancellationToken,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl<S> Context<S> {
    /// For workers and for tests that run one job inline.
    pub fn new(
        state: S,
        job: Arc<ClaimedJob>,
        cancel: CancellationToken,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { state, job, cancel, clock, entropy }
    }

    /// What the platform hands to every job.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The job's own record: id, fence, attempt, tenant.
    pub fn job(&self) -> &ClaimedJob {
        &self.job
    }

    /// Fires when the job should stop: cancelled by an operator, lease lost, or worker draining
    /// past its grace period.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The time, for domain rules.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Randomness, for jitter.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Stamps a follow-up job with this job's trace and request.
    pub fn follow_up(&self, job: NewJob) -> NewJob {
        job.caused_by(self.job.trace, self.job.request_id.as_deref())
    }
}
