//! The publication: which tables' changes the slot gives. An explicit list, because one of all tables
//! needs a superuser; partitions come under their root's name, so that a new one needs nothing.

use super::{Catalogue, SourceConfig, get, ident, literal, qualified, rows, run};
use crate::BackupFault;
use sqlx::PgConnection;
use std::collections::BTreeSet;

const WITH: &str =
    "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)";

/// How the publication differs from what it should be.
enum State {
    InStep,
    Missing,
    /// It has other tables.
    Tables,
    /// It publishes less than everything.
    Settings,
}

async fn state(
    connection: &mut PgConnection,
    config: &SourceConfig,
    catalogue: &Catalogue,
) -> Result<State, BackupFault> {
    let doing = "reading the publication";
    let publication = literal(&config.publication);
    let sql = format!(
        "select puballtables or not (pubviaroot and pubinsert and pubupdate and pubdelete
                                     and pubtruncate) as differs
           from pg_catalog.pg_publication where pubname = {publication}"
    );
    let found = rows(connection, &sql, doing).await?;
    let Some(row) = found.first() else { return Ok(State::Missing) };
    let mut differs: bool = get(row, "differs")?;
    let sql = format!(
        "select r.prrelid::bigint as oid, r.prqual is not null or r.prattrs is not null as filtered
           from pg_catalog.pg_publication_rel r
           join pg_catalog.pg_publication p on p.oid = r.prpubid and p.pubname = {publication}"
    );
    let mut listed = BTreeSet::new();
    for row in rows(connection, &sql, doing).await? {
        listed.insert(super::catalogue::oid(get(&row, "oid")?));
        differs |= get::<bool>(&row, "filtered")?;
    }
    let wanted: BTreeSet<u32> = catalogue.roots.iter().map(|r| r.oid).collect();
    Ok(match (differs, listed == wanted) {
        (true, _) => State::Settings,
        (false, false) => State::Tables,
        (false, true) => State::InStep,
    })
}

/// Whether it publishes everything that there is. What it did not publish is in no increment.
pub(crate) async fn in_step(
    connection: &mut PgConnection,
    config: &SourceConfig,
    catalogue: &Catalogue,
) -> Result<bool, BackupFault> {
    Ok(matches!(state(connection, config, catalogue).await?, State::InStep))
}

/// Makes it, or lists the tables that there are now. Answers whether there was none before.
///
/// # Errors
/// The role owns a table or the database not, and so may not publish it.
pub(crate) async fn keep_in_step(
    connection: &mut PgConnection,
    config: &SourceConfig,
    catalogue: &Catalogue,
) -> Result<bool, BackupFault> {
    let state = state(connection, config, catalogue).await?;
    let missing = matches!(state, State::Missing);
    let name = ident(&config.publication);
    let tables: Vec<String> =
        catalogue.roots.iter().map(|r| format!("only {}", qualified(&r.schema, &r.name))).collect();
    let list = tables.join(", ");
    let sql = match state {
        State::InStep => return Ok(false),
        State::Tables if !tables.is_empty() => format!("alter publication {name} set table {list}"),
        _ => {
            let list = if tables.is_empty() { list } else { format!("for table {list}") };
            format!(
                "drop publication if exists {name}; create publication {name} {list} with {WITH}"
            )
        }
    };
    let changed = run(connection, &format!("begin; {sql}; commit"), "publishing the tables").await;
    if let Err(BackupFault::Database { source: sqlx::Error::Database(e), .. }) = &changed
        && e.code().as_deref() == Some("42501")
    {
        return Err(BackupFault::unfit(
            format!("the role may not publish the tables ({})", e.message()),
            "let it own them and give it CREATE on the database, or back up as their owner",
        ));
    }
    changed.map(|()| missing)
}
