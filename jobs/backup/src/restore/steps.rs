//! How long each step took.

use crate::Progress;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A step that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// What was done.
    pub what: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Tells the progress of steps, and keeps their times.
pub(crate) struct Steps<'a> {
    /// What they belong to, for the log.
    run: &'static str,
    progress: &'a dyn Progress,
    since: Instant,
    current: Option<(String, Instant)>,
    done: Vec<Timed>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(run: &'static str, progress: &'a dyn Progress) -> Self {
        Self { run, progress, since: Instant::now(), current: None, done: Vec::new() }
    }

    /// Begins a step, which ends the one before.
    pub(crate) fn begin(&mut self, what: &str) {
        self.end();
        self.progress.step(what);
        tracing::info!(step = what, "{}", self.run);
        self.current = Some((what.to_owned(), Instant::now()));
    }

    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Since the beginning, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Ends the last step and answers all.
    pub(crate) fn finish(mut self) -> Vec<Timed> {
        self.end();
        self.done
    }

    fn end(&mut self) {
        if let Some((what, since)) = self.current.take() {
            self.done.push(Timed { what, seconds: since.elapsed().as_secs_f64() });
        }
    }
}
