//! What must be done now and then, by the scheduler. Each call is idempotent and safe to run from
//! several processes at once.

pub use super::parking::{PATIENCE as PARKING_PATIENCE, park_unknown};
use super::plans::keys_freed;
use super::{locks, presence, workflows};
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use std::time::Duration;
use switchyard_queue::{LaneId, Retention, WakeToken};
use uuid::Uuid;

/// Jobs promoted in one statement: enough to be cheap, few enough to hold their locks briefly.
const PROMOTE_BATCH: i64 = 1000;
/// Lapsed keys, answers and other rows that are old removed in one statement.
const FORGET_BATCH: i64 = 2000;
/// Days after yesterday for which slices are made: a scheduler that is away for a week loses
/// nothing, and the default slice takes what comes after that.
const SLICE_DAYS: i32 = 8;

/// Makes due jobs available and wakes their lanes; gives how many. Rows that somebody else has
/// locked are left for the next round.
///
/// # Errors
/// If the database is not available.
pub async fn promote_due(db: &Db) -> Result<u64> {
    let mut promoted = 0;
    loop {
        let lanes: Vec<(i32, i16, DateTime<Utc>, i64)> = sqlx::query_as(
            "with due as (
               update engine.jobs set stage = 0
               where ctid = any (array(
                 select ctid from engine.jobs where stage = 1 and run_at <= statement_timestamp()
                 order by run_at limit $1 for update skip locked))
               returning lane, kind, attempt, priority, run_at
             ), counted as (
               insert into engine.counter_deltas (lane, kind, state, n)
               select d.lane, d.kind, s.state, sum(s.n) from due d
               cross join lateral (values (0::int2, 1),
                 (engine.job_state(1::int2, d.attempt, null), -1)) s(state, n)
               group by 1, 2, 3
             )
             select lane, priority, min(run_at), count(*) from due group by 1, 2",
        )
        .bind(PROMOTE_BATCH)
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
        promoted += n.unsigned_abs();
        if n < PROMOTE_BATCH {
            return Ok(promoted);
        }
    }
}

/// Makes dead letters of jobs that nobody has begun by their deadline; gives how many. Rows that
/// somebody has locked are left for the next round, and a job that runs goes on.
///
/// # Errors
/// If the database is not available.
pub async fn end_overdue(db: &Db) -> Result<u64> {
    let mut ended = 0;
    loop {
        let (n, told): (i64, Vec<Uuid>) = sqlx::query_as(concat!(
            "with late as materialized (
               select ctid as place, stage from engine.jobs
               where deadline <= statement_timestamp() and stage <= 3 and worker is null
               order by deadline limit $1 for update skip locked
             ), dead as (
               update engine.jobs j set stage = 5,
                 last_error = concat_ws(E'\\n', format('deadline: it was not begun by %s',
                   to_char(j.deadline at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')), j.last_error),
                 fingerprint = left(encode(sha256(convert_to(
                   concat_ws(E'\\n', j.kind, 'deadline', $2::text), 'UTF8')), 'hex'), 16)
               from late l where j.ctid = l.place
               returning j.id, j.lane, j.kind, l.stage as before, j.attempt, j.unique_key, j.fingerprint,
                 j.workflow
             ), keys as (",
            keys_freed!("dead"),
            "), failed as (
               insert into engine.error_deltas (fingerprint, kind, class, pattern, n, at, example)
               select fingerprint, min(kind), 'deadline', $2, count(*), statement_timestamp(),
                 (array_agg(id))[1]
               from dead group by fingerprint
             ), counted as (
               insert into engine.counter_deltas (lane, kind, state, n)
               select d.lane, d.kind, s.state, sum(s.n) from dead d
               cross join lateral (values (engine.job_state(d.before, d.attempt, null), -1),
                 (7::int2, 1)) s(state, n)
               group by 1, 2, 3
             ), told as (
               insert into engine.workflow_events (workflow, job_id, outcome)
               select workflow, id, 7 from dead where workflow is not null
             )
             select count(*),
               coalesce(array_agg(distinct workflow) filter (where workflow is not null), '{}')
             from dead"
        ))
        .bind(PROMOTE_BATCH)
        .bind("it was not begun by its deadline")
        .fetch_one(db.engine())
        .await?;
        workflows::advance_soon(db, &told).await;
        ended += n.unsigned_abs();
        if n < PROMOTE_BATCH {
            return Ok(ended);
        }
    }
}

/// Adds the counters' deltas up; gives how many there were. One process at a time: another's call
/// meanwhile does nothing.
///
/// # Errors
/// If the database is not available.
pub async fn fold_counters(db: &Db) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "with turn as materialized (select pg_try_advisory_xact_lock($1, 0) as mine),
         taken as (
           delete from engine.counter_deltas where (select mine from turn)
           returning lane, kind, state, n
         ), folded as (
           insert into engine.counters as c (lane, kind, state, n)
           select lane, kind, state, sum(n) from taken group by 1, 2, 3 order by 1, 2, 3
           on conflict (lane, kind, state) do update set n = c.n + excluded.n
         )
         select count(*) from taken",
    )
    .bind(locks::FOLD)
    .fetch_one(db.engine())
    .await?;
    Ok(n.unsigned_abs())
}

