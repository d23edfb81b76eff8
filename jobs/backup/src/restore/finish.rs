//! What comes after the rows: indexes, foreign keys and the rest of the schema, sequences, statistics.

use super::crew::{Crew, Forgiven, Task};
use super::load::Names;
use super::script::{Statement, Turn};
use crate::BackupFault;
use crate::model::Sequence;
use crate::sql::{literal, refused, run};
use sqlx::{PgConnection, Row};
use std::collections::{HashMap, HashSet};

/// By how many values a sequence is set ahead when increments followed the full backup: values that were
/// given out after the newest increment may be in somebody else's hands.
pub const SEQUENCE_MARGIN: i64 = 1000;

/// Memory for building an index, over all connections.
const MAINTENANCE_MB: usize = 512;

fn task(statement: &Statement, text: String) -> Task {
    let doing = match (&statement.made, &statement.table) {
        (Some(made), _) => format!("making {made}"),
        (None, Some(table)) => format!("finishing {table}"),
        (None, None) => {
            let begin: String = statement.text.chars().take(80).collect();
            format!("running `{begin}`")
        }
    };
    Task { statement: text, doing }
}

/// Gives the connections their share of memory for building indexes.
pub(super) async fn lend_memory(crew: &mut Crew) -> Result<(), BackupFault> {
    let share = MAINTENANCE_MB / crew.connections.len().max(1);
    for connection in &mut crew.connections {
        let set = format!(
            "set maintenance_work_mem = '{share}MB'; set max_parallel_maintenance_workers = 2"
        );
        run(connection, &set).await.map_err(refused("preparing a connection"))?;
    }
    Ok(())
}

/// What can be made of each table (as it stands in statements) as soon as its rows are there: its keys,
/// then its other indexes.
#[derive(Default)]
pub(super) struct Soon {
    pub(super) keys: Vec<Task>,
    pub(super) indexes: Vec<Task>,
}

/// Takes out of the script what can be made of these tables by itself.
pub(super) fn soon(script: &mut Vec<Statement>, tables: &HashSet<&str>) -> HashMap<String, Soon> {
    let mut all: HashMap<String, Soon> = HashMap::new();
    script.retain(|statement| {
        let own = statement.table.as_deref().filter(|t| tables.contains(t));
        let (Some(table), true) = (own, statement.made.is_some()) else { return true };
        let soon = all.entry(table.to_owned()).or_default();
        match statement.turn {
            Turn::Key => soon.keys.push(task(statement, statement.text.clone())),
            Turn::Index => soon.indexes.push(task(statement, statement.text.clone())),
            _ => return true,
        }
        false
    });
    all
}

/// Makes the indexes whose turn it is, the largest tables' first, several at once.
pub(super) async fn indexes(
    crew: &mut Crew,
    script: &[Statement],
    turn: Turn,
    forgiven: Forgiven<'_>,
) -> Result<(), BackupFault> {
    let mut sized: Vec<(i64, &Statement)> = Vec::new();
    let mut later = Vec::new();
    for statement in script.iter().filter(|s| s.turn == turn) {
        let size = match &statement.table {
            Some(table) => size(crew.first()?, table).await?,
            None => None,
        };
        match size {
            // Makes an index of a table that has rows itself.
            Some(bytes) if statement.made.is_some() => sized.push((bytes, statement)),
            _ => later.push(task(statement, statement.text.clone())),
        }
    }
    sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let tasks = sized.into_iter().map(|(_, s)| task(s, s.text.clone())).collect();
    crew.all(tasks, forgiven).await?;
    crew.in_order(later, forgiven).await
}

/// The size of a table in bytes; none of a partitioned one, and of one that is not there.
async fn size(connection: &mut PgConnection, table: &str) -> Result<Option<i64>, BackupFault> {
    sqlx::query_scalar(
        "select pg_catalog.pg_table_size(oid) from pg_catalog.pg_class
         where oid = pg_catalog.to_regclass($1) and relkind <> 'p'",
    )
    .bind(table)
    .fetch_optional(connection)
    .await
    .map_err(refused("looking at the sizes of tables"))
}

/// Runs the statements of one turn in the order of the file.
pub(super) async fn in_order(
    crew: &mut Crew,
    script: &[Statement],
    turn: Turn,
    forgiven: Forgiven<'_>,
) -> Result<(), BackupFault> {
    let tasks = script.iter().filter(|s| s.turn == turn).map(|s| task(s, s.text.clone())).collect();
    crew.in_order(tasks, forgiven).await
}

