//! What the command line may say.

mod backup;
mod commission;
mod endpoints;
mod enqueue;
mod limits;
mod plans;
mod portals;
mod search;

pub(super) use backup::{ArchiveWhich, Backup, Release, Restore, Taking, Verify};
pub(super) use commission::{Commission, CommissionRecord};
pub(super) use endpoints::{EndpointAdd, Endpoints, ResendArgs};
pub(super) use enqueue::Enqueue;
pub(super) use limits::{Kinds, LimitFor, LimitSet, Limits};
pub(super) use plans::{Beginning, PlanApply, PlanAssign, Plans};
pub(super) use portals::{
    Events, EventsList, EventsReplay, Leads, LeadsConvert, LeadsList, PortalApply, PortalRotate,
    PortalTest, Portals,
};
pub(super) use search::{Bulk, BulkStart, FilterArgs, JobsSearch};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use switchyard_queue::{JobId, JobState, WorkflowId, WorkflowState};
use switchyard_store::jobs::MOST_WEIGHT;

/// The job platform for lead marketplaces.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Global {
    /// Configuration file (default: switchyard.toml, if it is there)
    #[arg(long, global = true, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Folder of the private server, the master key and demo.json (default: data)
    // The last one counts: `ops/up` names one, and its caller may name another.
    #[arg(long, global = true, value_name = "FOLDER", overrides_with = "data_dir")]
    pub(super) data_dir: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run everything in one process; without DATABASE_URL beside a private PostgreSQL
    Up(Up),
    /// Run the API and the dashboard
    Api(Listen),
    /// Run a worker
    Work(Work),
    /// Run a scheduler; of any number of them one leads
    Schedule,
    /// Bring the database up to date
    Migrate(Migrate),
    /// Put the demo's portals, agencies, territories and agents into the database
    Seed,
    /// Administrators
    Admin {
        #[command(subcommand)]
        command: Admin,
    },
    /// Senders of webhooks: make them from files, try their mappings, steer them
    Portals {
        #[command(subcommand)]
        command: Portals,
    },
    /// Look at deliveries and judge them again
    Events {
        #[command(subcommand)]
        command: Events,
    },
    /// Look at leads, write notes, record sales
    Leads {
        #[command(subcommand)]
        command: Leads,
    },
    /// Put one job into its queue, or those of a file
    Enqueue(Enqueue),
    /// Look at jobs and steer them
    Jobs {
        #[command(subcommand)]
        command: Jobs,
    },
    /// Look at workflows, start and cancel them
    Workflows {
        #[command(subcommand)]
        command: Workflows,
    },
    /// Do one thing to all jobs that meet a filter, in the background; with an undo
    Bulk {
        #[command(subcommand)]
        command: Bulk,
    },
    /// Look at queues, pause them and let them go on, weigh them
    Queues {
        #[command(subcommand)]
        command: Queues,
    },
    /// How many jobs may run at once and how fast they may start, over the whole fleet
    Limits {
        #[command(subcommand)]
        command: Limits,
    },
    /// Look at kinds of job, pause them and let them go on
    Kinds {
        #[command(subcommand)]
        command: Kinds,
    },
    /// Outbound webhooks: who hears of what, and what became of it
    Endpoints {
        #[command(subcommand)]
        command: Endpoints,
    },
    /// Commissions: explain, record what became of a deal, recompute, close a month, audit and prove entries
    Commission {
        #[command(subcommand)]
        command: Commission,
    },
    /// Commission plans: check and apply documents, say for whom they hold, and who manages whom
    Plans {
        #[command(subcommand)]
        command: Plans,
    },
    /// Keys of encrypted arguments: what lies under each, and changing them
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Look at workers and quiet them
    Workers {
        #[command(subcommand)]
        command: Workers,
    },
    /// Take, list, check and prune backups, make their keys
    Backup {
        #[command(subcommand)]
        command: Backup,
    },
    /// Restore a backup into a database; needs the archive and keys, and no running platform
    Restore(Restore),
    /// Let a restored system go on: from then on messages leave it
    Release(Release),
    /// Look for faults: configuration, database, Redis, clock, disk, workers
    Doctor(Doctor),
    /// Print the effective configuration and where each value came from; secrets are not shown
    Config,
}

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Put demo data into the database and write demo.json (default without DATABASE_URL)
    #[arg(long, overrides_with = "no_demo")]
    pub(super) demo: bool,
    /// No demo data
    #[arg(long)]
    pub(super) no_demo: bool,
    /// Start a private Redis too
    #[arg(long)]
    pub(super) redis: bool,
    #[command(flatten)]
    pub(super) listen: Listen,
}

#[derive(Debug, Args)]
pub(super) struct Listen {
    /// Address and port, 127.0.0.1:8080 for one; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Work {
    /// Queues to serve, separated by commas (default: all)
    #[arg(long, value_name = "QUEUES")]
    pub(super) queues: Option<String>,
    /// Jobs to run at the same time
    #[arg(long, value_name = "N")]
    pub(super) concurrency: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Also make the login of database.url, as database.owner_url, with no more than the two roles
    #[arg(long)]
    pub(super) login: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Add an administrator; prints a generated password unless one is given
    Create(AdminCreate),
}

