//! What became of one attempt.

use serde_json::Value;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a job's `run` gives back.
pub type JobResult = Result<Outcome, JobError>;

/// An attempt that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The work is done; the worker writes it down.
    Done,
    /// The same, with a result for the jobs of its workflow that wait for this one (see
    /// [`crate::check_result`] for what it may be). A job that is in no workflow has nobody to give
    /// it to: its result is not kept.
    DoneWith(Value),
    /// The work is done and was written down in the job's own transaction.
    Settled(Settled),
    /// Not now: run again after this long. Uses up no attempt.
    Snooze(Duration),
    /// The work is no longer wanted; the reason is kept with the job.
    Cancel(String),
}

/// Proof that a store settled the job inside a transaction. Only stores make one.
#[derive(Debug)]
pub struct Settled(());

impl Settled {
    /// For implementations of the store: call only after the commit that settled the job.
    #[must_use]
    pub fn committed() -> Self {
        Self(())
    }
}

/// What is to be done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again by the retry policy, or after this long if the other side said so.
    Retry {
        /// The wait the other side asked for (`Retry-After`); wins over the policy.
        after: Option<Duration>,
    },
    /// Trying again cannot help: a dead letter at once.
    Permanent,
    /// The job is no longer this worker's (its lease was lost): nothing is written.
    Lost,
}

/// A failed attempt: what to do about it, and why it failed.
pub struct JobError {
    class: ErrorClass,
    source: Box<dyn Error + Send + Sync>,
}

impl JobError {
    /// A failure that may pass.
    pub fn retry(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Retry { after: None }, source: source.into() }
    }

    /// A failure that may pass, not before `after`.
    pub fn retry_after(after: Duration, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Retry { after: Some(after) }, source: source.into() }
    }

    /// A failure that no retry can mend.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Permanent, source: source.into() }
    }

    /// The lease is gone; another worker may be running the job.
    pub fn lost(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: ErrorClass::Lost, source: source.into() }
    }

    /// What is to be done about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The messages of the whole chain of causes, outermost first.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        crate::causes(self.source.as_ref())
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.class, self.chain().join(": "))
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Any error is taken as one that may pass, so `?` works in `run`.
impl<E: Error + Send + Sync + 'static> From<E> for JobError {
    fn from(source: E) -> Self {
        Self::retry(source)
    }
}
