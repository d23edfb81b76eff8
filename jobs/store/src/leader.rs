//! Who leads: a session advisory lock on a connection of its own. When the leader's process dies,
//! its socket closes and the server frees the lock at once; when its machine vanishes, the
//! server's keepalives find out within about three seconds.

use crate::engine::locks;
use crate::{Db, Result, StoreFault};
use sqlx::{Connection, PgConnection};
use std::future::Future;
use std::time::Duration;

/// A server that takes longer over these statements is as good as gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// A candidate for the lead of this database's schedulers, or its leader. Dropping it gives the
/// lead up.
pub struct LeaderLock {
    connection: PgConnection,
}

impl LeaderLock {
    /// Connects as a candidate. Needs a direct connection: a transaction pooler would give the
    /// lock to whoever comes next.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn connect(db: &Db) -> Result<Self> {
        let watch = [
            ("client_connection_check_interval", "500ms"),
            ("tcp_keepalives_idle", "1"),
            ("tcp_keepalives_interval", "1"),
            ("tcp_keepalives_count", "2"),
            ("tcp_user_timeout", "3000"),
        ];
        let connection = db.direct("switchyard scheduler", &watch).await?;
        Ok(Self { connection })
    }

    /// Takes the lead if nobody has it. Not to be called again by the leader.
    ///
    /// # Errors
    /// If the database is not available; then connect anew.
    pub async fn try_acquire(&mut self) -> Result<bool> {
        let ask = sqlx::query_scalar("select pg_try_advisory_lock($1, 0)");
        within(ask.bind(locks::LEADER).fetch_one(&mut self.connection)).await
    }

    /// Whether the lead is still this candidate's. An error means that it must be taken as lost.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn is_held(&mut self) -> Result<bool> {
        let ask = sqlx::query_scalar(
            "select exists (select from pg_catalog.pg_locks
              where locktype = 'advisory' and granted and pid = pg_backend_pid()
                and classid = $1::int4::oid and objid = 0 and objsubid = 2)",
        );
        within(ask.bind(locks::LEADER).fetch_one(&mut self.connection)).await
    }

    /// Gives the lead up in good order, so that a standby has it at its next try.
    pub async fn release(self) {
        // If it fails the connection is gone, and the lock with it.
        let _ = within(self.connection.close()).await;
    }
}

async fn within<T>(work: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreFault::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}
