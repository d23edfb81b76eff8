//! One connection's part of a batch: staging table by COPY, then DELETE by key and INSERT.

use super::compact::Fate;
use super::target::TargetTable;
use crate::BackupFault;
use crate::change::Value;
use crate::sql::{refused, run};
use sqlx::PgConnection;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// How much is sent at once, in bytes.
const PIECE: usize = 128 * 1024;

/// What one connection does with one table.
#[derive(Debug)]
pub(super) enum Part {
    Keyed(Vec<(Vec<Value>, Fate)>),
    Counted(Vec<(Vec<Value>, i64)>),
}

/// A connection that applies.
pub(super) struct Hand {
    connection: PgConnection,
    staged: HashSet<String>,
}

/// By key an index is there, and a batch touches a small part of a large table: anything but a nested
/// loop over the index would read the table whole, for every batch.
const BY_INDEX: &str = "set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off";
const BY_ANYTHING: &str = "set local enable_hashjoin = on; set local enable_mergejoin = on; set local enable_seqscan = on";

impl Hand {
    pub(super) fn new(connection: PgConnection) -> Self {
        Self { connection, staged: HashSet::new() }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> PgConnection {
        self.connection
    }

    /// Applies its parts of a batch in one transaction.
    pub(super) async fn apply(
        &mut self,
        parts: Vec<(Arc<TargetTable>, Part)>,
    ) -> Result<(), BackupFault> {
        for (table, _) in &parts {
            if self.staged.insert(table.make_stage.clone()) {
                self.run(table, &table.make_stage).await?;
            }
        }
        run(&mut self.connection, "begin").await.map_err(refused("beginning a batch"))?;
        for (table, part) in parts {
            match part {
                Part::Keyed(rows) => self.keyed(&table, rows).await?,
                Part::Counted(rows) => self.counted(&table, rows).await?,
            }
        }
        run(&mut self.connection, "commit").await.map_err(refused("committing a batch"))?;
        Ok(())
    }

    async fn keyed(
        &mut self,
        table: &TargetTable,
        rows: Vec<(Vec<Value>, Fate)>,
    ) -> Result<(), BackupFault> {
        self.run(table, BY_INDEX).await?;
        let mut masked: u64 = 0;
        let mut untouched = BTreeSet::new();
        for (_, fate) in &rows {
            if let Fate::Row(row) = fate {
                let before = mask(row);
                masked += u64::from(!before.is_empty());
                untouched.extend(before);
            }
        }
        let lines: Lines<'_> = Box::new(rows.into_iter().map(|(key, fate)| {
            let mut line = Line::new();
            match fate {
                Fate::Gone => line.gone(table, &key),
                Fate::Row(row) => line.row('p', 1, &mask(&row), &row),
            }
            line.0
        }));
        copy(&mut self.connection, table, lines).await?;
        if masked > 0 {
            let columns: Vec<usize> = untouched.into_iter().collect();
            let found = self.run(table, &table.fetch_untouched(&columns)).await?;
            if found != masked {
                return Err(misfit(table, "rows that the log changes are not there"));
            }
        }
        self.run(table, &table.delete()).await?;
        self.run(table, &table.insert(false)).await?;
        Ok(())
    }

    async fn counted(
        &mut self,
        table: &TargetTable,
        rows: Vec<(Vec<Value>, i64)>,
    ) -> Result<(), BackupFault> {
        self.run(table, BY_ANYTHING).await?;
        let gone: u64 = rows.iter().filter(|(_, n)| *n < 0).map(|(_, n)| n.unsigned_abs()).sum();
        let lines: Lines<'_> = Box::new(rows.into_iter().map(|(row, n)| {
            let mut line = Line::new();
            line.row(if n < 0 { 'd' } else { 'p' }, n.unsigned_abs(), &[], &row);
            line.0
        }));
        copy(&mut self.connection, table, lines).await?;
        if gone > 0 && self.run(table, &table.delete_counted()).await? != gone {
            return Err(misfit(table, "rows that the log deletes are not there"));
        }
        self.run(table, &table.insert(true)).await?;
        Ok(())
    }

    /// Gives a row another key.
    pub(super) async fn rekey(
        &mut self,
        table: &TargetTable,
        old_key: &[Value],
        row: &[Value],
    ) -> Result<(), BackupFault> {
        let set: Vec<usize> =
            (0..row.len()).filter(|at| row.get(*at) != Some(&Value::Unchanged)).collect();
        let statement = table.rekey(&set);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false);
        for value in set.iter().filter_map(|at| row.get(*at)).chain(old_key) {
            query = query.bind(match value {
                Value::Text(text) => Some(text.clone()),
                Value::Null | Value::Unchanged => None,
            });
        }
        let done = query
            .execute(&mut self.connection)
            .await
            .map_err(refused(format!("applying changes of {}", table.name)))?;
        if done.rows_affected() == 1 {
            Ok(())
        } else {
            Err(misfit(table, "a row that the log changes is not there"))
        }
    }

    async fn run(&mut self, table: &TargetTable, statement: &str) -> Result<u64, BackupFault> {
        let done = run(&mut self.connection, statement)
            .await
            .map_err(refused(format!("applying changes of {}", table.name)))?;
        Ok(done.rows_affected())
    }
}

