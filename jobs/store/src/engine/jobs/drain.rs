//! Draining: nothing new is begun, and what runs is counted until it has ended.

use super::steer::{pause, pause_kind, pause_partition};
use crate::{Db, Result};
use switchyard_queue::JobState;

/// What is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained<'a> {
    /// A queue, all of it.
    Queue(&'a str),
    /// One partition of a queue.
    Partition {
        /// The queue.
        queue: &'a str,
        /// The partition; empty for the jobs that have none.
        partition: &'a str,
    },
    /// A kind, under all of its names.
    Kind(&'a str),
}

/// Pauses it, and says how many of its jobs run, see [`running`].
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there never was a job in such a queue, or no worker ever declared the kind.
pub async fn drain(db: &Db, what: Drained<'_>) -> Result<i64> {
    match what {
        Drained::Queue(queue) => pause(db, queue, true).await?,
        Drained::Partition { queue, partition } => {
            pause_partition(db, queue, partition, true).await?;
        }
        Drained::Kind(kind) => pause_kind(db, kind, true).await?,
    }
    running(db, what).await
}

/// How many of its jobs are in the hands of workers. Workers hear of a pause within a second, and may take
/// jobs until then: it is drained when this has been 0 for that long after [`drain`].
///
/// # Errors
/// If the database is not available.
pub async fn running(db: &Db, what: Drained<'_>) -> Result<i64> {
    let (queue, partition, kind) = match what {
        Drained::Queue(queue) => (Some(queue), None, None),
        Drained::Partition { queue, partition } => (Some(queue), Some(partition), None),
        Drained::Kind(kind) => (None, None, Some(kind)),
    };
    let n: i64 = sqlx::query_scalar(
        "select coalesce(sum(c.n), 0)::bigint
         from (select lane, kind, state, n from engine.counters
               union all
               select lane, kind, state, n from engine.counter_deltas) c
         join engine.lanes l on l.id = c.lane
         left join engine.kinds k on k.kind = c.kind
         where c.state = $1 and ($2::text is null or l.queue = $2)
           and ($3::text is null or l.partition = $3)
           and ($4::text is null or coalesce(k.name, c.kind)
             = coalesce((select w.name from engine.kinds w where w.kind = $4), $4))",
    )
    .bind(JobState::Running.code())
    .bind(queue)
    .bind(partition)
    .bind(kind)
    .fetch_one(db.engine())
    .await?;
    Ok(n)
}
