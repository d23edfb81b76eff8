//! Many changes of a row become one: the last. What is left is the same whatever the number of changes,
//! and each key comes once, so that a batch is a DELETE by key and an INSERT.

use crate::BackupFault;
use crate::change::{Change, Relation, Value};
use indexmap::IndexMap;
use indexmap::map::Entry;
use std::collections::HashMap;
use std::sync::Arc;

/// What an entry costs beside its texts, in bytes, as measured with a heap profile of narrow rows.
const ENTRY: usize = 128;
const VALUE: usize = 40;

/// What became of a key within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No row has it.
    Gone,
    /// This row has it. An untouched large value is that of the row which had the key before.
    Row(Vec<Value>),
}

/// The changes of one table in a batch.
#[derive(Clone, Debug)]
pub enum Rows {
    /// By key, each once, in the order in which they were touched first.
    Keyed(IndexMap<Vec<Value>, Fate>),
    /// Of a table whose every column is its key, or that has none: how many of such a row more (or
    /// fewer) there are. Equal rows are told apart by nothing but their number.
    Counted(IndexMap<Vec<Value>, i64>),
}

impl Rows {
    /// How many different rows or keys.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Keyed(rows) => rows.len(),
            Self::Counted(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What happens to one table in a batch.
#[derive(Clone, Debug)]
pub struct TableBatch {
    /// The table as the log knows it.
    pub relation: Arc<Relation>,
    /// It is emptied first.
    pub emptied: bool,
    /// And then.
    pub rows: Rows,
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Tables are independent of one another within a batch.
    Batch(Vec<TableBatch>),
    /// A row got another key while large values of it stayed what they were: they are only in the
    /// database, under the old key.
    Rekey {
        /// The table.
        relation: Arc<Relation>,
        /// The key it had.
        old_key: Vec<Value>,
        /// The row as it is now.
        row: Vec<Value>,
    },
}

/// Takes changes, and gives batches that fit into a budget of memory.
#[derive(Debug)]
pub struct Compactor {
    budget: usize,
    held: usize,
    relations: HashMap<u32, Arc<Relation>>,
    tables: IndexMap<u32, TableBatch>,
}

impl Compactor {
    /// One that holds about `budget` bytes before it lets a batch go.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self { budget, held: 0, relations: HashMap::new(), tables: IndexMap::new() }
    }

    /// Takes a change; what is to be done now is pushed to `out`.
    ///
    /// # Errors
    /// [`BackupFault::Damaged`] if the change does not fit what came before it: no log of a database
    /// has that.
    pub fn push(&mut self, change: Change, out: &mut Vec<Step>) -> Result<(), BackupFault> {
        match change {
            Change::Relation(relation) => self.relation(relation, out),
            Change::Insert { oid, row } => self.insert(oid, row)?,
            Change::Update { oid, old_key, row } => self.update(oid, old_key, row, out)?,
            Change::Delete { oid, key } => self.delete(oid, key)?,
            Change::Truncate { oids, .. } => {
                for oid in oids {
                    self.truncate(oid)?;
                }
            }
            Change::Begin { .. } | Change::Message { .. } | Change::Commit { .. } => {}
        }
        if self.held >= self.budget {
            self.flush(out);
        }
        Ok(())
    }

    /// Lets go what is held.
    pub fn flush(&mut self, out: &mut Vec<Step>) {
        self.held = 0;
        let tables: Vec<_> = std::mem::take(&mut self.tables).into_values().collect();
        if !tables.is_empty() {
            out.push(Step::Batch(tables));
        }
    }

    fn relation(&mut self, relation: Relation, out: &mut Vec<Step>) {
        match self.relations.get(&relation.oid) {
            Some(known) if **known == relation => return,
            // Altered: what is held has the old shape.
            Some(_) if self.tables.contains_key(&relation.oid) => self.flush(out),
            _ => {}
        }
        self.relations.insert(relation.oid, Arc::new(relation));
    }

    fn table(&mut self, oid: u32) -> Result<&mut TableBatch, BackupFault> {
        let relation = self.relations.get(&oid).ok_or_else(|| {
            BackupFault::damaged(
                format!("the log, at table {oid},"),
                "names a table without saying what it is",
            )
        })?;
        Ok(self.tables.entry(oid).or_insert_with(|| TableBatch {
            relation: Arc::clone(relation),
            emptied: false,
            rows: if relation.key.is_empty() || relation.key.len() == relation.columns.len() {
                Rows::Counted(IndexMap::new())
            } else {
                Rows::Keyed(IndexMap::new())
            },
        }))
    }

    fn insert(&mut self, oid: u32, row: Vec<Value>) -> Result<(), BackupFault> {
        let table = self.table(oid)?;
        check(&table.relation, row.len(), table.relation.columns.len())?;
        let grown = match &mut table.rows {
            Rows::Keyed(rows) => put(rows, key_of(&table.relation, &row)?, Fate::Row(row)),
            Rows::Counted(rows) => count(rows, row, 1),
        };
        self.held = self.held.saturating_add_signed(grown);
        Ok(())
    }

    fn delete(&mut self, oid: u32, key: Vec<Value>) -> Result<(), BackupFault> {
        let table = self.table(oid)?;
        check(&table.relation, key.len(), table.relation.key.len())?;
        let grown = match &mut table.rows {
            Rows::Keyed(rows) => put(rows, key, Fate::Gone),
            Rows::Counted(rows) => count(rows, key, -1),
        };
        self.held = self.held.saturating_add_signed(grown);
        Ok(())
    }

    fn truncate(&mut self, oid: u32) -> Result<(), BackupFault> {
        let table = self.table(oid)?;
        table.emptied = true;
        match &mut table.rows {
            Rows::Keyed(rows) => rows.clear(),
            Rows::Counted(rows) => rows.clear(),
        }
        // What the budget counted for them stays counted: the batch is only let go sooner.
        self.held += ENTRY;
        Ok(())
    }

    fn update(
        &mut self,
        oid: u32,
        old_key: Option<Vec<Value>>,
        mut row: Vec<Value>,
        out: &mut Vec<Step>,
    ) -> Result<(), BackupFault> {
        let table = self.table(oid)?;
        check(&table.relation, row.len(), table.relation.columns.len())?;
        if let Some(old) = &old_key {
            check(&table.relation, old.len(), table.relation.key.len())?;
        }
        let rows = match &mut table.rows {
            Rows::Keyed(rows) => rows,
            Rows::Counted(rows) => {
                // Without the old row nothing of it changed: every column is key.
                let Some(old) = old_key else { return Ok(()) };
                fill(&mut row, &old);
                let grown = count(rows, old, -1) + count(rows, row, 1);
                self.held = self.held.saturating_add_signed(grown);
                return Ok(());
            }
        };
        // An untouched part of the key is in the old one.
        if let Some(old) = &old_key {
            for (at, value) in table.relation.key.iter().zip(old) {
                if row[*at] == Value::Unchanged {
                    row[*at] = value.clone();
                }
            }
        }
        let key = key_of(&table.relation, &row)?;
        let old = old_key.filter(|old| *old != key);
        match rows.get(old.as_ref().unwrap_or(&key)) {
            Some(Fate::Row(before)) => fill(&mut row, before),
            Some(Fate::Gone) => {
                return Err(misfit(&table.relation, "a row is changed that was deleted before"));
            }
            None => {}
        }
        let Some(old) = old else {
            let grown = put(rows, key, Fate::Row(row));
            self.held = self.held.saturating_add_signed(grown);
            return Ok(());
        };
        if row.contains(&Value::Unchanged) {
            let relation = Arc::clone(&table.relation);
            self.flush(out);
            out.push(Step::Rekey { relation, old_key: old, row });
            return Ok(());
        }
        let grown = put(rows, old, Fate::Gone) + put(rows, key, Fate::Row(row));
        self.held = self.held.saturating_add_signed(grown);
        Ok(())
    }
}

/// The key of a row.
fn key_of(relation: &Relation, row: &[Value]) -> Result<Vec<Value>, BackupFault> {
    relation
        .key
        .iter()
        .map(|at| match row.get(*at) {
            Some(Value::Unchanged) | None => Err(misfit(relation, "a row lacks a part of its key")),
            Some(value) => Ok(value.clone()),
        })
        .collect()
}

/// Puts what is known of the row before in the place of what was not touched.
fn fill(row: &mut [Value], before: &[Value]) {
    for (value, before) in row.iter_mut().zip(before) {
        if *value == Value::Unchanged {
            value.clone_from(before);
        }
    }
}

fn check(relation: &Relation, found: usize, wanted: usize) -> Result<(), BackupFault> {
    if found == wanted {
        Ok(())
    } else {
        Err(misfit(relation, "a row has another number of values"))
    }
}

fn misfit(relation: &Relation, problem: &str) -> BackupFault {
    BackupFault::damaged(
        format!("the log, at table {}.{},", relation.schema, relation.name),
        format!("does not fit itself ({problem})"),
    )
}

fn weight(values: &[Value]) -> usize {
    let text = |v: &Value| if let Value::Text(t) = v { t.len() } else { 0 };
    values.iter().map(|v| VALUE + text(v)).sum()
}

fn fate_weight(fate: &Fate) -> usize {
    match fate {
        Fate::Gone => 0,
        Fate::Row(row) => weight(row),
    }
}

/// Notes a fate; answers by how much the memory grew.
#[allow(clippy::cast_possible_wrap)]
fn put(rows: &mut IndexMap<Vec<Value>, Fate>, key: Vec<Value>, fate: Fate) -> isize {
    let more = fate_weight(&fate) as isize;
    match rows.entry(key) {
        Entry::Occupied(mut entry) => more - fate_weight(&entry.insert(fate)) as isize,
        Entry::Vacant(entry) => {
            let grown = more + (ENTRY + weight(entry.key())) as isize;
            entry.insert(fate);
            grown
        }
    }
}

#[allow(clippy::cast_possible_wrap)]
fn count(rows: &mut IndexMap<Vec<Value>, i64>, row: Vec<Value>, by: i64) -> isize {
    match rows.entry(row) {
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += by;
            if *entry.get() != 0 {
                return 0;
            }
            let (row, _) = entry.swap_remove_entry();
            -((ENTRY + weight(&row)) as isize)
        }
        Entry::Vacant(entry) => {
            let grown = ENTRY + weight(entry.key());
            entry.insert(by);
            grown as isize
        }
    }
}
