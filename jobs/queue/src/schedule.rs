//! What is to happen again and again.

use serde_json::Value;

/// What becomes of firings that nobody was there to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissedPolicy {
    /// They are left out; the next one comes at its time.
    Skip,
    /// One job makes up for all of them.
    Once,
    /// Every one is made up for, oldest first (at most 1,000).
    All,
}

impl MissedPolicy {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// One line of the cron table.
#[derive(Clone, Debug)]
pub struct ScheduleSpec {
    /// Unique name.
    pub name: &'static str,
    /// Cron expression with seconds, as the crate `cron` reads it: `sec min hour day month weekday`.
    pub cron: &'static str,
    /// IANA time zone in which it is meant.
    pub tz: &'static str,
    /// The kind of job to enqueue.
    pub kind: &'static str,
    /// Its arguments.
    pub args: Value,
    /// What becomes of missed firings.
    pub missed: MissedPolicy,
}
