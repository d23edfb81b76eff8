//! Restores that somebody asked for, and the second confirmation. Platform scope.

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::time::Duration;
use uuid::Uuid;

stored_words! {
    /// What was asked for.
    Asked {
        /// A restore into a database.
        Restore = "restore",
        /// The whole plan into the standby.
        DisasterRecovery = "disaster_recovery",
    }
}

/// A request as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreRequest {
    /// Its id.
    pub id: Uuid,
    /// What was asked for.
    pub what: Asked,
    /// From what, to where.
    pub plan: Value,
    /// What has to be typed to confirm it alone.
    pub phrase: String,
    /// SHA-256 of the token.
    #[serde(skip)]
    pub token_hash: Vec<u8>,
    /// By whom.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Confirmed by then or not at all.
    pub expires_at: DateTime<Utc>,
    /// It is too late to confirm it, by the database's clock.
    pub expired: bool,
    /// Who confirmed it.
    pub confirmed_by: Option<String>,
    /// When.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The job that does it.
    pub job: Option<Uuid>,
}

fn request(row: &PgRow) -> sqlx::Result<RestoreRequest> {
    Ok(RestoreRequest {
        id: row.try_get("id")?,
        what: word(row, "what")?,
        plan: row.try_get("plan")?,
        phrase: row.try_get("phrase")?,
        token_hash: row.try_get("token_hash")?,
        asked_by: row.try_get("asked_by")?,
        asked_at: row.try_get("asked_at")?,
        expires_at: row.try_get("expires_at")?,
        expired: row.try_get("expired")?,
        confirmed_by: row.try_get("confirmed_by")?,
        confirmed_at: row.try_get("confirmed_at")?,
        job: row.try_get("job_id")?,
    })
}

/// A request to be written down.
#[derive(Clone, Debug)]
pub struct NewRequest<'a> {
    /// What is asked for.
    pub what: Asked,
    /// From what, to where.
    pub plan: &'a Value,
    /// What has to be typed.
    pub phrase: &'a str,
    /// SHA-256 of the token.
    pub token_hash: &'a [u8],
    /// By whom.
    pub asked_by: &'a str,
    /// How long it may be confirmed.
    pub life: Duration,
}

/// Writes a request down.
///
/// # Errors
/// If the database is not available.
pub async fn create(tx: &mut Tx, new: &NewRequest<'_>) -> Result<RestoreRequest> {
    let row = sqlx::query(
        "insert into switchyard.restore_requests
           (id, what, plan, phrase, token_hash, asked_by, expires_at)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 second')
         returning *, false as expired",
    )
    .bind(Uuid::now_v7())
    .bind(new.what.as_str())
    .bind(new.plan)
    .bind(new.phrase)
    .bind(new.token_hash)
    .bind(new.asked_by)
    .bind(crate::engine::seconds(new.life))
    .fetch_one(tx.conn())
    .await?;
    Ok(request(&row)?)
}

/// One request; locked until the transaction ends, so that two cannot confirm it.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn lock(tx: &mut Tx, id: Uuid) -> Result<RestoreRequest> {
    let row = sqlx::query(
        "select *, expires_at <= clock_timestamp() as expired
         from switchyard.restore_requests where id = $1 for update",
    )
    .bind(id)
    .fetch_optional(tx.conn())
    .await?
    .ok_or(StoreFault::NotFound)?;
    Ok(request(&row)?)
}

/// The latest requests, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, limit: u16) -> Result<Vec<RestoreRequest>> {
    let rows = sqlx::query(
        "select *, expires_at <= clock_timestamp() as expired
         from switchyard.restore_requests order by asked_at desc limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(request).collect::<sqlx::Result<_>>()?)
}

/// Writes down who confirmed it and which job does it.
///
/// # Errors
/// [`StoreFault::NotFound`] if it was confirmed before.
pub async fn confirm(tx: &mut Tx, id: Uuid, by: &str, job: Uuid) -> Result<()> {
    let done = sqlx::query(
        "update switchyard.restore_requests
         set confirmed_by = $2, confirmed_at = clock_timestamp(), job_id = $3
         where id = $1 and confirmed_at is null",
    )
    .bind(id)
    .bind(by)
    .bind(job)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}
