//! What can go wrong with backups, and what to do about it.

use switchyard_providers::archive::ArchiveFault;

/// Why a backup, a check or a restore did not come to its end. Every message says what to do; none
/// holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
    /// A statement or the connection failed.
    #[error("the database failed while {doing}: {source}")]
    Database {
        /// What was being done: "reading the table app.leads".
        doing: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The database cannot be backed up, or not restored to, as it is.
    #[error("{problem}; {remedy}")]
    Unfit {
        /// What is in the way: a role that may not read all, large objects, a table without a key.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A transaction under way is in the way of a snapshot.
    #[error(
        "process {pid} of the database has had a transaction open for {secs} s; end it \
         (`select pg_terminate_backend({pid})`) or wait, then run the backup again"
    )]
    Held {
        /// The server process that has it open.
        pid: i32,
        /// For how long it was waited for, in seconds.
        secs: u64,
    },
    /// Another run reads the slot at this moment.
    #[error("the slot {slot} is being read by another run; this one can be tried again after it")]
    SlotBusy {
        /// The slot's name.
        slot: String,
    },
    /// The slot is gone, or the server has thrown away the log that it needs or cannot read it.
    #[error(
        "the slot {slot} is lost ({why}): changes since the newest increment are in no backup. \
         Run `switchyard backup now full`; if `max_slot_wal_keep_size` is the cause, raise it"
    )]
    SlotLost {
        /// The slot's name.
        slot: String,
        /// What the server says of it.
        why: String,
    },
    /// An increment could not be restored; a full backup comes first.
    #[error("a full backup is needed first: {why}; run `switchyard backup now full`")]
    FullNeeded {
        /// What happened: the schema was changed, no full backup is there.
        why: String,
        /// It was to be expected: somebody changed the schema, as migrations do.
        planned: bool,
    },
    /// A key is missing, or is none.
    #[error("{problem}; {remedy}")]
    Key {
        /// What is wrong, without the key.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A manifest is not to be trusted, or not to be understood.
    #[error("the manifest {key} {problem}; {remedy}")]
    Manifest {
        /// Its key in the archive.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A file is not what its manifest says.
    #[error(
        "{key} {problem}: nothing of this backup is to be restored. Restore from the second archive \
         or from another backup (`switchyard backup list`), and run `switchyard backup verify --all`"
    )]
    Damaged {
        /// Its key in the archive.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What a stopped run has left is not what is read now: nothing of it can be used.
    #[error(
        "{key}, which a run that was stopped has left, is not what is read now; run the backup again, \
         which then begins anew"
    )]
    NotTheSame {
        /// Its key in the archive.
        key: String,
    },
    /// There is no chain of backups to what was asked for.
    #[error("{wanted} cannot be restored: {why}; {restorable}")]
    OutOfReach {
        /// What was asked for.
        wanted: String,
        /// Why not: a gap, too early, too late.
        why: String,
        /// What can be restored.
        restorable: String,
    },
    /// What was restored is not what was backed up.
    #[error(
        "the restored table {table} is not what was backed up: {difference}; the database is not to \
         be used. Drop it and restore again, and if that fails too, from another backup"
    )]
    Mismatch {
        /// `schema.name`.
        table: String,
        /// Rows and checksums, expected and found.
        difference: String,
    },
    /// A file or a pipe of this machine.
    #[error("this machine failed while {doing}: {source}")]
    Machine {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("it was stopped before its end; run it again when it suits")]
    Stopped,
}

impl BackupFault {
    /// For `map_err` at a statement: `.map_err(BackupFault::database("reading the slot"))`.
    pub fn database(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Database { doing, source }
    }

    /// For `map_err` at a call of the system.
    pub fn machine(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Machine { doing, source }
    }

    /// A file that is not what its manifest says.
    pub fn damaged(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { key: key.into(), problem: problem.into() }
    }

    /// A key that is missing or none.
    pub fn key(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Key { problem: problem.into(), remedy: remedy.into() }
    }

    /// A database that will not do.
    pub fn unfit(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unfit { problem: problem.into(), remedy: remedy.into() }
    }

    /// Whether the same run may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Archive(fault) => fault.is_transient(),
            Self::Database { source, .. } => passes(source),
            Self::Held { .. } | Self::SlotBusy { .. } | Self::NotTheSame { .. } | Self::Stopped => {
                true
            }
            _ => false,
        }
    }
}

impl BackupFault {
    /// Whether the server ended our statement because it and somebody else's waited for each other: a
    /// table that is being emptied, say. At once again it will do.
    pub(crate) fn is_deadlock(&self) -> bool {
        match self {
            Self::Database { source: sqlx::Error::Database(e), .. } => {
                e.code().as_deref() == Some("40P01")
            }
            _ => false,
        }
    }

    /// Whether the server failed by its own account (`internal_error`, `data_corrupted`,
    /// `index_corrupted`; PostgreSQL's appendix A): the same statement will fail again.
    pub(crate) fn is_internal(&self) -> bool {
        match self {
            Self::Database { source: sqlx::Error::Database(e), .. } => {
                e.code().is_some_and(|code| code.starts_with("XX"))
            }
            _ => false,
        }
    }
}

/// Errors of the driver that pass: the connection, and the classes of SQLSTATE that PostgreSQL's
/// appendix A gives to connections (08), rollbacks (40), resources (53) and shutdowns (57P), and lock
/// timeouts (55P03).
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            ["08", "40", "53", "57P", "55P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}
