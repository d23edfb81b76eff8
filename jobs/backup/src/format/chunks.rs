//! Cutting a stream of lines into files, at the ends of lines.

use super::parts::{Part, Parts};
use super::{ObjectWriter, PIECE};
use crate::model::Object;
use crate::{BackupFault, Vault};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What is in the files, and how their names end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Rows in the text form of `COPY`.
    Rows,
    /// Lines of changes.
    Changes,
}

impl Contents {
    fn ending(self) -> &'static str {
        match self {
            Self::Rows => "copy.gz.age",
            Self::Changes => "changes.gz.age",
        }
    }
}

/// The file that is being filled.
enum Filling {
    /// It is written; with the hash of its plaintext if the run can be taken up again.
    New(ObjectWriter, Option<Sha256>),
    /// A run before this one has finished it, if what comes is the same: nothing is written.
    Known { part: Part, plain_bytes: u64, rows: u64, hash: Sha256 },
}

impl std::fmt::Debug for Filling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filling") // never what is in it
    }
}

impl Filling {
    fn plain_bytes(&self) -> u64 {
        match self {
            Self::New(file, _) => file.plain_bytes(),
            Self::Known { plain_bytes, .. } => *plain_bytes,
        }
    }

    async fn take(&mut self, piece: Bytes, more: u64) -> Result<(), BackupFault> {
        match self {
            Self::New(file, hash) => {
                if let Some(hash) = hash {
                    hash.update(&piece);
                }
                file.write(piece, more).await
            }
            Self::Known { plain_bytes, rows, hash, .. } => {
                hash.update(&piece);
                *plain_bytes += piece.len() as u64;
                *rows += more;
                Ok(())
            }
        }
    }
}

/// Writes lines into files of about [`Vault::with_file_size`] plaintext: `<folder>/0000.copy.gz.age` and so on.
/// One file is sealed while the one before it is still being sent. Without a line there is no file.
#[derive(Debug)]
pub struct ChunkWriter {
    vault: Vault,
    folder: String,
    contents: Contents,
    limit: u64,
    waiting: BytesMut,
    waiting_rows: u64,
    parts: Option<Arc<Parts>>,
    open: Option<Filling>,
    closing: Option<JoinHandle<Result<Object, BackupFault>>>,
    begun: usize,
    done: Vec<Object>,
}

impl ChunkWriter {
    /// Files in a folder of [`super::layout`].
    #[must_use]
    pub fn new(vault: &Vault, folder: impl Into<String>, contents: Contents) -> Self {
        Self {
            vault: vault.clone(),
            folder: folder.into(),
            contents,
            limit: vault.file_size,
            waiting: BytesMut::new(),
            waiting_rows: 0,
            parts: None,
            open: None,
            closing: None,
            begun: 0,
            done: Vec::new(),
        }
    }

    /// The same for a run that may be taken up again, or that takes one up.
    pub(crate) fn resuming(
        vault: &Vault,
        folder: impl Into<String>,
        contents: Contents,
        parts: &Arc<Parts>,
    ) -> Self {
        Self { parts: Some(Arc::clone(parts)), ..Self::new(vault, folder, contents) }
    }

    /// The same with files of about this much plaintext, in bytes.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit: limit.max(1), ..self }
    }

    /// Takes whole lines, and how many they are. Small pieces are gathered, so a call a row is cheap.
    /// Answers whether a file was ended: the next lines then begin a new one.
    ///
    /// # Errors
    /// The archive.
    pub async fn write(&mut self, lines: &[u8], rows: u64) -> Result<bool, BackupFault> {
        self.waiting.extend_from_slice(lines);
        self.waiting_rows += rows;
        let filled = self.open.as_ref().map_or(0, Filling::plain_bytes);
        let full = filled + self.waiting.len() as u64 >= self.limit;
        if full || self.waiting.len() >= PIECE {
            self.pass_on().await?;
        }
        if full {
            self.end_file(true).await?;
        }
        Ok(full)
    }

    /// Ends the last file.
    ///
    /// # Errors
    /// The archive.
    pub async fn finish(mut self) -> Result<Vec<Object>, BackupFault> {
        self.pass_on().await?;
        self.end_file(false).await?;
        self.settle().await?;
        Ok(std::mem::take(&mut self.done))
    }

    async fn pass_on(&mut self) -> Result<(), BackupFault> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece: Bytes = self.waiting.split().freeze();
        let rows = std::mem::take(&mut self.waiting_rows);
        if self.open.is_none() {
            self.open = Some(self.begin()?);
            self.begun += 1;
        }
        match self.open.as_mut() {
            Some(file) => file.take(piece, rows).await,
            None => Ok(()),
        }
    }

    fn begin(&self) -> Result<Filling, BackupFault> {
        let stem = format!("{}/{:04}", self.folder, self.begun);
        let ending = self.contents.ending();
        let Some(parts) = &self.parts else {
            let file = ObjectWriter::create(&self.vault, format!("{stem}.{ending}"))?;
            return Ok(Filling::New(file, None));
        };
        let hash = parts.hash();
        if let Some(part) = parts.take(&stem) {
            return Ok(Filling::Known { part, plain_bytes: 0, rows: 0, hash });
        }
        let file = ObjectWriter::create(&self.vault, parts.key(&stem, ending))?;
        Ok(Filling::New(file, Some(hash)))
    }

    /// Ends a file, which is `full` if more may follow. Only then the next run would cut it at the same place.
    async fn end_file(&mut self, full: bool) -> Result<(), BackupFault> {
        let Some(file) = self.open.take() else { return Ok(()) };
        self.settle().await?;
        let (file, hash) = match file {
            Filling::New(file, hash) => (file, hash.filter(|_| full)),
            Filling::Known { part, plain_bytes, rows, hash } => {
                let object = part.object;
                let same = full && (plain_bytes, rows) == (object.plain_bytes, object.rows);
                if !same || hex::encode(hash.finalize()) != part.hash {
                    return Err(BackupFault::NotTheSame { key: object.key });
                }
                self.done.push(object);
                return Ok(());
            }
        };
        let (vault, note) = (self.vault.clone(), hash.zip(self.parts.clone()));
        self.closing = Some(tokio::spawn(async move {
            let object = file.finish().await?;
            if let Some((hash, parts)) = note {
                parts.note(&vault, &object, hash).await;
            }
            Ok(object)
        }));
        Ok(())
    }

    /// Waits until the file before is durable.
    pub(super) async fn settle(&mut self) -> Result<(), BackupFault> {
        if let Some(closing) = self.closing.take() {
            self.done.push(closing.await.map_err(|_| BackupFault::Stopped)??);
        }
        Ok(())
    }
}
