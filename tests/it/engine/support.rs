//! Jobs that mean nothing, and looks behind the curtain.

use serde_json::json;
use sqlx::PgConnection;
use std::time::Duration;
use switchyard_queue::{NewJob, Options};

/// A job in queue `q`.
pub fn job(kind: &'static str, options: Options) -> NewJob {
    NewJob::raw(kind, "q", Duration::from_secs(30), json!({"n": 1}), options)
}

/// Rows of a table that meet a condition.
pub async fn count(owner: &mut PgConnection, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(owner).await.unwrap()
}

/// Counters and deltas that differ from a recount of the tables, as `lane kind state counted real`.
pub async fn miscounts(owner: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "with counted as (
           select lane, kind, state, sum(n)::bigint n
           from (select * from engine.counters union all select * from engine.counter_deltas) c
           group by 1, 2, 3 having sum(n) <> 0
         ), real as (
           select lane, kind, state, count(*) n
           from (select lane, kind, engine.job_state(stage, attempt, worker) state from engine.jobs
                 union all select lane, kind, outcome from engine.job_history) j
           group by 1, 2, 3
         )
         select format('%s %s %s %s %s', lane, kind, state, c.n, r.n)
         from counted c full join real r using (lane, kind, state)
         where c.n is distinct from r.n",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}
