//! Who is alive: every worker holds an advisory lock on a connection of its own, and the database
//! lets go of it the moment the process dies.

use super::line::{WATCHFUL, within};
use super::{locks, parking};
use crate::db::ENGINE_ROLE;
use crate::{Db, Result, StoreFault};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::time::Duration;
use switchyard_queue::{JobId, Presence, Reaped, WorkerId, WorkerInfo};
use tokio_util::sync::CancellationToken;

/// How often the presence connection is asked for a sign of life. A connection that is closed is
/// noticed at once; this finds the one that is silently gone.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A ping that takes longer means that the connection is gone.
const PING_LIMIT: Duration = Duration::from_secs(3);
/// How long a polite goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Registers a worker and takes its lock, on a connection that lives as long as the presence.
pub(crate) async fn register(db: &Db, info: &WorkerInfo) -> Result<Presence> {
    let (pool, mut listener) = connect(db).await?;
    let id = within(db.config().acquire_timeout, insert(&mut listener, info)).await?;
    let lost = CancellationToken::new();
    let stop = CancellationToken::new();
    tokio::spawn(hold(pool, listener, id, lost.clone(), stop.clone()));
    // Beside it: whoever leaves at once is not kept waiting. What this fails to bring back, the
    // scheduler brings back within seconds.
    let (db, info) = (db.clone(), info.clone());
    tokio::spawn(async move {
        if let Err(error) = parking::unpark_for(&db, &info).await {
            tracing::warn!(worker = id.0, error = %error, "parked jobs stay parked for now");
        }
    });
    Ok(Presence { id, lost, guard: stop.drop_guard() })
}

/// A listener is the one connection of sqlx's that says when the server closes it. Its pool has
/// this one connection, and it is told not to make another: the lock would not be on it.
async fn connect(db: &Db) -> Result<(PgPool, PgListener)> {
    let config = db.config();
    let options = config.options(ENGINE_ROLE, "switchyard presence")?.options(WATCHFUL);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.acquire_timeout)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    Ok((pool, listener))
}

/// The row and the lock in one statement: nobody can see the row without the lock.
async fn insert(listener: &mut PgListener, info: &WorkerInfo) -> Result<WorkerId> {
    let (id, locked): (i64, bool) = sqlx::query_as(
        "with me as (
           insert into engine.workers (host, pid, version, kinds, queues)
           values ($2, $3, $4, $5, $6) returning id
         )
         select id, pg_try_advisory_lock($1, id::int) from me",
    )
    .bind(locks::WORKER)
    .bind(&info.host)
    .bind(i32::try_from(info.pid).unwrap_or(i32::MAX))
    .bind(&info.version)
    .bind(&info.kinds)
    .bind(&info.queues)
    .fetch_one(listener)
    .await?;
    if locked { Ok(WorkerId(id)) } else { Err(StoreFault::LeaseLost) }
}

/// Holds the connection until it breaks or the presence is given up.
async fn hold(
    pool: PgPool,
    mut listener: PgListener,
    id: WorkerId,
    lost: CancellationToken,
    stop: CancellationToken,
) {
    let broke = tokio::select! {
        () = stop.cancelled() => None,
        why = watch(&mut listener) => Some(why),
    };
    if let Some(why) = broke {
        tracing::warn!(worker = id.0, error = %why, "presence lost");
        lost.cancel();
    }
    drop(listener);
    let _ = tokio::time::timeout(CLOSE_LIMIT, pool.close()).await;
}

/// Ends when the connection is gone, with the reason.
async fn watch(listener: &mut PgListener) -> sqlx::Error {
    loop {
        match tokio::time::timeout(PING_EVERY, listener.try_recv()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()),
            Ok(Err(e)) => return e,
            Err(_) => {
                let ping = sqlx::query("select 1").execute(&mut *listener);
                match tokio::time::timeout(PING_LIMIT, ping).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(e)) => return e,
                    Err(_) => return sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }
}

/// Writes down that a worker left in good order.
pub(crate) async fn deregister(db: &Db, worker: WorkerId) -> Result<()> {
    sqlx::query("update engine.workers set stopped_at = now() where id = $1 and died_at is null")
        .bind(worker.0)
        .execute(db.engine())
        .await?;
    Ok(())
}

/// Finds workers whose lock is free, marks them dead, and gives all that went within `window`
/// (in good order or not: whoever left holds nothing any more), with the number just found dead.
/// `me` is told what an operator wants of it; which jobs it is to stop is told once.
///
/// One process looks at a time, because a probe holds the lock for a moment, and a second prober
/// would take the dead worker for a live one. A worker that registers holds its lock before its
/// row can be seen; one that leaves is not marked, because the update looks at the row again.
pub(crate) async fn reap<'e>(
    executor: impl sqlx::PgExecutor<'e>,
    window: Duration,
    me: Option<WorkerId>,
) -> Result<(Reaped, usize)> {
    const NEW: i32 = 0;
    const GONE: i32 = 1;
    const LIVE: i32 = 2;
    const QUIET: i32 = 3;
    const PAUSED: i32 = 4;
    const STOP: i32 = 5;
    let rows: Vec<(i64, i32, Option<String>)> = sqlx::query_as(
        "with turn as materialized (select pg_try_advisory_xact_lock($1, 0) as mine),
         free as materialized (
           select id from engine.workers
           where (select mine from turn) and stopped_at is null and died_at is null
             and pg_try_advisory_xact_lock($2, id::int)
         ), died as (
           update engine.workers w set died_at = now() from free
           where w.id = free.id and w.stopped_at is null and w.died_at is null
           returning w.id
         ), stops as (
           delete from engine.stop_requests where worker = $4 returning job_id
         )
         select id, 0, null from died
         union all
         select id, 1, null from engine.workers
         where (stopped_at is not null or died_at is not null)
           and coalesce(died_at, stopped_at) > now() - $3 * interval '1 second'
         union all
         select count(*), 2, null from engine.workers where stopped_at is null and died_at is null
         union all
         select id, 3, null from engine.workers where id = $4 and quiet
         union all
         select 0, 4, kind from engine.kinds where paused
         union all
         select 0, 5, job_id::text from stops",
    )
    .bind(locks::REAPER)
    .bind(locks::WORKER)
    .bind(super::seconds(window))
    .bind(me.map(|w| w.0))
    .fetch_all(executor)
    .await?;
    let mut reaped = Reaped::default();
    let mut newly = 0;
    for (n, what, name) in rows {
        match what {
            LIVE => reaped.live = usize::try_from(n).unwrap_or_default(),
            QUIET => reaped.quiet = true,
            PAUSED => reaped.paused_kinds.extend(name),
            STOP => reaped.stop.extend(name.and_then(|id| id.parse().ok()).map(JobId)),
            NEW | GONE => {
                newly += usize::from(what == NEW);
                reaped.gone.push(WorkerId(n));
            }
            _ => {}
        }
    }
    Ok((reaped, newly))
}
