//! Which tables are restored, and of one agency which rows.
//!
//! One table: its rows and what belongs to it; other tables are not there at all, nor are foreign keys to
//! them. One agency: of every table with a column `agency_id` its rows, of a table `agencies` its
//! own, and of all tables the rows that those refer to, and nothing else. Which rows that are is
//! known only at the target, because a lead may change hands on the way: tables are loaded whole,
//! and what is not wanted is taken away, and its place in the files with it.

use super::RestorePlan;
use crate::BackupFault;
use crate::model::{Kind, Manifest, Table};
use crate::sql::{ident, literal, refused, run};
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// What is restored.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// These tables, by `schema.name` of their roots.
    Tables(BTreeSet<String>),
    /// One agency's rows.
    Agency(Agency),
}

/// How an agency's rows are found.
#[derive(Clone, Debug)]
pub(super) struct Agency {
    id: String,
    /// Tables by `schema.name`, with the column that names the agency.
    owned: BTreeMap<String, String>,
    /// Which rows refer to which.
    references: Vec<Reference>,
    /// Every table of which rows may be needed.
    needed: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Reference {
    child: String,
    parent: String,
    /// `p.id = c.lead_id and ...`
    condition: String,
}

impl Scope {
    /// Reads the plan's names of tables against what the backup has.
    pub(super) fn of(plan: &RestorePlan, full: &Manifest) -> Result<Self, BackupFault> {
        if plan.tables.is_empty() {
            return Ok(Self::All);
        }
        if plan.agency.is_some() {
            return Err(BackupFault::unfit(
                "tables and an agency were both named",
                "restore one agency, or some tables",
            ));
        }
        let Kind::Full { tables, .. } = &full.kind else { return Ok(Self::All) };
        let mut wanted = BTreeSet::new();
        for name in &plan.tables {
            wanted.insert(root_of(name, tables)?);
        }
        Ok(Self::Tables(wanted))
    }

    /// Whether a table is restored, by the name of its root.
    pub(super) fn has(&self, root: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tables(tables) => tables.contains(root),
            Self::Agency(agency) => agency.needed.contains(root),
        }
    }

    /// Whether statements about tables that are not there are to be left out.
    pub(super) fn is_part(&self) -> bool {
        matches!(self, Self::Tables(_))
    }

    /// Takes the tables away that are not wanted, as soon as all are made.
    pub(super) async fn clear(&self, connection: &mut PgConnection) -> Result<(), BackupFault> {
        let Self::Tables(wanted) = self else { return Ok(()) };
        let doing = "leaving out the tables that are not wanted";
        let rows = sqlx::query(
            "select n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname)
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
               and n.nspname not in ('information_schema', $1)",
        )
        .bind(super::MARK)
        .fetch_all(&mut *connection)
        .await
        .map_err(refused(doing))?;
        for row in rows {
            let (name, sql): (String, String) = (row.get(0), row.get(1));
            if !wanted.contains(&name) {
                run(connection, &format!("drop table {sql} cascade"))
                    .await
                    .map_err(refused(doing))?;
            }
        }
        Ok(())
    }

    /// Takes away the rows that are not the agency's and that none of its rows needs.
    pub(super) async fn prune(&self, connection: &mut PgConnection) -> Result<(), BackupFault> {
        match self {
            Self::Agency(agency) => agency.prune(connection).await,
            Self::All | Self::Tables(_) => Ok(()),
        }
    }
}

fn root_of(name: &str, tables: &[Table]) -> Result<String, BackupFault> {
    let matches = |n: &str| n == name || n.split_once('.').is_some_and(|(_, bare)| bare == name);
    let roots: BTreeSet<&str> =
        tables.iter().map(|t| t.root.as_str()).filter(|r| matches(r)).collect();
    let mut roots = roots.into_iter();
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root.to_owned()),
        (Some(one), Some(other)) => Err(BackupFault::unfit(
            format!("`{name}` may be {one} or {other}"),
            "give the schema too",
        )),
        _ => Err(match tables.iter().find(|t| matches(&t.name)) {
            Some(part) => BackupFault::unfit(
                format!(
                    "{} is a partition of {}, and changes are told of the whole",
                    part.name, part.root
                ),
                format!("restore `--table {}`", part.root),
            ),
            None => BackupFault::unfit(
                format!("there is no table `{name}` in the backup"),
                "give `schema.name` of a table; `switchyard backup list --json` shows them",
            ),
        }),
    }
}

