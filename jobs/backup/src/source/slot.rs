//! The slot: the server keeps the log from where it stands. Its name ends in a random number, so that
//! one made after another was lost is never taken for that one.

use super::{SourceConfig, get, literal, rows, run};
use crate::BackupFault;
use crate::model::Lsn;
use sqlx::PgConnection;
use std::time::Duration;

/// A slot as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its name on the server: that of the settings, `_`, and the number.
    pub(crate) name: String,
    /// `name/number`, as manifests have it.
    pub(crate) label: String,
    /// Changes up to here were confirmed.
    pub(crate) confirmed: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) wal_status: String,
    /// The server process that reads it.
    pub(crate) active_pid: Option<i32>,
    /// From where on the server keeps the log.
    pub(crate) restart: Option<Lsn>,
}

impl Slot {
    /// Refuses one that the server has given up.
    pub(crate) fn usable(&self) -> Result<(), BackupFault> {
        if self.wal_status == "lost" || self.restart.is_none() {
            return Err(BackupFault::SlotLost {
                slot: self.name.clone(),
                why: "the server threw the log away that it needs".to_owned(),
            });
        }
        Ok(())
    }
}

/// How the slot is, for alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHealth {
    /// Its name on the server; none if there is no slot, and so no increment can follow.
    pub slot: Option<String>,
    /// `reserved`, `extended`, `unreserved` (soon lost) or `lost`; `missing` if there is none.
    pub wal_status: String,
    /// How much of the log the server keeps for it, in bytes.
    pub retained_bytes: u64,
    /// How much was written since the newest increment, in bytes.
    pub lag_bytes: u64,
    /// How much more may be written before it is lost, in bytes; none if nothing limits it.
    pub safe_bytes: Option<u64>,
    /// Whether somebody reads it now.
    pub active: bool,
}

/// The slots of this database that bear the settings' name, those that can be used first, then the
/// newest position.
pub(crate) async fn find_slots(
    connection: &mut PgConnection,
    config: &SourceConfig,
) -> Result<Vec<Slot>, BackupFault> {
    let sql = format!(
        "select slot_name::text as name, coalesce(wal_status, 'lost') as wal_status, active_pid,
                restart_lsn::text as restart, coalesce(confirmed_flush_lsn::text, '0/0') as confirmed
           from pg_catalog.pg_replication_slots
          where database = current_database() and plugin = 'pgoutput'
            and slot_name ~ ('^' || {} || '_[0-9a-f]{{8}}$')
          order by wal_status = 'lost', confirmed_flush_lsn desc nulls last",
        literal(&config.slot)
    );
    let mut slots = Vec::new();
    for row in rows(connection, &sql, "looking for the slot").await? {
        let name: String = get(&row, "name")?;
        let number = name.rsplit('_').next().unwrap_or_default();
        slots.push(Slot {
            label: format!("{}/{number}", config.slot),
            confirmed: lsn(&get::<String>(&row, "confirmed")?)?,
            wal_status: get(&row, "wal_status")?,
            active_pid: get(&row, "active_pid")?,
            restart: get::<Option<String>>(&row, "restart")?.map(|r| lsn(&r)).transpose()?,
            name,
        });
    }
    Ok(slots)
}

/// Makes a slot. The server first waits for the transactions under way to end; after the settings'
/// patience the one that holds it up is named.
pub(crate) async fn create_slot(
    connection: &mut PgConnection,
    config: &SourceConfig,
) -> Result<Slot, BackupFault> {
    let number: u32 = rand::random();
    let name = format!("{}_{number:08x}", config.slot);
    let doing = "making the slot";
    // A statement that waits to be cancelled by the server itself, so that nothing is left half made.
    let patience = config.patience.max(Duration::from_millis(1)).as_millis();
    run(connection, &format!("set statement_timeout = {patience}"), doing).await?;
    let sql = format!("select pg_create_logical_replication_slot({}, 'pgoutput')", literal(&name));
    let made = rows(connection, &sql, doing).await;
    if let Err(fault) = made {
        run(connection, "set statement_timeout = 0", doing).await?;
        let code = match &fault {
            BackupFault::Database { source: sqlx::Error::Database(e), .. } => e.code(),
            _ => None,
        };
        return Err(match code.as_deref() {
            Some("57014" | "55P03") => held_up(connection, config).await?,
            Some("53400") => BackupFault::unfit(
                "the server has no slot left",
                "drop one that nobody needs (`select * from pg_replication_slots`) or raise \
                 max_replication_slots",
            ),
            _ => fault,
        });
    }
    run(connection, "set statement_timeout = 0", doing).await?;
    let slots = find_slots(connection, config).await?;
    slots.into_iter().find(|s| s.name == name).ok_or_else(|| BackupFault::SlotLost {
        slot: name,
        why: "it was dropped as soon as it was made".to_owned(),
    })
}

