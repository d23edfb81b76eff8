//! Many jobs at once: those that wait, those that have ended, and few of many beside many of one.

use super::{Engine, Mix, Tally};
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use switchyard_queue::Options;
use switchyard_store::Scope;

/// Ended jobs like the one that there is, over the last hours of today.
const ENDED: &str = "insert into engine.job_history
    (id, class, lane, kind, priority, outcome, attempt, max_attempts, crashes, timeout_ms, worker, args,
     created_at, run_at, started_at, finished_at)
  select gen_random_uuid(), 0, j.lane, j.kind, j.priority, 8, 1, j.max_attempts, 0, j.timeout_ms, 1, j.args,
    at.at, at.at, at.at, at.at
  from engine.jobs j cross join generate_series(1, $1::int8) n
  cross join lateral (
    select greatest(now() - n * interval '10 ms', date_trunc('day', now(), 'UTC')) as at) at
  where j.kind = 'bench.nothing' and j.priority = 0";

/// Waiting jobs like the one that there is, less urgent than any other.
const WAITING: &str =
    "insert into engine.jobs (id, lane, kind, priority, max_attempts, timeout_ms, args)
  select gen_random_uuid(), j.lane, j.kind, 99, j.max_attempts, j.timeout_ms, j.args
  from engine.jobs j cross join generate_series(1, $1::int8)
  where j.kind = 'bench.nothing' and j.priority = 0";

impl Engine {
    /// Fills the queue with jobs that wait and the history with such that have ended, in SQL, and
    /// leaves the tables as they are when that happened long ago.
    pub async fn pile_up(&self, waiting: u64, ended: u64) -> anyhow::Result<()> {
        self.enqueue(&Tally::new(1, false), 0..1, Mix::default()).await?;
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        for (fill, n) in [(ENDED, ended), (WAITING, waiting)] {
            sqlx::query(fill).bind(i64::try_from(n)?).execute(&mut owner).await?;
        }
        for settle in [
            "delete from engine.jobs where kind = 'bench.nothing' and priority = 0",
            "vacuum analyze engine.jobs",
            "vacuum analyze engine.job_history",
            "checkpoint",
        ] {
            sqlx::raw_sql(settle).execute(&mut owner).await?;
        }
        Ok(())
    }

    /// So many partitions of a few jobs each wait beside one of many; then one worker process comes.
    /// Seconds from its first claim to the end of the last job of the small ones, and of all.
    pub async fn small_beside_one(
        &self,
        partitions: u64,
        each: u64,
        large: u64,
    ) -> anyhow::Result<(f64, f64)> {
        let all = partitions * each + large;
        let tally = Tally::new(all, false);
        let mut next = 0;
        while next < all {
            let batch = next..(next + 1000).min(all);
            next = batch.end;
            // The large one's came first.
            let made = batch.map(|i| {
                let small = i.checked_sub(large).map(|i| format!("small {}", i % partitions));
                let partition = small.unwrap_or_else(|| "large".to_owned());
                tally.job_with(i, Options::new().partition(partition))
            });
            let made = made.collect::<anyhow::Result<Vec<_>>>()?;
            let mut tx = self.db.begin(Scope::Platform).await?;
            tx.enqueue_all(made).await?;
            tx.commit().await?;
        }
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        for settle in ["vacuum analyze engine.jobs", "checkpoint"] {
            sqlx::raw_sql(settle).execute(&mut owner).await?;
        }
        let mut worker = self.worker_process()?;
        while self.finished().await? < all {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        worker.kill().await?;
        let took: (f64, f64) = sqlx::query_as(
            "select extract(epoch from max(h.finished_at) filter (where l.partition <> 'large')
                 - min(h.started_at))::float8,
               extract(epoch from max(h.finished_at) - min(h.started_at))::float8
             from engine.job_history h join engine.lanes l on l.id = h.lane
             where h.kind = 'bench.nothing'",
        )
        .fetch_one(&mut owner)
        .await?;
        Ok(took)
    }
}
