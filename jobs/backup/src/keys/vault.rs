//! Where backups go, and with which keys.

use crate::format::CHUNK;
use crate::format::manifest::ManifestCache;
use crate::keys::Keys;
use std::fmt;
use std::sync::Arc;
use switchyard_providers::archive::Archive;

/// An archive and the keys to it. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    /// Where backups are kept.
    pub archive: Arc<dyn Archive>,
    /// Where they are copied to.
    pub second: Option<Arc<dyn Archive>>,
    /// The keys.
    pub keys: Arc<Keys>,
    /// How much plaintext goes into one file, in bytes.
    pub(crate) file_size: u64,
    /// Manifests that were read and checked, so that a long-lived process reads each once.
    pub(crate) known: Arc<ManifestCache>,
}

impl Vault {
    /// An archive, and no second one.
    #[must_use]
    pub fn new(archive: Arc<dyn Archive>, keys: Keys) -> Self {
        let (keys, known) = (Arc::new(keys), Arc::default());
        Self { archive, second: None, keys, file_size: CHUNK, known }
    }

    /// With files of about this much plaintext, in bytes: less of them is sent again after a kill, but there are
    /// more of them.
    #[must_use]
    pub fn with_file_size(self, bytes: u64) -> Self {
        Self { file_size: bytes.max(1), ..self }
    }

    /// With a second archive, which [`crate::copy::copy`] fills.
    #[must_use]
    pub fn with_second(self, second: Arc<dyn Archive>) -> Self {
        Self { second: Some(second), ..self }
    }

    /// The second archive as if it were the only one: to restore from it, to verify or prune it.
    #[must_use]
    pub fn of_second(&self) -> Option<Self> {
        let archive = self.second.clone()?;
        let (keys, known) = (Arc::clone(&self.keys), Arc::default());
        Some(Self { archive, second: None, keys, file_size: self.file_size, known })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.second.as_ref().map(|s| s.name());
        f.debug_struct("Vault")
            .field("archive", &self.archive.name())
            .field("second", &second)
            .field("keys", &self.keys)
            .finish()
    }
}
