//! Two runs of one sort at once would tread on each other: a session advisory lock in the database that
//! is backed up keeps them apart, over all processes. It ends with its process, however that ends.

use crate::engine::locks;
use crate::{Result, StoreFault};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// A server that takes longer to let somebody in is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to run backups of one sort. Dropping it gives it up.
pub struct BackupLock {
    connection: PgConnection,
}

impl BackupLock {
    /// Takes it, unless another has it. `sort` is a small number of the caller's: runs of different
    /// sorts may go on side by side. Needs a direct connection, as no pooler gives.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn take(url: &SecretString, sort: i32) -> Result<Option<Self>> {
        let ask = async {
            let mut connection = PgConnection::connect(url.expose_secret()).await?;
            let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
                .bind(locks::BACKUP)
                .bind(sort)
                .fetch_one(&mut connection)
                .await?;
            if mine {
                return Ok(Some(Self { connection }));
            }
            connection.close().await?;
            Ok(None)
        };
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreFault::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Gives it up in good order.
    pub async fn release(self) {
        // If it fails the connection is gone, and the lock with it.
        let _ = tokio::time::timeout(PATIENCE, self.connection.close()).await;
    }
}