/// Makes foreign keys without looking at the rows, then lets several connections look.
pub(super) async fn foreign_keys(
    crew: &mut Crew,
    script: &[Statement],
    forgiven: Forgiven<'_>,
) -> Result<(), BackupFault> {
    let mut made = Vec::new();
    for statement in script.iter().filter(|s| s.turn == Turn::Foreign) {
        let unchecked = statement.text.to_ascii_lowercase().ends_with("not valid");
        let whole = match &statement.table {
            Some(table) => size(crew.first()?, table).await?.is_some(),
            None => false,
        };
        // A partitioned table's cannot be made unchecked (PostgreSQL 15 to 17).
        let text = if unchecked || !whole {
            statement.text.clone()
        } else {
            format!("{} not valid", statement.text)
        };
        made.push(task(statement, text));
    }
    crew.in_order(made, forgiven).await?;
    // Those that the source itself has unchecked stay so.
    let stay: Vec<&str> = script
        .iter()
        .filter(|s| s.turn == Turn::Foreign && s.text.to_ascii_lowercase().ends_with("not valid"))
        .filter_map(|s| s.made.as_deref())
        .collect();
    let rows = sqlx::query(
        "select quote_ident(k.conname), format('%I.%I', n.nspname, c.relname)
         from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where k.contype = 'f' and not k.convalidated and k.conparentid = 0
         order by pg_catalog.pg_table_size(c.oid) desc",
    )
    .fetch_all(crew.first()?)
    .await
    .map_err(refused("looking at the foreign keys"))?;
    let checks: Vec<Task> = rows
        .iter()
        .map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)))
        .filter(|(name, _)| !stay.iter().any(|s| s.trim_matches('"') == name.trim_matches('"')))
        .map(|(name, table)| Task {
            statement: format!("alter table {table} validate constraint {name}"),
            doing: format!("checking the foreign key {name} of {table}"),
        })
        .collect();
    crew.all(checks, &|_| false).await
}

/// Sets sequences to where they stood, and ahead of that if changes followed the full backup.
pub(super) async fn sequences(
    connection: &mut PgConnection,
    names: &Names,
    sequences: &[Sequence],
    ahead: bool,
) -> Result<(), BackupFault> {
    let margin = if ahead { SEQUENCE_MARGIN } else { 0 };
    for sequence in sequences {
        // One that belongs to a table which is not restored is not there.
        let Some(sql) = names.get(&sequence.name) else { continue };
        let statement = format!(
            "select pg_catalog.setval({}::regclass, \
               greatest(seqmin, least(seqmax, {}::numeric + {margin} * seqincrement::numeric))::bigint, {}) \
             from pg_catalog.pg_sequence where seqrelid = {}::regclass",
            literal(sql),
            sequence.last_value,
            sequence.is_called || ahead,
            literal(sql),
        );
        run(connection, &statement)
            .await
            .map_err(refused(format!("setting the sequence {}", sequence.name)))?;
    }
    Ok(())
}

/// Gathers statistics, the largest tables first.
pub(super) async fn analyze(crew: &mut Crew) -> Result<(), BackupFault> {
    let rows = sqlx::query(
        "select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'm') and not c.relispartition and n.nspname !~ '^pg_'
           and n.nspname <> 'information_schema'
         order by case c.relkind when 'p' then
           (select coalesce(sum(pg_catalog.pg_table_size(t.relid)), 0) from pg_catalog.pg_partition_tree(c.oid) t)
           else pg_catalog.pg_table_size(c.oid) end desc",
    )
    .fetch_all(crew.first()?)
    .await
    .map_err(refused("looking at the tables"))?;
    let tasks = rows
        .iter()
        .map(|row| row.get::<String, _>(0))
        .map(|table| Task {
            statement: format!("analyze {table}"),
            doing: format!("analysing {table}"),
        })
        .collect();
    crew.all(tasks, &|_| false).await
}

/// What must hold of a whole database: every index is good.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), BackupFault> {
    let bad: Option<String> = sqlx::query_scalar(
        "select i.indexrelid::regclass::text from pg_catalog.pg_index i
         where not i.indisvalid or not i.indisready limit 1",
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(refused("checking the indexes"))?;
    if let Some(index) = bad {
        return Err(BackupFault::unfit(
            format!("the index {index} was not put together as it should be"),
            "restore again; if it stays so, take a full backup and restore that",
        ));
    }
    // Everything before was committed without waiting for the disk; this waits for all of it.
    run(
        connection,
        "set synchronous_commit = on; create temp table durable_ (); drop table pg_temp.durable_",
    )
    .await
    .map_err(refused("waiting for the target's disk"))?;
    Ok(())
}
