//! Waiting for a store that does not answer.

use std::time::Duration;
use switchyard_queue::{Entropy, StoreError, SystemEntropy};

/// Doubling waits with jitter, so that a fleet does not come back in step.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    /// From 50 ms to 2 s.
    pub(crate) fn store() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(Self::LONGEST);
        wait
    }

    /// It answered.
    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// Between 75 % and 125 % of `about`.
pub(crate) fn jittered(about: Duration) -> Duration {
    about.mul_f64(0.75 + SystemEntropy.unit() / 2.0)
}

/// An error of the store with its causes, for the log.
pub(crate) fn cause(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// Bounds a call to the store, because a half-open connection answers nothing for minutes.
pub(crate) async fn within<T>(
    at_most: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(at_most, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(StoreError::new(what, elapsed)),
    }
}