#[derive(Debug, Args)]
pub(super) struct AdminCreate {
    /// Address to sign in with
    pub(super) email: String,
    /// Name, for people (default: the address)
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Read the password from the standard input
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// If there is such an administrator, set a new password
    #[arg(long)]
    pub(super) reset: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// Open and finished jobs, the newest first
    List(JobsList),
    /// Find jobs, open and finished, by anything that is known of them
    Search(Box<JobsSearch>),
    /// One job: arguments, attempts, errors
    Show(JobShow),
    /// Why a job is not running: everything that holds now, and what to do about it
    Why(JobArg),
    /// Run a dead, cancelled or waiting job again now
    Retry(JobArg),
    /// Cancel a job; one that runs is asked to stop
    Cancel(JobArg),
    /// Make a dead letter of a job that waits or is quarantined: nobody runs it until it is retried; one
    /// that runs is asked to stop
    Discard(JobArg),
    /// Failures in groups: what fails, how often, since when; the latest first
    Errors(JobsErrors),
}

#[derive(Debug, Args)]
pub(super) struct JobsErrors {
    /// Only failures of this kind
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
    /// Run all dead letters of this group again now
    #[arg(long, value_name = "FINGERPRINT", conflicts_with_all = ["kind", "limit", "cancel"])]
    pub(super) retry: Option<String>,
    /// Give all dead letters of this group up
    #[arg(long, value_name = "FINGERPRINT", conflicts_with_all = ["kind", "limit"])]
    pub(super) cancel: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Workflows {
    /// Workflows, the newest first
    List(WorkflowsList),
    /// One workflow: its jobs, indented by what they wait for
    Show {
        /// Id of the workflow
        workflow: WorkflowId,
        /// At most this many jobs
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        jobs: u16,
    },
    /// Start the workflow of a file: the JSON document that `POST /api/admin/workflows` takes
    Start {
        /// The file; `-` is the standard input
        file: PathBuf,
    },
    /// Cancel all that has not ended; what runs is asked to stop
    Cancel {
        /// Id of the workflow
        workflow: WorkflowId,
    },
}

#[derive(Debug, Args)]
pub(super) struct WorkflowsList {
    /// Only workflows in this state
    #[arg(long)]
    pub(super) state: Option<WorkflowState>,
    /// Only workflows of this name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Only workflows before this one: the last of the page before
    #[arg(long, value_name = "WORKFLOW")]
    pub(super) before: Option<WorkflowId>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
}

#[derive(Debug, Subcommand)]
pub(super) enum Queues {
    /// Every queue with its counts
    List,
    /// Claim nothing more from a queue, or from one of its partitions; what runs goes on
    Pause(QueueArg),
    /// Claim from it again
    Resume(QueueArg),
    /// Pause a queue, or one of its partitions, and wait until none of its jobs runs
    Drain {
        #[command(flatten)]
        what: QueueArg,
        /// Seconds to wait
        #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
        wait: Duration,
    },
    /// Set a queue's share when several queues have work: 3 gets three times as much as 1
    Weight {
        /// The queue
        queue: String,
        /// From 1 (the usual one) to 1000
        #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_WEIGHT)))]
        weight: u16,
    },
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[derive(Debug, Args)]
pub(super) struct QueueArg {
    /// The queue
    pub(super) queue: String,
    /// Only this partition of it: an agency's id, say
    #[arg(long)]
    pub(super) partition: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Workers {
    /// Those that live, and the last hundred that went
    List,
    /// Let a worker finish what it has and claim no more
    Quiet {
        /// Its number
        worker: i64,
    },
    /// Let it claim again
    Resume {
        /// Its number
        worker: i64,
    },
}

#[derive(Debug, Args)]
pub(super) struct JobsList {
    /// Only jobs in this state
    #[arg(long)]
    pub(super) state: Option<JobState>,
    /// Only jobs of this kind
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Only jobs in this queue
    #[arg(long)]
    pub(super) queue: Option<String>,
    /// Only running jobs that have been silent for longer than their kind allows
    #[arg(long)]
    pub(super) stuck: bool,
    /// Only jobs before this one: the last of the page before
    #[arg(long, value_name = "JOB")]
    pub(super) before: Option<JobId>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
}

#[derive(Debug, Args)]
pub(super) struct JobArg {
    /// Id of the job
    pub(super) job: JobId,
}

#[derive(Debug, Args)]
pub(super) struct JobShow {
    /// Id of the job
    pub(super) job: JobId,
    /// Show encrypted arguments, if this machine has their key; it is written to the log
    #[arg(long)]
    pub(super) reveal: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// What lies under which key, and which old key may be removed
    List,
    /// Seal all open jobs under the current key, while workers run
    Rotate,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Only ask the process of this configuration for a sign of life (for health checks)
    #[arg(long)]
    pub(super) live: bool,
}