/// Adds the failures up that were written since the last time; gives how many rows they were. One
/// process at a time, as with the counters.
///
/// # Errors
/// If the database is not available.
pub async fn fold_errors(db: &Db) -> Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "with turn as materialized (select pg_try_advisory_xact_lock($1, 1) as mine),
         taken as (
           delete from engine.error_deltas where (select mine from turn) returning *
         ), folded as (
           insert into engine.error_groups as g
             (fingerprint, kind, class, pattern, failures, first_seen, last_seen, example)
           select fingerprint, min(kind), min(class), min(pattern), sum(n), min(at), max(at),
             (array_agg(example order by at desc))[1]
           from taken group by fingerprint
           on conflict (fingerprint) do update set
             failures = g.failures + excluded.failures,
             first_seen = least(g.first_seen, excluded.first_seen),
             last_seen = greatest(g.last_seen, excluded.last_seen),
             example = excluded.example
         )
         select count(*) from taken",
    )
    .bind(locks::FOLD)
    .fetch_one(db.engine())
    .await?;
    Ok(n.unsigned_abs())
}

/// Forgets the groups of failures that were last seen more than this many days ago and have no dead
/// letter left; gives how many.
///
/// # Errors
/// If the database is not available.
pub async fn forget_errors(db: &Db, keep_days: u16) -> Result<u64> {
    let forgotten = sqlx::query(
        "delete from engine.error_groups g where g.last_seen < now() - $1 * interval '1 day'
           and not exists (select from engine.jobs j
             where j.stage = 5 and j.fingerprint = g.fingerprint)",
    )
    .bind(i32::from(keep_days))
    .execute(db.engine())
    .await?;
    Ok(forgotten.rows_affected())
}

/// Makes the history's slices for the days to come; gives how many were missing. Rows that came before
/// their slice go into it through its parent, so that whoever follows the log sees them move.
///
/// # Errors
/// If the database is not available, or a long reader is in the way (then a later call succeeds).
pub async fn ensure_slices(db: &Db) -> Result<u64> {
    let n: i32 = sqlx::query_scalar("select engine.ensure_slices(current_date - 1, $1)")
        .bind(SLICE_DAYS)
        .fetch_one(db.engine())
        .await?;
    Ok(u64::from(n.unsigned_abs()))
}

/// For how many days finished jobs are kept, by the class that their kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepDays {
    /// Most kinds; also the evidence of failed attempts.
    pub standard: u16,
    /// Housekeeping.
    pub short: u16,
    /// What must be shown after a year still.
    pub long: u16,
}

impl Default for KeepDays {
    fn default() -> Self {
        Self { standard: 14, short: 1, long: 400 }
    }
}

impl KeepDays {
    /// The days of one class.
    #[must_use]
    pub fn of(self, class: Retention) -> u16 {
        match class {
            Retention::Standard => self.standard,
            Retention::Short => self.short,
            Retention::Long => self.long,
        }
    }

    /// The days of the class that is kept the longest.
    #[must_use]
    pub fn longest(self) -> u16 {
        self.standard.max(self.short).max(self.long)
    }
}

/// Drops the slices of history that are older than their class is kept; gives how many. Those that
/// somebody reads meanwhile, such as a full backup, are left for a later call: nothing queues behind them.
///
/// # Errors
/// If the database is not available.
pub async fn drop_slices(db: &Db, keep: KeepDays) -> Result<u64> {
    // In the order of the classes' numbers.
    let days = [Retention::Standard, Retention::Short, Retention::Long].map(|c| keep.of(c).into());
    let n: i32 = sqlx::query_scalar(
        "select engine.drop_slices(array(
           select current_date - days from unnest($1::int[]) with ordinality k(days, n) order by n))",
    )
        .bind(days.to_vec() as Vec<i32>)
        .fetch_one(db.engine())
        .await?;
    Ok(u64::from(n.unsigned_abs()))
}

/// Builds the indexes for searching on one slice of the history whose day is over, the oldest that
/// lacks them; gives how many it was, 0 or 1. One process at a time: another's call meanwhile does
/// nothing.
///
/// # Errors
/// If the database is not available, or a long reader is in the way (then a later call succeeds).
pub async fn seal_slice(db: &Db) -> Result<u64> {
    let mut tx = db.begin_engine().await?;
    // A day of some million jobs takes minutes.
    sqlx::query("select set_config('statement_timeout', '30min', true)").execute(&mut *tx).await?;
    let sealed: Option<String> =
        sqlx::query_scalar("select engine.seal_slice()::text").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(sealed.map_or(0, |slice| {
        tracing::info!(slice, "a day of the history is sealed");
        1
    }))
}

