//! Running jobs that have been silent for longer than their kind allows.

use crate::{Db, Result};
use serde::Serialize;

/// Stuck jobs that are counted of one kind.
const MOST_COUNTED: i64 = 1000;

/// How many running jobs of one kind are stuck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct StuckKind {
    /// The kind, by its permanent name.
    pub kind: String,
    /// How many, up to 1,000.
    pub n: i64,
}

/// Every kind whose workers declared after what silence a job counts as stuck, and how many of its jobs
/// do now, zeros included.
///
/// Only the lanes in which such a kind runs, by the counters, are looked into, and of each only as many
/// rows as run there.
///
/// # Errors
/// If the database is not available.
pub async fn stuck(db: &Db) -> Result<Vec<StuckKind>> {
    let kinds = sqlx::query_as(
        "with watched as materialized (
           select kind, name, stuck_after_ms from engine.kinds where stuck_after_ms is not null
         ), busy as materialized (
           select c.lane, sum(c.n)::bigint as n
           from (select lane, kind, n from engine.counters where state = 3
                 union all
                 select lane, kind, n from engine.counter_deltas where state = 3) c
           where exists (select from watched)
           group by 1
           having sum(c.n) > 0 and sum(c.n) filter (where c.kind in (select kind from watched)) > 0
         ), silent as materialized (
           select w.name from busy
           cross join lateral (
             select r.kind, r.claimed_at, r.progress_at from engine.jobs r
             where r.lane = busy.lane and r.stage = 0 and r.worker is not null
             order by r.priority, r.run_at, r.id limit busy.n) j
           join watched w on w.kind = j.kind
           where engine.stuck_since(j.claimed_at, j.progress_at, w.stuck_after_ms) is not null
         )
         select w.name as kind,
           least((select count(*) from silent s where s.name = w.name), $1) as n
         from watched w where w.kind = w.name order by 1",
    )
    .bind(MOST_COUNTED)
    .fetch_all(db.engine())
    .await?;
    Ok(kinds)
}
