//! The migrator. It runs with the owner's rights; nothing else does.

use crate::{Db, Result, StoreFault};
use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Where a database stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Migrations that this program knows.
    pub known: usize,
    /// Of those, how many the database has.
    pub applied: usize,
    /// How many the database has that this program does not know: a newer one made them.
    pub foreign: usize,
}

/// How long a server may take to let somebody in. One that accepts and says nothing would hold the
/// start up for good.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

async fn connect(url: &SecretString) -> Result<PgConnection> {
    let connecting = PgConnection::connect(url.expose_secret());
    match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(late) => {
            let late = std::io::Error::new(std::io::ErrorKind::TimedOut, late);
            Err(StoreFault::Unavailable(sqlx::Error::Io(late)))
        }
    }
}

/// Brings the database up to date and lets the login use both roles. Safe to run from several
/// processes at once: an advisory lock lets one through.
///
/// # Errors
/// If a migration fails; what came before it stands.
pub async fn migrate(owner_url: &SecretString) -> Result<MigrationStatus> {
    let mut connection = connect(owner_url).await?;
    MIGRATOR.run(&mut connection).await.map_err(to_fault)?;
    grant_roles(&mut connection).await?;
    let status = status(&mut connection).await;
    connection.close().await?;
    status
}

/// What the database has, without changing anything.
///
/// # Errors
/// If the database is not available.
pub async fn migration_status(url: &SecretString) -> Result<MigrationStatus> {
    let mut connection = connect(url).await?;
    // The everyday login has no rights but those of its roles.
    sqlx::query(
        "select set_config('role', 'switchyard_engine', false) where exists
           (select from pg_catalog.pg_roles where rolname = 'switchyard_engine'
              and pg_has_role(session_user, oid, 'member'))",
    )
    .execute(&mut connection)
    .await?;
    let status = status(&mut connection).await;
    connection.close().await?;
    status
}

impl Db {
    /// What the database has, asked over a connection of the application's pool.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn migration_status(&self) -> Result<MigrationStatus> {
        status(&mut *self.app().acquire().await?).await
    }
}

async fn status(connection: &mut PgConnection) -> Result<MigrationStatus> {
    let known = MIGRATOR.iter().count();
    // A migration that failed leaves a table that the roles may not read: nothing is in place then.
    let readable: bool = sqlx::query_scalar(
        "select coalesce(has_table_privilege(to_regclass('_sqlx_migrations'), 'select'), false)",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !readable {
        return Ok(MigrationStatus { known, applied: 0, foreign: 0 });
    }
    let all = connection.list_applied_migrations("_sqlx_migrations").await.map_err(to_fault)?;
    let applied = all.iter().filter(|a| MIGRATOR.version_exists(a.version)).count();
    Ok(MigrationStatus { known, applied, foreign: all.len() - applied })
}

/// A superuser may take any role; anybody else must be a member of it.
async fn grant_roles(connection: &mut PgConnection) -> Result<()> {
    let missing: bool = sqlx::query_scalar(
        "select not (pg_has_role(current_user, 'switchyard_app', 'member')
                 and pg_has_role(current_user, 'switchyard_engine', 'member'))",
    )
    .fetch_one(&mut *connection)
    .await?;
    if missing {
        sqlx::raw_sql("grant switchyard_app, switchyard_engine to current_user")
            .execute(&mut *connection)
            .await?;
    }
    // Readiness and the doctor ask what is in place, under the roles.
    sqlx::raw_sql("grant select on _sqlx_migrations to switchyard_app, switchyard_engine")
        .execute(connection)
        .await?;
    Ok(())
}

fn to_fault(e: sqlx::migrate::MigrateError) -> StoreFault {
    use sqlx::migrate::MigrateError;
    match e {
        MigrateError::Execute(e) => e.into(),
        MigrateError::VersionMissing(version) => StoreFault::Ahead(version),
        MigrateError::VersionMismatch(version) => StoreFault::Altered(version),
        other => StoreFault::from(sqlx::Error::Migrate(Box::new(other))),
    }
}

/// A number that changes when any migration does. Tests name their template database by it.
#[must_use]
pub fn migrations_fingerprint() -> u64 {
    // FNV-1a over the checksums: nobody attacks this, it only has to differ.
    MIGRATOR.iter().flat_map(|m| m.checksum.iter()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