impl Agency {
    /// Looks at the tables, and at the foreign keys that `constraints` would make.
    pub(super) async fn find(
        connection: &mut PgConnection,
        id: &str,
        constraints: &str,
    ) -> Result<Self, BackupFault> {
        let doing = "looking for the agency's tables";
        let owned = sqlx::query(
            "select n.nspname || '.' || c.relname, a.attname::text
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
               and (a.attname = 'agency_id' or c.relname = 'agencies' and a.attname = 'id')",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(refused(doing))?;
        let owned: BTreeMap<String, String> =
            owned.iter().map(|row| (row.get(0), row.get(1))).collect();
        // The tables are empty yet: the constraints are made, looked at, and taken back.
        run(connection, &format!("begin; {constraints}")).await.map_err(refused(doing))?;
        let references = references(connection).await;
        run(connection, "rollback").await.map_err(refused(doing))?;
        // What the dump sets for its own session is set back.
        crate::sql::settle(connection).await?;
        let references = references?;
        let mut needed: BTreeSet<String> = owned.keys().cloned().collect();
        if needed.is_empty() {
            return Err(BackupFault::unfit(
                "no table of the backup has a column `agency_id`",
                "restore everything, or some tables (`--table`)",
            ));
        }
        loop {
            let more: Vec<String> = references
                .iter()
                .filter(|r| needed.contains(&r.child) && !needed.contains(&r.parent))
                .map(|r| r.parent.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            needed.extend(more);
        }
        Ok(Self { id: id.to_owned(), owned, references, needed })
    }

    async fn prune(&self, connection: &mut PgConnection) -> Result<(), BackupFault> {
        let doing = || "keeping one agency's rows".to_owned();
        let names = super::load::names(connection).await?;
        let tables: BTreeMap<&str, (&str, String)> = self
            .needed
            .iter()
            .enumerate()
            .filter_map(|(at, name)| {
                Some((name.as_str(), (names.get(name)?.as_str(), format!("pg_temp.keep_{at}"))))
            })
            .collect();
        for (name, (sql, keep)) in &tables {
            let bare = keep.trim_start_matches("pg_temp.");
            let mut statement =
                format!("create temp table {bare} (o oid, i tid, primary key (o, i)); ");
            if let Some(column) = self.owned.get(*name) {
                statement.push_str(&format!(
                    "insert into {keep} select tableoid, ctid from {sql} where {}::text = {}",
                    ident(column),
                    literal(&self.id)
                ));
            }
            run(connection, &statement).await.map_err(refused(doing()))?;
        }
        loop {
            let mut more = 0;
            for reference in &self.references {
                let (Some((child, kept)), Some((parent, keep))) =
                    (tables.get(reference.child.as_str()), tables.get(reference.parent.as_str()))
                else {
                    continue;
                };
                let statement = format!(
                    "insert into {keep} select p.tableoid, p.ctid from {kept} k \
                     join {child} c on c.tableoid = k.o and c.ctid = k.i \
                     join {parent} p on {} on conflict do nothing",
                    reference.condition
                );
                let done = run(connection, &statement).await.map_err(refused(doing()))?;
                more += done.rows_affected();
            }
            if more == 0 {
                break;
            }
        }
        for (sql, keep) in tables.values() {
            let delete = format!(
                "delete from {sql} t where not exists \
                 (select from {keep} k where k.o = t.tableoid and k.i = t.ctid)"
            );
            run(connection, &delete).await.map_err(refused(doing()))?;
            // The files must not hold the others' rows either.
            run(connection, &format!("vacuum full {sql}")).await.map_err(refused(doing()))?;
        }
        Ok(())
    }
}

async fn references(connection: &mut PgConnection) -> Result<Vec<Reference>, BackupFault> {
    let rows = sqlx::query(
        "select cn.nspname || '.' || c.relname, pn.nspname || '.' || p.relname,
           (select string_agg(format('p.%I = c.%I', pa.attname, ca.attname), ' and ')
            from unnest(k.conkey, k.confkey) u (child, parent)
            join pg_catalog.pg_attribute ca on ca.attrelid = k.conrelid and ca.attnum = u.child
            join pg_catalog.pg_attribute pa on pa.attrelid = k.confrelid and pa.attnum = u.parent)
         from pg_catalog.pg_constraint k
         join pg_catalog.pg_class c on c.oid = k.conrelid
         join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
         join pg_catalog.pg_class p on p.oid = k.confrelid
         join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
         where k.contype = 'f' and k.conparentid = 0",
    )
    .fetch_all(connection)
    .await
    .map_err(refused("looking at the foreign keys"))?;
    Ok(rows
        .iter()
        .map(|row| Reference { child: row.get(0), parent: row.get(1), condition: row.get(2) })
        .collect())
}
