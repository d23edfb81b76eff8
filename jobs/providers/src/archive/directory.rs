//! Backups in a directory: of this machine, of another disk, of a mounted share.
//!
//! What is being written stands in `.partial` and is renamed when it is whole; files and the folders that
//! name them are flushed to the disk before anything is said to be there.

use super::{Archive, ArchiveFault, Entry, Upload, check_key};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Where unfinished files stand, below the root.
const PARTIAL: &str = ".partial";

/// "Operation not permitted", on Linux and macOS.
const EPERM: i32 = 1;

/// How much is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// An archive in a directory. Nobody but the account that runs this may look into it.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    name: String,
}

impl Directory {
    /// An archive in this directory, which is made when something is first written.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let name = root.display().to_string();
        Self { inner: Arc::new(Inner { root, name }) }
    }

    /// Runs on a thread that may wait for the disk.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ArchiveFault> + Send + 'static,
    ) -> Result<T, ArchiveFault> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(_) => Err(self.inner.stopped()),
        }
    }
}

#[async_trait]
impl Archive for Directory {
    fn name(&self) -> &str {
        &self.inner.name
    }

    async fn create(&self, key: &str) -> Result<Box<dyn Upload>, ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let key = key.to_owned();
        let partial = self.on_thread(|inner| inner.begin()).await?;
        Ok(Box::new(DirectoryUpload { directory: self.clone(), key, partial: Some(partial) }))
    }

    async fn put_new(&self, key: &str, content: Bytes) -> Result<(), ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let key = key.to_owned();
        self.on_thread(move |inner| {
            let mut partial = inner.begin()?;
            let written = partial.file.write_all(&content).and_then(|()| partial.file.sync_all());
            written.map_err(|e| inner.fault(&key, e))?;
            inner.place(&key, |target| fs::hard_link(&partial.path, target))
        })
        .await
    }

    async fn read(
        &self,
        key: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ArchiveFault>>, ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let (name, this) = (key.to_owned(), self.clone());
        let file = self
            .on_thread(move |inner| {
                let open = || -> io::Result<File> {
                    let mut file = File::open(inner.path(&name))?;
                    file.seek(SeekFrom::Start(from))?;
                    Ok(file)
                };
                open().map_err(|e| inner.fault(&name, e))
            })
            .await?;
        let stream =
            tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
        let key = key.to_owned();
        Ok(stream.map(move |piece| piece.map_err(|e| this.inner.fault(&key, e))).boxed())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, ArchiveFault> {
        let prefix = prefix.to_owned();
        self.on_thread(move |inner| inner.list(&prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let key = key.to_owned();
        self.on_thread(move |inner| inner.delete(&key)).await
    }

    async fn sweep(&self, older_than: DateTime<Utc>) -> Result<u64, ArchiveFault> {
        self.on_thread(move |inner| inner.sweep(older_than)).await
    }
}

/// An unfinished file; it goes away with this value.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
    file: File,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed away mostly. What stays after a crash, a sweep takes.
        let _ = fs::remove_file(&self.path);
    }
}

struct DirectoryUpload {
    directory: Directory,
    key: String,
    partial: Option<Partial>,
}

impl DirectoryUpload {
    async fn with_file(
        &mut self,
        work: impl FnOnce(&Inner, &str, &mut Partial) -> Result<(), ArchiveFault> + Send + 'static,
    ) -> Result<(), ArchiveFault> {
        let mut partial = self.partial.take().ok_or_else(|| self.directory.inner.stopped())?;
        let key = self.key.clone();
        let work = move |inner: &Inner| work(inner, &key, &mut partial).map(|()| partial);
        self.partial = Some(self.directory.on_thread(work).await?);
        Ok(())
    }
}

