//! Applies a log of changes to a database: compacted per key, by several connections at once.
//!
//! Triggers and foreign keys are not there yet when it runs, so that tables are independent of one
//! another, and so are keys: each belongs to one connection. Only emptied tables and rows that change
//! their key while a large value stays untouched stand between batches.

mod compact;
mod sieve;
mod stage;
mod target;

pub use compact::{Compactor, Fate, Rows, Step, TableBatch};
pub use sieve::{Reached, Sieve, Until, Verdict};

use crate::BackupFault;
use crate::change::{Change, Relation};
use crate::format::ChangeReader;
use crate::sql::{refused, run};
use sqlx::PgConnection;
use stage::{Hand, Part};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use target::TargetTable;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Memory for a batch that is applied, in bytes. One is gathered, one waits and one is applied at a time.
pub const BATCH: usize = 12 * 1024 * 1024;

/// Whether a table's changes are wanted, by `schema.name` of the table at the root.
pub type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Applies steps to a database.
pub struct Applier {
    hands: Vec<Hand>,
    tables: HashMap<u32, Known>,
    hash: RandomState,
}

struct Known {
    relation: Arc<Relation>,
    table: Arc<TargetTable>,
}

impl Step {
    /// How many rows it touches.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Batch(tables) => tables.iter().map(|t| t.rows.len()).sum(),
            Self::Rekey { .. } => 1,
        }
    }
}

impl Applier {
    /// With these connections, at least one, which nobody else uses meanwhile.
    #[must_use]
    pub fn new(connections: Vec<PgConnection>) -> Self {
        let hands = connections.into_iter().map(Hand::new).collect();
        Self { hands, tables: HashMap::new(), hash: RandomState::new() }
    }

    /// Gives the connections back.
    pub fn into_connections(self) -> Vec<PgConnection> {
        self.hands.into_iter().map(Hand::into_connection).collect()
    }

    /// Does one step; it is committed when this answers.
    ///
    /// # Errors
    /// The database; a table that is not as the log has it; rows of the log that are not there.
    pub async fn apply(&mut self, step: Step) -> Result<(), BackupFault> {
        match step {
            Step::Batch(tables) => self.batch(tables).await,
            Step::Rekey { relation, old_key, row } => {
                let table = self.table(&relation).await?;
                match self.hands.first_mut() {
                    Some(hand) => hand.rekey(&table, &old_key, &row).await,
                    None => Err(no_connection()),
                }
            }
        }
    }

    async fn batch(&mut self, tables: Vec<TableBatch>) -> Result<(), BackupFault> {
        let mut work: Vec<Vec<(Arc<TargetTable>, Part)>> = Vec::new();
        work.resize_with(self.hands.len(), Vec::new);
        for batch in tables {
            let table = self.table(&batch.relation).await?;
            if batch.emptied {
                let hand = self.hands.first_mut().ok_or_else(no_connection)?;
                run(hand.connection(), &table.truncate())
                    .await
                    .map_err(refused(format!("emptying {}", table.name)))?;
            }
            self.share_out(&table, batch.rows, &mut work);
        }
        let hands = self.hands.iter_mut().zip(work).filter(|(_, parts)| !parts.is_empty());
        let runs = hands.map(|(hand, parts)| hand.apply(parts));
        futures::future::try_join_all(runs).await?;
        Ok(())
    }

    /// Each key to one hand, always the same.
    fn share_out(
        &self,
        table: &Arc<TargetTable>,
        rows: Rows,
        work: &mut [Vec<(Arc<TargetTable>, Part)>],
    ) {
        let hands = work.len().max(1) as u64;
        let whose = |key: &Vec<crate::change::Value>| {
            usize::try_from(self.hash.hash_one(key) % hands).unwrap_or_default()
        };
        match rows {
            Rows::Keyed(rows) => {
                let mut parts: Vec<Vec<_>> = Vec::new();
                parts.resize_with(work.len(), Vec::new);
                for (key, fate) in rows {
                    if let Some(part) = parts.get_mut(whose(&key)) {
                        part.push((key, fate));
                    }
                }
                for (hand, part) in work.iter_mut().zip(parts).filter(|(_, p)| !p.is_empty()) {
                    hand.push((Arc::clone(table), Part::Keyed(part)));
                }
            }
            Rows::Counted(rows) => {
                let mut parts: Vec<Vec<_>> = Vec::new();
                parts.resize_with(work.len(), Vec::new);
                for (row, n) in rows {
                    if let Some(part) = parts.get_mut(whose(&row)) {
                        part.push((row, n));
                    }
                }
                for (hand, part) in work.iter_mut().zip(parts).filter(|(_, p)| !p.is_empty()) {
                    hand.push((Arc::clone(table), Part::Counted(part)));
                }
            }
        }
    }

