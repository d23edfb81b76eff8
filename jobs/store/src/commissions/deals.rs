//! A deal with what was recorded about it, for whoever records something more.

use super::EventRow;
use super::events::{columns, read};
use crate::{Result, Tx};
use switchyard_domain::CommissionEventId;

/// First key of the advisory locks that put recordings about one deal one after another.
const DEAL: i32 = 1_279_607_882;

/// Lets one transaction at a time record something about a deal, to its end. Bookings do not wait for it.
///
/// # Errors
/// If the database is not available.
pub async fn lock_deal(tx: &mut Tx, conversion: CommissionEventId) -> Result<()> {
    sqlx::query("select pg_advisory_xact_lock($1, hashtext($2::uuid::text))")
        .bind(DEAL)
        .bind(conversion.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// The events that name a conversion, whatever became of them, in no order.
///
/// # Errors
/// If the database is not available.
pub async fn naming(tx: &mut Tx, conversion: CommissionEventId) -> Result<Vec<EventRow>> {
    let query =
        concat!("select ", columns!(), "from switchyard.commission_events e where e.of_id = $1");
    let rows = sqlx::query(query).bind(conversion.0).fetch_all(tx.conn()).await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}
