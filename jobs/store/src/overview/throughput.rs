//! Finished jobs over time, for the chart.

use crate::{Db, Result};
use chrono::{DateTime, Utc};
use sqlx::Row;

/// Jobs that finished within one slot of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The slot's beginning.
    pub at: DateTime<Utc>,
    /// Jobs that finished in it.
    pub n: i64,
}

/// At most this many finished jobs are looked at, the newest first: a busy system shows a shorter
/// past instead of a slower page.
const BOUND: i64 = 300_000;

/// Slots of `seconds` since `since`, oldest first, those without a job left out.
///
/// # Errors
/// If the database is not available.
pub async fn throughput(db: &Db, since: DateTime<Utc>, seconds: u32) -> Result<Vec<Bucket>> {
    const SQL: &str =
        "select date_bin(make_interval(secs => $2), finished_at, 'epoch') as at, count(*) as n
        from (select finished_at from engine.job_history
              where class = 0 and finished_at >= $1
              order by finished_at desc limit $3) recent
        group by 1 order by 1";
    let rows = sqlx::query(SQL)
        .bind(since)
        .bind(f64::from(seconds))
        .bind(BOUND)
        .fetch_all(db.engine())
        .await?;
    rows.iter().map(|r| Ok(Bucket { at: r.try_get("at")?, n: r.try_get("n")? })).collect()
}