#[async_trait]
impl Upload for DirectoryUpload {
    async fn write(&mut self, more: Bytes) -> Result<(), ArchiveFault> {
        self.with_file(move |inner, key, partial| {
            partial.file.write_all(&more).map_err(|e| inner.fault(key, e))
        })
        .await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ArchiveFault> {
        self.with_file(|inner, key, partial| {
            partial.file.sync_all().map_err(|e| inner.fault(key, e))?;
            inner.place(key, |target| fs::rename(&partial.path, target))
        })
        .await
    }

    async fn abort(self: Box<Self>) {}
}

impl Inner {
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn begin(&self) -> Result<Partial, ArchiveFault> {
        let folder = self.root.join(PARTIAL);
        let path = folder.join(Uuid::new_v4().simple().to_string());
        make_folders(&folder)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))
            .map(|file| Partial { path: path.clone(), file })
            .map_err(|e| self.fault(PARTIAL, e))
    }

    /// Gives a flushed file its name, and flushes the folder that holds the name.
    fn place(
        &self,
        key: &str,
        name_it: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<(), ArchiveFault> {
        let target = self.path(key);
        let folder = target.parent().unwrap_or(&self.root);
        let place = || -> io::Result<()> {
            make_folders(folder)?;
            let named = name_it(&target);
            // Also where another was faster: its name must be durable before anybody relies on it.
            if named.is_ok() || is_there(&named) {
                sync(folder)?;
            }
            named
        };
        // A folder that a deletion found empty may go away between its making and the naming.
        let mut placed = place();
        for _ in 0..8 {
            match &placed {
                Err(e) if e.kind() == ErrorKind::NotFound => placed = place(),
                _ => break,
            }
        }
        placed.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => ArchiveFault::AlreadyThere { key: key.to_owned() },
            // link(2) answers EPERM where the file system has no hard links; missing rights are EACCES.
            _ if e.kind() == ErrorKind::Unsupported || e.raw_os_error() == Some(EPERM) => self
                .refused(
                    "its file system has no hard links".to_owned(),
                    "use one that has: ext4, XFS, Btrfs, ZFS, APFS, NFS",
                ),
            _ => self.fault(key, e),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, ArchiveFault> {
        // Down to the last whole folder of the prefix, then everything below it.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() {
            check_key(&self.name, folder)?;
        }
        let mut found = Vec::new();
        let mut todo = vec![folder.to_owned()];
        while let Some(folder) = todo.pop() {
            let entries = match fs::read_dir(self.path(&folder)) {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(e) => return Err(self.fault(&folder, e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| self.fault(&folder, e))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                // Whatever has no key that could be ours is not ours: `.partial`, `lost+found`.
                if check_key(&self.name, &key).is_err() {
                    continue;
                }
                // A file that goes away while it is listed is not there.
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    todo.push(key);
                } else if about.is_file() && key.starts_with(prefix) {
                    let modified = about.modified().map_err(|e| self.fault(&key, e))?;
                    found.push(Entry { key, bytes: about.len(), modified: modified.into() });
                }
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn delete(&self, key: &str) -> Result<(), ArchiveFault> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.fault(key, e)),
        }
        // A manifest that is deleted must not come back after a crash when its files do not.
        let mut folder = path.parent();
        while let Some(here) = folder.filter(|f| *f != self.root) {
            match sync(here) {
                // Another deletion has taken the empty folder away.
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(self.fault(key, e)),
                _ => {}
            }
            if fs::remove_dir(here).is_err() {
                return Ok(()); // not empty
            }
            folder = here.parent();
        }
        Ok(())
    }

    fn sweep(&self, older_than: DateTime<Utc>) -> Result<u64, ArchiveFault> {
        let entries = match fs::read_dir(self.root.join(PARTIAL)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(self.fault(PARTIAL, e)),
        };
        let mut taken = 0;
        for entry in entries.filter_map(Result::ok) {
            let modified = entry.metadata().and_then(|about| about.modified());
            let old = modified.is_ok_and(|at| DateTime::<Utc>::from(at) < older_than);
            if old && fs::remove_file(entry.path()).is_ok() {
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// What an error of the system means for a backup.
    fn fault(&self, key: &str, error: io::Error) -> ArchiveFault {
        match error.kind() {
            ErrorKind::NotFound => ArchiveFault::NotFound { key: key.to_owned() },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ArchiveFault::Full { archive: self.name.clone() }
            }
            ErrorKind::PermissionDenied => self.refused(
                format!("no permission for {key}"),
                "give the directory to the account that runs Switchyard",
            ),
            ErrorKind::ReadOnlyFilesystem => self.refused(
                "it is mounted read-only".to_owned(),
                "mount it for writing, or set another directory",
            ),
            ErrorKind::NotADirectory | ErrorKind::IsADirectory => self.refused(
                format!("{key} is in the way ({error})"),
                "set a directory that holds nothing but backups",
            ),
            _ => ArchiveFault::Unavailable {
                archive: self.name.clone(),
                problem: format!("{key}: {error}"),
            },
        }
    }

    fn refused(&self, problem: String, remedy: &str) -> ArchiveFault {
        ArchiveFault::Refused { archive: self.name.clone(), problem, remedy: remedy.to_owned() }
    }

    fn stopped(&self) -> ArchiveFault {
        let problem = "the work was stopped before its end".to_owned();
        ArchiveFault::Unavailable { archive: self.name.clone(), problem }
    }
}

fn is_there(named: &io::Result<()>) -> bool {
    named.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists)
}

/// Makes a folder and those above it, and flushes each one's name.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above {
        make_folders(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    above.map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_one_that_is_away_and_from_missing_rights() {
        let inner = Directory::new("/backups").inner;
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        assert!(
            full.iter()
                .all(|kind| matches!(inner.fault("x", (*kind).into()), ArchiveFault::Full { .. }))
        );
        assert!(inner.fault("x", ErrorKind::TimedOut.into()).is_transient());
        let rights = inner.fault("x", ErrorKind::PermissionDenied.into());
        assert!(rights.to_string().contains("give the directory to the account"), "{rights}");
    }
}
