//! The rules of what may run at once and how fast; `claim::limited` keeps to them.

mod words;

pub use words::RateFault;

use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use switchyard_queue::{LaneId, WakeToken};

/// What a limit holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum LimitScope {
    /// A whole queue.
    Queue {
        /// The queue.
        queue: String,
    },
    /// One partition of a queue.
    Partition {
        /// The queue.
        queue: String,
        /// The partition.
        partition: String,
    },
    /// Every partition of a queue by itself, those to come too, unless it has a limit of its own. Jobs
    /// without a partition are not meant.
    EachPartition {
        /// The queue.
        queue: String,
    },
    /// All jobs that name this key, see [`switchyard_queue::Options::limit_key`].
    Key {
        /// The key.
        key: String,
    },
}

/// So many starts in so much time. In no stretch of time `t` are there more than
/// `burst + starts * t / period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StartRate {
    /// Starts, at least 1.
    pub starts: u32,
    /// In this time, at least a millisecond.
    #[serde(rename = "period_seconds", serialize_with = "words::in_seconds")]
    pub period: Duration,
    /// So many of them may come at once, at least 1. The more, the fewer claims are needed.
    pub burst: u32,
}

impl StartRate {
    /// The burst that is taken for want of another: what the rate gives in 20 ms.
    #[must_use]
    pub fn usual_burst(starts: u32, period: Duration) -> u32 {
        let in_20_ms = f64::from(starts) * 0.02 / period.as_secs_f64().max(0.001);
        // Between 1 and `starts`, which are far below 2^32.
        (in_20_ms as u32).clamp(1, starts.max(1))
    }
}

/// A limit, and what goes on under it.
#[derive(Clone, Debug, Serialize)]
pub struct LimitRow {
    /// What it holds for.
    #[serde(flatten)]
    pub scope: LimitScope,
    /// Jobs that may run at once.
    pub max_running: Option<u32>,
    /// Starts.
    pub rate: Option<StartRate>,
    /// Jobs that run under it. Of a pattern: under all that were made from it.
    pub running: u64,
    /// The rate allows no start before this.
    pub next_start: Option<DateTime<Utc>>,
    /// It was made from the pattern for each partition of its queue.
    pub from_pattern: bool,
}

/// Why a limit was refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitRefusal {
    /// Nothing is limited by it.
    #[error("a limit needs a number of jobs that may run at once, a rate, or both")]
    Empty,
    /// A number is out of bounds.
    #[error("{0} must be between 1 and {1}")]
    OutOfBounds(&'static str, u32),
    /// It is not said, or said twice, what it is to hold for.
    #[error("{0}")]
    Scope(&'static str),
    /// The database did not take it.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for LimitRefusal {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// The columns of a scope.
struct Key<'a> {
    queue: Option<&'a str>,
    partition: Option<&'a str>,
    key: Option<&'a str>,
    each: bool,
}

impl LimitScope {
    /// What people name: a queue, with one of its partitions or each of them, or a key.
    ///
    /// # Errors
    /// [`LimitRefusal::Scope`] if that is none of these, or a name cannot be one.
    pub fn named(
        queue: Option<String>,
        partition: Option<String>,
        each: bool,
        key: Option<String>,
    ) -> Result<Self, LimitRefusal> {
        let scope = match (queue, key) {
            (Some(_), Some(_)) => Err("a limit holds for a queue or for a key, not for both"),
            (None, None) => Err("say what the limit is for: a queue, or a key"),
            (Some(_), None) if each && partition.is_some() => {
                Err("a limit holds for one partition or for each of them, not for both")
            }
            (None, Some(_)) if each || partition.is_some() => {
                Err("a key holds in every queue and partition; name it alone")
            }
            (queue, key) => Ok(Self::of(queue, partition, key, each)),
        };
        let scope = scope.map_err(LimitRefusal::Scope)?;
        scope.check()?;
        Ok(scope)
    }

    fn check(&self) -> Result<(), LimitRefusal> {
        let of = self.columns();
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let short = |text: Option<&str>| text.is_none_or(|t| t.len() <= 1000 && !t.contains('\0'));
        let fault =
            if of.queue.is_some_and(|q| !(1..=200).contains(&q.len()) || !q.chars().all(name)) {
                "a queue's name is made of up to 200 lower-case letters, digits and dashes"
            } else if !short(of.partition) {
                "a partition has at most 1,000 bytes, none of them zero"
            } else if of.key.is_some_and(str::is_empty) || !short(of.key) {
                "a key has 1 to 1,000 bytes, none of them zero"
            } else {
                return Ok(());
            };
        Err(LimitRefusal::Scope(fault))
    }

    fn columns(&self) -> Key<'_> {
        let none = Key { queue: None, partition: None, key: None, each: false };
        match self {
            Self::Queue { queue } => Key { queue: Some(queue), ..none },
            Self::Partition { queue, partition } => {
                Key { queue: Some(queue), partition: Some(partition), ..none }
            }
            Self::EachPartition { queue } => Key { queue: Some(queue), each: true, ..none },
            Self::Key { key } => Key { key: Some(key), ..none },
        }
    }

    fn of(
        queue: Option<String>,
        partition: Option<String>,
        key: Option<String>,
        each: bool,
    ) -> Self {
        match (queue, partition, key) {
            (Some(queue), Some(partition), _) => Self::Partition { queue, partition },
            (Some(queue), None, _) if each => Self::EachPartition { queue },
            (Some(queue), None, _) => Self::Queue { queue },
            (None, _, key) => Self::Key { key: key.unwrap_or_default() },
        }
    }
}

