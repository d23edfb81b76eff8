//! Jobs that no worker can run, out of the way of those that can be run.
//!
//! A claim steps over every job of a kind that its worker does not know. Many of them at the head of a lane
//! would be stepped over by every claim: so they are parked, where no claim looks, and come back
//! the moment a worker registers that knows them. They count as available all the time.

use crate::{Db, Result};
use chrono::{DateTime, Utc};
use std::time::Duration;
use switchyard_queue::{LaneId, WakeToken, WorkerInfo};

/// How long a job waits in its lane for somebody who knows it: longer than a worker takes to start again.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Jobs moved in one statement: enough to be cheap, few enough to hold their locks briefly.
const BATCH: i64 = 1000;

/// Lane, priority, earliest instant, how many.
type Moved = (i32, i16, DateTime<Utc>, i64);

/// Parks jobs that have been due for `patience` and that no live worker of their queue knows, and
/// brings back those that one knows by now; gives how many were moved. Queues that nobody serves are left
/// as they are: no claim looks there.
///
/// # Errors
/// If the database is not available.
pub async fn park_unknown(db: &Db, patience: Duration) -> Result<u64> {
    Ok(park(db, patience).await? + unpark_known(db).await?)
}

async fn park(db: &Db, patience: Duration) -> Result<u64> {
    let mut parked = 0;
    loop {
        // Counted, not looked for: without such a kind nothing is read but counters. Somebody who died
        // with a job in hand keeps it in its lane, where its end is decided.
        let n: i64 = sqlx::query_scalar(
            "with alive as materialized (
               select kinds, queues from engine.workers where stopped_at is null and died_at is null
             ), strange as (
               select c.lane, c.kind from (
                 select lane, kind, sum(n) as n from (
                   select lane, kind, n from engine.counters where state = 0
                   union all select lane, kind, n from engine.counter_deltas where state = 0) each
                 group by 1, 2) c
               join engine.lanes l on l.id = c.lane
               where c.n > 0 and exists (select from alive a where l.queue = any(a.queues))
                 and not exists (select from alive a
                                 where l.queue = any(a.queues) and c.kind = any(a.kinds))
             ), parked as (
               update engine.jobs set stage = 3 where ctid = any (array(
                 select j.ctid from strange s cross join lateral (
                   select w.ctid from engine.jobs w
                   where w.lane = s.lane and w.stage = 0 and w.kind = s.kind and w.worker is null
                     and w.run_at < statement_timestamp() - $2 * interval '1 second'
                   order by w.priority, w.run_at, w.id limit $1 for update skip locked) j
                 limit $1))
               returning 1
             )
             select count(*) from parked",
        )
        .bind(BATCH)
        .bind(super::seconds(patience))
        .fetch_one(db.engine())
        .await?;
        parked += n.unsigned_abs();
        if n < BATCH {
            return Ok(parked);
        }
    }
}

async fn unpark_known(db: &Db) -> Result<u64> {
    let known: Vec<(Vec<String>, Vec<String>)> = sqlx::query_as(
        "select kinds, queues from engine.workers
         where stopped_at is null and died_at is null
           and exists (select from engine.jobs where stage = 3)
         group by 1, 2",
    )
    .fetch_all(db.engine())
    .await?;
    let mut back = 0;
    for (kinds, queues) in known {
        back += unpark(db, &kinds, &queues).await?;
    }
    Ok(back)
}

/// Brings back what this worker knows, now that it is there.
pub(crate) async fn unpark_for(db: &Db, worker: &WorkerInfo) -> Result<u64> {
    unpark(db, &worker.kinds, &worker.queues).await
}

async fn unpark(db: &Db, kinds: &[String], queues: &[String]) -> Result<u64> {
    let mut back = 0;
    loop {
        let lanes: Vec<Moved> = sqlx::query_as(
            "with back as (
               update engine.jobs set stage = 0 where ctid = any (array(
                 select j.ctid from engine.jobs j join engine.lanes l on l.id = j.lane
                 where j.stage = 3 and j.kind = any($1) and l.queue = any($2)
                 limit $3 for update of j skip locked))
               returning lane, priority, run_at
             )
             select lane, priority, min(run_at), count(*) from back group by 1, 2",
        )
        .bind(kinds)
        .bind(queues)
        .bind(BATCH)
        .fetch_all(db.engine())
        .await?;
        let wakes: Vec<WakeToken> = lanes
            .iter()
            .map(|(lane, priority, at, _)| WakeToken::Work(LaneId(*lane), *priority, *at))
            .collect();
        if !wakes.is_empty() {
            db.wake().send(&wakes);
        }
        let n: i64 = lanes.iter().map(|(.., n)| n).sum();
        back += n.unsigned_abs();
        if n < BATCH {
            return Ok(back);
        }
    }
}
