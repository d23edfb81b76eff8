//! Writing down what became of an event.

use crate::{Result, Tx};
use sqlx::types::Json;
use switchyard_domain::{EventId, FieldFault, LeadId, PortalId};

/// Writes down that an event became a lead, or repeats one.
///
/// # Errors
/// If the database is not available.
pub async fn mark_processed(tx: &mut Tx, id: EventId, version: i32, lead: LeadId) -> Result<()> {
    // Of several leads the event names the first.
    sqlx::query(
        "update switchyard.webhook_events set state = 'processed', reasons = null,
           portal_version = $2, lead_id = coalesce(lead_id, $3), processed_at = now() where id = $1",
    )
    .bind(id.0)
    .bind(version)
    .bind(lead.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Adds to a processed event why some of its leads are none. Without reasons there are none.
///
/// # Errors
/// If the database is not available.
pub async fn note_partial(tx: &mut Tx, id: EventId, reasons: &[FieldFault]) -> Result<()> {
    sqlx::query(
        "update switchyard.webhook_events set reasons = $2
         where id = $1 and state = 'processed' and reasons is distinct from $2",
    )
    .bind(id.0)
    .bind((!reasons.is_empty()).then_some(Json(reasons)))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes down that an event is no lead and is not meant to be one.
///
/// # Errors
/// If the database is not available.
pub async fn mark_ignored(
    tx: &mut Tx,
    id: EventId,
    version: i32,
    reason: &FieldFault,
) -> Result<()> {
    mark(tx, id, "ignored", version, std::slice::from_ref(reason)).await
}

/// Writes down why an event does not fit.
///
/// # Errors
/// If the database is not available.
pub async fn mark_rejected(
    tx: &mut Tx,
    id: EventId,
    version: i32,
    reasons: &[FieldFault],
) -> Result<()> {
    mark(tx, id, "rejected", version, reasons).await
}

async fn mark(
    tx: &mut Tx,
    id: EventId,
    state: &'static str,
    version: i32,
    reasons: &[FieldFault],
) -> Result<()> {
    sqlx::query(
        "update switchyard.webhook_events set state = $4, reasons = $3,
           portal_version = $2, processed_at = now() where id = $1",
    )
    .bind(id.0)
    .bind(version)
    .bind(Json(reasons))
    .bind(state)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Holds an event if its portal is paused still; says whether it is. Whoever resumes the portal waits
/// for this transaction, and so finds the event.
///
/// # Errors
/// If the database is not available.
pub async fn hold(tx: &mut Tx, id: EventId, portal: PortalId) -> Result<bool> {
    let paused: bool = sqlx::query_scalar(
        "select paused_at is not null from switchyard.portals where id = $1 for share",
    )
    .bind(portal.0)
    .fetch_one(tx.conn())
    .await?;
    if paused {
        sqlx::query("update switchyard.webhook_events set state = 'held' where id = $1")
            .bind(id.0)
            .execute(tx.conn())
            .await?;
    }
    Ok(paused)
}
