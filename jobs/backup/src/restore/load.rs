//! The rows of a full backup, by several connections, each table checked as soon as it is there.

use super::crew::{Crew, Forgiven, List, Task, one};
use super::finish::Soon;
use crate::format::PlainReader;
use crate::model::{Sums, Table};
use crate::sql::{ident, refused, run};
use crate::sums::Basis;
use crate::{BackupFault, Progress, Vault};
use sqlx::{PgConnection, Row};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

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

/// Counts and sums a table up.
pub(super) async fn sums(
    connection: &mut PgConnection,
    table: &str,
    columns: &[String],
    basis: Basis,
) -> Result<Sums, BackupFault> {
    let doing = refused(format!("checking the table {table}"));
    crate::sums::of_table(connection, table, columns, basis).await.map_err(doing)
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

/// What several connections load, and what they make of tables that are loaded.
struct Work<'a> {
    tables: List<&'a Table>,
    /// Tables that are not loaded yet.
    left: AtomicUsize,
    soon: Mutex<HashMap<String, Soon>>,
    ready: List<Task>,
    /// Told whenever a table is loaded.
    loaded: Notify,
}

impl Work<'_> {
    /// What can be made of a table that is loaded.
    fn soon(&self, sql: &str) -> Soon {
        let mut all = self.soon.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(sql).unwrap_or_default()
    }
}

/// What is loaded, and what its checksums are made of.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub tables: &'a [&'a Table],
    pub basis: Basis,
}

/// Loads tables, the largest first. What is to be made of a table `soon` is made as soon as its rows are
/// there, while other connections load others: building a large index keeps one processor busy.
pub(super) async fn load(
    crew: &mut Crew,
    vault: &Vault,
    names: &Names,
    rows: Rows<'_>,
    soon: HashMap<String, Soon>,
    forgiven: Forgiven<'_>,
    progress: &dyn Progress,
) -> Result<u64, BackupFault> {
    let Rows { tables, basis } = rows;
    let mut tasks: Vec<&Table> = tables.iter().copied().filter(|t| !t.objects.is_empty()).collect();
    let size = |t: &Table| t.objects.iter().map(|o| o.plain_bytes).sum::<u64>();
    tasks.sort_by_key(|t| std::cmp::Reverse(size(t)));
    let total: u64 = tasks.iter().map(|t| size(t)).sum();
    let (done, rows) = (AtomicU64::new(0), AtomicU64::new(0));
    let (done, rows) = (&done, &rows);
    let work = Work {
        left: AtomicUsize::new(tasks.len()),
        tables: List::new(tasks),
        soon: Mutex::new(soon),
        ready: List::new(Vec::new()),
        loaded: Notify::new(),
    };
    let work = &work;
    let hands = crew.connections.iter_mut().map(|connection| async move {
        loop {
            if let Some(task) = work.ready.next() {
                progress.step(&task.doing);
                one(connection, &task, forgiven).await?;
                continue;
            }
            // Listening before looking, so that nothing is missed in between.
            let mut loaded = pin!(work.loaded.notified());
            loaded.as_mut().enable();
            if let Some(table) = work.tables.next() {
                progress.step(&format!("loading {}", table.name));
                let loading = Loading { vault, names, table, basis, progress, done, total };
                rows.fetch_add(loading.run(connection).await?, Ordering::Relaxed);
                let soon = names.get(&table.name).map(|sql| work.soon(sql)).unwrap_or_default();
                for key in &soon.keys {
                    one(connection, key, forgiven).await?;
                }
                work.ready.add(soon.indexes);
                work.left.fetch_sub(1, Ordering::AcqRel);
                work.loaded.notify_waiters();
            } else if work.left.load(Ordering::Acquire) == 0 {
                // What was made ready just before is somebody's by now, or is taken here.
                match work.ready.next() {
                    Some(task) => one(connection, &task, forgiven).await?,
                    None => break,
                }
            } else {
                loaded.await;
            }
        }
        Ok::<(), BackupFault>(())
    });
    futures::future::try_join_all(hands).await?;
    // Tables without rows have none to wait for.
    let left = std::mem::take(&mut *work.soon.lock().unwrap_or_else(PoisonError::into_inner));
    let left = left.into_values().flat_map(|soon| soon.keys.into_iter().chain(soon.indexes));
    crew.all(left.collect(), forgiven).await?;
    Ok(rows.load(Ordering::Relaxed))
}

struct Loading<'a> {
    vault: &'a Vault,
    names: &'a Names,
    table: &'a Table,
    basis: Basis,
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
        let found = sums(connection, sql, &self.table.columns, self.basis).await?;
        compare(name, &self.table.sums, &found)?;
        run(connection, "commit").await.map_err(refused(doing()))?;
        Ok(rows)
    }
}

/// Compares every table of a database with a full backup's manifest. Answers each difference.
pub(super) async fn compare_all(
    crew: &mut Crew,
    names: &Names,
    tables: &[Table],
    basis: Basis,
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
    let wanted: HashMap<&str, &Table> = tables.iter().map(|t| (t.name.as_str(), t)).collect();
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
            let table = wanted.get(name.as_str());
            // One that the other has not got must be empty: its rows are counted.
            let columns = table.map_or(&[][..], |t| &t.columns);
            let found = sums(connection, sql, columns, basis).await?;
            let wanted = table.map_or(nothing, |t| &t.sums);
            differences.extend(compare(&name, wanted, &found).err());
        }
        Ok::<Vec<BackupFault>, BackupFault>(differences)
    });
    differences.extend(futures::future::try_join_all(hands).await?.into_iter().flatten());
    Ok(differences)
}
