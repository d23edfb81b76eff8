//! What is said of workflows in numbers and words: ids, failure policies, states.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A workflow's identifier, a UUIDv7 like a job's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkflowId(pub Uuid);

impl WorkflowId {
    /// A new, time-ordered id.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for WorkflowId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workflow:{}", self.0)
    }
}

impl FromStr for WorkflowId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// A set of named numbers that are stored, shown and read back.
macro_rules! coded {
    ($name:ident, $what:literal, { $($variant:ident = $code:literal, $text:literal;)+ }) => {
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stored number.
            #[must_use]
            pub fn code(self) -> i16 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The one with this stored number.
            #[must_use]
            pub fn from_code(code: i16) -> Option<Self> {
                Self::ALL.iter().copied().find(|x| x.code() == code)
            }

            /// The word used in the API, the CLI and the dashboard.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|x| x.as_str() == s).ok_or_else(|| {
                    let all: Vec<&str> = Self::ALL.iter().map(|x| x.as_str()).collect();
                    format!("`{s}` is no {}; there are {}", $what, all.join(", "))
                })
            }
        }
    };
}

/// What the failure of one job means for the others. A job fails when it becomes a dead letter or is
/// cancelled; one in quarantine has not ended yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// All that has not ended is cancelled, what runs is asked to stop, and the workflow has failed.
    /// A dead letter may be retried by itself; what was cancelled stays cancelled.
    #[default]
    CancelRest,
    /// What waits for a dead letter goes on waiting: retrying it lets the workflow go on, cancelling
    /// it cancels all that waits for it, directly or through others.
    Hold,
    /// A job that failed counts as ended, without a result: what waits for it runs and can see that
    /// it failed.
    Continue,
}

coded!(FailurePolicy, "failure policy", {
    CancelRest = 0, "cancel_rest";
    Hold = 1, "hold";
    Continue = 2, "continue";
});

/// A workflow's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// Some of its jobs have not ended.
    Running,
    /// A job failed, and the rest is being cancelled.
    Failing,
    /// An operator cancelled it, and something still runs.
    Cancelling,
    /// Every job completed.
    Completed,
    /// Every job ended, and some are dead letters or were cancelled.
    Failed,
    /// An operator cancelled it.
    Cancelled,
}

coded!(WorkflowState, "state of a workflow", {
    Running = 0, "running";
    Failing = 1, "failing";
    Cancelling = 2, "cancelling";
    Completed = 3, "completed";
    Failed = 4, "failed";
    Cancelled = 5, "cancelled";
});

impl WorkflowState {
    /// Whether all its jobs have ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}
