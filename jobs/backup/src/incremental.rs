//! An increment: what was committed since the one before.
//!
//! The log is read up to a position, written, the manifest put under a key that only one can have, and
//! only then the slot is advanced. A crash before the manifest leaves files that the next run takes over, as far
//! as they are whole, or `prune` takes away; one after it is made good by the next run, which reads where the
//! newest manifest ends.

mod capture;
mod gaps;

use crate::format::{ChangeWriter, Parts, layout, put_manifest};
use crate::full::{FILES_NOTE, GRACE, PAUSE, files_note, now, try_lock, unlock};
use crate::leftovers::or_take_back;
use crate::model::{BackupId, FORMAT, Kind, Lsn, Manifest};
use crate::source::peek::Peek;
use crate::source::{self, Catalogue, Slot, SlotHealth, SourceConfig, schema};
use crate::{BackupFault, Progress, Vault};
use capture::{Capture, Captured};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use switchyard_providers::archive::ArchiveFault;

/// A transaction that emits a message of this prefix (`pg_logical_emit_message(true, ...)`) says that it
/// changed the schema or rewrote a table: no increment goes over it, a full backup must.
pub const SCHEMA_MARK: &str = "switchyard.schema";

/// The prefix of what increments themselves put into the log, so that it moves on while nothing happens.
const HEARTBEAT: &str = "switchyard.backup";

/// How often a mark is tried to be set at a moment at which no table changes its form.
const TRIES: u32 = 10;
/// Whoever empties several tables at once may wait for us as we wait for them; how often that is borne.
pub(crate) const DEADLOCKS: u32 = 5;

