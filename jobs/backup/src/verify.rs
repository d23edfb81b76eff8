//! Looking at every byte that is stored: is all of it there, and as it was written?

use crate::format::PlainReader;
use crate::format::layout;
use crate::model::{BackupId, Kind, Manifest, Object};
use crate::shelf::{Chain, Problem, Shelf, Target};
use crate::{BackupFault, Progress, Vault};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchyard_providers::archive::{Archive, ArchiveFault};
use tokio::task::JoinSet;

/// How many files are read at once.
const AT_ONCE: usize = 4;

/// How often the progress is told.
const TICK: Duration = Duration::from_millis(250);

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everything, and whether the logs have gaps.
    All,
    /// One backup by itself.
    One(BackupId),
    /// Everything that restores a target.
    For(Target),
}

/// How deep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// The size and the SHA-256 of what is stored, against the signed manifest. Needs no identity.
    #[default]
    Stored,
    /// Also decrypted, unpacked and counted. Needs an identity.
    Contents,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Backups looked at.
    pub backups: u64,
    /// Files looked at.
    pub objects: u64,
    /// Bytes read, as they are stored.
    pub bytes: u64,
    /// What is not as it should be, by key.
    pub problems: Vec<Problem>,
}

impl Verified {
    /// Whether all is well.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// The same, with the first problem as a fault.
    ///
    /// # Errors
    /// [`BackupFault::Damaged`].
    pub fn into_sound(self) -> Result<Self, BackupFault> {
        match self.problems.first() {
            None => Ok(self),
            Some(Problem { key, why }) => Err(BackupFault::damaged(key, why)),
        }
    }
}

/// Looks at backups. Damage is not an error of this call but in its answer, so that all of it is found.
///
/// # Errors
/// The archive does not answer, so nothing is known; there is no such backup, no key, no chain.
pub async fn verify(
    vault: &Vault,
    which: &Which,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Verified, BackupFault> {
    let shelf = Shelf::load(vault).await?;
    match which {
        Which::All => {
            let mut found = pass(vault, shelf.all(), depth, progress).await?;
            found.problems.extend(shelf.problems().iter().cloned());
            found.problems.extend(gaps(&shelf));
            Ok(found)
        }
        Which::One(id) => pass(vault, std::slice::from_ref(shelf.find(id)?), depth, progress).await,
        Which::For(target) => verify_chain(vault, &shelf.chain_for(target)?, depth, progress).await,
    }
}

/// Looks at every file that a restore will read.
///
/// # Errors
/// As [`verify`].
pub async fn verify_chain(
    vault: &Vault,
    chain: &Chain,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Verified, BackupFault> {
    let manifests: Vec<_> = chain.manifests().cloned().collect();
    pass(vault, &manifests, depth, progress).await
}

async fn pass(
    vault: &Vault,
    manifests: &[Arc<Manifest>],
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Verified, BackupFault> {
    if depth == Depth::Contents {
        vault.keys.openers()?;
    }
    progress.step("reading every file and comparing it with its manifest");
    let of = manifests.iter().map(|m| m.stored_bytes()).sum();
    let read = Arc::new(AtomicU64::new(0));
    let mut found = Verified { backups: manifests.len() as u64, ..Verified::default() };
    let todo: Vec<&Object> = manifests.iter().flat_map(|m| m.objects()).collect();
    let mut todo = todo.into_iter();
    let mut tick = tokio::time::interval(TICK);
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE {
            let Some(object) = todo.next() else { break };
            running.spawn(look(vault.clone(), object.clone(), depth, Arc::clone(&read)));
        }
        let looked = tokio::select! {
            looked = running.join_next() => looked,
            _ = tick.tick() => {
                progress.bytes(read.load(Ordering::Relaxed), Some(of));
                continue;
            }
        };
        let Some(looked) = looked else { break };
        found.objects += 1;
        if let Some(problem) = looked.map_err(|_| BackupFault::Stopped)?? {
            found.problems.push(problem);
        }
    }
    found.bytes = read.load(Ordering::Relaxed);
    progress.bytes(found.bytes, Some(of));
    found.problems.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// What is wrong with a file, if anything is. Only an archive that does not answer is an error.
async fn look(
    vault: Vault,
    object: Object,
    depth: Depth,
    read: Arc<AtomicU64>,
) -> Result<Option<Problem>, BackupFault> {
    let looked = match depth {
        Depth::Stored => {
            let passed = |n| {
                read.fetch_add(n, Ordering::Relaxed);
            };
            check_stored(vault.archive.as_ref(), &object, passed).await
        }
        Depth::Contents => {
            let looked = check_contents(&vault, &object).await;
            read.fetch_add(object.bytes, Ordering::Relaxed);
            looked
        }
    };
    match looked {
        Ok(()) => Ok(None),
        Err(BackupFault::Damaged { key, problem }) => Ok(Some(Problem { key, why: problem })),
        Err(fault) => Err(fault),
    }
}

/// Reads what is stored and compares it with the manifest.
pub(crate) async fn check_stored(
    archive: &dyn Archive,
    object: &Object,
    passed: impl Fn(u64),
) -> Result<(), BackupFault> {
    let mut stream = match archive.read(&object.key, 0).await {
        Ok(stream) => stream,
        Err(ArchiveFault::NotFound { .. }) => {
            return Err(BackupFault::damaged(&object.key, "is missing from the archive"));
        }
        Err(fault) => return Err(fault.into()),
    };
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = stream.try_next().await? {
        hash.update(&piece);
        bytes += piece.len() as u64;
        passed(piece.len() as u64);
        if bytes > object.bytes {
            break;
        }
    }
    crate::format::compare(object, bytes, &hex::encode(hash.finalize()))
}

async fn check_contents(vault: &Vault, object: &Object) -> Result<(), BackupFault> {
    let mut reader = PlainReader::open(vault, object)?;
    let mut lines = 0;
    while let Some(piece) = reader.next().await? {
        lines += memchr::memchr_iter(b'\n', &piece).count() as u64;
    }
    if lines != object.rows {
        let problem = format!("holds {lines} lines, and its manifest says {}", object.rows);
        return Err(BackupFault::damaged(&object.key, problem));
    }
    Ok(())
}

/// Increments and full backups that others refer to and that are not there.
fn gaps(shelf: &Shelf) -> Vec<Problem> {
    let mut gaps = Vec::new();
    for slot in shelf.slots() {
        let mut reached = None;
        for increment in shelf.increments(slot) {
            let Kind::Incremental { from, to, .. } = increment.kind else { continue };
            if let Some(before) = reached.filter(|before| *before != from) {
                gaps.push(Problem {
                    key: layout::increment_manifest(slot, before),
                    why: format!("is missing: there are no increments from {before} to {from}"),
                });
            }
            reached = Some(to);
        }
    }
    for manifest in shelf.all() {
        if let Kind::Differential { full, .. } = &manifest.kind
            && shelf.get(full).is_none()
        {
            gaps.push(Problem {
                key: format!("{}manifest.json", layout::full(full)),
                why: format!("is missing: differential {} needs it", manifest.id),
            });
        }
    }
    // What stands there and is not to be trusted is told by what is wrong with it.
    gaps.retain(|gap| shelf.problems().iter().all(|p| p.key != gap.key));
    gaps
}
