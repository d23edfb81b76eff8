//! Writing a file: gzip, age and SHA-256 on a thread of their own, the archive beside it.

use super::{PIECE, PIECES};
use crate::keys::Recipient;
use crate::model::Object;
use crate::{BackupFault, Vault};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use switchyard_providers::archive::Upload;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What goes from one thread to the next. Without an end nothing is kept.
enum Piece {
    More(Bytes),
    End,
}

/// What was stored.
#[derive(Debug)]
struct Stored {
    bytes: u64,
    sha256: String,
}

/// A file that is being written. Dropped before [`ObjectWriter::finish`], nothing of it stays.
#[derive(Debug)]
pub struct ObjectWriter {
    key: String,
    plain: mpsc::Sender<Piece>,
    stored: JoinHandle<Result<Stored, BackupFault>>,
    plain_bytes: u64,
    rows: u64,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Piece") // never what is in it
    }
}

impl ObjectWriter {
    /// Begins a file for all recipients of the vault.
    ///
    /// # Errors
    /// There is no recipient. What the archive says comes with the first writes.
    pub fn create(vault: &Vault, key: impl Into<String>) -> Result<Self, BackupFault> {
        let key = key.into();
        let recipients = vault.keys.readers()?.to_vec();
        let (plain, to_seal) = mpsc::channel(PIECES);
        let (sealed, to_send) = mpsc::channel(PIECES);
        let sealing = tokio::task::spawn_blocking(move || seal(to_seal, sealed, &recipients));
        let archive = vault.archive.clone();
        let name = key.clone();
        let stored = tokio::spawn(async move {
            let upload = archive.create(&name).await?;
            let sent = send(upload, to_send).await;
            // Both have let go of the channel between them, so this does not wait for long.
            let sealed = sealing.await.map_err(|_| BackupFault::Stopped)?;
            match sent {
                Ok(()) => sealed,
                // The thread gave up: it knows why.
                Err(BackupFault::Stopped) => Err(sealed.err().unwrap_or(BackupFault::Stopped)),
                Err(fault) => Err(fault),
            }
        });
        Ok(Self { key, plain, stored, plain_bytes: 0, rows: 0 })
    }

    /// How much plaintext was written, in bytes.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Takes more plaintext, and how many rows or lines that is. Waits until there is room.
    ///
    /// # Errors
    /// The archive. After an error the file is given up.
    pub async fn write(&mut self, plain: Bytes, rows: u64) -> Result<(), BackupFault> {
        self.plain_bytes += plain.len() as u64;
        self.rows += rows;
        if self.plain.send(Piece::More(plain)).await.is_ok() {
            return Ok(());
        }
        // The other end is gone: it says why.
        let why = (&mut self.stored).await.map_err(|_| BackupFault::Stopped)?;
        why.and(Err(BackupFault::Stopped))
    }

    /// Makes the file durable, and says what is to be put into the manifest.
    ///
    /// # Errors
    /// The archive. Nothing stays then.
    pub async fn finish(self) -> Result<Object, BackupFault> {
        // Whether it was taken shows in the answer.
        let _ = self.plain.send(Piece::End).await;
        let stored = self.stored.await.map_err(|_| BackupFault::Stopped)??;
        Ok(Object {
            key: self.key,
            bytes: stored.bytes,
            sha256: stored.sha256,
            plain_bytes: self.plain_bytes,
            rows: self.rows,
        })
    }
}

/// Writes a file whose content is at hand, such as a schema's dump.
///
/// # Errors
/// As [`ObjectWriter`].
pub async fn write_object(
    vault: &Vault,
    key: impl Into<String>,
    content: Bytes,
) -> Result<Object, BackupFault> {
    let mut writer = ObjectWriter::create(vault, key)?;
    let rows = memchr::memchr_iter(b'\n', &content).count() as u64;
    writer.write(content, rows).await?;
    writer.finish().await
}

/// Hands on what is sealed; without an end it takes everything back.
async fn send(
    mut upload: Box<dyn Upload>,
    mut sealed: mpsc::Receiver<Piece>,
) -> Result<(), BackupFault> {
    loop {
        match sealed.recv().await {
            Some(Piece::More(bytes)) => {
                if let Err(fault) = upload.write(bytes).await {
                    upload.abort().await;
                    return Err(fault.into());
                }
            }
            Some(Piece::End) => return Ok(upload.finish().await?),
            None => {
                upload.abort().await;
                return Err(BackupFault::Stopped);
            }
        }
    }
}

/// The thread's work: everything that comes, compressed and encrypted, goes out in pieces.
fn seal(
    mut plain: mpsc::Receiver<Piece>,
    sealed: mpsc::Sender<Piece>,
    recipients: &[Recipient],
) -> Result<Stored, BackupFault> {
    let fault = BackupFault::machine("compressing and encrypting");
    let out = Outlet { sealed, piece: Vec::with_capacity(PIECE), hash: Sha256::new(), bytes: 0 };
    let readers = recipients.iter().map(|r| r.as_age() as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(readers).map_err(|e| {
        BackupFault::key(
            format!("the recipients cannot be used together ({e})"),
            "set `age1...` recipients only",
        )
    })?;
    let run = || -> io::Result<Option<Stored>> {
        let mut gzip = GzEncoder::new(encryptor.wrap_output(out)?, Compression::new(1));
        loop {
            match plain.blocking_recv() {
                Some(Piece::More(bytes)) => gzip.write_all(&bytes)?,
                Some(Piece::End) => break,
                None => return Ok(None),
            }
        }
        gzip.finish()?.finish()?.finish().map(Some)
    };
    run().map_err(fault)?.ok_or(BackupFault::Stopped)
}

/// Where the ciphertext comes out: counted, hashed, and sent on in pieces of one size.
struct Outlet {
    sealed: mpsc::Sender<Piece>,
    piece: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl Outlet {
    fn pass(&mut self, next: usize) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(next));
        self.hash.update(&piece);
        self.bytes += piece.len() as u64;
        self.give(Piece::More(piece.into()))
    }

    /// The receiver goes away when the archive failed, and then says why; this error is never seen.
    fn give(&self, piece: Piece) -> io::Result<()> {
        self.sealed.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(mut self) -> io::Result<Stored> {
        self.pass(0)?;
        self.give(Piece::End)?;
        Ok(Stored { bytes: self.bytes, sha256: hex::encode(self.hash.finalize()) })
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.pass(PIECE + bytes.len())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