/// A number that PostgreSQL's `int` holds and that is at least 1.
fn number(what: &'static str, n: u32) -> Result<i32, LimitRefusal> {
    const MOST: u32 = i32::MAX.unsigned_abs();
    match i32::try_from(n) {
        Ok(n) if n >= 1 => Ok(n),
        _ => Err(LimitRefusal::OutOfBounds(what, MOST)),
    }
}

/// Sets a limit, in the place of the one that stood for the same. Claims that begin from now on keep
/// to it; what runs already counts for nothing.
///
/// # Errors
/// [`LimitRefusal`] if it makes no sense.
pub async fn set(
    db: &Db,
    scope: &LimitScope,
    max_running: Option<u32>,
    rate: Option<StartRate>,
) -> Result<(), LimitRefusal> {
    if max_running.is_none() && rate.is_none() {
        return Err(LimitRefusal::Empty);
    }
    scope.check()?;
    let max_running = max_running.map(|n| number("max_running", n)).transpose()?;
    let starts = rate.map(|r| number("the rate", r.starts)).transpose()?;
    let burst = rate.map(|r| number("the burst", r.burst)).transpose()?;
    let millis = |r: StartRate| u32::try_from(r.period.as_millis()).unwrap_or(u32::MAX);
    let period = rate.map(|r| number("the period in milliseconds", millis(r))).transpose()?;
    let to = scope.columns();
    let mut tx = db.begin_engine().await?;
    if let Some(queue) = to.queue {
        sqlx::query("insert into engine.queues (queue) values ($1) on conflict do nothing")
            .bind(queue)
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query(
        "with wanted as (
           insert into engine.limits as l
             (queue, partition, limit_key, each, max_running, rate, period_ms, burst)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           on conflict (queue, partition, limit_key, each) do update set
             max_running = excluded.max_running, rate = excluded.rate,
             period_ms = excluded.period_ms, burst = excluded.burst, pattern = null
           returning l.id
         )
         update engine.limits l set max_running = $5, rate = $6, period_ms = $7, burst = $8
         from wanted w where l.pattern = w.id",
    )
    .bind(to.queue)
    .bind(to.partition)
    .bind(to.key)
    .bind(to.each)
    .bind(max_running)
    .bind(starts)
    .bind(period)
    .bind(burst)
    .execute(&mut *tx)
    .await?;
    sqlx::query("select engine.limit_lanes()").execute(&mut *tx).await?;
    tx.commit().await?;
    db.wake().send(&[WakeToken::Resync]);
    Ok(())
}

