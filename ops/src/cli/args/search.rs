//! Which jobs to find, and what to do to all of them.

use clap::{Args, Subcommand};
use switchyard_store::jobs::{Cursor, Filter, filter_of};
use uuid::Uuid;

#[derive(Debug, Args)]
pub(in crate::cli) struct JobsSearch {
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    /// Go on after the page that ended with this
    #[arg(long, value_name = "CURSOR")]
    pub(in crate::cli) after: Option<Cursor>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(in crate::cli) limit: u16,
}

/// Which jobs; every condition must hold.
#[derive(Debug, Args)]
pub(in crate::cli) struct FilterArgs {
    /// In this state; several with commas
    #[arg(long)]
    state: Vec<String>,
    /// Of this kind; several with commas
    #[arg(long)]
    kind: Vec<String>,
    /// In this queue
    #[arg(long)]
    queue: Option<String>,
    /// In this partition of a queue
    #[arg(long)]
    partition: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// With this field in the arguments: lead=0198…, address.zip=00-950, items[].sku=7
    #[arg(long, value_name = "FIELD=VALUE")]
    arg: Vec<String>,
    /// With this text in the last error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Caused by this request
    #[arg(long)]
    request_id: Option<String>,
    /// Held or finished by this worker
    #[arg(long)]
    worker: Option<String>,
    /// Open, and failed last like this group
    #[arg(long)]
    fingerprint: Option<String>,
    /// Running, and silent for longer than its kind allows
    #[arg(long)]
    stuck: bool,
    /// Made then or later: 2026-03-01, 2026-03-01T12:30 (UTC) or RFC 3339
    #[arg(long, value_name = "TIME")]
    created_from: Option<String>,
    /// Made before
    #[arg(long, value_name = "TIME")]
    created_to: Option<String>,
    /// Finished then or later
    #[arg(long, value_name = "TIME")]
    finished_from: Option<String>,
    /// Finished before
    #[arg(long, value_name = "TIME")]
    finished_to: Option<String>,
}

impl FilterArgs {
    /// The filter.
    ///
    /// # Errors
    /// A sentence about what does not fit.
    pub(in crate::cli) fn filter(&self) -> Result<Filter, String> {
        let several = [("state", &self.state), ("kind", &self.kind), ("arg", &self.arg)];
        let single = [
            ("queue", &self.queue),
            ("partition", &self.partition),
            ("tenant", &self.tenant),
            ("error", &self.error),
            ("request_id", &self.request_id),
            ("worker", &self.worker),
            ("fingerprint", &self.fingerprint),
            ("created_from", &self.created_from),
            ("created_to", &self.created_to),
            ("finished_from", &self.finished_from),
            ("finished_to", &self.finished_to),
        ];
        let several =
            several.into_iter().flat_map(|(name, all)| all.iter().map(move |v| (name, v)));
        let single = single.into_iter().filter_map(|(name, v)| v.as_ref().map(|v| (name, v)));
        let mut filter = filter_of(several.chain(single))?;
        filter.stuck = self.stuck;
        Ok(filter)
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Bulk {
    /// Start an operation; with --dry-run count what it would act on, and show some
    Start(Box<BulkStart>),
    /// How far an operation is
    Show {
        /// Its id
        operation: Uuid,
    },
    /// The last hundred
    List,
    /// Stop one before its next batch; what it has done stands
    Stop {
        /// Its id
        operation: Uuid,
    },
    /// Undo one, as far as the jobs are as it left them
    Undo {
        /// Its id
        operation: Uuid,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BulkStart {
    /// What to do
    #[arg(value_parser = ["retry", "cancel", "discard", "move"])]
    pub(in crate::cli) action: String,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    /// Move: to this queue
    #[arg(long, value_name = "QUEUE")]
    pub(in crate::cli) to_queue: Option<String>,
    /// Move: to this partition
    #[arg(long, value_name = "PARTITION")]
    pub(in crate::cli) to_partition: Option<String>,
    /// Move: to this priority
    #[arg(long, value_name = "PRIORITY", allow_negative_numbers = true)]
    pub(in crate::cli) to_priority: Option<i16>,
    /// Only count, and show ten of them
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}
