//! What may be said of limits and kinds.

use clap::{Args, Subcommand};
use std::time::Duration;
use switchyard_store::limits::StartRate;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Limits {
    /// Every limit: how much of it is in use, and when the next job may start
    List,
    /// Set a limit, in the place of the one that stood for the same
    Set(LimitSet),
    /// Take a limit away
    Remove(LimitFor),
}

/// What a limit holds for.
#[derive(Debug, Args)]
pub(in crate::cli) struct LimitFor {
    /// A queue, all of it
    #[arg(long, required_unless_present = "key", conflicts_with = "key")]
    pub(in crate::cli) queue: Option<String>,
    /// Only this partition of the queue
    #[arg(long, requires = "queue")]
    pub(in crate::cli) partition: Option<String>,
    /// Each partition of the queue by itself, those to come too
    #[arg(long, requires = "queue", conflicts_with = "partition")]
    pub(in crate::cli) each_partition: bool,
    /// All jobs that were enqueued with this limit key
    #[arg(long, conflicts_with_all = ["partition", "each_partition"])]
    pub(in crate::cli) key: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LimitSet {
    #[command(flatten)]
    pub(in crate::cli) what: LimitFor,
    /// Jobs that may run at once
    #[arg(long, value_name = "N", required_unless_present = "rate",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(in crate::cli) max_running: Option<u32>,
    /// Jobs that may start in a time: 10/s, 600/min, 1000/h, 5/30s
    #[arg(long)]
    pub(in crate::cli) rate: Option<StartRate>,
    /// So many of them may start at once (default: what the rate gives in 20 ms, at least 1)
    #[arg(long, value_name = "N", requires = "rate",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(in crate::cli) burst: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Kinds {
    /// Every kind that a worker declared or that has jobs, with its counts
    List,
    /// Claim no more jobs of a kind; what runs goes on
    Pause {
        /// The kind
        kind: String,
    },
    /// Claim them again
    Resume {
        /// The kind
        kind: String,
    },
    /// Pause a kind and wait until none of its jobs runs
    Drain {
        /// The kind
        kind: String,
        /// Seconds to wait
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = super::seconds)]
        wait: Duration,
    },
}
