//! Repeated failures, said once.

use std::error::Error;
use std::time::Duration;
use switchyard_store::StoreFault;

const FIRST: Duration = Duration::from_secs(1);

/// Remembers whether something fails, so that the log hears when it begins and when it ends and
/// not every time in between.
pub(crate) struct Trouble {
    what: &'static str,
    failures: u32,
    first: Duration,
}

impl Trouble {
    /// `what` is being done: "fold the counters".
    pub(crate) fn new(what: &'static str) -> Self {
        Self::waiting(what, FIRST)
    }

    /// The same with another first wait.
    pub(crate) fn waiting(what: &'static str, first: Duration) -> Self {
        Self { what, failures: 0, first }
    }

    /// It worked.
    pub(crate) fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(task = self.what, failures = self.failures, "works again");
        }
        self.failures = 0;
    }

    /// It failed; gives how long to wait before the next try: a second, doubled each time, at most
    /// 32 seconds.
    pub(crate) fn again(&mut self, fault: &StoreFault) -> Duration {
        let remedy = if fault.is_transient() {
            "it is tried again by itself; check that PostgreSQL runs and has a connection free"
        } else {
            "it is tried again by itself; check that the migrations are applied: `switchyard doctor`"
        };
        self.failed(&chain(fault), remedy)
    }

    /// It panicked: a mistake in the program.
    pub(crate) fn panicked(&mut self) -> Duration {
        self.failed("it panicked", "it is tried again by itself; please report it with the log")
    }

    fn failed(&mut self, error: &str, remedy: &str) -> Duration {
        metrics::counter!("switchyard_scheduler_errors_total", "task" => self.what).increment(1);
        if self.failures == 0 {
            tracing::error!(task = self.what, error, remedy, "the scheduler cannot do a task");
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(5);
        self.first * (1 << doublings)
    }
}

/// The messages of an error and its causes.
pub(crate) fn chain(e: &(dyn Error + 'static)) -> String {
    switchyard_queue::causes(e).join(": ")
}
