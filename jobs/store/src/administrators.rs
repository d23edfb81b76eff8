//! Operators of the platform who may sign in. Platform scope.

use crate::{Result, Tx};
use sqlx::Row;
use switchyard_domain::AdministratorId;

/// An administrator, with what sign-in needs.
#[derive(Clone, Debug)]
pub struct Administrator {
    /// The administrator.
    pub id: AdministratorId,
    /// As it was given; unique whatever the case.
    pub email: String,
    /// For people.
    pub name: String,
    /// PHC string.
    pub password_hash: String,
    /// May not sign in.
    pub disabled: bool,
}

/// Adds an administrator.
///
/// # Errors
/// The constraint `administrators_email` if the address is taken.
pub async fn create(tx: &mut Tx, email: &str, name: &str, hash: &str) -> Result<AdministratorId> {
    let id = AdministratorId::new();
    sqlx::query(
        "insert into switchyard.administrators (id, email, name, password_hash)
         values ($1, $2, $3, $4)",
    )
    .bind(id.0)
    .bind(email)
    .bind(name)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// Finds an administrator by address, whatever the case.
///
/// # Errors
/// If the database is not available.
pub async fn by_email(tx: &mut Tx, email: &str) -> Result<Option<Administrator>> {
    let row = sqlx::query(
        "select id, email, name, password_hash, disabled_at is not null as disabled
         from switchyard.administrators where lower(email) = lower($1)",
    )
    .bind(email)
    .fetch_optional(tx.conn())
    .await?;
    let read = |row: sqlx::postgres::PgRow| -> sqlx::Result<_> {
        Ok(Administrator {
            id: AdministratorId(row.try_get("id")?),
            email: row.try_get("email")?,
            name: row.try_get("name")?,
            password_hash: row.try_get("password_hash")?,
            disabled: row.try_get("disabled")?,
        })
    };
    Ok(row.map(read).transpose()?)
}

/// Whether the administrator exists and is not disabled.
///
/// # Errors
/// If the database is not available.
pub async fn stands(tx: &mut Tx, id: AdministratorId) -> Result<bool> {
    let stands = sqlx::query_scalar(
        "select exists (select from switchyard.administrators
         where id = $1 and disabled_at is null)",
    )
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(stands)
}

/// Sets a new password; gives whether there is such an administrator.
///
/// # Errors
/// If the database is not available.
pub async fn set_password(tx: &mut Tx, email: &str, hash: &str) -> Result<bool> {
    let done = sqlx::query(
        "update switchyard.administrators set password_hash = $2, disabled_at = null
         where lower(email) = lower($1)",
    )
    .bind(email)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Disables or enables an administrator; gives whether there is one.
///
/// # Errors
/// If the database is not available.
pub async fn set_disabled(tx: &mut Tx, id: AdministratorId, disabled: bool) -> Result<bool> {
    let done = sqlx::query(
        "update switchyard.administrators
         set disabled_at = case when $2 then coalesce(disabled_at, now()) end where id = $1",
    )
    .bind(id.0)
    .bind(disabled)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many there are; with none, nobody can sign in.
///
/// # Errors
/// If the database is not available.
pub async fn count(tx: &mut Tx) -> Result<i64> {
    let n = sqlx::query_scalar("select count(*) from switchyard.administrators")
        .fetch_one(tx.conn())
        .await?;
    Ok(n)
}
