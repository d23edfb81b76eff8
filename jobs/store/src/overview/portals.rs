//! Portals as operators see them: settings, never secrets.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::PortalId;
use uuid::Uuid;

/// One sender of webhooks.
#[derive(Clone, Debug, PartialEq)]
pub struct PortalRow {
    /// The portal.
    pub id: PortalId,
    /// Stands in the webhook's URL.
    pub code: String,
    /// For people.
    pub name: String,
    /// Whether its deliveries are taken.
    pub active: bool,
    /// Authentication, mapping, reply; no secrets.
    pub settings: Value,
    /// Rises with every change of the settings.
    pub version: i32,
    /// It has an API key.
    pub has_key: bool,
    /// It signs its deliveries.
    pub has_secret: bool,
    /// When the settings changed last.
    pub updated_at: DateTime<Utc>,
    /// Deliveries rejected in the last seven days, counted up to 1,000.
    pub rejected: i64,
    /// Its deliveries are held.
    pub paused: bool,
    /// Since when it is silent for longer than is usual.
    pub silent_since: Option<DateTime<Utc>>,
    /// When its last delivery came, as of about a minute ago.
    pub last_event_at: Option<DateTime<Utc>>,
}

macro_rules! portal_sql {
    ($rest:literal) => {
        concat!(
            "select p.id, p.code, p.name, p.active, p.settings, p.version, p.updated_at,
                    p.api_key_hash is not null as has_key, p.signing_secret is not null as has_secret,
                    r.n as rejected, p.paused_at is not null as paused, q.silent_since, q.last_event_at
             from switchyard.portals p
             left join switchyard.portal_pulse q on q.portal_id = p.id
             cross join lateral (
               select count(*) as n from (
                 select from switchyard.webhook_events e
                 where e.portal_id = p.id and e.state = 'rejected'
                   and e.received_at > now() - interval '7 days' limit 1000) bounded
             ) r ",
            $rest
        )
    };
}

/// Every portal, by name.
///
/// # Errors
/// If the database is not available.
pub async fn portals(tx: &mut Tx) -> Result<Vec<PortalRow>> {
    const SQL: &str = portal_sql!("order by p.name, p.code");
    sqlx::query(SQL).fetch_all(tx.conn()).await?.iter().map(row).collect()
}

/// One portal.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none with this code.
pub async fn portal(tx: &mut Tx, code: &str) -> Result<PortalRow> {
    const SQL: &str = portal_sql!("where p.code = $1");
    row(&sqlx::query(SQL).bind(code).fetch_one(tx.conn()).await?)
}

fn row(row: &PgRow) -> Result<PortalRow> {
    Ok(PortalRow {
        id: PortalId(row.try_get::<Uuid, _>("id")?),
        code: row.try_get("code")?,
        name: row.try_get("name")?,
        active: row.try_get("active")?,
        settings: row.try_get("settings")?,
        version: row.try_get("version")?,
        has_key: row.try_get("has_key")?,
        has_secret: row.try_get("has_secret")?,
        updated_at: row.try_get("updated_at")?,
        rejected: row.try_get("rejected")?,
        paused: row.try_get("paused")?,
        silent_since: row.try_get("silent_since")?,
        last_event_at: row.try_get("last_event_at")?,
    })
}
