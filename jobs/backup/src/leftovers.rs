//! What a run has written that failed for want of room goes away with it: it would only stand in the way
//! of the next one. Whatever else fails or is killed leaves its files to `prune`.

use crate::format::layout;
use crate::{BackupFault, Vault};
use switchyard_providers::archive::ArchiveFault;

/// Passes an outcome on. If it says that the archive is full, the files below `folder` are taken away
/// first. Only to be asked before the manifest is written: after that the files may be a backup's.
pub(crate) async fn or_take_back<T>(
    vault: &Vault,
    folder: &str,
    outcome: Result<T, BackupFault>,
) -> Result<T, BackupFault> {
    let full = matches!(&outcome, Err(BackupFault::Archive(ArchiveFault::Full { .. })));
    if full && let Err(fault) = take_back(vault, folder).await {
        tracing::warn!(%fault, folder, "files of a run that failed stay behind until a prune takes them");
    }
    outcome
}

async fn take_back(vault: &Vault, folder: &str) -> Result<(), ArchiveFault> {
    for entry in vault.archive.list(folder).await? {
        if !layout::is_manifest(&entry.key) {
            vault.archive.delete(&entry.key).await?;
        }
    }
    Ok(())
}
