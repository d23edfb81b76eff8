//! Agencies: the tenants. An agency sees its own row only; the platform sees all.

use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::AgencyId;

/// An agency, without its password.
#[derive(Clone, Debug)]
pub struct Agency {
    /// The agency.
    pub id: AgencyId,
    /// For people.
    pub name: String,
    /// As it was given; unique whatever the case.
    pub email: String,
    /// E.164.
    pub phone: Option<String>,
    /// Takes part; an inactive one cannot sign in either.
    pub active: bool,
    /// Gets leads until then; `None`: has no subscription.
    pub subscribed_until: Option<DateTime<Utc>>,
    /// Takes leads that nobody else covers.
    pub catch_all: bool,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// A new agency.
#[derive(Clone, Debug)]
pub struct NewAgency {
    /// For people.
    pub name: String,
    /// Unique whatever the case.
    pub email: String,
    /// E.164.
    pub phone: Option<String>,
    /// PHC string.
    pub password_hash: String,
    /// See [`Agency::subscribed_until`].
    pub subscribed_until: Option<DateTime<Utc>>,
    /// See [`Agency::catch_all`].
    pub catch_all: bool,
}

macro_rules! columns {
    () => {
        "id, name, email, phone, active, subscribed_until, catch_all, created_at"
    };
}

fn agency(row: &PgRow) -> sqlx::Result<Agency> {
    Ok(Agency {
        id: AgencyId(row.try_get("id")?),
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        active: row.try_get("active")?,
        subscribed_until: row.try_get("subscribed_until")?,
        catch_all: row.try_get("catch_all")?,
        created_at: row.try_get("created_at")?,
    })
}

/// Adds an agency. Platform scope.
///
/// # Errors
/// The constraint `agencies_email` if the address is taken.
pub async fn create(tx: &mut Tx, new: &NewAgency) -> Result<AgencyId> {
    let id = AgencyId::new();
    sqlx::query(
        "insert into switchyard.agencies
           (id, name, email, phone, password_hash, subscribed_until, catch_all)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.0)
    .bind(&new.name)
    .bind(&new.email)
    .bind(&new.phone)
    .bind(&new.password_hash)
    .bind(new.subscribed_until)
    .bind(new.catch_all)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// Finds an agency by address, whatever the case, with its password's PHC string.
///
/// # Errors
/// If the database is not available.
pub async fn by_email(tx: &mut Tx, email: &str) -> Result<Option<(Agency, String)>> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        ", password_hash from switchyard.agencies where lower(email) = lower($1)"
    ))
    .bind(email)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((agency(&row)?, row.try_get("password_hash")?)))
}

/// One agency.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn get(tx: &mut Tx, id: AgencyId) -> Result<Agency> {
    let row =
        sqlx::query(concat!("select ", columns!(), " from switchyard.agencies where id = $1"))
            .bind(id.0)
            .fetch_one(tx.conn())
            .await?;
    Ok(agency(&row)?)
}

/// Agencies, the newest first, older than `before`.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, before: Option<AgencyId>, limit: i64) -> Result<Vec<Agency>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.agencies where ($1::uuid is null or id < $1)
          order by id desc limit $2"
    ))
    .bind(before.map(|a| a.0))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(agency).collect::<sqlx::Result<_>>()?)
}

/// Whether the agency exists and is active.
///
/// # Errors
/// If the database is not available.
pub async fn stands(tx: &mut Tx, id: AgencyId) -> Result<bool> {
    let stands = sqlx::query_scalar(
        "select exists (select from switchyard.agencies where id = $1 and active)",
    )
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(stands)
}

/// What an operator may change of an agency. Everything is set.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// See [`Agency::active`].
    pub active: bool,
    /// See [`Agency::subscribed_until`].
    pub subscribed_until: Option<DateTime<Utc>>,
    /// See [`Agency::catch_all`].
    pub catch_all: bool,
}

/// Sets how an agency takes part. Platform scope.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn set_standing(tx: &mut Tx, id: AgencyId, standing: Standing) -> Result<()> {
    let done = sqlx::query(
        "update switchyard.agencies set active = $2, subscribed_until = $3, catch_all = $4
         where id = $1",
    )
    .bind(id.0)
    .bind(standing.active)
    .bind(standing.subscribed_until)
    .bind(standing.catch_all)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreFault::NotFound) }
}

/// Sets a new password; gives whether there is such an agency. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn set_password(tx: &mut Tx, email: &str, hash: &str) -> Result<bool> {
    let done = sqlx::query(
        "update switchyard.agencies set password_hash = $2 where lower(email) = lower($1)",
    )
    .bind(email)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
