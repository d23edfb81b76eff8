//! Taking away what is no longer needed: grandfather, father, son, and never what a kept backup needs.

mod decide;
mod orphans;

pub use decide::{Decision, Dropped, Kept, decide};

use crate::format::layout;
use crate::model::{Kind, Manifest};
use crate::shelf::{Problem, Shelf};
use crate::{BackupFault, Vault};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use switchyard_providers::archive::ArchiveFault;

/// What is kept. A backup stays if any of these wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// For how many days back every moment can be restored that could be before.
    pub window_days: u32,
    /// The newest full backups.
    pub last: u32,
    /// The newest full backup of each of the newest days that have one (UTC).
    pub daily: u32,
    /// The same by weeks (ISO 8601, from Monday).
    pub weekly: u32,
    /// The same by months.
    pub monthly: u32,
    /// The same by years.
    pub yearly: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { window_days: 7, last: 2, daily: 7, weekly: 5, monthly: 12, yearly: 0 }
    }
}

/// How long a file that no backup names is left alone: the run that writes it may be under way.
fn patience() -> TimeDelta {
    TimeDelta::days(1)
}

/// What was taken away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Whether this was only a look.
    pub dry_run: bool,
    /// What stays, and why.
    pub kept: Vec<Kept>,
    /// What went, and why.
    pub dropped: Vec<Dropped>,
    /// Files that no backup names, left behind by runs that were stopped: they went too.
    pub orphans: Vec<String>,
    /// Unfinished uploads that were taken back.
    pub unfinished: u64,
    /// Bytes that became free.
    pub bytes: u64,
    /// What the archive refused to delete, such as a locked object.
    pub refused: Vec<Problem>,
    /// Manifests that are not to be trusted. Neither they nor the files beside them were touched.
    pub problems: Vec<Problem>,
    /// Why it was not reckoned as of the moment that the clock says.
    pub doubt: Option<String>,
}

/// The moments that are reckoned with.
struct Reckoned {
    /// Retention looks back from it.
    now: DateTime<Utc>,
    /// What runs that were stopped left before it is taken away.
    leftovers: DateTime<Utc>,
    doubt: Option<String>,
}

impl Reckoned {
    /// A clock that is far ahead of the newest thing in the archive is not believed: to it every backup
    /// would be old, and what a run is just writing, too.
    fn of(shelf: &Shelf, now: DateTime<Utc>) -> Self {
        let finished = shelf.all().iter().map(|m| m.finished);
        let newest = finished.chain(shelf.entries().iter().map(|e| e.modified)).max();
        let Some(newest) = newest else {
            return Self { now, leftovers: now - patience(), doubt: None };
        };
        let most = newest + patience();
        let doubt = (now > most).then(|| {
            format!(
                "this machine's clock says {}, but nothing in the archive is newer than {}: retention went by \
                 {}. Set the clock, or, if it is right, take a backup and prune again",
                shown(now),
                shown(newest),
                shown(most)
            )
        });
        Self { now: now.min(most), leftovers: now.min(newest) - patience(), doubt }
    }
}

fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Takes away what the policy does not want. A backup's manifest goes first, so that whatever is there is whole
/// at every moment, also if this is killed; a later run takes the rest. `now` counts up to a day after the
/// newest thing in the archive ([`Pruned::doubt`]).
///
/// # Errors
/// The archive does not answer, or no key is set by which signatures could be checked. What it refuses is no
/// error but in the answer.
pub async fn prune(
    vault: &Vault,
    policy: &Policy,
    now: DateTime<Utc>,
    dry_run: bool,
) -> Result<Pruned, BackupFault> {
    let shelf = Shelf::load(vault).await?;
    let Reckoned { now, leftovers, doubt } = Reckoned::of(&shelf, now);
    let Decision { kept, dropped } = decide(&shelf, policy, now);
    let orphans = orphans::find(&shelf, leftovers);
    let mut pruned = Pruned {
        dry_run,
        kept,
        orphans: orphans.iter().map(|e| e.key.clone()).collect(),
        problems: shelf.problems().to_vec(),
        doubt,
        ..Pruned::default()
    };
    for gone in dropped {
        let manifest = Arc::clone(&gone.manifest);
        if dry_run || remove(vault, &manifest, &mut pruned.refused).await? {
            pruned.bytes += manifest.stored_bytes();
            pruned.dropped.push(gone);
        }
    }
    for orphan in orphans {
        if dry_run || delete(vault, &orphan.key, &mut pruned.refused).await? {
            pruned.bytes += orphan.bytes;
        }
    }
    if !dry_run {
        pruned.unfinished = vault.archive.sweep(leftovers).await?;
    }
    Ok(pruned)
}

/// Answers whether the backup is gone.
async fn remove(
    vault: &Vault,
    manifest: &Manifest,
    refused: &mut Vec<Problem>,
) -> Result<bool, BackupFault> {
    if !delete(vault, &layout::manifest(manifest), refused).await? {
        return Ok(false);
    }
    let keys: Vec<&str> = manifest.objects().map(|o| o.key.as_str()).collect();
    for key in keys {
        // What stays is no part of any backup any more, and a later run takes it.
        delete(vault, key, refused).await?;
    }
    Ok(true)
}

async fn delete(vault: &Vault, key: &str, refused: &mut Vec<Problem>) -> Result<bool, BackupFault> {
    match vault.archive.delete(key).await {
        Ok(()) => Ok(true),
        Err(fault @ ArchiveFault::Refused { .. }) => {
            refused.push(Problem { key: key.to_owned(), why: fault.to_string() });
            Ok(false)
        }
        Err(fault) => Err(fault.into()),
    }
}

/// What kind a backup is, in a word.
#[must_use]
pub fn kind_of(manifest: &Manifest) -> &'static str {
    match manifest.kind {
        Kind::Full { .. } => "full",
        Kind::Incremental { .. } => "incremental",
        Kind::Differential { .. } => "differential",
    }
}
