//! Cutting a stream of lines into files, at the ends of lines.

use super::{CHUNK, ObjectWriter, PIECE};
use crate::model::Object;
use crate::{BackupFault, Vault};
use bytes::{Bytes, BytesMut};
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

/// Writes lines into files of about [`CHUNK`] plaintext: `<folder>/0000.copy.gz.age` and so on. One file
/// is sealed while the one before it is still being sent. Without a line there is no file.
#[derive(Debug)]
pub struct ChunkWriter {
    vault: Vault,
    folder: String,
    contents: Contents,
    limit: u64,
    waiting: BytesMut,
    waiting_rows: u64,
    open: Option<ObjectWriter>,
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
            limit: CHUNK,
            waiting: BytesMut::new(),
            waiting_rows: 0,
            open: None,
            closing: None,
            begun: 0,
            done: Vec::new(),
        }
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
        let filled = self.open.as_ref().map_or(0, ObjectWriter::plain_bytes);
        let full = filled + self.waiting.len() as u64 >= self.limit;
        if full || self.waiting.len() >= PIECE {
            self.pass_on().await?;
        }
        if full {
            self.end_file().await?;
        }
        Ok(full)
    }

    /// Ends the last file.
    ///
    /// # Errors
    /// The archive.
    pub async fn finish(mut self) -> Result<Vec<Object>, BackupFault> {
        self.pass_on().await?;
        self.end_file().await?;
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
            let ending = self.contents.ending();
            let key = format!("{}/{:04}.{ending}", self.folder, self.begun);
            self.begun += 1;
            self.open = Some(ObjectWriter::create(&self.vault, key)?);
        }
        match self.open.as_mut() {
            Some(file) => file.write(piece, rows).await,
            None => Ok(()),
        }
    }

    async fn end_file(&mut self) -> Result<(), BackupFault> {
        let Some(file) = self.open.take() else { return Ok(()) };
        self.settle().await?;
        self.closing = Some(tokio::spawn(file.finish()));
        Ok(())
    }

    /// Waits until the file before is durable.
    async fn settle(&mut self) -> Result<(), BackupFault> {
        if let Some(closing) = self.closing.take() {
            self.done.push(closing.await.map_err(|_| BackupFault::Stopped)??);
        }
        Ok(())
    }
}