/// Writes what was committed since the newest increment. An idle database gives an empty one: it proves
/// that the backups are as new as it says, and lets the server drop its log. `notes` are put into the
/// manifest; they are to be older than what this backs up.
///
/// # Errors
/// [`BackupFault::FullNeeded`] if an increment could not be restored; [`BackupFault::SlotLost`], also
/// if the server cannot read its log any more; [`BackupFault::SlotBusy`] while another runs; the
/// database, the archive.
pub async fn incremental(
    source: &SourceConfig,
    vault: &Vault,
    notes: BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<Option<Manifest>, BackupFault> {
    let mut takes_up = true;
    for _ in 0..DEADLOCKS {
        match attempt(source, vault, notes.clone(), takes_up, progress).await {
            Err(fault) if fault.is_deadlock() => progress.step("beginning anew after a deadlock"),
            Err(BackupFault::NotTheSame { key }) => {
                progress.step(&format!("beginning anew: {key} is not what the log says now"));
                takes_up = false;
            }
            ended => return ended,
        }
    }
    attempt(source, vault, notes, false, progress).await
}

async fn attempt(
    source: &SourceConfig,
    vault: &Vault,
    mut notes: BTreeMap<String, String>,
    takes_up: bool,
    progress: &dyn Progress,
) -> Result<Option<Manifest>, BackupFault> {
    let mut connection = source.connect().await?;
    let slot = only_run(&mut connection, source).await?;
    slot.usable()?;
    progress.step("looking where the newest increment ends");
    let base = gaps::base(&mut connection, source, vault, &slot).await?;
    if base.from > slot.confirmed {
        // The run before ended between its manifest and this.
        source::advance(&mut connection, &slot, base.from).await?;
    }
    let (mark, catalogue) = mark_at_rest(&mut connection, source).await?;
    if !source::in_step(&mut connection, source, &catalogue).await? {
        return Err(schema_changed("the tables that are published are not those that there are"));
    }
    // After the position was noted: what changed the schema up to there shows.
    let dump = schema::dump(&mut connection, source).await?;
    if dump.hash != base.full.source.schema {
        return Err(schema_changed("the schema was changed since the newest full backup"));
    }
    let identity = source::identify(&mut connection, dump.hash).await?;
    if identity.migration != base.full.source.migration {
        return Err(schema_changed("a migration was applied since the newest full backup"));
    }
    gaps::attached_with_rows(&mut connection, &base, &catalogue).await?;

    let id = BackupId::new(mark.covers, rand::random());
    let parts = parts(vault, &slot, base.from, id, takes_up).await?;
    match parts.found() {
        0 => progress.step("reading the log"),
        n => progress.step(&format!("reading the log; {n} files of a stopped run are there")),
    }
    let folder = layout::increment(&slot.label, parts.id());
    let writer = ChangeWriter::resuming(vault, folder.clone(), &parts);
    let capture = Capture::new(writer, &base, &catalogue);
    let captured = async {
        let log = Peek::open(&mut connection, &slot, &source.publication, mark.upto).await?;
        read_log(log, capture, progress).await
    };
    let captured = or_take_back(vault, &format!("{folder}/"), captured.await).await;
    let captured = match captured {
        Err(fault) if fault.is_internal() => return Err(given_up(source, &slot, &fault).await),
        captured => captured?,
    };
    gaps::rewritten(&base, &catalogue, &captured.truncated)?;
    parts.are_there(vault, &captured.written.objects.iter().collect::<Vec<_>>()).await?;

    let sequences = source::sequences(&mut connection, &catalogue).await?;
    let to = mark.upto.max(captured.end);
    notes.insert(FILES_NOTE.to_owned(), files_note(&catalogue));
    let manifest = Manifest {
        format: FORMAT,
        id: parts.id().clone(),
        source: identity,
        began: mark.covers,
        covers: mark.covers,
        finished: now(&mut connection).await?,
        kind: Kind::Incremental {
            slot: slot.label.clone(),
            from: base.from,
            to,
            newest_commit: captured.written.newest_commit,
            transactions: captured.written.transactions,
            changes: captured.written.changes,
            objects: captured.written.objects,
            sequences,
        },
        recipients: vault.keys.recipient_texts(),
        notes,
        partitions: catalogue.partitions,
    };
    progress.step("writing the manifest");
    put_manifest(vault, &manifest).await.map_err(|fault| match fault {
        // Another run went on from there.
        BackupFault::Archive(ArchiveFault::AlreadyThere { .. }) => {
            BackupFault::SlotBusy { slot: slot.name.clone() }
        }
        fault => fault,
    })?;
    // The increment is safe whatever becomes of this: the next run makes it good.
    if let Err(fault) = source::advance(&mut connection, &slot, to).await {
        tracing::warn!(%fault, "the slot was not advanced; the next increment does it");
    }
    unlock(connection).await;
    parts.clear(vault).await;
    Ok(Some(manifest))
}

/// The run's files. The slot gives the same changes in the same order to every run that goes on from the same
/// position, so what a stopped one has finished need not be sent again.
async fn parts(
    vault: &Vault,
    slot: &Slot,
    from: Lsn,
    id: BackupId,
    takes_up: bool,
) -> Result<Arc<Parts>, BackupFault> {
    let recipients = vault.keys.recipient_texts().join(" ");
    let of = format!("increment of {} from {from} for {recipients}", slot.label);
    match (layout::log(&slot.label), takes_up) {
        (prefix, true) => Parts::take_up(vault, &prefix, of, id).await,
        (prefix, false) => Parts::anew(vault, &prefix, of, id),
    }
}

/// Writes everything that the log has up to the mark.
async fn read_log(
    mut log: Peek<'_>,
    mut capture: Capture<'_>,
    progress: &dyn Progress,
) -> Result<Captured, BackupFault> {
    let mut read = 0;
    while let Some(message) = log.next().await? {
        read += message.len() as u64;
        if capture.take(&message).await? {
            progress.bytes(read, None);
        }
    }
    capture.finish().await
}

/// The server cannot read its own log: a file of it is damaged, or decoding stumbles over what it holds
/// (PostgreSQL 15 may, over tables that are emptied beside transactions that are rolled back: "could not
/// map filenode to relation OID"). From where the slot stands it fails every time, so the slot goes; the
/// full backup that has to come makes one beyond it.
async fn given_up(source: &SourceConfig, slot: &Slot, fault: &BackupFault) -> BackupFault {
    let gone = async {
        let mut connection = source.connect().await?;
        source::drop_slot(&mut connection, slot).await
    };
    if let Err(fault) = gone.await {
        tracing::warn!(%fault, slot = slot.name, "the slot was not dropped; the next increment does it");
    }
    let why = format!("the server cannot read its own log: {fault}");
    BackupFault::SlotLost { slot: slot.name.clone(), why }
}

/// How the slot is: for alarms before it is lost.
///
/// # Errors
/// The database.
pub async fn slot_health(source: &SourceConfig) -> Result<SlotHealth, BackupFault> {
    let mut connection = source.connect().await?;
    source::slot_health_of(&mut connection, source).await
}

/// The slot, held by this run alone.
async fn only_run(
    connection: &mut PgConnection,
    source: &SourceConfig,
) -> Result<Slot, BackupFault> {
    let alone = try_lock(connection, &format!("switchyard increment {}", source.slot)).await?;
    let since = Instant::now();
    loop {
        let mut slots = source::find_slots(connection, source).await?;
        if slots.is_empty() {
            return Err(full_needed(&format!(
                "there is no slot {}_... in this database (a failover loses it)",
                source.slot
            )));
        }
        let slot = slots.swap_remove(0);
        if alone && slot.active_pid.is_none() {
            return Ok(slot);
        }
        // The server may still be ending the connection of a run that was killed.
        if !alone || since.elapsed() > GRACE {
            return Err(BackupFault::SlotBusy { slot: slot.name });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Up to where this increment reads.
struct Mark {
    /// A position that everything is below that was committed by `covers`.
    upto: Lsn,
    /// The server's clock.
    covers: DateTime<Utc>,
}

/// Marks the log at a moment at which no table is being altered, emptied or made, and reads the tables as
/// they were then: so what is found to differ happened before the mark and not after it.
async fn mark_at_rest(
    connection: &mut PgConnection,
    source: &SourceConfig,
) -> Result<(Mark, Catalogue), BackupFault> {
    let mut before = Catalogue::read(connection, source).await?;
    let mut tries = 0;
    loop {
        let mark = mark(connection).await?;
        let after = Catalogue::read(connection, source).await?;
        tries += 1;
        if after.same_form(&before) || tries == TRIES {
            return Ok((mark, after));
        }
        before = after;
    }
}

/// Writes a mark into the log and makes it durable: with it everything before it is, also what was
/// committed with `synchronous_commit = off`. It also lets an idle slot move on.
async fn mark(connection: &mut PgConnection) -> Result<Mark, BackupFault> {
    let doing = "marking the log";
    // A transaction with a number and a record of its own waits for the disk when it commits.
    let sql = format!(
        "select clock_timestamp() as covers, pg_current_xact_id()::text as xid,
                pg_logical_emit_message(false, {}, 'heartbeat')::text as at",
        source::literal(HEARTBEAT)
    );
    let found = source::rows(connection, &sql, doing).await?;
    let missing = || BackupFault::database(doing)(sqlx::Error::RowNotFound);
    let covers = source::get(found.first().ok_or_else(missing)?, "covers")?;
    let sql = "select pg_current_wal_flush_lsn()::text as upto";
    let found = source::rows(connection, sql, doing).await?;
    let upto: String = source::get(found.first().ok_or_else(missing)?, "upto")?;
    Ok(Mark { upto: source::lsn(&upto)?, covers })
}

/// The newest increment of a slot (`name/number`).
pub(crate) async fn newest_increment(
    vault: &Vault,
    slot: &str,
) -> Result<Option<Manifest>, BackupFault> {
    gaps::newest(vault, &layout::log(slot)).await
}

pub(crate) fn full_needed(why: &str) -> BackupFault {
    BackupFault::FullNeeded { why: why.to_owned(), planned: false }
}

/// The same after a change of the schema, which is no failure.
pub(crate) fn schema_changed(why: &str) -> BackupFault {
    BackupFault::FullNeeded { why: why.to_owned(), planned: true }
}