/// Takes a limit away. A partition whose own limit goes comes under its queue's pattern again.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or if it was made from a pattern: then the pattern is
/// to be changed, or the partition given a limit of its own.
pub async fn remove(db: &Db, scope: &LimitScope) -> Result<()> {
    let of = scope.columns();
    let mut tx = db.begin_engine().await?;
    let gone = sqlx::query(
        "delete from engine.limits
         where queue is not distinct from $1 and partition is not distinct from $2
           and limit_key is not distinct from $3 and each = $4 and pattern is null",
    )
    .bind(of.queue)
    .bind(of.partition)
    .bind(of.key)
    .bind(of.each)
    .execute(&mut *tx)
    .await?;
    if gone.rows_affected() == 0 {
        return Err(StoreFault::NotFound);
    }
    sqlx::query("select engine.limit_lanes()").execute(&mut *tx).await?;
    sqlx::query("delete from engine.charges where limit_id not in (select id from engine.limits)")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    db.wake().send(&[WakeToken::Resync]);
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    queue: Option<String>,
    partition: Option<String>,
    limit_key: Option<String>,
    each: bool,
    from_pattern: bool,
    max_running: Option<i32>,
    rate: Option<i32>,
    period_ms: Option<i32>,
    burst: Option<i32>,
    running: i64,
    next_start: Option<DateTime<Utc>>,
}

/// Limits as rows; `$running` counts what runs under `l`.
macro_rules! rows {
    ($with:literal, $running:literal, $from:literal) => {
        concat!(
            $with,
            "select l.queue, l.partition, l.limit_key, l.each, l.pattern is not null as from_pattern,
               l.max_running, l.rate, l.period_ms, l.burst, ",
            $running,
            " as running, case when due.at > clock_timestamp() then due.at end as next_start
             from engine.limits l
             cross join lateral (select l.tat
               - (l.burst - 1) * (l.period_ms * interval '1 millisecond' / l.rate) as at) due ",
            $from
        )
    };
}

/// All limits; those that were made from a pattern only if something runs under them, the busiest
/// first, at most `most` in all.
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db, most: u32) -> Result<Vec<LimitRow>> {
    let rows: Vec<Row> = sqlx::query_as(rows!(
        "with used as materialized (
           select limit_id, count(*) as n from engine.charges group by 1
         ) ",
        "coalesce(case when l.each
           then (select sum(u.n)::bigint from used u join engine.limits m on m.id = u.limit_id
                 where m.pattern = l.id)
           else u.n end, 0)",
        "left join used u on u.limit_id = l.id
         where l.pattern is null or u.n > 0
         order by l.pattern is not null, l.queue nulls last, running desc, l.partition nulls first, l.limit_key
         limit $1"
    ))
    .bind(i64::from(most))
    .fetch_all(db.engine())
    .await?;
    Ok(rows.into_iter().map(Row::into_limit).collect())
}

/// The limits of one lane.
pub(crate) async fn of_lane(db: &Db, lane: LaneId) -> Result<Vec<LimitRow>> {
    let rows: Vec<Row> = sqlx::query_as(rows!(
        "",
        "(select count(*) from engine.charges c where c.limit_id = l.id)",
        "where l.id = any((select n.limits from engine.lanes n where n.id = $1)::int[]) order by l.id"
    ))
    .bind(lane.0)
    .fetch_all(db.engine())
    .await?;
    Ok(rows.into_iter().map(Row::into_limit).collect())
}

impl Row {
    fn into_limit(self) -> LimitRow {
        let rate = match (self.rate, self.period_ms, self.burst) {
            (Some(starts), Some(millis), Some(burst)) => Some(StartRate {
                starts: starts.unsigned_abs(),
                period: Duration::from_millis(u64::from(millis.unsigned_abs())),
                burst: burst.unsigned_abs(),
            }),
            _ => None,
        };
        LimitRow {
            scope: LimitScope::of(self.queue, self.partition, self.limit_key, self.each),
            max_running: self.max_running.map(i32::unsigned_abs),
            rate,
            running: self.running.unsigned_abs(),
            next_start: self.next_start,
            from_pattern: self.from_pattern,
        }
    }
}
