//! The files by which a bank was told to pay. Platform scope.

use super::PayoutMethod;
use crate::words::word;
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// A file, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutFile {
    /// Its id; the message's id is its digits.
    pub id: Uuid,
    /// pain.001 or CSV.
    pub method: PayoutMethod,
    /// ISO 4217.
    pub currency: String,
    /// How many payouts it holds.
    pub payouts: i32,
    /// What they come to, in minor units.
    pub amount: i64,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: DateTime<Utc>,
}

fn read(row: &PgRow) -> sqlx::Result<PayoutFile> {
    Ok(PayoutFile {
        id: row.try_get("id")?,
        method: word(row, "method")?,
        currency: row.try_get("currency")?,
        payouts: row.try_get("payouts")?,
        amount: row.try_get("amount")?,
        made_by: row.try_get("made_by")?,
        made_at: row.try_get("made_at")?,
    })
}

/// Keeps a file; the payouts in it are marked by the caller.
///
/// # Errors
/// If the database refuses it.
pub async fn save_file(tx: &mut Tx, of: &PayoutFile, document: &[u8]) -> Result<()> {
    sqlx::query(
        "insert into switchyard.payout_files (id, method, currency, payouts, amount, document, made_by)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(of.id)
    .bind(of.method.as_str())
    .bind(&of.currency)
    .bind(of.payouts)
    .bind(of.amount)
    .bind(document)
    .bind(&of.made_by)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// One file with its content.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none.
pub async fn file(tx: &mut Tx, id: Uuid) -> Result<(PayoutFile, Vec<u8>)> {
    let row = sqlx::query("select * from switchyard.payout_files where id = $1")
        .bind(id)
        .fetch_one(tx.conn())
        .await?;
    Ok((read(&row)?, row.try_get("document")?))
}

/// The last files, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn files(tx: &mut Tx, limit: i64) -> Result<Vec<PayoutFile>> {
    let rows = sqlx::query(
        "select id, method, currency, payouts, amount, made_by, made_at from switchyard.payout_files
         order by id desc limit $1",
    )
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}
