//! What a doctor wants to know of a database server. Reads only.

use crate::engine::locks;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// A server that does not answer within this is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server, as a login sees it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ServerFacts {
    /// `15.8 (Debian 15.8-0+deb12u1)`
    pub version: String,
    /// `150008`
    pub version_number: i32,
    /// The server's clock.
    pub now: DateTime<Utc>,
    /// Most connections, all users and databases together.
    pub max_connections: i32,
    /// Of these, kept for superusers.
    pub reserved: i32,
    /// Connections at this moment, this one left out.
    pub in_use: i64,
    /// The name of the login.
    pub login: String,
    /// It is a superuser.
    pub superuser: bool,
    /// It sees rows in spite of row-level security.
    pub bypasses_rls: bool,
    /// It may take the application's role; `None`: there is no such role yet.
    pub may_be_app: Option<bool>,
    /// It may take the engine's role; `None`: there is no such role yet.
    pub may_be_engine: Option<bool>,
}

/// Asks a server about itself.
///
/// # Errors
/// If it does not let the login in, or does not answer within five seconds.
pub async fn server_facts(url: &SecretString) -> Result<ServerFacts> {
    let ask = async {
        let mut connection = PgConnection::connect(url.expose_secret()).await?;
        let facts = sqlx::query_as(
            "select current_setting('server_version') as version,
               current_setting('server_version_num')::int as version_number,
               clock_timestamp() as now,
               current_setting('max_connections')::int as max_connections,
               current_setting('superuser_reserved_connections')::int as reserved,
               (select count(*) from pg_catalog.pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()) as in_use,
               session_user::text as login, rolsuper as superuser,
               rolbypassrls as bypasses_rls,
               case when to_regrole('switchyard_app') is not null
                 then pg_has_role(session_user, 'switchyard_app', 'member') end as may_be_app,
               case when to_regrole('switchyard_engine') is not null
                 then pg_has_role(session_user, 'switchyard_engine', 'member') end as may_be_engine
             from pg_catalog.pg_roles where rolname = session_user",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(facts)
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreFault::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// Whether a scheduler leads in this database.
///
/// # Errors
/// If the database is not available.
pub async fn has_leader(db: &Db) -> Result<bool> {
    let leads = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_locks
          where locktype = 'advisory' and granted and classid = $1::int4::oid and objid = 0
            and objsubid = 2
            and database = (select oid from pg_catalog.pg_database where datname = current_database()))",
    )
    .bind(locks::LEADER)
    .fetch_one(db.engine())
    .await?;
    Ok(leads)
}
