//! Lanes: names to numbers. A lane is made once and never deleted, so a process may remember it.

use crate::{Db, Result, StoreFault};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use switchyard_queue::{LaneId, NewJob};

type Names = HashMap<String, HashMap<String, LaneId>>;

/// What a process knows of the lanes.
#[derive(Debug, Default)]
pub(crate) struct LaneCache(Mutex<Names>);

impl LaneCache {
    fn get(&self, queue: &str, partition: &str) -> Option<LaneId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(queue)?.get(partition).copied()
    }

    fn add(&self, queue: String, partition: String, lane: LaneId) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(queue).or_default().insert(partition, lane);
    }
}

/// The lane of each job, made where there was none.
///
/// New lanes are made on a connection of the engine's, not in the caller's transaction: there they
/// would hold up everybody else who needs the same new lane until the caller commits, and a
/// rollback would leave a number in the cache that no table knows.
pub(crate) async fn of(db: &Db, jobs: &[NewJob]) -> Result<Vec<LaneId>> {
    let missing: BTreeSet<(&str, &str)> = jobs
        .iter()
        .map(|j| (&*j.queue, &*j.partition))
        .filter(|(queue, partition)| db.lanes().get(queue, partition).is_none())
        .collect();
    if !missing.is_empty() {
        let (queues, partitions): (Vec<&str>, Vec<&str>) = missing.into_iter().unzip();
        if !read(db, &queues, &partitions).await? {
            make(db, &queues, &partitions).await?;
            read(db, &queues, &partitions).await?;
        }
    }
    jobs.iter()
        .map(|j| db.lanes().get(&j.queue, &j.partition).ok_or(StoreFault::NotFound))
        .collect()
}

/// Remembers those that exist; says whether all do.
async fn read(db: &Db, queues: &[&str], partitions: &[&str]) -> Result<bool> {
    let found: Vec<(i32, String, String)> = sqlx::query_as(
        "select l.id, l.queue, l.partition
         from unnest($1::text[], $2::text[]) want(queue, partition)
         join engine.lanes l on l.queue = want.queue and l.partition = want.partition",
    )
    .bind(queues)
    .bind(partitions)
    .fetch_all(db.engine())
    .await?;
    let all = found.len() == queues.len();
    for (id, queue, partition) in found {
        db.lanes().add(queue, partition, LaneId(id));
    }
    Ok(all)
}

/// Makes those that do not exist. The share lock on the queue's row makes a pause of the queue and
/// the birth of a lane wait for each other, so that no lane of a paused queue is born running.
async fn make(db: &Db, queues: &[&str], partitions: &[&str]) -> Result<()> {
    sqlx::query(
        "insert into engine.queues (queue) select distinct q from unnest($1::text[]) q order by q
         on conflict do nothing",
    )
    .bind(queues)
    .execute(db.engine())
    .await?;
    sqlx::query(
        "insert into engine.lanes (queue, partition, paused)
         select want.queue, want.partition, q.paused
         from unnest($1::text[], $2::text[]) want(queue, partition)
         join (select queue, paused from engine.queues where queue = any($1) order by queue for share) q
           on q.queue = want.queue
         order by 1, 2
         on conflict do nothing",
    )
    .bind(queues)
    .bind(partitions)
    .execute(db.engine())
    .await?;
    Ok(())
}
