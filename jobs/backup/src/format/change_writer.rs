//! Writing changes into files that each stand alone.

use super::{ChunkWriter, Contents, PIECE, Parts, lines};
use crate::change::Change;
use crate::model::Object;
use crate::{BackupFault, Vault};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files, in order.
    pub objects: Vec<Object>,
    /// Transactions.
    pub transactions: u64,
    /// Rows inserted, changed and deleted; a truncation counts as one.
    pub changes: u64,
    /// The newest commit's time.
    pub newest_commit: Option<DateTime<Utc>>,
}

/// Writes changes as lines into files. Every file names the relations that it uses before their first
/// use, so that it can be read by itself; a file may begin inside a transaction.
#[derive(Debug)]
pub struct ChangeWriter {
    chunks: ChunkWriter,
    waiting: Vec<u8>,
    waiting_lines: u64,
    relations: HashMap<u32, Vec<u8>>,
    named: HashSet<u32>,
    written: Written,
}

impl ChangeWriter {
    /// Files in a folder of [`super::layout`].
    #[must_use]
    pub fn new(vault: &Vault, folder: impl Into<String>) -> Self {
        Self::over(ChunkWriter::new(vault, folder, Contents::Changes))
    }

    /// The same for a run that may be taken up again, or that takes one up.
    pub(crate) fn resuming(vault: &Vault, folder: impl Into<String>, parts: &Arc<Parts>) -> Self {
        Self::over(ChunkWriter::resuming(vault, folder, Contents::Changes, parts))
    }

    /// Over files that are set up already.
    #[must_use]
    pub fn over(chunks: ChunkWriter) -> Self {
        Self {
            chunks,
            waiting: Vec::with_capacity(PIECE),
            waiting_lines: 0,
            relations: HashMap::new(),
            named: HashSet::new(),
            written: Written::default(),
        }
    }

    /// Takes a change. Mostly it is only put into memory; then it waits for the archive.
    ///
    /// # Errors
    /// The archive; a relation that no [`Change::Relation`] has described.
    pub async fn write(&mut self, change: &Change) -> Result<(), BackupFault> {
        self.take(change)?;
        if self.waiting.len() >= PIECE / 2 {
            self.pass_on().await?;
        }
        Ok(())
    }

    /// Ends the last file.
    ///
    /// # Errors
    /// The archive.
    pub async fn finish(mut self) -> Result<Written, BackupFault> {
        self.pass_on().await?;
        let objects = self.chunks.finish().await?;
        Ok(Written { objects, ..self.written })
    }

    async fn pass_on(&mut self) -> Result<(), BackupFault> {
        let ended = self.chunks.write(&self.waiting, self.waiting_lines).await?;
        self.waiting.clear();
        self.waiting_lines = 0;
        if ended {
            self.named.clear();
        }
        Ok(())
    }

    fn take(&mut self, change: &Change) -> Result<(), BackupFault> {
        match change {
            Change::Relation(relation) => {
                let mut line = Vec::new();
                lines::write(change, &mut line);
                self.named.insert(relation.oid);
                self.waiting.extend_from_slice(&line);
                self.waiting_lines += 1;
                self.relations.insert(relation.oid, line);
                return Ok(());
            }
            Change::Insert { oid, .. }
            | Change::Update { oid, .. }
            | Change::Delete { oid, .. } => {
                self.name(*oid)?;
                self.written.changes += 1;
            }
            Change::Truncate { oids, .. } => {
                for oid in oids {
                    self.name(*oid)?;
                }
                self.written.changes += 1;
            }
            Change::Begin { at, .. } => {
                self.written.transactions += 1;
                self.written.newest_commit = self.written.newest_commit.max(Some(*at));
            }
            Change::Message { .. } | Change::Commit { .. } => {}
        }
        lines::write(change, &mut self.waiting);
        self.waiting_lines += 1;
        Ok(())
    }

    /// Describes a relation again if this file has not done so yet.
    fn name(&mut self, oid: u32) -> Result<(), BackupFault> {
        if self.named.contains(&oid) {
            return Ok(());
        }
        let line = self.relations.get(&oid).ok_or_else(|| {
            BackupFault::unfit(
                format!("the log names relation {oid} without having described it"),
                "take a full backup, and report this with the version of the server",
            )
        })?;
        self.waiting.extend_from_slice(line);
        self.waiting_lines += 1;
        self.named.insert(oid);
        Ok(())
    }
}
