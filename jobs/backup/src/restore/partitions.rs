//! Partitions that were made or dropped after the full backup. The log does not tell of them, the
//! manifests do.

use crate::BackupFault;
use crate::model::{Manifest, Partition};
use crate::sql::{code, ident, literal, refused, run};
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// The note of a differential's manifest that lists, as JSON, the partitions which some increment
/// before its end knew and which were gone at its end.
pub const GONE_NOTE: &str = "partitions.gone";

/// What is to be made before the changes are applied, and dropped after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub made: Vec<Partition>,
    pub gone: Vec<Partition>,
}

/// Compares the lists of a chain's manifests. While changes are applied, every partition that there
/// was at some time is there; if the last increment is applied only in part, so are those that it
/// may have dropped later.
pub(super) fn plan(manifests: &[&Manifest], stopped: bool) -> Result<Plan, BackupFault> {
    let Some((full, rest)) = manifests.split_first() else { return Ok(Plan::default()) };
    let mut all: BTreeMap<&str, Partition> = BTreeMap::new();
    let at_first: BTreeSet<&str> = full.partitions.iter().map(|p| p.name.as_str()).collect();
    let mut noted = Vec::new();
    for manifest in manifests {
        if let Some(note) = manifest.notes.get(GONE_NOTE) {
            let gone: Vec<Partition> = serde_json::from_str(note).map_err(|e| {
                BackupFault::damaged(
                    format!("the manifest {}", manifest.id),
                    format!("has a note that cannot be read ({e})"),
                )
            })?;
            noted.extend(gone);
        }
    }
    for partition in manifests.iter().flat_map(|m| &m.partitions).chain(&noted) {
        all.insert(&partition.name, partition.clone());
    }
    let last = rest.last().unwrap_or(full);
    let mut at_end: BTreeSet<&str> = last.partitions.iter().map(|p| p.name.as_str()).collect();
    if stopped {
        let before = manifests.iter().rev().nth(1).unwrap_or(full);
        at_end.extend(before.partitions.iter().map(|p| p.name.as_str()));
    }
    let mut plan = Plan::default();
    for (name, partition) in &all {
        if !at_first.contains(name) {
            plan.made.push(partition.clone());
        }
        if !at_end.contains(name) {
            plan.gone.push(partition.clone());
        }
    }
    Ok(plan)
}

/// The partitions that some of these manifests know and the last one does not.
pub(crate) fn gone_since(manifests: &[&Manifest]) -> Result<Vec<Partition>, BackupFault> {
    Ok(plan(manifests, false)?.gone)
}

/// How a table stands in statements, if it is there.
async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<String>, BackupFault> {
    let row = sqlx::query(
        "select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname || '.' || c.relname = $1 and c.relkind in ('r', 'p')",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(refused(format!("looking for {name}")))?;
    Ok(row.map(|row| row.get(0)))
}

/// How a table that is to be made stands in statements: a schema's name may hold a dot.
async fn new_name(connection: &mut PgConnection, name: &str) -> Result<String, sqlx::Error> {
    let schema: Option<String> = sqlx::query_scalar(
        "select nspname::text from pg_catalog.pg_namespace where starts_with($1, nspname || '.')
         order by length(nspname) desc limit 1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    let rest = schema.as_ref().and_then(|s| name.get(s.len() + 1..));
    Ok(match (&schema, rest) {
        (Some(schema), Some(rest)) => format!("{}.{}", ident(schema), ident(rest)),
        _ => ident(name),
    })
}

/// Makes the partitions that the full backup did not have. Answers their names as they stand in
/// statements, with their parents' and bounds.
pub(super) async fn make(
    connection: &mut PgConnection,
    plan: &Plan,
) -> Result<Vec<Made>, BackupFault> {
    let mut made = Vec::new();
    for partition in &plan.made {
        let doing = || format!("making the partition {}", partition.name);
        // The table itself may not be restored.
        let Some(parent) = find(connection, &partition.parent).await? else { continue };
        let sql = new_name(connection, &partition.name).await.map_err(refused(doing()))?;
        let new = Made { sql, parent, bound: partition.bound.clone() };
        attach_new(connection, &new).await.map_err(|e| overlap(e, partition))?;
        made.push(new);
    }
    Ok(made)
}

/// A partition that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    sql: String,
    parent: String,
    bound: String,
}

/// Makes a partition. Rows of its range that lie in the default partition by now go over.
async fn attach_new(connection: &mut PgConnection, new: &Made) -> Result<(), sqlx::Error> {
    let Made { sql, parent, bound } = new;
    let default: Option<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_partitioned_table p
         join pg_catalog.pg_class c on c.oid = p.partdefid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where p.partrelid = $1::text::regclass and c.relkind = 'r'",
    )
    .bind(parent)
    .fetch_optional(&mut *connection)
    .await?;
    let make = format!("create table {sql} partition of {parent} {bound}");
    let Some(default) = default.filter(|_| bound != "DEFAULT") else {
        run(connection, &make).await?;
        return Ok(());
    };
    run(connection, &format!("begin; alter table {parent} detach partition {default}; {make}"))
        .await?;
    let moved = move_rows(connection, sql, &default).await;
    let end = match moved {
        Ok(()) => format!("alter table {parent} attach partition {default} default; commit"),
        Err(_) => "rollback".to_owned(),
    };
    run(connection, &end).await?;
    moved
}

