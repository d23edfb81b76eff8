//! Looking at every file before anything is made of one.

use crate::format::PlainReader;
use crate::model::Object;
use crate::shelf::Chain;
use crate::verify::check_stored;
use crate::{BackupFault, Progress, Vault};
use futures::{StreamExt, TryStreamExt};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many files are read at once.
const AT_ONCE: usize = 3;

/// Reads all files of a chain and compares them with the signed manifests; opens one of each backup, so
/// that a wrong key shows now.
pub(super) async fn files(
    vault: &Vault,
    chain: &Chain,
    progress: &dyn Progress,
) -> Result<(), BackupFault> {
    let total: u64 = chain.objects().map(|o| o.bytes).sum();
    let done = AtomicU64::new(0);
    let objects: Vec<Object> = chain.objects().cloned().collect();
    futures::stream::iter(objects)
        .map(|object| {
            let done = &done;
            async move {
                let passed = |bytes| {
                    let sum = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                    progress.bytes(sum, Some(total));
                };
                check_stored(vault.archive.as_ref(), &object, passed).await
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    for manifest in chain.manifests() {
        let first = manifest.objects().next().cloned();
        if let Some(object) = first {
            PlainReader::open(vault, &object)?.next().await?;
        }
    }
    Ok(())
}
