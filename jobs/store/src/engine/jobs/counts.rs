//! How many jobs there are: from the counters and their deltas, never by counting jobs.

use crate::{Db, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_queue::{JobState, LaneId};

/// Jobs of one kind in one state in one lane. Open states count what is there now; `completed` and
/// `cancelled` count everything that ever ended so, also after the history was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneCount {
    /// The lane.
    pub lane: LaneId,
    /// Its queue.
    pub queue: String,
    /// Its partition, empty for none.
    pub partition: String,
    /// Kind of job.
    pub kind: String,
    /// State.
    pub state: JobState,
    /// How many.
    pub n: i64,
}

/// One queue at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueSummary {
    /// Its name.
    pub queue: String,
    /// Nothing is claimed from it.
    pub paused: bool,
    /// Its share when several queues have work, in proportion to the others'; 1 is usual.
    pub weight: u16,
    /// Partitions that are paused by themselves.
    pub held: Vec<String>,
    /// Jobs by state; a state without jobs is missing. See [`LaneCount`] for what they mean.
    pub counts: BTreeMap<JobState, i64>,
    /// How long the job that has been due the longest has waited for a worker.
    pub oldest_waiting: Option<Duration>,
}

/// The counts of every lane, without zeros.
///
/// # Errors
/// If the database is not available.
pub async fn counts(db: &Db) -> Result<Vec<LaneCount>> {
    let rows: Vec<(i32, String, String, String, i16, i64)> = sqlx::query_as(
        "select c.lane, l.queue, l.partition, c.kind, c.state, sum(c.n)::bigint
         from (select lane, kind, state, n from engine.counters
               union all
               select lane, kind, state, n from engine.counter_deltas) c
         join engine.lanes l on l.id = c.lane
         group by 1, 2, 3, 4, 5
         having sum(c.n) <> 0
         order by 2, 3, 4, 5",
    )
    .fetch_all(db.engine())
    .await?;
    let count = |(lane, queue, partition, kind, state, n)| {
        let state = JobState::from_code(state)?;
        Some(LaneCount { lane: LaneId(lane), queue, partition, kind, state, n })
    };
    Ok(rows.into_iter().filter_map(count).collect())
}

/// Name, paused, weight, age of the oldest waiting job in seconds, partitions that are held.
type QueueRow = (String, bool, i32, Option<f64>, Vec<String>);

/// Every queue that ever had a job.
///
/// The oldest waiting job is found by a skip scan: one probe of the claim index for every lane and
/// priority, however many jobs wait there. A probe steps over the jobs that are running.
///
/// # Errors
/// If the database is not available.
pub async fn queues(db: &Db) -> Result<Vec<QueueSummary>> {
    let rows: Vec<QueueRow> = sqlx::query_as(
        "with recursive seen(lane, priority) as (
           (select lane, priority from engine.jobs where stage = 0 order by lane, priority limit 1)
           union all
           select n.lane, n.priority from seen cross join lateral (
             select j.lane, j.priority from engine.jobs j
             where j.stage = 0 and (j.lane, j.priority) > (seen.lane, seen.priority)
             order by j.lane, j.priority limit 1) n
         ), oldest as (
           select seen.lane, min(first.run_at) as run_at
           from seen cross join lateral (
             select j.run_at from engine.jobs j
             where j.stage = 0 and j.lane = seen.lane and j.priority = seen.priority
               and j.worker is null
             order by j.run_at limit 1) first
           group by 1
         )
         select q.queue, q.paused, q.weight,
           extract(epoch from now() - min(o.run_at))::float8,
           coalesce(array_agg(distinct l.partition order by l.partition) filter (where l.held), '{}')
         from engine.queues q
         left join engine.lanes l on l.queue = q.queue
         left join oldest o on o.lane = l.id
         group by q.queue, q.paused, q.weight
         order by q.queue",
    )
    .fetch_all(db.engine())
    .await?;
    let mut summaries: BTreeMap<String, QueueSummary> = rows
        .into_iter()
        .map(|(queue, paused, weight, age, held)| {
            let oldest_waiting = age.map(|s| Duration::from_secs_f64(s.max(0.0)));
            let counts = BTreeMap::new();
            let weight = u16::try_from(weight).unwrap_or(1);
            (queue.clone(), QueueSummary { queue, paused, weight, held, counts, oldest_waiting })
        })
        .collect();
    for count in counts(db).await? {
        if let Some(summary) = summaries.get_mut(&count.queue) {
            *summary.counts.entry(count.state).or_default() += count.n;
        }
    }
    for summary in summaries.values_mut() {
        summary.counts.retain(|_, n| *n != 0);
    }
    Ok(summaries.into_values().collect())
}
