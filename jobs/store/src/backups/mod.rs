//! What backups came to, who asked for restores, and what keeps a restored system still.

pub mod alarms;
mod lock;
pub mod requests;
pub mod restored;
pub mod runs;

pub use lock::BackupLock;

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Writes down what somebody did, in the transaction that does it.
///
/// # Errors
/// If the database is not available.
pub async fn audit(
    tx: &mut Tx,
    who: &str,
    action: &str,
    target: Option<&str>,
    details: &Value,
) -> Result<()> {
    sqlx::query(
        "insert into switchyard.audit_log (id, who, action, target, details)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(Uuid::now_v7())
    .bind(who)
    .bind(action)
    .bind(target)
    .bind(details)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// One line of the record of what operators did.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct AuditLine {
    /// When.
    pub at: DateTime<Utc>,
    /// `admin:<id>` or `cli:<user>`.
    pub who: String,
    /// What: `backup.restore.asked`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// The rest.
    pub details: Option<Value>,
}

/// The record, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn audit_log(tx: &mut Tx, limit: u16) -> Result<Vec<AuditLine>> {
    Ok(sqlx::query_as(
        "select at, who, action, target, details from switchyard.audit_log
         order by at desc limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?)
}