/// Which values are not in the log.
fn mask(row: &[Value]) -> Vec<usize> {
    let untouched = |(at, value): (usize, &Value)| (*value == Value::Unchanged).then_some(at);
    row.iter().enumerate().filter_map(untouched).collect()
}

type Lines<'a> = Box<dyn Iterator<Item = Vec<u8>> + Send + 'a>;

async fn copy(
    connection: &mut PgConnection,
    table: &TargetTable,
    lines: Lines<'_>,
) -> Result<(), BackupFault> {
    let doing = || format!("copying changes of {}", table.name);
    let mut copy = connection.copy_in_raw(&table.copy_stage()).await.map_err(refused(doing()))?;
    let mut piece = Vec::with_capacity(PIECE + 4096);
    for line in lines {
        piece.extend_from_slice(&line);
        if piece.len() >= PIECE {
            copy.send(piece.as_slice()).await.map_err(refused(doing()))?;
            piece.clear();
        }
    }
    if !piece.is_empty() {
        copy.send(piece.as_slice()).await.map_err(refused(doing()))?;
    }
    copy.finish().await.map_err(refused(doing()))?;
    Ok(())
}

/// A line in the text form of `COPY`.
struct Line(Vec<u8>);

impl Line {
    fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    fn row(&mut self, op: char, n: u64, mask: &[usize], row: &[Value]) {
        let mask = if mask.is_empty() {
            "\\N".to_owned()
        } else {
            let places: Vec<String> = mask.iter().map(usize::to_string).collect();
            format!("{{{}}}", places.join(","))
        };
        self.0.extend_from_slice(format!("{op}\t{n}\t{mask}").as_bytes());
        for value in row {
            self.value(value);
        }
        self.0.push(b'\n');
    }

    fn gone(&mut self, table: &TargetTable, key: &[Value]) {
        self.0.extend_from_slice(b"d\t0\t\\N");
        for at in 0..table.width() {
            let part = table.key().iter().position(|k| *k == at).and_then(|k| key.get(k));
            self.value(part.unwrap_or(&Value::Null));
        }
        self.0.push(b'\n');
    }

    fn value(&mut self, value: &Value) {
        self.0.push(b'\t');
        let Value::Text(text) = value else {
            self.0.extend_from_slice(b"\\N");
            return;
        };
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'\n' | b'\r' | b'\t')) {
            self.0.extend_from_slice(&rest[..at]);
            self.0.extend_from_slice(match rest[at] {
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                _ => b"\\\\",
            });
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
    }
}

fn misfit(table: &TargetTable, problem: &str) -> BackupFault {
    BackupFault::Mismatch {
        table: table.name.clone(),
        difference: format!("the log does not fit the copy ({problem})"),
    }
}
