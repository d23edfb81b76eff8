//! Restoring: from a full backup, a differential and increments to a database that is whole, or says
//! that it is not.
//!
//! In this order: every file that is needed is checked; a database is made; the first part of the schema;
//! the rows, each table compared with the manifest as soon as it is loaded; primary keys; the
//! changes up to the target; indexes; foreign keys; the rest of the schema; sequences; statistics; what
//! [`AfterRestore`] does; and only then the database gets its name. Nothing is ever written to where
//! the backup came from.

mod check;
mod crew;
mod finish;
mod load;
mod partitions;
mod place;
mod scope;
mod script;
mod site;
pub(crate) mod steps;

pub use finish::SEQUENCE_MARGIN;
pub use partitions::GONE_NOTE;
pub use place::{MARK, UNFINISHED};
pub use steps::Timed;

pub(crate) use partitions::gone_since;
pub(crate) use place::try_lock;
pub(crate) use site::Site;

use crate::apply::Until;
use crate::model::{BackupId, Lsn};
use crate::shelf::{Chain, Target};
use crate::sql::Server;
use crate::{BackupFault, Progress, Shelf, Vault};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use steps::Steps;

/// Where to restore to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A database that is made for it.
    New {
        /// Its name; without one, the source's with the time behind it.
        name: Option<String>,
    },
    /// A database that is there and has nothing in it.
    Empty {
        /// Its name.
        name: String,
    },
    /// One that is made for it, or, if it is there, has nothing in it.
    NewOrEmpty {
        /// Its name.
        name: String,
    },
}

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// Up to where.
    pub target: Target,
    /// `postgres://...` of a server. Databases are made from the one that it names (`postgres`, if none).
    pub server: SecretString,
    /// Which database of it.
    pub destination: Destination,
    /// Only these tables (`schema.name`, or the name alone if it is the only one). Empty: all.
    pub tables: Vec<String>,
    /// Only this agency's rows (the text of its id).
    pub agency: Option<String>,
    /// How many connections load, apply and build at once.
    pub connections: usize,
}

impl RestorePlan {
    /// Everything, the newest state, to a new database, by two connections.
    #[must_use]
    pub fn newest(server: SecretString) -> Self {
        Self {
            target: Target::Newest,
            server,
            destination: Destination::New { name: None },
            tables: Vec::new(),
            agency: None,
            connections: 2,
        }
    }
}

/// What is done with a restored database before it is declared done: a platform pauses itself, so that
/// nothing is sent from it.
#[async_trait]
pub trait AfterRestore: Send + Sync {
    /// Works in the restored database, which has another name until this is over. Connections that it
    /// makes itself must be closed.
    ///
    /// # Errors
    /// Then the restore has failed.
    async fn run(
        &self,
        connection: &mut PgConnection,
        restored: &Restored,
    ) -> Result<(), BackupFault>;
}

/// Nothing is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl AfterRestore for Nothing {
    async fn run(&self, _: &mut PgConnection, _: &Restored) -> Result<(), BackupFault> {
        Ok(())
    }
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The database.
    pub database: String,
    /// The full backup.
    pub full: BackupId,
    /// The differential, if one helped.
    pub differential: Option<BackupId>,
    /// The increments.
    pub increments: Vec<BackupId>,
    /// The state is at least as new as this, by the source's clock: everything that was committed up
    /// to then is in it.
    pub covers: DateTime<Utc>,
    /// The last transaction of the log that was applied.
    pub newest_lsn: Option<Lsn>,
    /// And when it was committed.
    pub newest_commit: Option<DateTime<Utc>>,
    /// Rows of the full backup.
    pub rows: u64,
    /// Tables whose checksums were compared with the manifest.
    pub tables_checked: usize,
    /// Transactions of the increments that were applied.
    pub transactions: u64,
    /// Rows that they changed.
    pub changes: u64,
    /// Bytes that were read from the archive, as stored.
    pub stored_bytes: u64,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// And each step.
    pub steps: Vec<Timed>,
}

/// Restores.
///
/// # Errors
/// Before a database is made: the archive, a file that is not what was written, a wrong key, a target that
/// no chain reaches. After that the target's server, or checksums that differ: then what is there is
/// called [`UNFINISHED`] (or marked by the schema [`MARK`]), and the same call begins anew.
pub async fn restore(
    vault: &Vault,
    plan: &RestorePlan,
    progress: &dyn Progress,
    after: &dyn AfterRestore,
) -> Result<Restored, BackupFault> {
    let mut steps = Steps::new("restore", progress);
    steps.begin("reading the archive");
    let shelf = Shelf::load(vault).await?;
    if let (Target::Newest, [problem, ..]) = (&plan.target, shelf.problems()) {
        // Without it a chain may end sooner than it should, and nobody would know.
        return Err(BackupFault::unfit(
            format!("what is newest cannot be told: {}", problem.why),
            "say up to where to restore (`--at TIME`), or restore from the second archive",
        ));
    }
    let chain = shelf.chain_for(&plan.target)?;
    restore_chain(vault, plan, &chain, steps, after).await
}

/// Restores from backups that were chosen already.
async fn restore_chain(
    vault: &Vault,
    plan: &RestorePlan,
    chain: &Chain,
    mut steps: Steps<'_>,
    after: &dyn AfterRestore,
) -> Result<Restored, BackupFault> {
    let until = match &plan.target {
        Target::Time(at) => Until::Time(*at),
        Target::Lsn(lsn) => Until::Lsn(*lsn),
        Target::Newest | Target::Backup(_) => Until::End,
    };
    let mut site = Site::raise(vault, plan, chain, until, &mut steps).await?;
    site.finish(&mut steps).await?;
    let covers = match plan.target {
        Target::Time(at) => chain.covers().min(at),
        _ if site.reached.stopped => site.reached.at.unwrap_or(chain.full.covers),
        _ => chain.covers(),
    };
    let mut restored = Restored {
        database: site.place.name().to_owned(),
        full: chain.full.id.clone(),
        differential: chain.differential.as_ref().map(|d| d.id.clone()),
        increments: chain.increments.iter().map(|i| i.id.clone()).collect(),
        covers,
        newest_lsn: site.reached.lsn,
        newest_commit: site.reached.at,
        rows: site.rows,
        tables_checked: site.tables_checked,
        transactions: site.reached.transactions,
        changes: site.reached.changes,
        stored_bytes: chain.objects().map(|o| o.bytes).sum(),
        seconds: steps.seconds(),
        steps: Vec::new(),
    };
    steps.begin("what comes after a restore");
    after.run(site.crew.first()?, &restored).await?;
    steps.begin("giving the database its name");
    site.done().await?;
    restored.seconds = steps.seconds();
    restored.steps = steps.finish();
    Ok(restored)
}

/// What a new database is called if nobody says.
fn default_name(source: &str, now: DateTime<Utc>) -> String {
    // Room for the time and for the mark of what is unfinished.
    let mut end = source.len().min(34);
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{}", &source[..end], now.format("%Y%m%d_%H%M%S"))
}

pub(crate) fn server_of(plan: &RestorePlan) -> Result<Server, BackupFault> {
    Server::parse(&plan.server)
}
