//! What is in an archive: its manifests, checked, and which of them make a restore.

mod chain;

pub use chain::{Chain, Target};

use crate::format::layout;
use crate::format::manifest::{MOST, open_manifest};
use crate::format::read_small;
use crate::model::{BackupId, Kind, Lsn, Manifest};
use crate::{BackupFault, Vault};
use chrono::{DateTime, Utc};
use futures::stream::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use switchyard_providers::archive::{ArchiveFault, Entry};

/// The note of a full backup's manifest that says at which position of the log its snapshot was taken. With
/// it a position soon after the backup can be restored; without it the first increment must be over.
pub const SNAPSHOT_LSN: &str = "snapshot.lsn";

/// How many manifests are read at once.
const AT_ONCE: usize = 16;

/// Something in an archive that is not as it should be, and was left out of account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its key.
    pub key: String,
    /// What is wrong, and what to do.
    pub why: String,
}

/// A stretch of time every moment of which can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The last.
    pub to: DateTime<Utc>,
}

/// The backups of an archive. Whatever is not signed, or stands where it does not belong, is not among them
/// but among the [`Shelf::problems`].
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    manifests: Vec<Arc<Manifest>>,
    /// By slot, then by the position that an increment goes on from.
    logs: BTreeMap<String, BTreeMap<Lsn, Arc<Manifest>>>,
    problems: Vec<Problem>,
    entries: Vec<Entry>,
}

impl Shelf {
    /// Lists an archive and reads its manifests. Those that the vault has seen are not read again.
    ///
    /// # Errors
    /// The archive does not answer: then nothing is known, and nothing is taken for missing. No key is
    /// set by which signatures could be checked.
    pub async fn load(vault: &Vault) -> Result<Self, BackupFault> {
        vault.keys.trusted()?;
        let mut entries = Vec::new();
        for prefix in [layout::FULLS, layout::LOGS, layout::DIFFERENTIALS] {
            entries.extend(vault.archive.list(prefix).await?);
        }
        let manifests = entries.iter().filter(|e| layout::is_manifest(&e.key)).cloned();
        // Gathered first: a future that holds this iterator could not be moved between threads.
        let reading: Vec<_> = manifests.map(|entry| read(vault, entry)).collect();
        let read: Vec<Read> =
            futures::stream::iter(reading).buffered(AT_ONCE).try_collect().await?;
        let there: HashSet<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        vault.known.keep(|key| there.contains(key));
        let mut good = Vec::new();
        let mut problems = Vec::new();
        for outcome in read {
            match outcome {
                Read::Good(manifest) => good.push(manifest),
                Read::Bad(problem) => problems.push(problem),
                Read::Gone => {}
            }
        }
        let mut shelf = Self::of(good);
        shelf.problems = problems;
        shelf.entries = entries;
        Ok(shelf)
    }

    /// A shelf of manifests that are at hand and trusted.
    #[must_use]
    pub fn of(manifests: impl IntoIterator<Item = Arc<Manifest>>) -> Self {
        let mut manifests: Vec<_> = manifests.into_iter().collect();
        manifests.sort_by(|a, b| a.age().cmp(&b.age()));
        let mut logs: BTreeMap<String, BTreeMap<Lsn, Arc<Manifest>>> = BTreeMap::new();
        for manifest in &manifests {
            if let Kind::Incremental { slot, from, .. } = &manifest.kind {
                logs.entry(slot.clone()).or_default().insert(*from, Arc::clone(manifest));
            }
        }
        Self { manifests, logs, ..Self::default() }
    }

    /// All backups, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[Arc<Manifest>] {
        &self.manifests
    }

    /// The full backups, the oldest first.
    pub fn fulls(&self) -> impl DoubleEndedIterator<Item = &Arc<Manifest>> {
        self.manifests.iter().filter(|m| matches!(m.kind, Kind::Full { .. }))
    }

    /// The differentials of a full backup, the oldest first.
    pub fn differentials<'a>(
        &'a self,
        of: &'a BackupId,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Manifest>> {
        self.manifests
            .iter()
            .filter(move |m| matches!(&m.kind, Kind::Differential { full, .. } if full == of))
    }

    /// The increments of a slot (`name/number`) in the order of the log.
    pub fn increments(&self, slot: &str) -> impl DoubleEndedIterator<Item = &Arc<Manifest>> {
        self.logs.get(slot).into_iter().flat_map(BTreeMap::values)
    }

    /// The slots that there are increments of, as `name/number`.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// The backup that began last, of any kind.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Manifest>> {
        self.manifests.last()
    }

    /// The full backup that began last.
    #[must_use]
    pub fn newest_full(&self) -> Option<&Arc<Manifest>> {
        self.fulls().next_back()
    }

    /// A backup by its name.
    #[must_use]
    pub fn get(&self, id: &BackupId) -> Option<&Arc<Manifest>> {
        self.manifests.iter().find(|m| m.id == *id)
    }

    /// A backup by its name.
    ///
    /// # Errors
    /// There is none, or its manifest is among the problems.
    pub fn find(&self, id: &BackupId) -> Result<&Arc<Manifest>, BackupFault> {
        self.get(id).ok_or_else(|| {
            let spoilt = self.problems.iter().find(|p| p.key.contains(id.as_str()));
            let why = spoilt.map_or_else(
                || "there is no such backup".to_owned(),
                |p| format!("{} {}", p.key, p.why),
            );
            self.out_of_reach(format!("backup {id}"), why)
        })
    }

    /// What was left out of account.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All objects that were listed, below `full/`, `log/` and `diff/`.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The stretches of time every moment of which can be restored, the oldest first.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let mut windows: Vec<Window> = self
            .fulls()
            .map(|full| Window { from: full.covers, to: self.longest(full).covers() })
            .collect();
        windows.sort_by_key(|w| w.from);
        let mut merged: Vec<Window> = Vec::new();
        for window in windows {
            match merged.last_mut() {
                Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
                _ => merged.push(window),
            }
        }
        merged
    }

    pub(crate) fn out_of_reach(&self, wanted: String, why: String) -> BackupFault {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let windows = self.windows();
        let restorable = if windows.is_empty() {
            "there is no full backup yet: run `switchyard backup now full`".to_owned()
        } else {
            let newest: Vec<String> = windows
                .iter()
                .rev()
                .take(3)
                .map(|w| format!("{} to {}", time(w.from), time(w.to)))
                .collect();
            format!("what can be restored is every moment from {}", newest.join(", and from "))
        };
        BackupFault::OutOfReach { wanted, why, restorable }
    }
}

enum Read {
    Good(Arc<Manifest>),
    Bad(Problem),
    /// It was pruned between the listing and the reading.
    Gone,
}

async fn read(vault: &Vault, entry: Entry) -> Result<Read, BackupFault> {
    if let Some(known) = vault.known.get(&entry) {
        return Ok(Read::Good(known));
    }
    let outcome = match read_small(vault.archive.as_ref(), &entry.key, MOST).await {
        Ok(file) => open_manifest(&entry.key, &file, &vault.keys),
        Err(BackupFault::Archive(ArchiveFault::NotFound { .. })) => return Ok(Read::Gone),
        Err(fault @ BackupFault::Archive(_)) => return Err(fault),
        Err(fault) => Err(fault),
    };
    Ok(match outcome {
        Ok(manifest) => {
            let manifest = Arc::new(manifest);
            vault.known.put(&entry, Arc::clone(&manifest));
            Read::Good(manifest)
        }
        Err(fault) => Read::Bad(Problem { key: entry.key, why: fault.to_string() }),
    })
}
