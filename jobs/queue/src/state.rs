//! The states of a job, in River's and Oban's words.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A job's state. The numbers are stored in the engine's counters and history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum JobState {
    /// Due, waits for a worker.
    Available = 0,
    /// Due later, not tried yet (or snoozed).
    Scheduled = 1,
    /// Failed, due later for another attempt.
    Retryable = 2,
    /// A worker holds it.
    Running = 3,
    /// Waits for a parent.
    Pending = 4,
    /// Took its worker process down three times while it ran alone.
    Quarantined = 6,
    /// Dead letter: out of attempts or failed for good; waits for somebody to act.
    Discarded = 7,
    /// Done.
    Completed = 8,
    /// Given up on purpose.
    Cancelled = 9,
}

impl JobState {
    /// Every state, in the order in which people look at them.
    pub const ALL: [Self; 9] = [
        Self::Available,
        Self::Running,
        Self::Scheduled,
        Self::Retryable,
        Self::Pending,
        Self::Discarded,
        Self::Quarantined,
        Self::Completed,
        Self::Cancelled,
    ];

    /// The stored number.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The state with this stored number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.code() == code)
    }

    /// The word used in the API, the CLI and the dashboard.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Scheduled => "scheduled",
            Self::Retryable => "retryable",
            Self::Running => "running",
            Self::Pending => "pending",
            Self::Quarantined => "quarantined",
            Self::Discarded => "discarded",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Finished jobs live in the history and never change again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|x| x.as_str() == s).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{s}` is no job state; the states are {all}")
        })
    }
}
