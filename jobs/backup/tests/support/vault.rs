//! An archive in a temporary folder with keys of its own, and one that fails or hangs where it is told.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::{Keys, Vault};
use switchyard_providers::archive::Directory;
use switchyard_providers::archive::{Archive, ArchiveFault, Entry, Upload};
use tempfile::TempDir;

/// An archive of a test.
pub struct TestVault {
    /// It, with keys to write and to read.
    pub vault: Vault,
    /// Where its files are.
    pub folder: TempDir,
    keys: Keys,
}

impl TestVault {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::generate();
        let keys = Keys::new()
            .recipients([identity.recipient()])
            .identities([identity])
            .signing(Signer::generate());
        let vault = Vault::new(Arc::new(Directory::new(folder.path())), keys.clone());
        Self { vault, folder, keys }
    }

    /// The same archive, reached through something that goes wrong.
    #[must_use]
    pub fn through(&self, trouble: &Arc<Trouble>) -> Vault {
        Vault::new(troubled(Arc::clone(&self.vault.archive), trouble), self.keys.clone())
    }
}

impl Default for TestVault {
    fn default() -> Self {
        Self::new()
    }
}

/// An archive that goes wrong when the count is over.
pub fn troubled(inner: Arc<dyn Archive>, trouble: &Arc<Trouble>) -> Arc<dyn Archive> {
    Arc::new(Troubled { inner, trouble: Arc::clone(trouble) })
}

/// What happens when the count is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call fails, and so does every one after it.
    Fails,
    /// The call is done, but nobody hears of it: it hangs for good.
    HangsAfter,
    /// The call hangs for good and is not done.
    HangsBefore,
}

/// Goes wrong at the nth call of the archive or its uploads.
pub struct Trouble {
    kind: Kind,
    left: AtomicI64,
    /// Told when the trouble begins.
    pub begun: tokio::sync::Notify,
}

impl Trouble {
    /// At the nth call, counted from zero.
    #[must_use]
    pub fn at(kind: Kind, nth: i64) -> Arc<Self> {
        Arc::new(Self { kind, left: AtomicI64::new(nth), begun: tokio::sync::Notify::new() })
    }

    /// Whether it came to it.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    async fn pass<T>(
        &self,
        call: impl Future<Output = Result<T, ArchiveFault>>,
    ) -> Result<T, ArchiveFault> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return call.await;
        }
        let (archive, problem) = ("the test's".to_owned(), "struck".to_owned());
        if left < 0 {
            return Err(ArchiveFault::Unavailable { archive, problem });
        }
        match self.kind {
            Kind::Fails => {
                self.begun.notify_one();
                return Err(ArchiveFault::Unavailable { archive, problem });
            }
            Kind::HangsAfter => drop(call.await),
            Kind::HangsBefore => {}
        }
        self.begun.notify_one();
        std::future::pending().await
    }
}

struct Troubled {
    inner: Arc<dyn Archive>,
    trouble: Arc<Trouble>,
}

struct TroubledUpload {
    inner: Option<Box<dyn Upload>>,
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Upload for TroubledUpload {
    async fn write(&mut self, more: Bytes) -> Result<(), ArchiveFault> {
        let inner = self.inner.as_mut().expect("not finished");
        self.trouble.pass(inner.write(more)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ArchiveFault> {
        let inner = self.inner.take().expect("not finished");
        self.trouble.pass(inner.finish()).await
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(inner) = self.inner.take() {
            inner.abort().await;
        }
    }
}

#[async_trait]
impl Archive for Troubled {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn create(&self, key: &str) -> Result<Box<dyn Upload>, ArchiveFault> {
        let inner = Some(self.trouble.pass(self.inner.create(key)).await?);
        Ok(Box::new(TroubledUpload { inner, trouble: Arc::clone(&self.trouble) }))
    }

    async fn put_new(&self, key: &str, content: Bytes) -> Result<(), ArchiveFault> {
        self.trouble.pass(self.inner.put_new(key, content)).await
    }

    async fn read(
        &self,
        key: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ArchiveFault>>, ArchiveFault> {
        self.trouble.pass(self.inner.read(key, from)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, ArchiveFault> {
        self.trouble.pass(self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), ArchiveFault> {
        self.trouble.pass(self.inner.delete(key)).await
    }

    async fn sweep(&self, older_than: DateTime<Utc>) -> Result<u64, ArchiveFault> {
        self.trouble.pass(self.inner.sweep(older_than)).await
    }
}
