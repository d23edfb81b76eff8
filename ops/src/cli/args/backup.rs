//! `backup`, `restore`, `release`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use uuid::Uuid;

/// What to take.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Taking {
    /// Every row
    Full,
    /// What changed since the last one
    Incremental,
    /// What changed since the last full one, put together
    Differential,
    /// No backup: restore the newest one into a scratch database and compare
    Drill,
    /// Copy what the second archive does not have
    Copy,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Backup {
    /// Take one now, in this process
    Now {
        /// What to take
        #[arg(value_enum, default_value = "incremental")]
        what: Taking,
        /// The same as `now full`
        #[arg(long, conflicts_with = "what")]
        full: bool,
        /// The same as `now incremental`
        #[arg(long, conflicts_with_all = ["what", "full"])]
        incremental: bool,
    },
    /// What is in the archive; needs no database
    List {
        /// In the second archive
        #[arg(long)]
        second: bool,
    },
    /// Read backups from both archives and check that they are whole; needs no database
    Verify(Verify),
    /// Take away what retention does not keep
    Prune {
        /// Say what would go, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In the second archive
        #[arg(long)]
        second: bool,
    },
    /// Make keys and print how to set them
    Keygen {
        /// Write the operators' identity to this file, which must not exist
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Seal one more way to read, under backup.passphrase, into the archive
        #[arg(long)]
        passphrase: bool,
        /// Keep them in this folder, for backup.keys_file; those that are there stay, and none is printed
        #[arg(long, value_name = "FOLDER", conflicts_with_all = ["out", "passphrase"])]
        keep: Option<PathBuf>,
    },
    /// How backups stand: what is promised and measured, what runs next, what is wrong
    Status,
}

/// Which archive
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ArchiveWhich {
    /// backup.archive, and backup.second if that is set
    Both,
    /// backup.archive
    First,
    /// backup.second
    Second,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Only this one
    pub(in crate::cli) id: Option<String>,
    /// All of them, which is the default
    #[arg(long, conflicts_with_all = ["id", "chain"])]
    pub(in crate::cli) all: bool,
    /// All that a restore of it reads; without an ID, of the newest state
    #[arg(long)]
    pub(in crate::cli) chain: bool,
    /// In which archive
    #[arg(long, value_enum, default_value = "both")]
    pub(in crate::cli) archive: ArchiveWhich,
    /// The same as `--archive second`
    #[arg(long, conflicts_with = "archive")]
    pub(in crate::cli) second: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// Where to: postgres://user:password@host/database. The database is made, or must be empty
    #[arg(long, value_name = "URL", env = "SWITCHYARD_RESTORE_TO", hide_env_values = true)]
    pub(in crate::cli) to: String,
    /// Up to this moment: 2026-03-01, 2026-03-01T12:30 (UTC) or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) at: Option<String>,
    /// Up to this position of the log: 16/B374D848
    #[arg(long, value_name = "LSN", conflicts_with = "at")]
    pub(in crate::cli) lsn: Option<String>,
    /// Up to the end of this backup
    #[arg(long, value_name = "ID", conflicts_with_all = ["at", "lsn"])]
    pub(in crate::cli) backup: Option<String>,
    /// Only this table: schema.name
    #[arg(long, value_name = "TABLE")]
    pub(in crate::cli) table: Option<String>,
    /// Only this agency's rows
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) agency: Option<Uuid>,
    /// From this archive instead of backup.archive: s3://bucket/prefix or a folder
    #[arg(long, value_name = "ARCHIVE")]
    pub(in crate::cli) from: Option<String>,
    /// From the second archive
    #[arg(long, conflicts_with = "from")]
    pub(in crate::cli) second: bool,
    /// File with an identity that can read the backups; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) identity: Vec<PathBuf>,
    /// Public key of the signatures, as `keygen` printed it; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) trust: Vec<String>,
    /// Into a database that exists and has no tables
    #[arg(long)]
    pub(in crate::cli) into_empty: bool,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(in crate::cli) connections: u16,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    /// `release`, typed by hand: from then on messages leave this system
    #[arg(long, value_name = "WORD")]
    pub(in crate::cli) confirm: Option<String>,
}
