//! What an increment goes on from, and whether anything happened in between that no log tells.

use super::{full_needed, schema_changed};
use crate::format::{layout, open_manifest, read_small};
use crate::full::FILES_NOTE;
use crate::model::{Kind, Lsn, Manifest, Snapshot};
use crate::source::{self, Catalogue, Slot, SourceConfig, literal, qualified};
use crate::{BackupFault, Vault};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};

/// What an increment goes on from.
pub(super) struct Base {
    /// After this position.
    pub(super) from: Lsn,
    /// The newest full backup.
    pub(super) full: Manifest,
    /// What that holds.
    pub(super) snapshot: Snapshot,
    /// The partitions that are known.
    partitions: BTreeSet<String>,
    /// Which file each table and partition lay in when that was last looked at.
    files: BTreeMap<String, u32>,
}

/// Finds it.
///
/// # Errors
/// There is no full backup that increments could follow.
pub(super) async fn base(
    connection: &mut PgConnection,
    config: &SourceConfig,
    vault: &Vault,
    slot: &Slot,
) -> Result<Base, BackupFault> {
    let Some(full) = newest_full(vault).await? else {
        return Err(full_needed("the archive has none yet"));
    };
    let Kind::Full { snapshot, start, .. } = &full.kind else {
        return Err(full_needed("the archive has none yet"));
    };
    let (snapshot, start) = (snapshot.clone(), *start);
    let here = source::identify(connection, String::new()).await?;
    if here.system != full.source.system || here.database != full.source.database {
        return Err(full_needed("the newest one is of another server or database"));
    }
    if here.timeline != full.source.timeline {
        return Err(full_needed("the server was promoted or restored since the newest one"));
    }
    let increment = match newest(vault, &layout::log(&slot.label)).await {
        // The chain is broken there; a full backup after it makes that of no matter.
        Err(BackupFault::Manifest { .. }) => None,
        found => found?,
    };
    let ended = increment.as_ref().and_then(|m| match &m.kind {
        Kind::Incremental { to, .. } => Some(*to),
        _ => None,
    });
    let from = slot.confirmed.max(ended.unwrap_or_default());
    if ended != Some(from) && start < from {
        return Err(full_needed(&format!(
            "somebody else advanced the slot {} of {}, and what it passed over is in no backup",
            slot.name, config.slot
        )));
    }
    let mut partitions: BTreeSet<String> = full.partitions.iter().map(|p| p.name.clone()).collect();
    let mut latest = &full;
    if let Some(increment) = &increment {
        partitions.extend(increment.partitions.iter().map(|p| p.name.clone()));
        if increment.covers > full.covers {
            latest = increment;
        }
    }
    let files = latest.notes.get(FILES_NOTE).and_then(|note| serde_json::from_str(note).ok());
    let files = files.unwrap_or_default();
    Ok(Base { from, full, snapshot, partitions, files })
}

/// Full backups that are looked at to find the newest one.
const LAST: usize = 4;

/// The full backup that the log goes on from last. Its name is no answer: two may be of one second, and
/// the server's clock may have been put back.
async fn newest_full(vault: &Vault) -> Result<Option<Manifest>, BackupFault> {
    let mut entries = vault.archive.list(layout::FULLS).await?;
    entries.retain(|e| layout::is_manifest(&e.key));
    entries.sort_by(|a, b| (b.modified, &b.key).cmp(&(a.modified, &a.key)));
    let mut newest: Option<(Lsn, Manifest)> = None;
    for entry in entries.iter().take(LAST) {
        let read = read_manifest(vault, &entry.key).await;
        let manifest = match (read, &newest) {
            (Ok(manifest), _) => manifest,
            // If the last one is of no use, the one before it is no answer.
            (Err(fault), None) => return Err(fault),
            (Err(_), Some(_)) => continue,
        };
        let Kind::Full { start, .. } = manifest.kind else { continue };
        let later = newest
            .as_ref()
            .is_none_or(|(at, other)| manifest.source.system == other.source.system && start > *at);
        if later {
            newest = Some((start, manifest));
        }
    }
    Ok(newest.map(|(_, manifest)| manifest))
}

