//! What a run had finished before it was killed, so that the next one does not send it again.
//!
//! No two encryptions of the same text are alike, so files cannot be compared by what is stored. Beside each
//! whole file of a run that can be repeated stands a signed note, `<file>.part.json`: from where the run went on,
//! the file as a manifest names it, and a keyed hash of its plaintext. The next run that goes on from the same
//! point reads the same changes; as long as what it reads has the hash of the note, it sends nothing.

use super::read_small;
use crate::keys::Signer;
use crate::model::{BackupId, Object};
use crate::verify::check_stored;
use crate::{BackupFault, Vault};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_providers::archive::{ArchiveFault, Entry};

/// How the names of notes end.
pub(crate) const NOTE: &str = ".part.json";

/// Stands in front of what is signed, so that no signature of anything else fits a note.
const CONTEXT: &[u8] = b"switchyard backup part v1\n";

/// The largest note that is read, in bytes.
const MOST: usize = 64 * 1024;

/// What is older is left to `prune`, which takes it away after a day and may be about to.
const FRESH: TimeDelta = TimeDelta::hours(12);

/// What is known of a file that was finished.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// From where its run went on.
    of: String,
    /// The file.
    pub(crate) object: Object,
    /// Of its plaintext; see [`Signer::fingerprint`].
    pub(crate) hash: String,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    part: Part,
    signature: String,
}

/// The files of a run that can be taken up again.
pub(crate) struct Parts {
    id: BackupId,
    /// Of the backup, with a slash behind it.
    folder: String,
    of: String,
    signer: Signer,
    /// Stands in the names of this run's own files if it goes on with another's: a run that only seemed to be
    /// dead must not write over them.
    mine: Option<u32>,
    /// By the name that the file would have had.
    found: Mutex<HashMap<String, Part>>,
    count: usize,
    noted: AtomicBool,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parts({}, {} found)", self.folder, self.count)
    }
}

impl Parts {
    /// A run of its own, which uses nothing of others. `prefix` is the folder that holds those of backups.
    ///
    /// # Errors
    /// There is no signing key.
    pub(crate) fn anew(
        vault: &Vault,
        prefix: &str,
        of: String,
        id: BackupId,
    ) -> Result<Arc<Self>, BackupFault> {
        Ok(Arc::new(Self::with(vault, prefix, of, id, None, HashMap::new())?))
    }

    fn with(
        vault: &Vault,
        prefix: &str,
        of: String,
        id: BackupId,
        mine: Option<u32>,
        found: HashMap<String, Part>,
    ) -> Result<Self, BackupFault> {
        Ok(Self {
            folder: format!("{prefix}{id}/"),
            id,
            of,
            signer: vault.keys.signer()?.clone(),
            mine,
            count: found.len(),
            found: Mutex::new(found),
            noted: AtomicBool::new(mine.is_some()),
        })
    }

    /// Takes up the run below `prefix` that went on from the same point (`of`) and has finished most; without
    /// one it is a new run under the name `fresh`. Every file that is taken over is read once and compared with
    /// the SHA-256 of its note.
    ///
    /// # Errors
    /// The archive does not answer; there is no signing key.
    pub(crate) async fn take_up(
        vault: &Vault,
        prefix: &str,
        of: String,
        fresh: BackupId,
    ) -> Result<Arc<Self>, BackupFault> {
        let entries = vault.archive.list(prefix).await?;
        let mut most: Option<(BackupId, HashMap<String, Part>)> = None;
        for (id, files) in unfinished(prefix, &entries) {
            let found = parts_of(vault, &files, &of).await?;
            if found.len() > most.as_ref().map_or(0, |(_, most)| most.len()) {
                most = Some((id, found));
            }
        }
        let Some((id, found)) = most else { return Self::anew(vault, prefix, of, fresh) };
        let mine = Some(rand::random());
        Ok(Arc::new(Self::with(vault, prefix, of, id, mine, found)?))
    }

    /// The backup's name.
    pub(crate) fn id(&self) -> &BackupId {
        &self.id
    }

    /// How many files of a run before this one were found.
    pub(crate) fn found(&self) -> usize {
        self.count
    }

    /// The key of a file that is written: `stem` is without what it ends with.
    pub(crate) fn key(&self, stem: &str, ending: &str) -> String {
        match self.mine {
            Some(mine) => format!("{stem}-{mine:08x}.{ending}"),
            None => format!("{stem}.{ending}"),
        }
    }

