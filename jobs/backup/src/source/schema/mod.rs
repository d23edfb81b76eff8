//! The schema as statements, from the catalogue: it needs a connection and nothing else, whatever the
//! server's version, and what it gives runs in psql.
//!
//! Two parts: what must be there before rows are loaded (roles, schemas, types, functions, tables, views),
//! and what comes after (keys, indexes, constraints, triggers, policies, owners, grants). Every name is
//! written with its schema. Publications, event triggers and settings of the database are left out.

mod after;
mod before;
mod order;

use super::{SourceConfig, get, literal, rows};
use crate::BackupFault;
use order::Node;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A schema's dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// What is run before the rows are loaded.
    pub before: String,
    /// What is run after.
    pub after: String,
    /// SHA-256 of both without the partitions, so that a new slice of history does not change it.
    pub hash: String,
}

/// What both parts begin with. Functions may name what is made later.
const HEAD: &str = "set search_path = '';
set check_function_bodies = off;
set client_min_messages = 'warning';
set standard_conforming_strings = on;
set xmloption = 'content';
set row_security = off;
set default_tablespace = '';
set default_table_access_method = 'heap';
";

/// Some statements, and whether they are a partition's.
pub(super) struct Piece {
    sql: String,
    history: bool,
}

/// Which things a query is about, put in for `{...}`.
pub(super) struct Scope {
    schema: String,
}

impl Scope {
    fn new(config: &SourceConfig) -> Self {
        let excluded: Vec<String> = config.exclude_schemas.iter().map(|s| literal(s)).collect();
        let schema = format!(
            "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
             and n.nspname <> all (array[{}]::text[])",
            excluded.join(", ")
        );
        Self { schema }
    }

    /// `{ours}`: its schema `n` is backed up. `{own:catalogue:oid}`: no extension brings it.
    pub(super) fn fill(&self, sql: &str) -> String {
        let mut filled = String::with_capacity(sql.len() + 400);
        let mut rest = sql.replace("{ours}", &self.schema);
        while let Some((head, tail)) = rest.split_once("{own:") {
            filled.push_str(head);
            let (what, tail) = tail.split_once('}').unwrap_or((tail, ""));
            let (catalogue, oid) = what.split_once(':').unwrap_or((what, "oid"));
            let _ = write!(
                filled, // to a String: cannot fail
                "not exists (select from pg_catalog.pg_depend e
                    where e.classid = 'pg_catalog.{catalogue}'::regclass and e.objid = {oid}
                      and e.deptype = 'e')"
            );
            rest = tail.to_owned();
        }
        filled.push_str(&rest);
        filled
    }
}

/// Reads it.
///
/// # Errors
/// The database; things that need one another in a circle.
pub async fn dump(
    connection: &mut PgConnection,
    config: &SourceConfig,
) -> Result<Dump, BackupFault> {
    let scope = Scope::new(config);
    let nodes = nodes(connection, &scope).await?;
    let depends = depends(connection, &scope).await?;
    let (early, late) = order::sort(nodes, &depends)?;

    let mut before = pieces(connection, &scope, before::ROLES).await?;
    let roles = before.len();
    before.extend(early.into_iter().map(Node::into_piece));
    for sql in before::TAIL {
        before.extend(pieces(connection, &scope, sql).await?);
    }
    let mut after = Vec::new();
    for sql in after::KEYS {
        after.extend(pieces(connection, &scope, sql).await?);
    }
    after.extend(late.into_iter().map(Node::into_piece));
    for sql in after::REST {
        after.extend(pieces(connection, &scope, sql).await?);
    }
    // Roles follow from owners and grants, which are in it.
    let hash = hash(before.iter().skip(roles).chain(&after));
    Ok(Dump { before: text(&before), after: text(&after), hash })
}

fn text(pieces: &[Piece]) -> String {
    let mut text = HEAD.to_owned();
    for piece in pieces {
        text.push('\n');
        text.push_str(piece.sql.trim_end());
        text.push('\n');
    }
    text
}

/// Sorted, so that a partition which comes or goes cannot move its neighbours.
fn hash<'a>(pieces: impl Iterator<Item = &'a Piece>) -> String {
    let lasting: BTreeSet<&str> = pieces.filter(|p| !p.history).map(|p| p.sql.as_str()).collect();
    let mut hash = Sha256::new();
    for sql in lasting {
        hash.update(sql.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// The statements of a query with the columns `sql` and `history`, in its order.
async fn pieces(
    connection: &mut PgConnection,
    scope: &Scope,
    sql: &str,
) -> Result<Vec<Piece>, BackupFault> {
    let found = rows(connection, &scope.fill(sql), "reading the schema").await?;
    let piece = |row| Ok(Piece { sql: get(row, "sql")?, history: get(row, "history")? });
    found.iter().map(piece).collect()
}

async fn nodes(connection: &mut PgConnection, scope: &Scope) -> Result<Vec<Node>, BackupFault> {
    let mut nodes = Vec::new();
    for sql in before::NODES {
        for row in rows(connection, &scope.fill(sql), "reading the schema").await? {
            nodes.push(Node {
                id: (
                    super::catalogue::oid(get(&row, "class")?),
                    super::catalogue::oid(get(&row, "oid")?),
                ),
                rank: (get(&row, "kind")?, get(&row, "name")?),
                sql: get(&row, "sql")?,
                history: get(&row, "history")?,
            });
        }
    }
    Ok(nodes)
}

/// What needs what. A key stands for itself: what needs one comes after the rows.
async fn depends(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<order::Edge>, BackupFault> {
    let mut edges = Vec::new();
    for row in rows(connection, &scope.fill(order::DEPENDS), "reading the schema").await? {
        let id = |class: &str, oid: &str| {
            Ok::<_, BackupFault>((
                super::catalogue::oid(get(&row, class)?),
                super::catalogue::oid(get(&row, oid)?),
            ))
        };
        edges.push(order::Edge {
            from: id("class", "oid")?,
            to: id("needs_class", "needs")?,
            key: get(&row, "is_key")?,
        });
    }
    Ok(edges)
}
