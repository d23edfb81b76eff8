//! Stopping and resuming: a queue, one partition of it, or one worker. What runs goes on.

use crate::{Db, Result, StoreFault};
use switchyard_queue::{LaneId, WakeToken};

/// Stops or resumes the claiming from a queue, all its lanes and those to come. A partition that was
/// paused by itself stays paused.
///
/// The queue's row is locked first, so a lane that is being made is either seen by the second
/// statement or made with the new value (see `lanes`).
///
/// # Errors
/// [`StoreFault::NotFound`] if there never was a job in such a queue.
pub async fn pause(db: &Db, queue: &str, paused: bool) -> Result<()> {
    let mut tx = db.begin_engine().await?;
    let known = sqlx::query("update engine.queues set paused = $2 where queue = $1")
        .bind(queue)
        .bind(paused)
        .execute(&mut *tx)
        .await?;
    if known.rows_affected() == 0 {
        return Err(StoreFault::NotFound);
    }
    sqlx::query("update engine.lanes set paused = $2 or held where queue = $1")
        .bind(queue)
        .bind(paused)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    if !paused {
        db.wake().send(&[WakeToken::Resync]);
    }
    Ok(())
}

/// Stops or resumes the claiming from one partition of a queue, also one that has no job yet. While
/// the whole queue is paused nothing is claimed either way.
///
/// # Errors
/// [`StoreFault::NotFound`] if there never was a job in such a queue.
pub async fn pause_partition(db: &Db, queue: &str, partition: &str, paused: bool) -> Result<()> {
    let mut tx = db.begin_engine().await?;
    // Locks the queue's row as the birth of a lane does, so that none of the partition is missed.
    let lane: Option<i32> = sqlx::query_scalar(
        "insert into engine.lanes as l (queue, partition, held, paused)
         select q.queue, $2, $3, $3 or q.paused
         from (select queue, paused from engine.queues where queue = $1 for update) q
         on conflict (queue, partition, limit_key) do update set held = excluded.held
         returning l.id",
    )
    .bind(queue)
    .bind(partition)
    .bind(paused)
    .fetch_optional(&mut *tx)
    .await?;
    lane.ok_or(StoreFault::NotFound)?;
    let lanes: Vec<i32> = sqlx::query_scalar(
        "update engine.lanes l set held = $3, paused = $3 or q.paused
         from engine.queues q
         where l.queue = $1 and l.partition = $2 and q.queue = l.queue returning l.id",
    )
    .bind(queue)
    .bind(partition)
    .bind(paused)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    if !paused {
        let wakes: Vec<WakeToken> = lanes.into_iter().map(|l| WakeToken::Lane(LaneId(l))).collect();
        db.wake().send(&wakes);
    }
    Ok(())
}

/// Stops or resumes the claiming of jobs of one kind, under whatever name they are stored. Workers
/// hear of it within a second.
///
/// # Errors
/// [`StoreFault::NotFound`] if no worker ever declared the kind.
pub async fn pause_kind(db: &Db, kind: &str, paused: bool) -> Result<()> {
    let known = sqlx::query(
        "update engine.kinds k set paused = $2
         where k.name = (select w.name from engine.kinds w where w.kind = $1)",
    )
    .bind(kind)
    .bind(paused)
    .execute(db.engine())
    .await?;
    if known.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}

/// The largest weight of a queue, by the schema's own check; the smallest and usual one is 1.
pub const MOST_WEIGHT: u16 = 1000;

/// Sets a queue's weight, from 1 to [`MOST_WEIGHT`]: its share when several queues have work, in proportion to the others'.
/// Workers take it in within a second.
///
/// # Errors
/// [`StoreFault::NotFound`] if there never was a job in such a queue, [`StoreFault::Constraint`] if
/// the weight is out of bounds.
pub async fn weigh(db: &Db, queue: &str, weight: u16) -> Result<()> {
    let known = sqlx::query("update engine.queues set weight = $2 where queue = $1")
        .bind(queue)
        .bind(i32::from(weight))
        .execute(db.engine())
        .await?;
    if known.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}

/// Quiets a worker, or lets it claim again: it hears of it within a second, finishes what it has
/// and takes nothing new.
///
/// # Errors
/// [`StoreFault::NotFound`] if no such worker lives.
pub async fn quiet(db: &Db, worker: i64, quiet: bool) -> Result<()> {
    let known = sqlx::query(
        "update engine.workers set quiet = $2
         where id = $1 and stopped_at is null and died_at is null",
    )
    .bind(worker)
    .bind(quiet)
    .execute(db.engine())
    .await?;
    if known.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}
