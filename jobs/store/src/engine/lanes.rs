//! Lanes: names to numbers. A lane is made once and never deleted, so a process may remember it.

use crate::{Db, Result, StoreFault};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use switchyard_queue::{LaneId, NewJob};

type Names = HashMap<String, HashMap<String, HashMap<String, LaneId>>>;

/// Queue, partition, limit key.
type Name<'a> = (&'a str, &'a str, &'a str);

fn name(job: &NewJob) -> Name<'_> {
    (&job.queue, &job.partition, &job.limit_key)
}

/// What a process knows of the lanes.
#[derive(Debug, Default)]
pub(crate) struct LaneCache(Mutex<Names>);

impl LaneCache {
    fn get(&self, (queue, partition, key): Name<'_>) -> Option<LaneId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(queue)?.get(partition)?.get(key).copied()
    }

    fn add(&self, queue: String, partition: String, key: String, lane: LaneId) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(queue).or_default().entry(partition).or_default().insert(key, lane);
    }
}

/// The lane of each job, made where there was none.
///
/// New lanes are made on a connection of the engine's, not in the caller's transaction: there they
/// would hold up everybody else who needs the same new lane until the caller commits, and a
/// rollback would leave a number in the cache that no table knows.
pub(crate) async fn of(db: &Db, jobs: &[NewJob]) -> Result<Vec<LaneId>> {
    let missing = jobs.iter().map(name).filter(|name| db.lanes().get(*name).is_none());
    read_or_make(db, missing.collect()).await?;
    jobs.iter().map(|j| db.lanes().get(name(j)).ok_or(StoreFault::NotFound)).collect()
}

/// Makes those of these lanes that do not exist, in the same way.
pub(crate) async fn ensure(db: &Db, names: &[(String, String, String)]) -> Result<()> {
    read_or_make(db, names.iter().map(|(q, p, k)| (&**q, &**p, &**k)).collect()).await
}

async fn read_or_make(db: &Db, missing: BTreeSet<Name<'_>>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names = Columns::of(&missing);
    if !read(db, &names).await? {
        make(db, &names).await?;
        read(db, &names).await?;
    }
    Ok(())
}

/// Names of lanes, as arrays for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    queues: Vec<&'a str>,
    partitions: Vec<&'a str>,
    keys: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(names: &BTreeSet<Name<'a>>) -> Self {
        let mut columns = Self::default();
        for (queue, partition, key) in names {
            columns.queues.push(queue);
            columns.partitions.push(partition);
            columns.keys.push(key);
        }
        columns
    }
}

/// Remembers those that exist; says whether all do.
async fn read(db: &Db, names: &Columns<'_>) -> Result<bool> {
    let found: Vec<(i32, String, String, String)> = sqlx::query_as(
        "select l.id, l.queue, l.partition, l.limit_key
         from unnest($1::text[], $2::text[], $3::text[]) want(queue, partition, limit_key)
         join engine.lanes l on l.queue = want.queue and l.partition = want.partition
           and l.limit_key = want.limit_key",
    )
    .bind(&names.queues)
    .bind(&names.partitions)
    .bind(&names.keys)
    .fetch_all(db.engine())
    .await?;
    let all = found.len() == names.queues.len();
    for (id, queue, partition, key) in found {
        db.lanes().add(queue, partition, key, LaneId(id));
    }
    Ok(all)
}

/// Makes those that do not exist. The share lock on the queue's row makes a pause of the queue or of
/// one of its partitions and the birth of a lane wait for each other, so that no lane is born running
/// that should not be. The lock is a statement of its own, because one that waits goes on with what it
/// saw of the other lanes before.
async fn make(db: &Db, names: &Columns<'_>) -> Result<()> {
    sqlx::query(
        "insert into engine.queues (queue) select distinct q from unnest($1::text[]) q order by q
         on conflict do nothing",
    )
    .bind(&names.queues)
    .execute(db.engine())
    .await?;
    let mut tx = db.begin_engine().await?;
    sqlx::query("select from engine.queues where queue = any($1) order by queue for share")
        .bind(&names.queues)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into engine.lanes (queue, partition, limit_key, held, paused)
         select want.queue, want.partition, want.limit_key, held.yes, q.paused or held.yes
         from unnest($1::text[], $2::text[], $3::text[]) want(queue, partition, limit_key)
         join engine.queues q on q.queue = want.queue
         cross join lateral (select coalesce(bool_or(l.held), false) as yes from engine.lanes l
           where l.queue = want.queue and l.partition = want.partition) held
         order by 1, 2, 3
         on conflict do nothing",
    )
    .bind(&names.queues)
    .bind(&names.partitions)
    .bind(&names.keys)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
