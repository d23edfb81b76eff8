//! Where backups are kept: a store of objects with keys, on S3 or in a directory.

mod config;
mod directory;
mod s3;
mod s3_fault;
mod s3_read;
mod s3_role;
mod s3_upload;

pub use config::{ArchiveConfig, ArchiveKind, DirectoryConfig, LockMode, S3Config, Sse};
pub use directory::Directory;
pub use s3::S3;

use crate::ConfigFault;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use std::sync::Arc;

/// Opens the archive that the settings name. Nothing is sent to it yet, so this succeeds while it is away.
///
/// # Errors
/// Everything that is wrong with the settings, at once.
pub fn open(config: &ArchiveConfig) -> Result<Arc<dyn Archive>, Vec<ConfigFault>> {
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(match config.kind {
        ArchiveKind::Directory => Arc::new(Directory::new(&config.directory.path)),
        ArchiveKind::S3 => Arc::new(S3::new(&config.s3).map_err(|fault| vec![fault])?),
    })
}

/// Refuses what is no key, so that none leads out of an archive.
fn check_key(archive: &str, key: &str) -> Result<(), ArchiveFault> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && p.bytes().all(letter);
    if key.split('/').all(part) {
        return Ok(());
    }
    Err(ArchiveFault::Refused {
        archive: archive.to_owned(),
        problem: format!("`{key}` is no key of an archive"),
        remedy:
            "keys are parts of letters, digits, `-`, `_`, `.` and `=`, none of which begins with a \
                 dot"
            .to_owned(),
    })
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key below the archive's prefix.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// There is no such object.
    #[error("{key} is not in the archive")]
    NotFound {
        /// Its key.
        key: String,
    },
    /// An object of that key was there before; it was left as it is.
    #[error("{key} is in the archive already")]
    AlreadyThere {
        /// Its key.
        key: String,
    },
    /// The store asks for patience or is away; again later it may do.
    #[error("{archive} does not answer as it should: {problem}")]
    Unavailable {
        /// Which archive, without credentials.
        archive: String,
        /// What it said.
        problem: String,
    },
    /// It refuses for good, or its settings are wrong.
    #[error("{archive} refuses: {problem}; {remedy}")]
    Refused {
        /// Which archive, without credentials.
        archive: String,
        /// What it said.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// There is no room left.
    #[error("{archive} is full; make room or prune, then run the backup again")]
    Full {
        /// Which archive.
        archive: String,
    },
}

impl ArchiveFault {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// An object that is being written. Nothing of it can be read before [`Upload::finish`]; dropped
/// before that, nothing stays that a listing would show.
#[async_trait]
pub trait Upload: Send {
    /// Takes more of it. Memory is bounded: this waits until there is room.
    async fn write(&mut self, more: Bytes) -> Result<(), ArchiveFault>;
    /// Makes it durable and visible. If this answers, it survives a crash.
    async fn finish(self: Box<Self>) -> Result<(), ArchiveFault>;
    /// Gives it up, and takes back what was sent.
    async fn abort(self: Box<Self>);
}

/// A store of objects. Keys are parts with slashes between, of letters, digits, `-`, `_`, `.` and `=`.
#[async_trait]
pub trait Archive: Send + Sync {
    /// What it is called in messages, without credentials: `s3://bucket/prefix` or a path.
    fn name(&self) -> &str;
    /// Begins an object. One of the same key is replaced when it is finished.
    async fn create(&self, key: &str) -> Result<Box<dyn Upload>, ArchiveFault>;
    /// Writes a small object if none of its key is there: of several at once one wins. A store that cannot
    /// rule that out is [`ArchiveFault::Refused`].
    async fn put_new(&self, key: &str, content: Bytes) -> Result<(), ArchiveFault>;
    /// Reads an object from byte `from` on.
    async fn read(
        &self,
        key: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ArchiveFault>>, ArchiveFault>;
    /// Lists the objects whose keys begin with `prefix`, ascending by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, ArchiveFault>;
    /// Takes an object away; one that is not there is no fault. Objects under a retention lock are
    /// [`ArchiveFault::Refused`].
    async fn delete(&self, key: &str) -> Result<(), ArchiveFault>;
    /// Takes away what runs that were killed have left half written before this moment: what no listing
    /// shows, but costs room. Answers how many.
    async fn sweep(&self, older_than: DateTime<Utc>) -> Result<u64, ArchiveFault> {
        let _ = older_than;
        Ok(0)
    }
}
