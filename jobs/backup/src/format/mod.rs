//! The files of a backup: how they are named, cut, compressed, sealed, and how their manifest is signed.
//!
//! A file is text (rows as `COPY` writes them, or lines of changes), gzip (RFC 1952), then age
//! (age-encryption.org/v1, X25519). So `age -d -i key file | gunzip` shows what is in it.

mod change_reader;
mod change_writer;
mod chunks;
pub mod layout;
pub mod lines;
pub mod manifest;
mod parse;
pub(crate) mod parts;
mod seal;
mod unseal;

pub use change_reader::ChangeReader;
pub use change_writer::{ChangeWriter, Written};
pub use chunks::{ChunkWriter, Contents};
pub use manifest::{open_manifest, put_manifest, seal_manifest};
pub(crate) use parts::Parts;
pub use seal::{ObjectWriter, write_object};
pub(crate) use unseal::compare;
pub use unseal::{PlainReader, read_object};

use crate::BackupFault;
use bytes::Bytes;
use futures::TryStreamExt;
use switchyard_providers::archive::Archive;

/// How much plaintext goes into one file unless told, in bytes: little enough to send again, enough that a file's own
/// costs do not show.
pub const CHUNK: u64 = 64 * 1024 * 1024;

/// How much is handed from one thread to the next at once, in bytes.
pub(crate) const PIECE: usize = 256 * 1024;

/// How many of those pieces may wait between two threads.
pub(crate) const PIECES: usize = 4;

/// Reads a small object whole; more than `most` bytes are damage.
pub(crate) async fn read_small(
    archive: &dyn Archive,
    key: &str,
    most: usize,
) -> Result<Bytes, BackupFault> {
    let mut stream = archive.read(key, 0).await?;
    let mut whole = Vec::new();
    while let Some(piece) = stream.try_next().await? {
        if whole.len() + piece.len() > most {
            return Err(BackupFault::damaged(key, format!("is larger than {most} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}
