//! Copying backups to the second archive.

use crate::format::{layout, read_small};
use crate::keys::PASSPHRASE_KEY;
use crate::model::{Manifest, Object};
use crate::shelf::Shelf;
use crate::verify::check_stored;
use crate::{BackupFault, Progress, Vault};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::StreamExt;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use switchyard_providers::archive::{Archive, ArchiveFault};

/// How many files are copied at once.
const AT_ONCE: usize = 2;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Backups that are in the second archive now and were not before.
    pub backups: u64,
    /// Their files.
    pub objects: u64,
    /// Bytes that went over.
    pub bytes: u64,
    /// Files that a run before this one had brought over already.
    pub skipped: u64,
}

/// Brings every backup that the second archive does not have there, the oldest first, its manifest last. A
/// run that was stopped is taken up where it was: a file that is there with the right size and SHA-256 is
/// not sent again. Every byte is compared with the signed manifest on its way, so damage is not spread.
///
/// # Errors
/// No second archive is set; either archive; a file of the first is damaged.
pub async fn copy(vault: &Vault, progress: &dyn Progress) -> Result<Copied, BackupFault> {
    let second = vault.of_second().ok_or_else(|| {
        BackupFault::unfit("no second archive is set", "set one, or leave the copying out")
    })?;
    let shelf = Shelf::load(vault).await?;
    let there = Shelf::load(&second).await?;
    copy_passphrase(vault, &second).await?;
    let missing: Vec<_> = shelf.all().iter().filter(|m| there.get(&m.id) != Some(*m)).collect();
    let of: u64 = missing.iter().map(|m| m.stored_bytes()).sum();
    let sizes: HashMap<&str, u64> =
        there.entries().iter().map(|e| (e.key.as_str(), e.bytes)).collect();
    let done = AtomicU64::new(0);
    let mut copied = Copied::default();
    for manifest in missing {
        progress.step(&format!("copying backup {}", manifest.id));
        let files: Vec<_> = manifest
            .objects()
            .map(|object| bring(vault, &second, object, sizes.get(object.key.as_str()), &done))
            .collect();
        let mut files = futures::stream::iter(files).buffer_unordered(AT_ONCE);
        while let Some(brought) = files.try_next().await? {
            match brought {
                Brought::Sent(bytes) => copied.bytes += bytes,
                Brought::WasThere => copied.skipped += 1,
            }
            copied.objects += 1;
            progress.bytes(done.load(Ordering::Relaxed), Some(of));
        }
        if finish(vault, &second, manifest).await? {
            copied.backups += 1;
        }
    }
    Ok(copied)
}

enum Brought {
    Sent(u64),
    WasThere,
}

async fn bring(
    vault: &Vault,
    second: &Vault,
    object: &Object,
    there: Option<&u64>,
    done: &AtomicU64,
) -> Result<Brought, BackupFault> {
    if there == Some(&object.bytes) {
        match check_stored(second.archive.as_ref(), object, |_| {}).await {
            Ok(()) => {
                done.fetch_add(object.bytes, Ordering::Relaxed);
                return Ok(Brought::WasThere);
            }
            Err(BackupFault::Damaged { .. }) => {} // a file of the same size, but not this one
            Err(fault) => return Err(fault),
        }
    }
    send(vault.archive.as_ref(), second.archive.as_ref(), object, done).await?;
    Ok(Brought::Sent(object.bytes))
}

async fn send(
    from: &dyn Archive,
    to: &dyn Archive,
    object: &Object,
    done: &AtomicU64,
) -> Result<(), BackupFault> {
    let mut stream = match from.read(&object.key, 0).await {
        Ok(stream) => stream,
        Err(ArchiveFault::NotFound { .. }) => {
            return Err(BackupFault::damaged(&object.key, "is missing from the archive"));
        }
        Err(fault) => return Err(fault.into()),
    };
    let mut upload = to.create(&object.key).await?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let passed = async {
        while let Some(piece) = stream.try_next().await? {
            hash.update(&piece);
            bytes += piece.len() as u64;
            done.fetch_add(piece.len() as u64, Ordering::Relaxed);
            upload.write(piece).await?;
        }
        crate::format::compare(object, bytes, &hex::encode(hash.finalize()))
    };
    if let Err(fault) = passed.await {
        upload.abort().await;
        return Err(fault);
    }
    Ok(upload.finish().await?)
}

/// Puts the manifest there: the backup then exists. Answers whether it did not before.
async fn finish(vault: &Vault, second: &Vault, manifest: &Manifest) -> Result<bool, BackupFault> {
    let key = layout::manifest(manifest);
    let file = small(vault, &key).await?;
    match second.archive.put_new(&key, file.clone()).await {
        Ok(()) => return Ok(true),
        Err(ArchiveFault::AlreadyThere { .. }) => {}
        Err(fault) => return Err(fault.into()),
    }
    if small(second, &key).await? == file {
        return Ok(false); // another run was faster
    }
    // What stands there is none that could be trusted, or it would have been listed as a backup.
    second.archive.delete(&key).await?;
    second.archive.put_new(&key, file).await?;
    Ok(true)
}

async fn small(vault: &Vault, key: &str) -> Result<Bytes, BackupFault> {
    read_small(vault.archive.as_ref(), key, crate::format::manifest::MOST).await
}

async fn copy_passphrase(vault: &Vault, second: &Vault) -> Result<(), BackupFault> {
    let sealed = match small(vault, PASSPHRASE_KEY).await {
        Ok(sealed) => sealed,
        Err(BackupFault::Archive(ArchiveFault::NotFound { .. })) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    match second.archive.put_new(PASSPHRASE_KEY, sealed).await {
        Ok(()) | Err(ArchiveFault::AlreadyThere { .. }) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}