    /// The file of that stem that a run before this one finished, once.
    pub(crate) fn take(&self, stem: &str) -> Option<Part> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(stem)
    }

    /// Begins the hash of a file's plaintext.
    pub(crate) fn hash(&self) -> Sha256 {
        self.signer.fingerprint(CONTEXT)
    }

    /// Notes that a file is finished. Without its note it would only be sent again.
    pub(crate) async fn note(&self, vault: &Vault, object: &Object, hash: Sha256) {
        self.noted.store(true, Ordering::Relaxed);
        let hash = hex::encode(hash.finalize());
        let part = Part { of: self.of.clone(), object: object.clone(), hash };
        let signature = self.signer.sign(&message(&part)).to_bytes();
        let signed = Signed { part, signature: BASE64_STANDARD.encode(signature) };
        let Ok(file) = serde_json::to_vec(&signed) else { return };
        let key = format!("{}{NOTE}", object.key);
        if let Err(fault) = vault.archive.put_new(&key, Bytes::from(file)).await {
            tracing::warn!(%fault, key, "the next run would send this file again");
        }
    }

    /// Makes sure that the files that were taken over are still there: the last thing before the manifest.
    ///
    /// # Errors
    /// [`BackupFault::NotTheSame`]: one is not, and the run is to begin anew. The archive.
    pub(crate) async fn are_there(
        &self,
        vault: &Vault,
        objects: &[&Object],
    ) -> Result<(), BackupFault> {
        if self.count == 0 {
            return Ok(());
        }
        let entries = vault.archive.list(&self.folder).await?;
        let sizes: HashMap<&str, u64> = entries.iter().map(|e| (e.key.as_str(), e.bytes)).collect();
        match objects.iter().find(|o| sizes.get(o.key.as_str()) != Some(&o.bytes)) {
            Some(object) => Err(BackupFault::NotTheSame { key: object.key.clone() }),
            None => Ok(()),
        }
    }

    /// Takes the notes away once the manifest is there. What stays `prune` takes.
    pub(crate) async fn clear(&self, vault: &Vault) {
        if !self.noted.load(Ordering::Relaxed) {
            return;
        }
        let cleared = async {
            for entry in vault.archive.list(&self.folder).await? {
                if entry.key.ends_with(NOTE) {
                    vault.archive.delete(&entry.key).await?;
                }
            }
            Ok::<(), ArchiveFault>(())
        };
        if let Err(fault) = cleared.await {
            tracing::warn!(%fault, "notes of a run stay behind until a prune takes them");
        }
    }
}

fn message(part: &Part) -> Vec<u8> {
    let body = serde_json::to_vec(part).unwrap_or_default();
    [CONTEXT, &body].concat()
}

/// The folders of backups that have no manifest in them and are not old, with their files.
fn unfinished<'a>(prefix: &str, entries: &'a [Entry]) -> BTreeMap<BackupId, Vec<&'a Entry>> {
    let mut folders: BTreeMap<BackupId, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let below = entry.key.strip_prefix(prefix).and_then(|rest| rest.split_once('/'));
        if let Some(id) = below.and_then(|(id, _)| id.parse().ok()) {
            folders.entry(id).or_default().push(entry);
        }
    }
    // By the clock of the store or by ours, whichever is ahead.
    let now = entries.iter().map(|e| e.modified).max().map_or_else(Utc::now, |m| m.max(Utc::now()));
    folders.retain(|_, files| {
        let manifest = files.iter().any(|e| super::layout::is_manifest(&e.key));
        !manifest && files.iter().any(|e| e.modified > now - FRESH)
    });
    folders
}

/// The parts among these files that went on from there, signed by our own key and stored as they say.
async fn parts_of(
    vault: &Vault,
    files: &[&Entry],
    of: &str,
) -> Result<HashMap<String, Part>, BackupFault> {
    let mut found = HashMap::new();
    for entry in files {
        let Some(key) = entry.key.strip_suffix(NOTE) else { continue };
        let file = match read_small(vault.archive.as_ref(), &entry.key, MOST).await {
            Ok(file) => file,
            Err(BackupFault::Damaged { .. })
            | Err(BackupFault::Archive(ArchiveFault::NotFound { .. })) => continue,
            Err(fault) => return Err(fault),
        };
        let Some(part) = opened(&file, vault)?.filter(|p| p.of == of && p.object.key == key) else {
            continue;
        };
        match check_stored(vault.archive.as_ref(), &part.object, |_| {}).await {
            Ok(()) => found.insert(stem(key).to_owned(), part),
            Err(BackupFault::Damaged { .. }) => continue,
            Err(fault) => return Err(fault),
        };
    }
    Ok(found)
}

/// What a note says, if it is one that we signed ourselves: the hash fits no other key.
fn opened(file: &[u8], vault: &Vault) -> Result<Option<Part>, BackupFault> {
    let public = vault.keys.signer()?.public();
    let Ok(signed) = serde_json::from_slice::<Signed>(file) else { return Ok(None) };
    let signature = BASE64_STANDARD.decode(&signed.signature).ok();
    let signature: Option<[u8; 64]> = signature.and_then(|bytes| bytes.try_into().ok());
    let holds = signature.is_some_and(|s| public.holds(&message(&signed.part), &s));
    Ok(holds.then_some(signed.part))
}

