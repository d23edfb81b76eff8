//! The snapshot that a full backup copies, and the position from which the log goes on from it.
//!
//! First a position L of the log is noted, then everything is waited for that was under way by then, and
//! then the snapshot is taken. A transaction whose commit stands before L was under way or over by L,
//! so the snapshot has it. One whose commit stands after L is in the log from L on, and the snapshot
//! tells whether the copy has it too.

use super::{Catalogue, SourceConfig, get, qualified, rows, run};
use crate::BackupFault;
use crate::model::{Lsn, Snapshot};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::time::{Duration, Instant};

/// A snapshot that a transaction holds open.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Increments that end after it go on from the copy.
    pub(crate) start: Lsn,
    /// Where the log stood when the snapshot had been taken.
    pub(crate) taken_at: Lsn,
    /// What it holds.
    pub(crate) snapshot: Snapshot,
    /// Its name, for `SET TRANSACTION SNAPSHOT` on other connections.
    pub(crate) exported: String,
    /// A little before it was taken, by the server's clock.
    pub(crate) covers: DateTime<Utc>,
}

/// How often it is asked whether the transactions are over.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes a snapshot and leaves the connection in the transaction that holds it, and that holds the tables:
/// they are not altered, dropped or truncated meanwhile. They are locked before the snapshot is taken,
/// because a truncation in between would show in it.
///
/// # Errors
/// A transaction was not over after the settings' patience; a table was dropped at this moment.
pub(crate) async fn take_snapshot(
    connection: &mut PgConnection,
    config: &SourceConfig,
    catalogue: &Catalogue,
) -> Result<Held, BackupFault> {
    let doing = "noting the position in the log";
    // The position before the number: whoever commits before the position has a smaller number.
    let sql = "select pg_current_wal_insert_lsn()::text as start";
    let start = rows(connection, sql, doing).await?;
    let start = super::slot::lsn(&one::<String>(&start, "start")?)?;
    let sql = "select pg_current_xact_id()::text as next";
    let next: String = one(&rows(connection, sql, doing).await?, "next")?;
    let next: u64 = next.parse().unwrap_or_default();
    wait(connection, config, next).await?;

    let doing = "taking the snapshot";
    run(connection, "begin isolation level repeatable read read only", doing).await?;
    hold_tables(connection, catalogue).await?;
    let sql = "select clock_timestamp() as covers, pg_current_snapshot()::text as snapshot,
                      pg_export_snapshot() as exported, pg_current_wal_insert_lsn()::text as lsn";
    let taken = rows(connection, sql, doing).await?;
    Ok(Held {
        start,
        taken_at: super::slot::lsn(&one::<String>(&taken, "lsn")?)?,
        snapshot: parse(&one::<String>(&taken, "snapshot")?)?,
        exported: one(&taken, "exported")?,
        covers: one(&taken, "covers")?,
    })
}

/// Keeps tables as they are until the transaction ends. That takes no snapshot yet.
pub(crate) async fn hold_tables(
    connection: &mut PgConnection,
    catalogue: &Catalogue,
) -> Result<(), BackupFault> {
    for tables in catalogue.tables.chunks(100) {
        let names: Vec<String> =
            tables.iter().map(|t| format!("only {}", qualified(&t.schema, &t.name))).collect();
        let sql = format!("lock table {} in access share mode", names.join(", "));
        let locked = run(connection, &sql, "holding the tables").await;
        if let Err(BackupFault::Database { source: sqlx::Error::Database(e), .. }) = &locked
            && e.code().as_deref() == Some("42P01")
        {
            return Err(changed("a table was dropped while the backup began"));
        }
        locked?;
    }
    Ok(())
}

/// The schema moved under the backup's feet.
pub(crate) fn changed(problem: &str) -> BackupFault {
    BackupFault::unfit(problem, "run the backup again when no migration runs")
}

/// Waits until no transaction of this database with a number below `next` is under way. Its lock on its
/// own number is let go only after snapshots see it as over.
async fn wait(
    connection: &mut PgConnection,
    config: &SourceConfig,
    next: u64,
) -> Result<(), BackupFault> {
    const SQL: &str = "
        select l.transactionid::text::bigint as xid, a.pid, null::text as gid
          from pg_catalog.pg_locks l
          join pg_catalog.pg_stat_activity a on a.pid = l.pid and a.datname = current_database()
         where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
        union all
        select p.transaction::text::bigint, null, p.gid::text
          from pg_catalog.pg_prepared_xacts p where p.database = current_database()";
    let since = Instant::now();
    loop {
        let mut under_way = Vec::new();
        for row in rows(connection, SQL, "waiting for transactions to end").await? {
            let xid = super::catalogue::oid(get(&row, "xid")?);
            if before(xid, next) {
                let (pid, gid): (Option<i32>, Option<String>) =
                    (get(&row, "pid")?, get(&row, "gid")?);
                under_way.push((pid, gid));
            }
        }
        // A number below `next` cannot begin later, so this comes to an end.
        let Some((pid, gid)) = under_way.into_iter().next() else { return Ok(()) };
        if since.elapsed() >= config.patience {
            return Err(match (pid, gid) {
                (Some(pid), _) => BackupFault::Held { pid, secs: config.patience.as_secs() },
                (None, gid) => BackupFault::unfit(
                    format!("the prepared transaction `{}` is open", gid.unwrap_or_default()),
                    "finish it (`commit prepared` or `rollback prepared`), then run the backup again",
                ),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the transaction with these 32 bits came before `next`.
fn before(xid: u32, next: u64) -> bool {
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let distance = xid.wrapping_sub(next as u32) as i32;
    distance < 0
}

/// `xmin:xmax:running,running`.
fn parse(text: &str) -> Result<Snapshot, BackupFault> {
    let read = || {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|x| !x.is_empty());
        let mut running = running.map(|x| x.parse().ok()).collect::<Option<Vec<u64>>>()?;
        running.sort_unstable();
        Some(Snapshot { xmin, xmax, running })
    };
    read().ok_or_else(|| {
        BackupFault::unfit(
            format!("`{text}` is no snapshot"),
            "the server answered something unexpected; report this with its version",
        )
    })
}

fn one<'r, T>(rows: &'r [sqlx::postgres::PgRow], column: &str) -> Result<T, BackupFault>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let row = rows.first().ok_or(sqlx::Error::RowNotFound);
    get(row.map_err(BackupFault::database("taking the snapshot"))?, column)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_snapshot_is_read_as_the_server_writes_it() {
        let snapshot = parse("10:20:15,12").unwrap();
        assert_eq!(snapshot, Snapshot { xmin: 10, xmax: 20, running: vec![12, 15] });
        assert_eq!(parse("10:10:").unwrap().running, Vec::<u64>::new());
        assert!(parse("10").is_err() && parse("a:b:").is_err() && parse("1:2:x").is_err());
    }

    #[test]
    fn numbers_are_compared_across_the_turn_of_their_32_bits() {
        assert!(before(9, 10) && !before(10, 10) && !before(11, 10));
        assert!(before(u32::MAX, (3 << 32) + 5) && !before(7, (3 << 32) + 5));
    }
}
