//! Portals: the senders of webhooks. Platform scope.
//!
//! The settings are kept as JSON; `switchyard_domain` gives them a type. A portal whose stored
//! settings cannot be read must still be listed, so that somebody can mend them.

mod steer;
mod versions;

pub use steer::{Pulse, pulses, rotate_key, rotate_secret, set_enrich_token};
pub use versions::{PortalVersion, acting, rollback, versions};

use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::fmt;
use switchyard_domain::PortalId;

/// A portal as it is stored.
#[derive(Clone)]
pub struct Portal {
    /// Its id.
    pub id: PortalId,
    /// The word in its webhook URL.
    pub code: String,
    /// For people.
    pub name: String,
    /// Whether its webhooks are taken.
    pub active: bool,
    /// `PortalSettings` as JSON: authentication, mapping, reply; no secrets.
    pub settings: Value,
    /// Rises with every change of the settings.
    pub version: i32,
    /// SHA-256 of the API key.
    pub api_key_hash: Option<Vec<u8>>,
    /// Hash of the key before the last rotation, as long as it is live.
    pub former_key_hash: Option<Vec<u8>>,
    /// Hash of the verify token, for senders that ask first.
    pub verify_token_hash: Option<Vec<u8>>,
    /// The signing secret, sealed with the master key.
    pub signing_secret: Option<Vec<u8>>,
    /// What we show where the rest of a lead is fetched, sealed with the master key.
    pub enrich_token: Option<Vec<u8>>,
    /// Since when its deliveries are held.
    pub paused_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither hash nor sealed secret belongs in a log.
        f.debug_struct("Portal")
            .field("id", &self.id)
            .field("code", &self.code)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A portal to be made or changed.
#[derive(Clone)]
pub struct NewPortal {
    /// The word in its webhook URL.
    pub code: String,
    /// For people.
    pub name: String,
    /// Whether its webhooks are taken.
    pub active: bool,
    /// `PortalSettings` as JSON.
    pub settings: Value,
    /// SHA-256 of the API key. `None` keeps what stands.
    pub api_key_hash: Option<Vec<u8>>,
    /// The sealed signing secret. `None` keeps what stands.
    pub signing_secret: Option<Vec<u8>>,
}

macro_rules! columns {
    () => {
        "id, code, name, active, settings, version, api_key_hash, \
         case when coalesce(former_key_until, 'infinity') > now() then former_key_hash end \
           as former_key_hash, \
         case when signing_after_at <= now() then signing_after else signing_secret end \
           as signing_secret, \
         verify_token_hash, enrich_token, paused_at, created_at, updated_at"
    };
}

fn portal(row: &PgRow) -> sqlx::Result<Portal> {
    Ok(Portal {
        id: PortalId(row.try_get("id")?),
        code: row.try_get("code")?,
        name: row.try_get("name")?,
        active: row.try_get("active")?,
        settings: row.try_get("settings")?,
        version: row.try_get("version")?,
        api_key_hash: row.try_get("api_key_hash")?,
        former_key_hash: row.try_get("former_key_hash")?,
        verify_token_hash: row.try_get("verify_token_hash")?,
        signing_secret: row.try_get("signing_secret")?,
        enrich_token: row.try_get("enrich_token")?,
        paused_at: row.try_get("paused_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// The portal with this code.
///
/// # Errors
/// If the database is not available.
pub async fn by_code(tx: &mut Tx, code: &str) -> Result<Option<Portal>> {
    sqlx::query(concat!("select ", columns!(), " from switchyard.portals where code = $1"))
        .bind(code)
        .fetch_optional(tx.conn())
        .await?
        .map(|row| portal(&row))
        .transpose()
        .map_err(StoreFault::from)
}

/// The portal with this id.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn get(tx: &mut Tx, id: PortalId) -> Result<Portal> {
    let row = sqlx::query(concat!("select ", columns!(), " from switchyard.portals where id = $1"))
        .bind(id.0)
        .fetch_one(tx.conn())
        .await?;
    Ok(portal(&row)?)
}

/// The code of the portal that leads entered by hand belong to. Nobody sends to it, so nobody can miss
/// what it sends.
pub const BY_HAND: &str = "by-hand";

/// The portal of what people enter by hand, made if it is not there. Nobody has a key of it: what
/// stands for one is the hash of nothing that anybody knows.
///
/// # Errors
/// If the database refuses it.
pub async fn by_hand(tx: &mut Tx, name: &str, settings: &Value) -> Result<Portal> {
    if let Some(portal) = by_code(tx, BY_HAND).await? {
        return Ok(portal);
    }
    sqlx::query(
        "insert into switchyard.portals (id, code, name, settings, api_key_hash)
         values ($1, $2, $3, $4, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
         on conflict (code) do nothing",
    )
    .bind(PortalId::new().0)
    .bind(BY_HAND)
    .bind(name)
    .bind(settings)
    .execute(tx.conn())
    .await?;
    by_code(tx, BY_HAND).await?.ok_or(StoreFault::NotFound)
}

/// Every portal, by code.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx) -> Result<Vec<Portal>> {
    let rows =
        sqlx::query(concat!("select ", columns!(), " from switchyard.portals order by code"))
            .fetch_all(tx.conn())
            .await?;
    Ok(rows.iter().map(portal).collect::<sqlx::Result<_>>()?)
}

/// Makes the portal, or changes the one with this code. The version rises when the settings differ.
/// A new key ends the one before it and any former one, see [`set_former_key`].
///
/// # Errors
/// Constraint `portals_authenticated` if a new portal has neither key nor secret.
pub async fn upsert(tx: &mut Tx, new: &NewPortal) -> Result<Portal> {
    // The update comes first: an upsert would check the constraint on the row it does not insert.
    let changed = sqlx::query(concat!(
        "update switchyard.portals set name = $2, active = $3, settings = $4,
           former_key_hash = case when $5::bytea is null then former_key_hash end,
           api_key_hash = coalesce($5, api_key_hash), signing_secret = coalesce($6, signing_secret),
           signing_after = case when $6 is null then signing_after end,
           signing_after_at = case when $6 is null then signing_after_at end,
           version = version + (settings is distinct from $4)::int, updated_at = now()
         where code = $1 returning ",
        columns!()
    ))
    .bind(&new.code)
    .bind(&new.name)
    .bind(new.active)
    .bind(&new.settings)
    .bind(&new.api_key_hash)
    .bind(&new.signing_secret)
    .fetch_optional(tx.conn())
    .await?;
    if let Some(row) = changed {
        return Ok(portal(&row)?);
    }
    let row = sqlx::query(concat!(
        "insert into switchyard.portals
           (code, name, active, settings, api_key_hash, signing_secret, id)
         values ($1, $2, $3, $4, $5, $6, $7) returning ",
        columns!()
    ))
    .bind(&new.code)
    .bind(&new.name)
    .bind(new.active)
    .bind(&new.settings)
    .bind(&new.api_key_hash)
    .bind(&new.signing_secret)
    .bind(PortalId::new().0)
    .fetch_one(tx.conn())
    .await?;
    Ok(portal(&row)?)
}

/// Changes the settings alone; gives the new version.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such portal.
pub async fn set_settings(tx: &mut Tx, id: PortalId, settings: &Value) -> Result<i32> {
    Ok(sqlx::query_scalar(
        "update switchyard.portals set settings = $2, updated_at = now(),
           version = version + (settings is distinct from $2)::int
         where id = $1 returning version",
    )
    .bind(id.0)
    .bind(settings)
    .fetch_one(tx.conn())
    .await?)
}

/// Keeps the key that was replaced live beside the new one, or retires it (`None`).
///
/// # Errors
/// If the database is not available.
pub async fn set_former_key(tx: &mut Tx, id: PortalId, hash: Option<&[u8]>) -> Result<()> {
    sqlx::query(
        "update switchyard.portals set former_key_hash = $2, former_key_until = null, updated_at = now()
         where id = $1",
    )
    .bind(id.0)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Sets what a sender must name when it asks whether the address is ours.
///
/// # Errors
/// If the database is not available.
pub async fn set_verify_token(tx: &mut Tx, id: PortalId, hash: Option<&[u8]>) -> Result<()> {
    sqlx::query(
        "update switchyard.portals set verify_token_hash = $2, updated_at = now() where id = $1",
    )
    .bind(id.0)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// From now on deliveries are taken and held. Gives whether they were not held before.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such portal.
pub async fn pause(tx: &mut Tx, id: PortalId) -> Result<bool> {
    let before = paused_at(tx, id).await?;
    sqlx::query(
        "update switchyard.portals set paused_at = coalesce(paused_at, now()) where id = $1",
    )
    .bind(id.0)
    .execute(tx.conn())
    .await?;
    Ok(before.is_none())
}

/// Deliveries are judged again; what is held is for [`crate::events::release`]. Gives whether they
/// were held.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such portal.
pub async fn resume(tx: &mut Tx, id: PortalId) -> Result<bool> {
    let before = paused_at(tx, id).await?;
    sqlx::query("update switchyard.portals set paused_at = null where id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await?;
    Ok(before.is_some())
}

/// Locks the portal: an ingest that saw it paused has committed when this returns, or will see what
/// becomes of it.
async fn paused_at(tx: &mut Tx, id: PortalId) -> Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar(
        "select paused_at from switchyard.portals where id = $1 for no key update",
    )
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?)
}