/// The oldest transaction with a number: that is what a new slot waits for.
async fn held_up(
    connection: &mut PgConnection,
    config: &SourceConfig,
) -> Result<BackupFault, BackupFault> {
    const SQL: &str = "select l.pid from pg_catalog.pg_locks l
          where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'
            and l.pid is distinct from pg_backend_pid()
          order by age(l.transactionid) desc limit 1";
    let found = rows(connection, SQL, "asking who holds the slot up").await?;
    let pid = found.first().map(|row| get::<Option<i32>>(row, "pid")).transpose()?.flatten();
    Ok(match pid {
        Some(pid) => BackupFault::Held { pid, secs: config.patience.as_secs() },
        None => BackupFault::unfit(
            "a prepared transaction keeps the slot from being made",
            "finish what `select * from pg_prepared_xacts` shows, then run the backup again",
        ),
    })
}

/// Drops a slot; one that is gone is no fault.
pub(crate) async fn drop_slot(
    connection: &mut PgConnection,
    slot: &Slot,
) -> Result<(), BackupFault> {
    let sql = format!(
        "select pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots
          where slot_name = {}",
        literal(&slot.name)
    );
    run(connection, &sql, "dropping a slot that is of no use").await
}

/// Tells the server that the log up to a position is safe elsewhere.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    slot: &Slot,
    to: Lsn,
) -> Result<(), BackupFault> {
    let sql = format!(
        "select pg_replication_slot_advance({}, {})",
        literal(&slot.name),
        literal(&to.to_string())
    );
    let done = run(connection, &sql, "advancing the slot").await;
    done.map_err(|fault| busy_or(fault, slot))
}

/// A slot that somebody else reads has a fault of its own.
pub(crate) fn busy_or(fault: BackupFault, slot: &Slot) -> BackupFault {
    if let BackupFault::Database { source: sqlx::Error::Database(e), .. } = &fault {
        match e.code().as_deref() {
            // object_in_use
            Some("55006") => return BackupFault::SlotBusy { slot: slot.name.clone() },
            // undefined_object; object_not_in_prerequisite_state: invalidated since we looked
            Some("42704" | "55000") => {
                let why = e.message().to_owned();
                return BackupFault::SlotLost { slot: slot.name.clone(), why };
            }
            _ => {}
        }
    }
    fault
}

/// How the slot is.
pub(crate) async fn slot_health_of(
    connection: &mut PgConnection,
    config: &SourceConfig,
) -> Result<SlotHealth, BackupFault> {
    let Some(slot) = find_slots(connection, config).await?.into_iter().next() else {
        return Ok(SlotHealth {
            slot: None,
            wal_status: "missing".to_owned(),
            retained_bytes: 0,
            lag_bytes: 0,
            safe_bytes: None,
            active: false,
        });
    };
    let sql = format!(
        "select coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint as retained,
                coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint as lag,
                safe_wal_size as safe
           from pg_catalog.pg_replication_slots where slot_name = {}",
        literal(&slot.name)
    );
    let found = rows(connection, &sql, "asking how the slot is").await?;
    let bytes = |n: i64| u64::try_from(n).unwrap_or_default();
    let Some(row) = found.first() else {
        return Err(BackupFault::SlotLost { slot: slot.name, why: "it was dropped".to_owned() });
    };
    Ok(SlotHealth {
        wal_status: slot.wal_status,
        retained_bytes: bytes(get(row, "retained")?),
        lag_bytes: bytes(get(row, "lag")?),
        safe_bytes: get::<Option<i64>>(row, "safe")?.map(bytes),
        active: slot.active_pid.is_some(),
        slot: Some(slot.name),
    })
}

/// A position as the server writes it.
pub(crate) fn lsn(text: &str) -> Result<Lsn, BackupFault> {
    text.parse().map_err(|why: String| {
        BackupFault::unfit(
            why,
            "the server answered something unexpected; report this with its version",
        )
    })
}
