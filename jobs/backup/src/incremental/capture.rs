//! From the server's messages to the change files: what was written before is left out, and what an
//! increment cannot carry is refused.

use super::gaps::Base;
use super::{SCHEMA_MARK, schema_changed};
use crate::BackupFault;
use crate::change::{Change, Relation};
use crate::format::{ChangeWriter, Written};
use crate::model::{Lsn, Snapshot};
use crate::source::pgoutput::Decoder;
use crate::source::{Catalogue, peek};
use std::collections::{BTreeSet, HashMap};

/// After how many messages the progress is told.
const TELL: u64 = 4096;

/// What was captured.
pub(super) struct Captured {
    /// The files and counts.
    pub(super) written: Written,
    /// Where the log goes on after the last transaction.
    pub(super) end: Lsn,
    /// The tables that were truncated, as `schema.name`.
    pub(super) truncated: BTreeSet<String>,
}

/// Takes messages and writes changes.
pub(super) struct Capture<'a> {
    decoder: Decoder,
    writer: ChangeWriter,
    from: Lsn,
    snapshot: &'a Snapshot,
    catalogue: &'a Catalogue,
    /// The tables' names, and why a change of one cannot be carried.
    relations: HashMap<u32, (String, Option<String>)>,
    /// Whether the transaction is in the increment before.
    skipping: bool,
    /// Whether the newest full backup holds the transaction: then it is never applied to that.
    held: bool,
    end: Lsn,
    truncated: BTreeSet<String>,
    taken: u64,
}

impl<'a> Capture<'a> {
    pub(super) fn new(writer: ChangeWriter, base: &'a Base, catalogue: &'a Catalogue) -> Self {
        let keys = catalogue.roots.iter();
        let keys = keys.map(|r| ((r.schema.clone(), r.name.clone()), r.primary_key.clone()));
        Self {
            decoder: Decoder::new(keys.collect()),
            writer,
            from: base.from,
            snapshot: &base.snapshot,
            catalogue,
            relations: HashMap::new(),
            skipping: false,
            held: false,
            end: Lsn(0),
            truncated: BTreeSet::new(),
            taken: 0,
        }
    }

    /// One message. Answers whether it is time to tell the progress.
    pub(super) async fn take(&mut self, message: &[u8]) -> Result<bool, BackupFault> {
        self.taken += 1;
        let change = self.decoder.decode(message).map_err(|e| peek::misread(&e))?;
        if let Some(change) = change
            && self.belongs(&change)?
        {
            self.writer.write(&change).await?;
        }
        Ok(self.taken.is_multiple_of(TELL))
    }

    /// Ends the last file.
    pub(super) async fn finish(self) -> Result<Captured, BackupFault> {
        let written = self.writer.finish().await?;
        Ok(Captured { written, end: self.end, truncated: self.truncated })
    }

    /// Whether a change is to be written.
    fn belongs(&mut self, change: &Change) -> Result<bool, BackupFault> {
        match change {
            Change::Begin { xid, lsn, .. } => {
                self.skipping = *lsn < self.from;
                self.held = self.snapshot.holds(*xid);
            }
            Change::Commit { end } if !self.skipping => self.end = self.end.max(*end),
            Change::Relation(relation) => {
                let misfit = self.misfit(relation);
                let name = format!("{}.{}", relation.schema, relation.name);
                // The server describes partitions too, but changes name their root only.
                let partition = self.catalogue.partitions.iter().any(|p| p.name == name);
                self.relations.insert(relation.oid, (name, misfit));
                // Also in a transaction that is left out: later ones may name it.
                return Ok(!partition);
            }
            Change::Message { prefix, content } if prefix == SCHEMA_MARK && !self.goes_by() => {
                return Err(schema_changed(&format!("a migration ({content}) changed the schema")));
            }
            Change::Insert { oid, .. }
            | Change::Update { oid, .. }
            | Change::Delete { oid, .. } => {
                self.fits(*oid)?;
            }
            Change::Truncate { oids, .. } => {
                for oid in oids {
                    self.fits(*oid)?;
                    if let Some((name, _)) = self.relations.get(oid) {
                        self.truncated.insert(name.clone());
                    }
                }
            }
            Change::Commit { .. } | Change::Message { .. } => {}
        }
        Ok(!self.skipping)
    }

    /// Whether the transaction is of no matter to a restore from the newest full backup.
    fn goes_by(&self) -> bool {
        self.skipping || self.held
    }

    fn fits(&self, oid: u32) -> Result<(), BackupFault> {
        match self.relations.get(&oid) {
            Some((_, Some(why))) if !self.goes_by() => Err(schema_changed(why)),
            _ => Ok(()),
        }
    }

    /// Why changes of a relation as the log describes it cannot be applied to the newest full backup.
    fn misfit(&self, relation: &Relation) -> Option<String> {
        let (schema, name) = (&relation.schema, &relation.name);
        match self.catalogue.root(schema, name) {
            Some(root) if root.columns == relation.columns && root.oid == relation.oid => None,
            Some(_) => Some(format!("the table {schema}.{name} was altered or made anew")),
            None => Some(format!("the table {schema}.{name} was renamed or dropped")),
        }
    }
}
