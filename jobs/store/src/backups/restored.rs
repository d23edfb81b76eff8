//! "A restored system starts paused": the mark in a restored database, and its release.

use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Connection;
use switchyard_queue::WakeToken;

/// For whoever restores and hands the new database over to [`mark`].
pub use sqlx::PgConnection;

/// A system that was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Restored {
    /// The full backup it came from.
    pub backup: String,
    /// The state that was restored is at least as new as this.
    pub covers: DateTime<Utc>,
    /// When.
    pub restored_at: DateTime<Utc>,
    /// When it was released; `None`: nothing leaves it yet.
    pub released_at: Option<DateTime<Utc>>,
    /// By whom.
    pub released_by: Option<String>,
}

/// Marks a database that was just restored, before anybody else works in it: all queues are paused, and
/// those to come are born so. With the owner's rights. A database that has no engine (of one table, say,
/// or of another program) has nothing that could leave, and is left alone; gives whether it was marked.
///
/// # Errors
/// If the database refuses it.
pub async fn mark(
    connection: &mut PgConnection,
    backup: &str,
    covers: DateTime<Utc>,
) -> Result<bool> {
    let there: bool = sqlx::query_scalar("select to_regclass('engine.restored') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(false);
    }
    let mut tx = connection.begin().await?;
    sqlx::query(
        "insert into engine.restored as r (backup, covers, paused_before)
         select $1, $2, coalesce(array_agg(queue order by queue) filter (where paused), '{}')
         from engine.queues
         on conflict (one) do update set backup = excluded.backup, covers = excluded.covers,
           restored_at = now(), released_at = null, released_by = null,
           -- A backup of a system that was itself restored and not released: what its mark paused
           -- was not paused by an operator.
           paused_before = case when r.released_at is null then r.paused_before
             else excluded.paused_before end",
    )
    .bind(backup)
    .bind(covers)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update engine.queues set paused = true where not paused")
        .execute(&mut *tx)
        .await?;
    sqlx::query("update engine.lanes set paused = true where not paused").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// The mark of this database; `None`: it was never restored.
///
/// # Errors
/// If the database is not available.
pub async fn get(db: &Db) -> Result<Option<Restored>> {
    Ok(sqlx::query_as(
        "select backup, covers, restored_at, released_at, released_by from engine.restored",
    )
    .fetch_optional(db.engine())
    .await?)
}

/// Whether it was restored and nothing may leave it yet.
///
/// # Errors
/// If the database is not available.
pub async fn awaits_release(db: &Db) -> Result<bool> {
    Ok(sqlx::query_scalar("select engine.awaits_release()").fetch_one(db.engine()).await?)
}

/// Releases it: queues go on, but for those that had been paused before the backup; schedules fire from
/// now on, and nothing of the time between is made up for.
///
/// # Errors
/// [`StoreFault::NotFound`] if nothing waits for a release.
pub async fn release(db: &Db, by: &str) -> Result<Restored> {
    let mut tx = db.begin_engine().await?;
    let (restored, paused): (Restored, Vec<String>) = {
        let row = sqlx::query(
            "update engine.restored set released_at = clock_timestamp(), released_by = $1
             where released_at is null
             returning backup, covers, restored_at, released_at, released_by, paused_before",
        )
        .bind(by)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreFault::NotFound)?;
        use sqlx::{FromRow, Row};
        (Restored::from_row(&row)?, row.try_get("paused_before")?)
    };
    sqlx::query("update engine.queues set paused = false where paused and queue <> all($1)")
        .bind(&paused)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "update engine.lanes set paused = false where paused and not held and queue <> all($1)",
    )
    .bind(&paused)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update engine.schedules set since = clock_timestamp()").execute(&mut *tx).await?;
    tx.commit().await?;
    db.wake().send(&[WakeToken::Resync]);
    Ok(restored)
}
