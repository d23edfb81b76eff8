//! A connection of its own for one of the queue's loops, which mends itself.

use crate::{Db, Result, StoreFault};
use sqlx::PgConnection;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// How the server is told to notice that this side is gone, even behind a network that says
/// nothing: a backend in the middle of a statement looks twice a second, an idle one after ~16 s.
pub(crate) const WATCHFUL: [(&str, &str); 5] = [
    ("client_connection_check_interval", "500"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "15000"),
];

/// Statements of the queue and of jobs go from keys into an index. The planner, whose statistics
/// lag behind a table that fills and empties within seconds, must not think otherwise: a plan that
/// it made while the table was empty reads all of it, live and dead, for ever after.
/// With that settled, one plan serves for all, and nothing is planned twice.
pub(crate) const KEYED_PLANS: [(&str, &str); 5] = [
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// What a caller waits beyond the statement timeout before it takes the connection for dead.
const GRACE: Duration = Duration::from_secs(2);

/// A connection outside the pools. It is made when it is first needed and made anew after any
/// failure, because a connection that failed once may be in the middle of anything.
pub(crate) struct Line {
    db: Db,
    name: &'static str,
    slot: Mutex<Option<PgConnection>>,
}

impl Line {
    pub(crate) fn new(db: &Db, name: &'static str) -> Self {
        Self { db: db.clone(), name, slot: Mutex::new(None) }
    }

    /// The connection, for one piece of work.
    pub(crate) async fn take(&self) -> Result<Taken<'_>> {
        let slot = self.slot.lock().await;
        self.open(slot).await
    }

    /// The connection, if nobody else has it.
    pub(crate) async fn try_take(&self) -> Option<Result<Taken<'_>>> {
        match self.slot.try_lock() {
            Ok(slot) => Some(self.open(slot).await),
            Err(_) => None,
        }
    }

    async fn open<'l>(&self, mut slot: MutexGuard<'l, Option<PgConnection>>) -> Result<Taken<'l>> {
        let connection = match slot.take() {
            Some(connection) => connection,
            None => {
                let settings: Vec<_> = WATCHFUL.into_iter().chain(KEYED_PLANS).collect();
                self.db.direct(self.name, &settings).await?
            }
        };
        let limit = self.db.config().statement_timeout + GRACE;
        Ok(Taken { slot, connection, limit })
    }
}

/// A line in use. Unless it is given back by [`Taken::keep`], the connection is closed: an error
/// or a caller that went away in the middle leaves nothing behind.
pub(crate) struct Taken<'l> {
    slot: MutexGuard<'l, Option<PgConnection>>,
    connection: PgConnection,
    limit: Duration,
}

impl Taken<'_> {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// The longest that a statement here may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn keep(mut self) {
        *self.slot = Some(self.connection);
    }
}

/// Gives up on a server that does not answer.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| StoreFault::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(limit, work).await.map_err(late)?
}