async fn move_rows(connection: &mut PgConnection, to: &str, from: &str) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "select pg_catalog.pg_get_partition_constraintdef($1::text::regclass), string_agg(quote_ident(attname), ', ')
         from pg_catalog.pg_attribute
         where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
    )
    .bind(to)
    .fetch_one(&mut *connection)
    .await?;
    let (condition, columns): (String, String) = (row.get(0), row.get(1));
    let statement = format!(
        "with moved as (delete from {from} where {condition} returning {columns}) \
         insert into {to} ({columns}) overriding system value select {columns} from moved"
    );
    run(connection, &statement).await?;
    Ok(())
}

fn overlap(error: sqlx::Error, partition: &Partition) -> BackupFault {
    // invalid_object_definition: it would overlap another one; the log does not say which was when.
    if code(&error).as_deref() == Some("42P17") {
        return BackupFault::unfit(
            format!(
                "the partition {} took the place of others after the full backup",
                partition.name
            ),
            "restore from a full backup that was taken after that",
        );
    }
    refused(format!("making the partition {}", partition.name))(error)
}

/// Gives every partitioned table without a default one a place for rows of partitions that came and
/// went between two increments. Answers what is to be dropped.
pub(super) async fn catch_strays(
    connection: &mut PgConnection,
) -> Result<Vec<String>, BackupFault> {
    let doing = "making room for rows of partitions that are gone";
    let rows = sqlx::query(
        "select format('%I.%I', n.nspname, c.relname),
                format('%I.%I', n.nspname, 'switchyard_restore_' || c.oid)
         from pg_catalog.pg_partitioned_table p join pg_catalog.pg_class c on c.oid = p.partrelid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where p.partdefid = 0 and p.partstrat <> 'h'",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(refused(doing))?;
    let mut strays = Vec::new();
    for row in rows {
        let (parent, stray): (String, String) = (row.get(0), row.get(1));
        run(connection, &format!("create table {stray} partition of {parent} default"))
            .await
            .map_err(refused(doing))?;
        strays.push(stray);
    }
    Ok(strays)
}

/// Drops tables.
pub(super) async fn drop_all(
    connection: &mut PgConnection,
    tables: &[String],
) -> Result<(), BackupFault> {
    for table in tables {
        run(connection, &format!("drop table if exists {table}"))
            .await
            .map_err(refused(format!("dropping {table}")))?;
    }
    Ok(())
}

/// Drops the partitions that were gone at the target.
pub(super) async fn drop_gone(
    connection: &mut PgConnection,
    plan: &Plan,
) -> Result<(), BackupFault> {
    for partition in &plan.gone {
        if let Some(sql) = find(connection, &partition.name).await? {
            drop_all(connection, &[sql]).await?;
        }
    }
    Ok(())
}

/// Takes the new partitions out while their parents' indexes are put together, which must find the same
/// partitions as the full backup did.
pub(super) async fn set_aside(
    connection: &mut PgConnection,
    made: &[Made],
) -> Result<(), BackupFault> {
    for Made { sql, parent, .. } in made {
        if exists(connection, sql).await? {
            run(connection, &format!("alter table {parent} detach partition {sql}"))
                .await
                .map_err(refused(format!("setting {sql} aside")))?;
        }
    }
    Ok(())
}

/// Puts them back, whereby they get all indexes that their parents have, and gives them the owner and the
/// rights of a neighbour.
pub(super) async fn put_back(
    connection: &mut PgConnection,
    made: &[Made],
) -> Result<(), BackupFault> {
    for Made { sql, parent, bound } in made {
        if exists(connection, sql).await? {
            run(connection, &format!("alter table {parent} attach partition {sql} {bound}"))
                .await
                .map_err(refused(format!("putting {sql} back")))?;
        }
    }
    Ok(())
}

/// New partitions get the owner of their parent and the rights of a neighbour.
pub(super) async fn lend_rights(
    connection: &mut PgConnection,
    made: &[Made],
) -> Result<(), BackupFault> {
    for Made { sql, parent, .. } in made {
        let doing = || format!("giving {sql} its owner and rights");
        let row = sqlx::query(
            "select quote_ident(pg_get_userbyid(p.relowner)),
               (select string_agg(format('grant %s on %s to %s', a.privilege_type, $2,
                  case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end), '; ')
                from (select c.relacl, c.relowner from pg_catalog.pg_inherits i
                      join pg_catalog.pg_class c on c.oid = i.inhrelid
                      where i.inhparent = p.oid and c.relacl is not null order by c.oid limit 1) s,
                  aclexplode(s.relacl) a where a.grantee <> s.relowner)
             from pg_catalog.pg_class p where p.oid = $1::text::regclass",
        )
        .bind(parent)
        .bind(sql)
        .fetch_one(&mut *connection)
        .await
        .map_err(refused(doing()))?;
        let (owner, grants): (String, Option<String>) = (row.get(0), row.get(1));
        if !exists(connection, sql).await? {
            continue;
        }
        let statements =
            format!("alter table {sql} owner to {owner}; {}", grants.unwrap_or_default());
        run(connection, &statements).await.map_err(refused(doing()))?;
    }
    Ok(())
}

async fn exists(connection: &mut PgConnection, sql: &str) -> Result<bool, BackupFault> {
    let statement = format!("select pg_catalog.to_regclass({}) is not null", literal(sql));
    let row =
        sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false).fetch_one(connection).await;
    Ok(row.map_err(refused("looking for a partition"))?.get(0))
}
