//! Backups as jobs: what runs when, one run at a time of each sort, every outcome written down, and
//! alarms before a promise is broken. How a backup is made and read is the crate `backup`'s.

mod ask;
mod drill;
mod jobs;
mod perform;
mod plan;
mod restore;
mod roots;
#[cfg(test)]
mod sample;
mod status;
pub mod told;
mod watch;

pub use ask::{AskFault, Asking, Confirmation, confirm, disaster_recovery, restore};
pub use drill::{Before, Compared, ProveRestore, prove};
pub use jobs::{
    CopyBackups, PruneBackups, TakeDifferential, TakeFull, TakeIncremental, VerifyBackups, came,
};
pub use perform::{Quiet, RunFault, in_process};
pub use plan::{Cadence, Next};
pub use restore::{Mark, RestoreBackup, RestoreOrder, database_of};
pub use roots::kept_heads;
pub use status::{Proof, Status, status};
pub use watch::WatchBackups;

use secrecy::SecretString;
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_backup::prune::Policy;
use switchyard_backup::source::SourceConfig;
use switchyard_backup::{BackupFault, Vault};
use switchyard_queue::{JobError, NewJob};
use switchyard_store::backups::audit;
use switchyard_store::backups::restored::{self, Restored};
use switchyard_store::backups::runs::{self, RunKind};
use switchyard_store::ledger;
use switchyard_store::{Db, Result, Scope, StoreFault, Tx};

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The most data that may be lost.
    pub rpo: Duration,
    /// The longest time that a restore may take.
    pub rto: Duration,
    /// Log that the slot may hold back before there is an alarm, in bytes.
    pub wal_alarm: u64,
}

/// Everything that backups need. What is in it decides what this process can do: without an identity
/// there are no drills.
#[derive(Clone)]
pub struct Backups {
    /// The database that is backed up.
    pub source: SourceConfig,
    /// Its address, for the locks that keep runs apart.
    pub source_url: SecretString,
    /// Where backups go, and the keys.
    pub vault: Vault,
    /// How often what runs.
    pub cadence: Cadence,
    /// What is promised.
    pub promise: Promise,
    /// What retention keeps.
    pub policy: Policy,
    /// A server where drills and restores may make databases.
    pub scratch: SecretString,
    /// The database that disaster recovery fills.
    pub standby: Option<SecretString>,
}

/// Runs of different sorts may go on side by side; of one sort there is one at a time.
pub(crate) fn sort(kind: RunKind) -> i32 {
    RunKind::ALL.iter().position(|k| *k == kind).and_then(|n| i32::try_from(n).ok()).unwrap_or(-1)
}

/// The note with the ledger's signed head.
pub const LEDGER_NOTE: &str = "ledger.root";

/// What others have to say in the manifest of a full backup or an increment; a differential says again
/// what the newest of its increments did. A part that has something adds it here: the ledger its signed
/// head, so that nobody can rewrite both.
///
/// # Errors
/// If the database is not available.
pub async fn notes(db: &Db) -> Result<BTreeMap<String, String>> {
    let program = concat!("switchyard ", env!("CARGO_PKG_VERSION"));
    let mut notes = BTreeMap::from([("program".to_owned(), program.to_owned())]);
    let mut tx = db.begin(Scope::Platform).await?;
    if let Some(head) = ledger::root(&mut tx).await? {
        notes.insert(LEDGER_NOTE.to_owned(), head.to_note());
    }
    Ok(notes)
}

/// The same, to be read before the backup begins: what it says must not be newer than what is backed up.
/// A backup without a note is better than none.
pub async fn notes_or_none(db: &Db) -> BTreeMap<String, String> {
    notes(db).await.unwrap_or_else(|fault| {
        tracing::warn!(error = %fault, "the notes for the manifest could not be read");
        BTreeMap::new()
    })
}

/// Releases a restored system: from then on messages leave it.
///
/// # Errors
/// [`switchyard_store::StoreFault::NotFound`] if nothing waits for a release.
pub async fn release(db: &Db, who: &str) -> Result<Restored> {
    let released = restored::release(db, who).await?;
    let mut tx = db.begin(Scope::Platform).await?;
    let details = serde_json::json!({ "covers": released.covers });
    audit(&mut tx, who, "backup.release", Some(&released.backup), &details).await?;
    tx.commit().await?;
    Ok(released)
}

/// The job of a run that somebody asked for by hand.
///
/// # Errors
/// A sentence if there is no such job to ask for.
pub fn by_hand(kind: RunKind, asked_by: &str) -> std::result::Result<NewJob, String> {
    let ask = || Some(asked_by.to_owned());
    let job = match kind {
        RunKind::Full => NewJob::of(&TakeFull { after: None, asked_by: ask() }),
        RunKind::Incremental => NewJob::of(&TakeIncremental { after: None, asked_by: ask() }),
        RunKind::Differential => NewJob::of(&TakeDifferential { after: None, asked_by: ask() }),
        RunKind::Drill => NewJob::of(&ProveRestore { after: None, asked_by: ask() }),
        RunKind::Prune => NewJob::of(&PruneBackups { after: None, asked_by: ask() }),
        RunKind::Copy => NewJob::of(&CopyBackups { after: None, asked_by: ask() }),
        RunKind::Verify => {
            NewJob::of(&VerifyBackups { after: None, asked_by: ask(), backup: None })
        }
        RunKind::Restore => return Err("a restore is asked for by its own request".to_owned()),
    };
    job.map_err(|e| e.to_string())
}

/// Enqueues the runs that are due next, each at its time. One that stands already keeps its place. Until its
/// transaction ends nobody else plans.
///
/// # Errors
/// If the database is not available.
pub async fn enqueue_next(
    tx: &mut Tx,
    backups: &Backups,
) -> std::result::Result<Vec<Next>, JobError> {
    runs::plan_alone(tx).await.map_err(StoreFault::into_job_error)?;
    let next = plan::read(tx, backups).await.map_err(StoreFault::into_job_error)?;
    let mut jobs = Vec::with_capacity(next.len());
    for next in &next {
        jobs.push(plan::job(next).map_err(JobError::permanent)?);
    }
    tx.enqueue_all(jobs).await.map_err(StoreFault::into_job_error)?;
    Ok(next)
}

/// What a job does about a fault: try again what may pass, and nothing else.
pub(crate) fn to_job_error(fault: BackupFault) -> JobError {
    if fault.is_transient() { JobError::retry(fault) } else { JobError::permanent(fault) }
}