    async fn table(&mut self, relation: &Arc<Relation>) -> Result<Arc<TargetTable>, BackupFault> {
        if let Some(known) = self.tables.get(&relation.oid)
            && known.relation == *relation
        {
            return Ok(Arc::clone(&known.table));
        }
        let hand = self.hands.first_mut().ok_or_else(no_connection)?;
        let table = Arc::new(TargetTable::find(hand.connection(), relation).await?);
        let known = Known { relation: Arc::clone(relation), table: Arc::clone(&table) };
        self.tables.insert(relation.oid, known);
        Ok(table)
    }
}

fn no_connection() -> BackupFault {
    BackupFault::unfit("there is no connection to apply changes with", "ask for at least one")
}

/// Steps out of files of changes, gathered and compacted on a task of its own, which ends when this is
/// dropped.
pub(crate) struct Flow {
    steps: mpsc::Receiver<Step>,
    gathering: JoinHandle<Result<Reached, BackupFault>>,
}

impl Flow {
    /// Begins to read. Only the wanted tables' changes are let through, and only what the sieve takes.
    pub(crate) fn start(reader: ChangeReader, sieve: Sieve, wanted: Wanted, budget: usize) -> Self {
        let (send, steps) = mpsc::channel(1);
        let gathering = tokio::spawn(gather(reader, sieve, wanted, budget, send));
        Self { steps, gathering }
    }

    /// What is to be done next; none at the end, and if reading failed.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        self.steps.recv().await
    }

    /// How far it came.
    ///
    /// # Errors
    /// What reading said.
    pub(crate) async fn reached(self) -> Result<Reached, BackupFault> {
        drop(self.steps);
        self.gathering.await.map_err(|_| BackupFault::Stopped)?
    }
}

async fn gather(
    mut reader: ChangeReader,
    mut sieve: Sieve,
    wanted: Wanted,
    budget: usize,
    send: mpsc::Sender<Step>,
) -> Result<Reached, BackupFault> {
    let mut compactor = Compactor::new(budget);
    let mut skipped = HashSet::new();
    let mut out = Vec::new();
    'read: while let Some(changes) = reader.next().await? {
        for change in changes {
            match sieve.judge(&change) {
                Verdict::Take => {}
                Verdict::Skip => continue,
                Verdict::Stop => break 'read,
            }
            if let Some(change) = filter(change, &wanted, &mut skipped) {
                compactor.push(change, &mut out)?;
            }
        }
        hand_over(&mut out, &send).await?;
    }
    compactor.flush(&mut out);
    hand_over(&mut out, &send).await?;
    Ok(sieve.reached)
}

async fn hand_over(out: &mut Vec<Step>, send: &mpsc::Sender<Step>) -> Result<(), BackupFault> {
    for step in out.drain(..) {
        // Whoever does not listen any more knows why.
        send.send(step).await.map_err(|_| BackupFault::Stopped)?;
    }
    Ok(())
}

/// Leaves out the tables that are not wanted.
fn filter(change: Change, wanted: &Wanted, skipped: &mut HashSet<u32>) -> Option<Change> {
    let oid = match &change {
        Change::Relation(relation) => {
            let name = format!("{}.{}", relation.schema, relation.name);
            if wanted(&name) {
                skipped.remove(&relation.oid);
            } else {
                skipped.insert(relation.oid);
            }
            relation.oid
        }
        Change::Insert { oid, .. } | Change::Update { oid, .. } | Change::Delete { oid, .. } => {
            *oid
        }
        Change::Truncate { oids, cascade, restart } => {
            let oids: Vec<u32> = oids.iter().copied().filter(|o| !skipped.contains(o)).collect();
            return Some(Change::Truncate { oids, cascade: *cascade, restart: *restart });
        }
        Change::Begin { .. } | Change::Message { .. } | Change::Commit { .. } => {
            return Some(change);
        }
    };
    (!skipped.contains(&oid)).then_some(change)
}

/// About how long a change is as text, in bytes.
pub(crate) fn size_of_change(change: &Change) -> usize {
    let size = |values: &[crate::change::Value]| -> usize {
        values
            .iter()
            .map(|v| if let crate::change::Value::Text(text) = v { text.len() + 3 } else { 5 })
            .sum()
    };
    match change {
        Change::Insert { row, .. } => size(row),
        Change::Update { row, old_key, .. } => size(row) + old_key.as_deref().map_or(0, size),
        Change::Delete { key, .. } => size(key),
        _ => 0,
    }
}
