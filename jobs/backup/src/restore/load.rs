//! The rows of a full backup, by several connections, each table checked as soon as it is there.

use super::crew::{Crew, List};
use crate::format::PlainReader;
use crate::model::{Sums, Table};
use crate::sql::{ident, refused, run};
use crate::{BackupFault, Progress, Vault};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The tables of a database by `schema.name`, quoted as they stand in statements.
pub(super) type Names = HashMap<String, String>;

/// Looks at the tables and sequences that there are.
pub(super) async fn names(connection: &mut PgConnection) -> Result<Names, BackupFault> {
    let rows = sqlx::query(
        "select n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname)
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_'",
    )
    .fetch_all(connection)
    .await
    .map_err(refused("looking at the tables"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A name for the row as a whole: one that no column will have, for that would go before it.
const ROW: &str = "\"the row as a whole\"";

/// The statement that answers a table's checksums: see [`Sums`].
fn sums_of(table: &str) -> String {
    format!(
        "select count(*), coalesce(sum(pg_catalog.hashtextextended({ROW}::text, 0)), 0)::text, \
         coalesce(bit_xor(pg_catalog.hashtextextended({ROW}::text, 1)), 0) from only {table} {ROW}"
    )
}

/// Counts and sums a table up.
pub(super) async fn sums(connection: &mut PgConnection, table: &str) -> Result<Sums, BackupFault> {
    let row = sqlx::query(AssertSqlSafe(sums_of(table)))
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(refused(format!("checking the table {table}")))?;
    let rows: i64 = row.get(0);
    Ok(Sums { rows: rows.unsigned_abs(), sum: row.get(1), xor: row.get(2) })
}

/// Compares, and names the table if it differs.
pub(crate) fn compare(table: &str, wanted: &Sums, found: &Sums) -> Result<(), BackupFault> {
    if wanted == found {
        return Ok(());
    }
    let difference = if wanted.rows == found.rows {
        format!(
            "{} rows as there should be, but with other contents (checksum {} instead of {})",
            found.rows, found.xor, wanted.xor
        )
    } else {
        format!("{} rows instead of {}", found.rows, wanted.rows)
    };
    Err(BackupFault::Mismatch { table: table.to_owned(), difference })
}

/// Loads tables, the largest first.
pub(super) async fn load(
    crew: &mut Crew,
    vault: &Vault,
    names: &Names,
    tables: &[&Table],
    progress: &dyn Progress,
) -> Result<u64, BackupFault> {
    let mut tasks: Vec<&Table> = tables.iter().copied().filter(|t| !t.objects.is_empty()).collect();
    let size = |t: &Table| t.objects.iter().map(|o| o.plain_bytes).sum::<u64>();
    tasks.sort_by_key(|t| std::cmp::Reverse(size(t)));
    let total: u64 = tasks.iter().map(|t| size(t)).sum();
    let (done, rows) = (AtomicU64::new(0), AtomicU64::new(0));
    let (done, rows) = (&done, &rows);
    let list = List::new(tasks);
    let list = &list;
    let hands = crew.connections.iter_mut().map(|connection| async move {
        while let Some(table) = list.next() {
            progress.step(&format!("loading {}", table.name));
            let loading = Loading { vault, names, table, progress, done, total };
            rows.fetch_add(loading.run(connection).await?, Ordering::Relaxed);
        }
        Ok::<(), BackupFault>(())
    });
    futures::future::try_join_all(hands).await?;
    Ok(rows.load(Ordering::Relaxed))
}

struct Loading<'a> {
    vault: &'a Vault,
    names: &'a Names,
    table: &'a Table,
    progress: &'a dyn Progress,
    done: &'a AtomicU64,
    total: u64,
}

impl Loading<'_> {
    async fn run(&self, connection: &mut PgConnection) -> Result<u64, BackupFault> {
        let name = &self.table.name;
        let doing = || format!("loading {name}");
        let sql = self.names.get(name).ok_or_else(|| {
            BackupFault::damaged(
                format!("the schema's dump, at {name},"),
                "does not make this table",
            )
        })?;
        // Emptied in this transaction, so that its rows can be written frozen: they need no second
        // write to say that they are committed, and the checksums' scan makes none.
        run(connection, &format!("begin; truncate only {sql}")).await.map_err(refused(doing()))?;
        let columns: Vec<String> = self.table.columns.iter().map(|c| ident(c)).collect();
        let copy = format!("copy {sql} ({}) from stdin (freeze)", columns.join(", "));
        let mut rows = 0;
        for object in &self.table.objects {
            let mut reader = PlainReader::open(self.vault, object)?;
            let mut into = connection.copy_in_raw(&copy).await.map_err(refused(doing()))?;
            while let Some(piece) = reader.next().await? {
                let length = piece.len() as u64;
                into.send(piece).await.map_err(refused(doing()))?;
                let done = self.done.fetch_add(length, Ordering::Relaxed) + length;
                self.progress.bytes(done, Some(self.total));
            }
            rows += into.finish().await.map_err(refused(doing()))?;
        }
        compare(name, &self.table.sums, &sums(connection, sql).await?)?;
        run(connection, "commit").await.map_err(refused(doing()))?;
        Ok(rows)
    }
}

/// Compares every table of a database with a full backup's manifest. Answers each difference.
pub(super) async fn compare_all(
    crew: &mut Crew,
    names: &Names,
    tables: &[Table],
) -> Result<Vec<BackupFault>, BackupFault> {
    let nothing = Sums { rows: 0, sum: "0".to_owned(), xor: 0 };
    let leaves = sqlx::query_scalar::<_, String>(
        "select n.nspname || '.' || c.relname from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_'
           and n.nspname <> 'information_schema' order by pg_catalog.pg_table_size(c.oid) desc",
    )
    .fetch_all(crew.first()?)
    .await
    .map_err(refused("looking at the tables"))?;
    let wanted: HashMap<&str, &Sums> = tables.iter().map(|t| (t.name.as_str(), &t.sums)).collect();
    let mut differences: Vec<BackupFault> = tables
        .iter()
        .filter(|table| !leaves.contains(&table.name))
        .map(|table| BackupFault::Mismatch {
            table: table.name.clone(),
            difference: "it is not there at all".to_owned(),
        })
        .collect();
    let list = List::new(leaves);
    let (list, wanted, nothing) = (&list, &wanted, &nothing);
    let hands = crew.connections.iter_mut().map(|connection| async move {
        let mut differences = Vec::new();
        while let Some(name) = list.next() {
            let Some(sql) = names.get(&name) else { continue };
            let found = sums(connection, sql).await?;
            let wanted = wanted.get(name.as_str()).copied().unwrap_or(nothing);
            differences.extend(compare(&name, wanted, &found).err());
        }
        Ok::<Vec<BackupFault>, BackupFault>(differences)
    });
    differences.extend(futures::future::try_join_all(hands).await?.into_iter().flatten());
    Ok(differences)
}
