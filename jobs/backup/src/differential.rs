//! All changes since a full backup, the last one of each key: what makes a restore of many increments
//! short.

use crate::apply::{Fate, Flow, Rows, Sieve, Step, TableBatch, Until, Wanted};
use crate::change::{Change, Value};
use crate::format::{ChangeReader, ChangeWriter, Parts, layout, put_manifest};
use crate::full::{FILES_NOTE, SLOT_NOTE};
use crate::leftovers::or_take_back;
use crate::model::{BackupId, FORMAT, Kind, Lsn, Manifest, Object};
use crate::restore::{GONE_NOTE, gone_since};
use crate::shelf::{Chain, SNAPSHOT_LSN};
use crate::{BackupFault, Progress, Shelf, Vault};
use chrono::Utc;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A segment is ended when it has this much plaintext, in bytes.
const SEGMENT: usize = 256 * 1024 * 1024;

/// Memory for the keys that are compacted at a time, in bytes. There may be three of these at once.
const BUDGET: usize = 24 * 1024 * 1024;

/// Compacts all increments since the newest full backup, going on from its newest differential. If nothing
/// came after that, that one is answered.
///
/// # Errors
/// There is no full backup or no increment of it; the vault has no identity to read increments with; the
/// archive.
pub async fn differential(vault: &Vault, progress: &dyn Progress) -> Result<Manifest, BackupFault> {
    match attempt(vault, true, progress).await {
        Err(BackupFault::NotTheSame { .. }) => attempt(vault, false, progress).await,
        ended => ended,
    }
}

/// `takes_up`: uses what a stopped run has left that went on from the same backups.
async fn attempt(
    vault: &Vault,
    takes_up: bool,
    progress: &dyn Progress,
) -> Result<Manifest, BackupFault> {
    progress.step("reading the archive");
    let began = Utc::now();
    let shelf = Shelf::load(vault).await?;
    let full = shelf.newest_full().ok_or_else(|| BackupFault::FullNeeded {
        why: "there is none that a differential could go on from".to_owned(),
        planned: false,
    })?;
    let chain = shelf.longest(full);
    match (&chain.differential, chain.increments.last()) {
        (_, Some(_)) => {}
        (Some(there), None) => return Ok(there.as_ref().clone()),
        (None, None) => {
            let why = format!("no increment goes on from the full backup {} yet", full.id);
            return Err(shelf.out_of_reach("a differential".to_owned(), why));
        }
    }
    let id = BackupId::new(began, rand::random());
    let parts = parts(vault, &chain, id, takes_up).await?;
    let compacted = compact(vault, &chain, &parts, progress).await;
    let folder = format!("{}{}/", layout::DIFFERENTIALS, parts.id());
    let (segments, newest_commit) = or_take_back(vault, &folder, compacted).await?;
    parts.are_there(vault, &segments.iter().flatten().collect::<Vec<_>>()).await?;
    progress.step("signing");
    let id = parts.id().clone();
    let manifest = manifest(vault, &chain, id, began, segments, newest_commit)?;
    put_manifest(vault, &manifest).await?;
    parts.clear(vault).await;
    Ok(manifest)
}

/// The run's files. What is compacted comes out the same as long as it begins with the same backups, whatever
/// increments have come since.
async fn parts(
    vault: &Vault,
    chain: &Chain,
    id: BackupId,
    takes_up: bool,
) -> Result<Arc<Parts>, BackupFault> {
    let recipients = vault.keys.recipient_texts().join(" ");
    let before = chain.differential.as_ref().map_or("none", |d| d.id.as_str());
    let of = format!("differential of {} after {before} for {recipients}", chain.full.id);
    match takes_up {
        true => Parts::take_up(vault, layout::DIFFERENTIALS, of, id).await,
        false => Parts::anew(vault, layout::DIFFERENTIALS, of, id),
    }
}

/// Reads the chain's log and writes it compacted.
async fn compact(
    vault: &Vault,
    chain: &Chain,
    parts: &Arc<Parts>,
    progress: &dyn Progress,
) -> Result<(Vec<Vec<Object>>, Option<chrono::DateTime<Utc>>), BackupFault> {
    let Kind::Full { snapshot, .. } = &chain.full.kind else {
        return Err(BackupFault::damaged(chain.full.id.as_str(), "is no full backup"));
    };
    let mut out = Segments { vault, parts, open: None, written: 0, done: Vec::new() };
    let mut newest = None;
    let mut old = Vec::new();
    if let Some(Kind::Differential { segments, newest_commit, .. }) =
        chain.differential.as_ref().map(|d| &d.kind)
    {
        old = segments.iter().flatten().cloned().collect();
        newest = *newest_commit;
    }
    let new: Vec<Object> = chain.increments.iter().flat_map(|i| i.objects()).cloned().collect();
    let sieves = [
        (old, Sieve::new(None, Lsn(0), Until::End)),
        (new, Sieve::new(Some(snapshot.clone()), chain.start(), Until::End)),
    ];
    for (objects, sieve) in sieves {
        if objects.is_empty() {
            continue;
        }
        let reader = ChangeReader::open(vault, objects)?;
        let all: Wanted = Arc::new(|_: &str| true);
        let mut flow = Flow::start(reader, sieve, all, BUDGET);
        let mut rows = 0;
        while let Some(step) = flow.next().await {
            rows += step.rows();
            out.step(step).await?;
            progress.step(&format!("compacting changes: {rows} rows"));
        }
        newest = newest.max(flow.reached().await?.at);
    }
    Ok((out.finish().await?, newest))
}

