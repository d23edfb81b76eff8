//! One error for everything that the database can answer.

use std::time::Duration;
use switchyard_queue::{JobError, SealFault, WorkflowFault};

/// The store's result.
pub type Result<T, E = StoreFault> = std::result::Result<T, E>;

/// Why a statement did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The database cannot be reached, is starting or stopping, or has no connection free.
    /// Trying again later helps.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A named constraint refused the row.
    #[error("constraint `{constraint}` refused the row")]
    Constraint {
        /// The constraint's name, as the migrations give it.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such row, or row-level security hides it.
    #[error("not found")]
    NotFound,
    /// The job is no longer held under this fence.
    #[error("the job's lease was lost to another worker")]
    LeaseLost,
    /// Anything else the database said.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// The database has a migration that this program does not know: it belongs to a newer one.
    #[error("the database is ahead of this program: it has migration {0}, which is not known here")]
    Ahead(i64),
    /// A migration that is in the database is not the one that this program has under its number.
    #[error("migration {0} in the database is not this program's migration {0}")]
    Altered(i64),
    /// Arguments could not be encrypted or decrypted.
    #[error(transparent)]
    Sealed(#[from] SealFault),
    /// The description of a workflow is wrong, or another job holds the unique key of one of its jobs.
    #[error(transparent)]
    Workflow(#[from] WorkflowFault),
    /// A value could not be written as JSON.
    #[error("a value could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl StoreFault {
    /// Whether the same call may succeed later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// PostgreSQL's code for what it refused, if it answered at all.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        let (Self::Unavailable(e) | Self::Database(e) | Self::Constraint { source: e, .. }) = self
        else {
            return None;
        };
        code(e)
    }

    /// The name of the constraint that refused the row, if one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, .. } => Some(constraint),
            _ => None,
        }
    }
}

/// SQLSTATE classes and codes after which a later try may succeed: connection exceptions,
/// insufficient resources, operator intervention (restart, shutdown), rollback by the server.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
fn passes(code: &str) -> bool {
    matches!(&code[..2.min(code.len())], "08" | "53" | "57" | "40")
        || code == "25006" // read-only: a standby that is being promoted
        || code == "55P03" // lock not available
}

fn code(e: &sqlx::Error) -> Option<String> {
    use sqlx::migrate::MigrateError;
    match e {
        sqlx::Error::Database(d) => d.code().map(|c| c.into_owned()),
        sqlx::Error::Migrate(m) => match &**m {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => code(e),
            _ => None,
        },
        _ => None,
    }
}

impl From<sqlx::Error> for StoreFault {
    fn from(e: sqlx::Error) -> Self {
        match &e {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(e),
            sqlx::Error::Database(d) => {
                if d.code().is_some_and(|c| passes(&c)) {
                    Self::Unavailable(e)
                } else if let Some(name) = d.constraint() {
                    Self::Constraint { constraint: name.to_owned(), source: e }
                } else {
                    Self::Database(e)
                }
            }
            // A half-read answer after the server went away arrives as a protocol error.
            sqlx::Error::Protocol(_) => Self::Unavailable(e),
            _ => Self::Database(e),
        }
    }
}

impl StoreFault {
    /// What a job does about it: a database that is away uses up an attempt only after a wait.
    #[must_use]
    pub fn into_job_error(self) -> JobError {
        match self {
            Self::LeaseLost => JobError::lost(self),
            Self::Unavailable(_) => JobError::retry_after(Duration::from_secs(1), self),
            Self::Sealed(fault) => fault.into_job_error(),
            _ => JobError::retry(self),
        }
    }
}
