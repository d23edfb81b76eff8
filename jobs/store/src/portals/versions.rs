//! Every state that a portal's settings ever had. A trigger writes them.

use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use switchyard_domain::PortalId;

/// One state of a portal's settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortalVersion {
    /// Its number.
    pub version: i32,
    /// The settings.
    pub settings: Value,
    /// Who made it: `cli:ada`, `admin:<id>`, or the database's login.
    pub changed_by: String,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// Says in whose name this transaction changes portals; it stands in the version it makes.
///
/// # Errors
/// If the database is not available.
pub async fn acting(tx: &mut Tx, by: &str) -> Result<()> {
    sqlx::query("select set_config('switchyard.by', $1, true)").bind(by).execute(tx.conn()).await?;
    Ok(())
}

/// The versions of a portal, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn versions(tx: &mut Tx, portal: PortalId) -> Result<Vec<PortalVersion>> {
    let rows = sqlx::query(
        "select version, settings, changed_by, changed_at from switchyard.portal_versions
         where portal_id = $1 order by version desc",
    )
    .bind(portal.0)
    .fetch_all(tx.conn())
    .await?;
    let version = |row: &sqlx::postgres::PgRow| {
        Ok(PortalVersion {
            version: row.try_get("version")?,
            settings: row.try_get("settings")?,
            changed_by: row.try_get("changed_by")?,
            changed_at: row.try_get("changed_at")?,
        })
    };
    Ok(rows.iter().map(version).collect::<sqlx::Result<_>>()?)
}

/// Puts the settings of an earlier version in force, as a new version; gives its number. The one in
/// force already stays as it is.
///
/// # Errors
/// [`StoreFault::NotFound`] if the portal has no such version.
pub async fn rollback(tx: &mut Tx, portal: PortalId, version: i32) -> Result<i32> {
    let settings: Option<Value> = sqlx::query_scalar(
        "select settings from switchyard.portal_versions where portal_id = $1 and version = $2",
    )
    .bind(portal.0)
    .bind(version)
    .fetch_optional(tx.conn())
    .await?;
    let settings = settings.ok_or(StoreFault::NotFound)?;
    super::set_settings(tx, portal, &settings).await
}