fn manifest(
    vault: &Vault,
    chain: &Chain,
    id: BackupId,
    began: chrono::DateTime<Utc>,
    segments: Vec<Vec<Object>>,
    newest_commit: Option<chrono::DateTime<Utc>>,
) -> Result<Manifest, BackupFault> {
    let manifests: Vec<&Manifest> = chain.manifests().map(AsRef::as_ref).collect();
    let last = chain.increments.last().unwrap_or(&chain.full);
    let gone = gone_since(&manifests)?;
    let mut notes = said_by_others(last);
    if !gone.is_empty() {
        let note = serde_json::to_string(&gone).map_err(|e| BackupFault::Machine {
            doing: "writing a manifest".to_owned(),
            source: e.into(),
        })?;
        notes.insert(GONE_NOTE.to_owned(), note);
    }
    let from = match chain.full.kind {
        Kind::Full { start, .. } => start,
        _ => chain.start(),
    };
    let sequences = match &last.kind {
        Kind::Full { sequences, .. }
        | Kind::Incremental { sequences, .. }
        | Kind::Differential { sequences, .. } => sequences.clone(),
    };
    Ok(Manifest {
        format: FORMAT,
        id,
        source: last.source.clone(),
        began,
        covers: chain.covers(),
        finished: Utc::now(),
        kind: Kind::Differential {
            full: chain.full.id.clone(),
            from,
            to: chain.end(),
            newest_commit,
            segments,
            sequences,
        },
        partitions: last.partitions.clone(),
        recipients: vault.keys.recipient_texts(),
        notes,
    })
}

/// What others had to say in the newest manifest of the chain: this one is of the same moment. Notes of
/// how a backup itself was made are left out.
fn said_by_others(newest: &Manifest) -> BTreeMap<String, String> {
    let own = [SLOT_NOTE, FILES_NOTE, SNAPSHOT_LSN, GONE_NOTE];
    let others = newest.notes.iter().filter(|(key, _)| !own.contains(&key.as_str()));
    others.map(|(key, note)| (key.clone(), note.clone())).collect()
}

/// Files of compacted changes. Rows that change their key while a large value stays untouched stand
/// as they came, behind what came before them.
struct Segments<'a> {
    vault: &'a Vault,
    parts: &'a Arc<Parts>,
    open: Option<ChangeWriter>,
    written: usize,
    done: Vec<Vec<Object>>,
}

impl Segments<'_> {
    async fn step(&mut self, step: Step) -> Result<(), BackupFault> {
        match step {
            Step::Batch(tables) => {
                for table in tables {
                    self.table(table).await?;
                }
            }
            Step::Rekey { relation, old_key, row } => {
                let oid = relation.oid;
                self.write(Change::Relation(relation.as_ref().clone())).await?;
                self.write(Change::Update { oid, old_key: Some(old_key), row }).await?;
            }
        }
        if self.written >= SEGMENT {
            self.end().await?;
        }
        Ok(())
    }

    async fn table(&mut self, batch: TableBatch) -> Result<(), BackupFault> {
        let oid = batch.relation.oid;
        self.write(Change::Relation(batch.relation.as_ref().clone())).await?;
        if batch.emptied {
            self.write(Change::Truncate { oids: vec![oid], cascade: false, restart: false })
                .await?;
        }
        match batch.rows {
            Rows::Keyed(rows) => {
                for (key, fate) in rows {
                    self.write(match fate {
                        Fate::Gone => Change::Delete { oid, key },
                        Fate::Row(row) if row.contains(&Value::Unchanged) => {
                            Change::Update { oid, old_key: None, row }
                        }
                        Fate::Row(row) => Change::Insert { oid, row },
                    })
                    .await?;
                }
            }
            Rows::Counted(rows) => {
                for (row, n) in rows {
                    for _ in 0..n.unsigned_abs() {
                        let row = row.clone();
                        self.write(match n {
                            1.. => Change::Insert { oid, row },
                            _ => Change::Delete { oid, key: row },
                        })
                        .await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, change: Change) -> Result<(), BackupFault> {
        self.written += crate::apply::size_of_change(&change);
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => {
                let folder = layout::segment(self.parts.id(), self.done.len());
                self.open.insert(ChangeWriter::resuming(self.vault, folder, self.parts))
            }
        };
        writer.write(&change).await
    }

    async fn end(&mut self) -> Result<(), BackupFault> {
        if let Some(writer) = self.open.take() {
            self.done.push(writer.finish().await?.objects);
        }
        self.written = 0;
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Vec<Object>>, BackupFault> {
        self.end().await?;
        Ok(self.done)
    }
}
