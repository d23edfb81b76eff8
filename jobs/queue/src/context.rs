//! What a running job can reach.

use crate::{ClaimedJob, Clock, Entropy, NewJob, Progress};
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
    progress: Progress,
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
        Self { state, job, cancel, clock, entropy, progress: Progress::default() }
    }

    /// The same, with a place for what the job says of its progress.
    #[must_use]
    pub fn reporting_to(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
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

    /// Says how far the job is: a share from 0 to 1, and a few words for people (200 characters are
    /// kept). Costs next to nothing and never waits: call it as often as you like, the latest word is
    /// written down about twice a second. It is a sign of life too, see [`crate::Job::STUCK_AFTER`].
    pub fn progress(&self, fraction: f64, note: impl AsRef<str>) {
        self.progress.say(Some(fraction), note.as_ref());
    }

    /// Says that the job is alive and what it does, where nobody can tell how much is left.
    pub fn heartbeat(&self, note: impl AsRef<str>) {
        self.progress.say(None, note.as_ref());
    }

    /// Stamps a follow-up job with this job's trace and request.
    pub fn follow_up(&self, job: NewJob) -> NewJob {
        job.caused_by(self.job.trace, self.job.request_id.as_deref())
    }
}
