//! Credentials, pauses and whether a portal is silent: what changes without a new version.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use std::collections::HashMap;
use std::time::Duration;
use switchyard_domain::PortalId;

/// Gives a portal a new API key. The one before stays good for `keep`.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is no such portal.
pub async fn rotate_key(tx: &mut Tx, id: PortalId, hash: &[u8], keep: Duration) -> Result<()> {
    let _: bool = sqlx::query_scalar(
        "update switchyard.portals set former_key_hash = api_key_hash,
           former_key_until = now() + make_interval(secs => $3), api_key_hash = $2,
           updated_at = now()
         where id = $1 returning true",
    )
    .bind(id.0)
    .bind(hash)
    .bind(keep.as_secs_f64())
    .fetch_one(tx.conn())
    .await?;
    Ok(())
}

/// Gives a portal a new signing secret: `both` (with the one before) now, `after` once `keep` is over.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is no such portal.
pub async fn rotate_secret(
    tx: &mut Tx,
    id: PortalId,
    both: &[u8],
    after: &[u8],
    keep: Duration,
) -> Result<()> {
    let _: bool = sqlx::query_scalar(
        "update switchyard.portals set signing_secret = $2, signing_after = $3,
           signing_after_at = now() + make_interval(secs => $4), updated_at = now()
         where id = $1 returning true",
    )
    .bind(id.0)
    .bind(both)
    .bind(after)
    .bind(keep.as_secs_f64())
    .fetch_one(tx.conn())
    .await?;
    Ok(())
}

/// Sets the sealed token that is shown where the rest of a lead is fetched.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is no such portal.
pub async fn set_enrich_token(tx: &mut Tx, id: PortalId, sealed: &[u8]) -> Result<()> {
    let _: bool = sqlx::query_scalar(
        "update switchyard.portals set enrich_token = $2, updated_at = now()
         where id = $1 returning true",
    )
    .bind(id.0)
    .bind(sealed)
    .fetch_one(tx.conn())
    .await?;
    Ok(())
}

/// How a portal's events usually come, and whether they still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// When the last one came, as of about a minute ago.
    pub last_event_at: DateTime<Utc>,
    /// The longest pause that is usual; `None`: not enough is known.
    pub usual_gap: Option<Duration>,
    /// Since when it is silent for longer than usual.
    pub silent_since: Option<DateTime<Utc>>,
}

/// The pulses of all portals that ever sent something.
///
/// # Errors
/// If the database is not available.
pub async fn pulses(tx: &mut Tx) -> Result<HashMap<PortalId, Pulse>> {
    let rows = sqlx::query(
        "select portal_id, last_event_at, extract(epoch from usual_gap)::float8 as gap, silent_since
         from switchyard.portal_pulse",
    )
    .fetch_all(tx.conn())
    .await?;
    let pulse = |row: &sqlx::postgres::PgRow| {
        let gap: Option<f64> = row.try_get("gap")?;
        let pulse = Pulse {
            last_event_at: row.try_get("last_event_at")?,
            usual_gap: gap.and_then(|s| Duration::try_from_secs_f64(s).ok()),
            silent_since: row.try_get("silent_since")?,
        };
        Ok((PortalId(row.try_get("portal_id")?), pulse))
    };
    Ok(rows.iter().map(pulse).collect::<sqlx::Result<_>>()?)
}