/// Looks for workers that died, so that their jobs are found even where no other worker looks;
/// wakes everybody if there are any. Gives how many were found dead just now.
///
/// # Errors
/// If the database is not available.
pub async fn rescue_hint(db: &Db) -> Result<u64> {
    let (_, newly) = presence::reap(db.engine(), Duration::ZERO, None).await?;
    if newly > 0 {
        db.wake().send(&[WakeToken::Resync]);
    }
    Ok(newly as u64)
}

/// Removes unique keys whose time is over, answers that were kept for a day for those who did not
/// hear them, and words that were left for workers that went before they took them. Nothing waits for
/// it: who asks for a lapsed key takes it over.
///
/// # Errors
/// If the database is not available.
pub async fn forget_lapsed(db: &Db) -> Result<u64> {
    let mut gone = 0;
    loop {
        let n: i64 = sqlx::query_scalar(
            "with keys as (
               delete from engine.job_uniques where ctid = any (array(
                 select ctid from engine.job_uniques where until <= statement_timestamp()
                 order by until limit $1 for update skip locked))
               returning 1
             ), answers as (
               delete from engine.requests where ctid = any (array(
                 select ctid from engine.requests
                 where created_at <= statement_timestamp() - interval '1 day'
                 order by created_at limit $1 for update skip locked))
               returning 1
             ), words as (
               delete from engine.stop_requests where ctid = any (array(
                 select ctid from engine.stop_requests
                 where asked_at <= statement_timestamp() - interval '1 hour'
                 limit $1 for update skip locked))
               returning 1
             )
             select (select count(*) from keys) + (select count(*) from answers)
               + (select count(*) from words)",
        )
        .bind(FORGET_BATCH)
        .fetch_one(db.engine())
        .await?;
        gone += n.unsigned_abs();
        if n < FORGET_BATCH {
            return Ok(gone);
        }
    }
}

/// Deletes the effects that were done or failed more than this many days ago, unless the job that
/// had them last is open still; gives how many. One whose outcome nobody knows stays until it is
/// reconciled.
///
/// # Errors
/// If the database is not available.
pub async fn forget_effects(db: &Db, keep_days: u16) -> Result<u64> {
    let mut gone = 0;
    // Each batch begins where the one before ended, so that what is kept is stepped over once.
    let (mut at, mut key) = (None::<DateTime<Utc>>, String::new());
    loop {
        let batch: Vec<(DateTime<Utc>, String)> = sqlx::query_as(
            "delete from engine.effects where ctid = any (array(
               select e.ctid from engine.effects e
               where e.created_at < now() - $1 * interval '1 day'
                 and e.updated_at < now() - $1 * interval '1 day'
                 and (e.created_at, e.key collate \"C\") > (coalesce($3::timestamptz, '-infinity'), $4)
                 and e.state in ('done', 'failed')
                 and not exists (select from engine.jobs j where j.id = e.job_id offset 0)
               order by e.created_at, e.key collate \"C\" limit $2 for update of e skip locked))
             returning created_at, key",
        )
        .bind(i32::from(keep_days))
        .bind(FORGET_BATCH)
        .bind(at)
        .bind(&key)
        .fetch_all(db.engine())
        .await?;
        gone += batch.len() as u64;
        let full = i64::try_from(batch.len()).is_ok_and(|n| n >= FORGET_BATCH);
        match batch.into_iter().max() {
            Some(last) if full => (at, key) = (Some(last.0), last.1),
            _ => return Ok(gone),
        }
    }
}

/// Deletes the workers that went more than this many days and a month ago; gives how many. By then
/// nothing names them: history is kept for the days and at most one slice of a month more, and a
/// job that one of them held was free when its lease ran out.
///
/// # Errors
/// If the database is not available.
pub async fn forget_workers(db: &Db, keep_days: u16) -> Result<u64> {
    let mut gone = 0;
    loop {
        let n = sqlx::query(
            "delete from engine.workers where ctid = any (array(
               select ctid from engine.workers
               where (stopped_at is not null or died_at is not null)
                 and coalesce(died_at, stopped_at) < now() - $1 * interval '1 day' - interval '1 month'
               order by coalesce(died_at, stopped_at) limit $2 for update skip locked))",
        )
        .bind(i32::from(keep_days))
        .bind(FORGET_BATCH)
        .execute(db.engine())
        .await?
        .rows_affected();
        gone += n;
        if n < FORGET_BATCH.unsigned_abs() {
            return Ok(gone);
        }
    }
}