/// The last manifest below a prefix of a log: the one that goes on from the highest position.
pub(super) async fn newest(vault: &Vault, prefix: &str) -> Result<Option<Manifest>, BackupFault> {
    let entries = vault.archive.list(prefix).await?;
    let Some(entry) = entries.iter().rev().find(|e| layout::is_manifest(&e.key)) else {
        return Ok(None);
    };
    // If it is of no use, the one before it is no answer.
    read_manifest(vault, &entry.key).await.map(Some)
}

async fn read_manifest(vault: &Vault, key: &str) -> Result<Manifest, BackupFault> {
    let file = read_small(vault.archive.as_ref(), key, crate::format::manifest::MOST).await?;
    open_manifest(key, &file, &vault.keys)
}

/// Partitions that were attached with rows in them: while those were written, the table was none that
/// is published.
pub(super) async fn attached_with_rows(
    connection: &mut PgConnection,
    base: &Base,
    catalogue: &Catalogue,
) -> Result<(), BackupFault> {
    for partition in catalogue.partitions.iter().filter(|p| !base.partitions.contains(&p.name)) {
        let sql = format!(
            "select ln.nspname::text as schema, lc.relname::text as name
               from pg_catalog.pg_class c
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              cross join lateral pg_partition_tree(c.oid) t
               join pg_catalog.pg_class lc on lc.oid = t.relid
               join pg_catalog.pg_namespace ln on ln.oid = lc.relnamespace
              where t.isleaf and lc.relkind = 'r' and n.nspname || '.' || c.relname = {}",
            literal(&partition.name)
        );
        let doing = "looking into a new partition";
        for row in source::rows(connection, &sql, doing).await? {
            let (schema, name): (String, String) =
                (source::get(&row, "schema")?, source::get(&row, "name")?);
            // Written by an earlier transaction than the one that attached it, or earlier in that one.
            let sql = format!(
                "select exists (select from only {} as r
                    where age(r.xmin) > age(h.xmin)
                       or r.xmin = h.xmin and r.cmin::text::bigint < h.cmin::text::bigint) as early
                   from pg_catalog.pg_inherits h
                   join pg_catalog.pg_class c on c.oid = h.inhrelid
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname || '.' || c.relname = {}",
                qualified(&schema, &name),
                literal(&partition.name)
            );
            let found = source::rows(connection, &sql, doing).await?;
            let early = found.first().map(|row| source::get::<bool>(row, "early")).transpose()?;
            if early == Some(true) {
                return Err(full_needed(&format!(
                    "the partition {} had rows when it was attached, which the log does not have; \
                     attach partitions empty",
                    partition.name
                )));
            }
        }
    }
    Ok(())
}

/// Tables that lie in another file although the log tells of no TRUNCATE: an `alter table ... type ...
/// using` may have changed every row of one, and of a partition that was truncated by itself the log tells
/// nothing while its root is published.
pub(super) fn rewritten(
    base: &Base,
    catalogue: &Catalogue,
    truncated: &BTreeSet<String>,
) -> Result<(), BackupFault> {
    for table in &catalogue.tables {
        let name = table.full_name();
        if truncated.contains(&table.root) {
            continue;
        }
        if let (Some(was), Some(is)) = (base.files.get(&name), catalogue.files.get(&name))
            && was != is
        {
            let what = match table.root == name {
                true => {
                    format!("the table {name} was rewritten (ALTER TABLE, VACUUM FULL or CLUSTER)")
                }
                false => format!("the partition {name} was truncated or rewritten by itself"),
            };
            return Err(schema_changed(&format!("{what}, which the log does not tell")));
        }
    }
    Ok(())
}
