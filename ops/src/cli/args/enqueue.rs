//! What may be said of jobs that are enqueued.

use chrono::{DateTime, Utc};
use clap::Args;
use std::path::PathBuf;
use switchyard_queue::UniqueUntil;
use uuid::Uuid;

#[derive(Debug, Args)]
pub(in crate::cli) struct Enqueue {
    /// Kind of job, `lead.distribute` for one; one that this program does not know needs --queue
    #[arg(required_unless_present = "file")]
    pub(in crate::cli) kind: Option<String>,
    /// Its arguments, as JSON
    #[arg(default_value = "{}")]
    pub(in crate::cli) args: String,
    /// Enqueue the jobs of a file instead, all or none: a JSON document a line, as
    /// `POST /api/admin/jobs` takes it; `-` is the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "args", "delay", "at", "deadline",
        "priority", "queue", "partition", "limit_key", "max_attempts", "timeout", "unique_key",
        "unique_for", "unique_until", "replace_args", "replace_run_at", "tenant"])]
    pub(in crate::cli) file: Option<PathBuf>,
    /// Due after this time: 90s, 5m, 2h
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at")]
    pub(in crate::cli) delay: Option<String>,
    /// Due at this instant: 2026-12-31T08:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub(in crate::cli) at: Option<DateTime<Utc>>,
    /// Give it up if nobody has begun it after this time: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) deadline: Option<String>,
    /// Lower runs first
    #[arg(long, allow_negative_numbers = true)]
    pub(in crate::cli) priority: Option<i16>,
    /// Where it waits, if not where its kind does
    #[arg(long)]
    pub(in crate::cli) queue: Option<String>,
    /// Its turn is that of this partition of the queue: an agency's id, say
    #[arg(long)]
    pub(in crate::cli) partition: Option<String>,
    /// Count it under the limits of this key too, see `limits set --key`
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) limit_key: Option<String>,
    /// Attempts before it becomes a dead letter
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max_attempts: Option<i16>,
    /// The longest time of one attempt: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) timeout: Option<String>,
    /// While a job of this kind with this key is open, that job is the answer
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) unique_key: Option<String>,
    /// Hold the key this long instead, whatever becomes of the job: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) unique_for: Option<String>,
    /// Hold the key until the job begins (`start`) or while it is open (`finish`, as usual)
    #[arg(long, value_name = "start|finish", conflicts_with = "unique_for")]
    pub(in crate::cli) unique_until: Option<UniqueUntil>,
    /// Give a standing job with the same key these arguments, if it has not begun
    #[arg(long)]
    pub(in crate::cli) replace_args: bool,
    /// Make a standing job with the same key due at this job's time, if it has not begun
    #[arg(long)]
    pub(in crate::cli) replace_run_at: bool,
    /// The agency in whose scope it runs
    #[arg(long, value_name = "AGENCY")]
    pub(in crate::cli) tenant: Option<Uuid>,
}
