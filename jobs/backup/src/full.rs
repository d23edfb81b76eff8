//! A full backup: every row under one snapshot, the schema, and where sequences stand.

use crate::format::{layout, put_manifest, write_object};
use crate::incremental::DEADLOCKS;
use crate::leftovers::or_take_back;
use crate::model::{BackupId, FORMAT, Kind, Manifest};
use crate::source::{self, Catalogue, Held, Slot, SourceConfig, schema};
use crate::{BackupFault, Progress, Vault};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The note of a manifest that says which slot the log is kept by, as `name/number`.
pub const SLOT_NOTE: &str = "slot";
/// The note that says which file each partition lies in, as JSON.
pub const FILES_NOTE: &str = "partition.files";

/// Backs everything up. The publication and the slot are made if they are missing, so that increments
/// can follow. `notes` are put into the manifest.
///
/// # Errors
/// The database is not fit for it, or not available; the archive; the schema was changed meanwhile. What
/// was written by then is no backup, and `prune` takes it away.
pub async fn full(
    source: &SourceConfig,
    vault: &Vault,
    notes: BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<Manifest, BackupFault> {
    for _ in 0..DEADLOCKS {
        match attempt(source, vault, notes.clone(), progress).await {
            Err(fault) if fault.is_deadlock() => progress.step("beginning anew after a deadlock"),
            ended => return ended,
        }
    }
    attempt(source, vault, notes, progress).await
}

async fn attempt(
    source: &SourceConfig,
    vault: &Vault,
    notes: BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<Manifest, BackupFault> {
    let mut connection = source.connect().await?;
    lock(&mut connection, source).await?;
    progress.step("checking the database");
    let began = now(&mut connection).await?;
    let id = BackupId::new(began, rand::random());
    let catalogue = Catalogue::read(&mut connection, source).await?;
    for warning in source::check(&mut connection, source, &catalogue).await?.warnings {
        tracing::warn!(%warning, "backup");
        progress.step(&format!("warning: {warning}"));
    }
    // Published before the position in the log is noted: from there on every change is in it.
    let new = source::keep_in_step(&mut connection, source, &catalogue).await?;
    let slot = slot(&mut connection, source, vault, new).await?;

    progress.step("waiting for transactions under way");
    let held = source::take_snapshot(&mut connection, source, &catalogue).await?;
    let written = write(&mut connection, source, vault, &id, &held, progress).await;
    let written = or_take_back(vault, &layout::full(&id), written).await?;

    // Read on a connection of its own: this one's transaction is over once the rows are copied.
    progress.step("checking that the schema is as it was");
    let mut fresh = source.connect().await?;
    if schema::dump(&mut fresh, source).await?.hash != written.source.schema {
        return Err(source::changed("the schema was changed while the rows were copied"));
    }
    let finished = now(&mut fresh).await?;
    let mut notes = notes;
    notes.insert(SLOT_NOTE.to_owned(), slot.label);
    notes.insert(FILES_NOTE.to_owned(), files_note(&written.catalogue));
    notes.insert(crate::shelf::SNAPSHOT_LSN.to_owned(), held.taken_at.to_string());
    let manifest = Manifest {
        format: FORMAT,
        id,
        source: written.source,
        began,
        covers: held.covers,
        finished,
        kind: Kind::Full {
            snapshot: held.snapshot,
            start: held.start,
            schema_before: written.schema_before,
            schema_after: written.schema_after,
            tables: written.tables,
            sequences: written.sequences,
        },
        partitions: written.catalogue.partitions,
        recipients: vault.keys.recipient_texts(),
        notes,
    };
    progress.step("writing the manifest");
    put_manifest(vault, &manifest).await?;
    unlock(connection).await;
    Ok(manifest)
}

/// What was written under the snapshot.
struct Content {
    catalogue: Catalogue,
    source: crate::model::Source,
    schema_before: crate::model::Object,
    schema_after: crate::model::Object,
    tables: Vec<crate::model::Table>,
    sequences: Vec<crate::model::Sequence>,
}

/// Writes all files. The connection is in the transaction that holds the snapshot, and is not afterwards.
async fn write(
    connection: &mut PgConnection,
    source: &SourceConfig,
    vault: &Vault,
    id: &BackupId,
    held: &Held,
    progress: &dyn Progress,
) -> Result<Content, BackupFault> {
    // What there was at the snapshot; a partition may be new since the tables were locked.
    let catalogue = Catalogue::read(connection, source).await?;
    source::hold_tables(connection, &catalogue).await?;
    progress.step("writing the schema");
    let dump = schema::dump(connection, source).await?;
    let identity = source::identify(connection, dump.hash).await?;
    let before = write_object(vault, layout::schema_before(id), Bytes::from(dump.before)).await?;
    let after = write_object(vault, layout::schema_after(id), Bytes::from(dump.after)).await?;
    let tables = catalogue.tables.clone();
    let tables = source::copy_tables(source, vault, id, &held.exported, tables, progress).await?;
    let sequences = source::sequences(connection, &catalogue).await?;
    source::run(connection, "commit", "leaving the snapshot").await?;
    Ok(Content {
        catalogue,
        source: identity,
        schema_before: before,
        schema_after: after,
        tables,
        sequences,
    })
}

/// The slot that increments go on with: the one there is, unless it is of no use. With a publication that
/// was missing (`new`) it is of none: what was written without one cannot be read.
async fn slot(
    connection: &mut PgConnection,
    source: &SourceConfig,
    vault: &Vault,
    new: bool,
) -> Result<Slot, BackupFault> {
    let mut slots = source::find_slots(connection, source).await?.into_iter();
    let mut kept = None;
    if let Some(slot) = slots.next() {
        let moved = match crate::incremental::newest_increment(vault, &slot.label).await {
            Ok(Some(newest)) => {
                let here = source::identify(connection, String::new()).await?;
                here.system != newest.source.system || here.timeline != newest.source.timeline
            }
            // A manifest that cannot be read breaks the chain, but not the slot.
            Ok(None) | Err(BackupFault::Manifest { .. }) => false,
            Err(fault) => return Err(fault),
        };
        if slot.usable().is_ok() && !moved && !new {
            kept = Some(slot);
        } else {
            source::drop_slot(connection, &slot).await?;
        }
    }
    for more in slots {
        source::drop_slot(connection, &more).await?;
    }
    match kept {
        Some(slot) => Ok(slot),
        None => source::create_slot(connection, source).await,
    }
}

/// One full backup of a database at a time: the second would only slow both down.
async fn lock(connection: &mut PgConnection, source: &SourceConfig) -> Result<(), BackupFault> {
    if try_lock(connection, &format!("switchyard full backup {}", source.slot)).await? {
        return Ok(());
    }
    Err(BackupFault::SlotBusy { slot: source.slot.clone() })
}

/// How long a lock is tried for: the server may still be ending the connection of a run that was killed.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// How often.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Takes a lock that ends with the connection.
pub(crate) async fn try_lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<bool, BackupFault> {
    let sql = format!(
        "select pg_try_advisory_lock(hashtextextended({}, 0)) as locked",
        source::literal(name)
    );
    let since = Instant::now();
    loop {
        let found =
            source::rows(connection, &sql, "making sure that this run is the only one").await?;
        let locked = found.first().map_or(Ok(false), |row| source::get(row, "locked"))?;
        if locked || since.elapsed() > GRACE {
            return Ok(locked);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets the lock go and closes the connection. If that fails the server does both.
pub(crate) async fn unlock(mut connection: PgConnection) {
    let sql = "select pg_advisory_unlock_all()";
    if source::run(&mut connection, sql, "letting the lock go").await.is_ok() {
        let _ = connection.close().await;
    }
}

/// The server's clock.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, BackupFault> {
    let sql = "select clock_timestamp()";
    let now = sqlx::query_scalar(sql).persistent(false).fetch_one(connection).await;
    now.map_err(BackupFault::database("asking for the time"))
}

pub(crate) fn files_note(catalogue: &Catalogue) -> String {
    let files = catalogue.files.iter();
    let files: serde_json::Map<_, _> = files.map(|(n, f)| (n.clone(), (*f).into())).collect();
    serde_json::Value::from(files).to_string()
}
