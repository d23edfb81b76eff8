//! Reading a file: the archive, and beside it SHA-256, age and gunzip on a thread of their own.

use super::{PIECE, PIECES};
use crate::keys::Identity;
use crate::model::Object;
use crate::{BackupFault, Vault};
use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Read};
use switchyard_providers::archive::ArchiveFault;
use tokio::sync::mpsc;

/// A file's plaintext, piece by piece. Only the end tells that all of it was right: whoever must know
/// before the first byte runs [`crate::verify`] first.
#[derive(Debug)]
pub struct PlainReader {
    plain: mpsc::Receiver<Result<Bytes, BackupFault>>,
}

impl PlainReader {
    /// Begins to read a file that a signed manifest names.
    ///
    /// # Errors
    /// There is no identity. Everything else comes with the pieces.
    pub fn open(vault: &Vault, object: &Object) -> Result<Self, BackupFault> {
        let identities = vault.keys.openers()?.to_vec();
        let (raw, to_open) = mpsc::channel(PIECES);
        let (opened, plain) = mpsc::channel(PIECES);
        let archive = vault.archive.clone();
        let key = object.key.clone();
        tokio::spawn(async move {
            let mut stream = match archive.read(&key, 0).await {
                Ok(stream) => stream,
                Err(fault) => return drop(raw.send(Err(fault)).await),
            };
            loop {
                let piece = stream.try_next().await.transpose();
                let Some(piece) = piece else { return };
                // Nobody listens any more: there is nothing left to do.
                if raw.send(piece).await.is_err() {
                    return;
                }
            }
        });
        let object = object.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = unseal(&object, to_open, &identities, &opened) {
                let _ = opened.blocking_send(Err(fault)); // nobody listens any more
            }
        });
        Ok(Self { plain })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The archive; the file is not what the manifest says; no identity opens it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackupFault> {
        self.plain.recv().await.transpose()
    }

    pub(crate) fn blocking_next(&mut self) -> Result<Option<Bytes>, BackupFault> {
        self.plain.blocking_recv().transpose()
    }
}

/// Reads a file whole, such as a schema's dump.
///
/// # Errors
/// As [`PlainReader`].
pub async fn read_object(vault: &Vault, object: &Object) -> Result<Vec<u8>, BackupFault> {
    let mut reader = PlainReader::open(vault, object)?;
    let mut whole = Vec::new();
    while let Some(piece) = reader.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// The thread's work. An error of decryption or decompression is told as what it is: a wrong key if the
/// file is the one that was written, else damage.
fn unseal(
    object: &Object,
    raw: mpsc::Receiver<Result<Bytes, ArchiveFault>>,
    identities: &[Identity],
    opened: &mpsc::Sender<Result<Bytes, BackupFault>>,
) -> Result<(), BackupFault> {
    let mut inlet = Inlet::new(raw, object.bytes);
    let end = decode(object, &mut inlet, identities, opened);
    if matches!(end, Ok(Heard::Nobody)) {
        return Ok(());
    }
    inlet.check(object)?;
    end.map(|_| ())
}

/// Whether somebody still wanted the plaintext.
enum Heard {
    All,
    Nobody,
}

fn decode(
    object: &Object,
    inlet: &mut Inlet,
    identities: &[Identity],
    opened: &mpsc::Sender<Result<Bytes, BackupFault>>,
) -> Result<Heard, BackupFault> {
    let damaged = |problem: String| BackupFault::damaged(&object.key, problem);
    let keys = identities.iter().map(|i| i.as_age() as &dyn age::Identity);
    let age = age::Decryptor::new_buffered(inlet)
        .map_err(|e| damaged(format!("is no age file ({e})")))?
        .decrypt(keys)
        .map_err(|e| match e {
            age::DecryptError::NoMatchingKeys => BackupFault::key(
                format!("none of the identities given opens {}", object.key),
                "give the identity of one of the backup's recipients (`switchyard backup list --json` \
                 shows them), or the passphrase if one was set",
            ),
            other => damaged(format!("cannot be decrypted ({other})")),
        })?;
    let mut gzip = MultiGzDecoder::new(BufReader::with_capacity(PIECE, age));
    let mut left = object.plain_bytes;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = gzip
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .map_err(|e| damaged(format!("cannot be decrypted and unpacked ({e})")))?;
        if read == 0 {
            break;
        }
        // No more than was put in, whatever the compressed bytes claim.
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| damaged("unpacks to more than its manifest says".to_owned()))?;
        if opened.blocking_send(Ok(piece.into())).is_err() {
            return Ok(Heard::Nobody);
        }
    }
    if left > 0 {
        return Err(damaged("unpacks to less than its manifest says".to_owned()));
    }
    Ok(Heard::All)
}

/// Where the ciphertext comes in: counted and hashed.
struct Inlet {
    raw: mpsc::Receiver<Result<Bytes, ArchiveFault>>,
    piece: Bytes,
    hash: Sha256,
    bytes: u64,
    most: u64,
    fault: Option<ArchiveFault>,
}

impl Inlet {
    fn new(raw: mpsc::Receiver<Result<Bytes, ArchiveFault>>, most: u64) -> Self {
        Self { raw, piece: Bytes::new(), hash: Sha256::new(), bytes: 0, most, fault: None }
    }

    /// Reads what is left, and compares all of it with the manifest.
    fn check(mut self, object: &Object) -> Result<(), BackupFault> {
        while let Ok(buffer) = self.fill_buf() {
            let n = buffer.len();
            if n == 0 {
                break;
            }
            self.consume(n);
        }
        match self.fault {
            Some(ArchiveFault::NotFound { .. }) => {
                return Err(BackupFault::damaged(&object.key, "is missing from the archive"));
            }
            Some(fault) => return Err(fault.into()),
            None => {}
        }
        compare(object, self.bytes, &hex::encode(self.hash.finalize()))
    }
}

/// Compares what is stored with what the manifest says.
pub(crate) fn compare(object: &Object, bytes: u64, sha256: &str) -> Result<(), BackupFault> {
    if bytes > object.bytes {
        let problem = format!("is longer than the {} bytes that were written", object.bytes);
        return Err(BackupFault::damaged(&object.key, problem));
    }
    if bytes < object.bytes {
        let problem = format!("is cut: {bytes} of {} bytes are there", object.bytes);
        return Err(BackupFault::damaged(&object.key, problem));
    }
    if sha256 != object.sha256 {
        return Err(BackupFault::damaged(
            &object.key,
            "is not the file that was written (SHA-256)",
        ));
    }
    Ok(())
}

impl BufRead for Inlet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() && self.fault.is_none() && self.bytes <= self.most {
            match self.raw.blocking_recv() {
                Some(Ok(piece)) => {
                    self.hash.update(&piece);
                    self.bytes += piece.len() as u64;
                    self.piece = piece;
                }
                Some(Err(fault)) => self.fault = Some(fault),
                None => break,
            }
        }
        if self.piece.is_empty() && self.fault.is_some() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, n: usize) {
        self.piece.advance(n.min(self.piece.len()));
    }
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}