/// A key without what it ends with, and without what tells two runs apart.
fn stem(key: &str) -> &str {
    let folder = key.rfind('/').map_or(0, |at| at + 1);
    let name = key[folder..].find(['.', '-']).map_or(key.len(), |at| folder + at);
    &key[..name]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::{ChunkWriter, Contents};
    use crate::{Keys, keys::Identity};
    use chrono::DateTime;
    use switchyard_providers::archive::Directory;

    fn vault(folder: &tempfile::TempDir) -> Vault {
        let keys =
            Keys::new().recipients([Identity::generate().recipient()]).signing(Signer::generate());
        Vault::new(Arc::new(Directory::new(folder.path())), keys).with_file_size(1000)
    }

    fn id(n: u32) -> BackupId {
        BackupId::new(DateTime::UNIX_EPOCH, n)
    }

    /// Writes lines up to a moment at which it is killed, or to the end.
    async fn run(
        vault: &Vault,
        parts: &Arc<Parts>,
        lines: &[&str],
        ends: bool,
    ) -> Result<Vec<Object>, BackupFault> {
        let folder = format!("log/a-1/{}", parts.id());
        let mut writer = ChunkWriter::resuming(vault, folder, Contents::Changes, parts);
        for line in lines {
            writer.write(format!("{}\n", line.repeat(600)).as_bytes(), 1).await?;
        }
        if ends {
            return writer.finish().await;
        }
        writer.settle().await?;
        Ok(Vec::new())
    }

    async fn take_up(vault: &Vault, of: &str, n: u32) -> Arc<Parts> {
        Parts::take_up(vault, "log/a-1/", of.to_owned(), id(n)).await.unwrap()
    }

    #[tokio::test]
    async fn a_run_from_the_same_point_uses_what_was_finished_and_one_from_another_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        let parts = take_up(&vault, "here", 1).await;
        assert_eq!((parts.id(), parts.found()), (&id(1), 0));
        run(&vault, &parts, &["a", "b", "c", "d", "e"], false).await.unwrap();

        assert_eq!(take_up(&vault, "elsewhere", 2).await.found(), 0);
        let parts = take_up(&vault, "here", 2).await;
        assert_eq!((parts.id(), parts.found()), (&id(1), 2));
        let objects = run(&vault, &parts, &["a", "b", "c", "d", "e", "f"], true).await.unwrap();
        let keys: Vec<_> = objects.iter().map(|o| o.key.rsplit('/').next().unwrap()).collect();
        assert_eq!(keys[..2], ["0000.changes.gz.age", "0001.changes.gz.age"]);
        assert!(keys.len() == 3 && keys[2].starts_with("0002-"), "{keys:?}");
        parts.are_there(&vault, &objects.iter().collect::<Vec<_>>()).await.unwrap();
        vault.archive.delete(&objects[0].key).await.unwrap();
        let gone = parts.are_there(&vault, &objects.iter().collect::<Vec<_>>()).await;
        assert!(matches!(gone, Err(BackupFault::NotTheSame { .. })), "{gone:?}");
        parts.clear(&vault).await;
        let left = vault.archive.list("").await.unwrap();
        assert!(left.iter().all(|e| !e.key.ends_with(NOTE)), "{left:?}");
    }

    #[tokio::test]
    async fn what_comes_out_different_is_not_taken_for_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        let parts = take_up(&vault, "here", 1).await;
        run(&vault, &parts, &["a", "b", "c", "d"], false).await.unwrap();
        for lines in [&["a", "b", "c", "x", "y"][..], &["a", "b", "c"]] {
            let parts = take_up(&vault, "here", 2).await;
            assert_eq!(parts.found(), 2);
            let fault = run(&vault, &parts, lines, true).await.unwrap_err();
            assert!(matches!(fault, BackupFault::NotTheSame { .. }), "{fault}");
        }
    }

    #[tokio::test]
    async fn a_file_that_was_spoilt_and_a_note_of_another_key_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        let parts = take_up(&vault, "here", 1).await;
        run(&vault, &parts, &["a", "b", "c", "d"], false).await.unwrap();
        let path = folder.path().join(format!("log/a-1/{}/0000.changes.gz.age", id(1)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(take_up(&vault, "here", 2).await.found(), 1);
        let keys =
            Keys::new().recipients([Identity::generate().recipient()]).signing(Signer::generate());
        let other = Vault::new(Arc::clone(&vault.archive), keys);
        assert_eq!(take_up(&other, "here", 2).await.found(), 0);
    }
}
