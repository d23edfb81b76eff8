//! The cron table and its firings.
//!
//! A schedule's cursor is the later of `since` and `last_fire`: everything up to it is dealt with,
//! whether fired or left out. A firing moves the cursor in the transaction that enqueues its job,
//! and only if the cursor is where the caller saw it, so two schedulers that both believe to lead
//! cannot both deal with the same stretch of time; `unique (schedule, fire_time)` stands behind it.

use crate::engine::{enqueue, lanes};
use crate::tx::EngineTx;
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use std::collections::HashSet;
use switchyard_queue::{ArgsCipher, JobId, LaneId, NewJob, ScheduleSpec, WakeToken};
use uuid::Uuid;

/// One line of the cron table as it is stored.
#[derive(Clone, Debug, FromRow)]
pub struct ScheduleRow {
    /// Unique name.
    pub name: String,
    /// Cron expression with seconds.
    pub cron: String,
    /// IANA time zone.
    pub tz: String,
    /// The kind of job that is enqueued.
    pub kind: String,
    /// Its arguments.
    pub args: Value,
    /// `skip`, `once` or `all`.
    pub policy: String,
    /// Whether an operator stopped it. What would have fired meanwhile is never made up for.
    pub paused: bool,
    /// Nothing before this fires any more.
    pub since: DateTime<Utc>,
    /// The last firing.
    pub last_fire: Option<DateTime<Utc>>,
}

impl ScheduleRow {
    /// Up to here everything is dealt with.
    #[must_use]
    pub fn cursor(&self) -> DateTime<Utc> {
        self.last_fire.map_or(self.since, |last| last.max(self.since))
    }
}

/// One firing that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Firing {
    /// When it was due.
    pub fire_time: DateTime<Utc>,
    /// The job that it enqueued, or the one that already stood under the same unique key.
    pub job_id: Uuid,
    /// When it was made.
    pub fired_at: DateTime<Utc>,
}

/// What is to be done about a stretch of time of one schedule.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// The schedule.
    pub name: &'a str,
    /// Its cursor, as it was read.
    pub cursor: DateTime<Utc>,
    /// The firings to make, oldest first; may be none.
    pub fires: &'a [DateTime<Utc>],
    /// The cursor afterwards.
    pub until: DateTime<Utc>,
}

/// Makes the stored table equal to the program's: lines are added, changed, and removed when the
/// program no longer has them. A line whose times changed starts anew from now; pauses stay.
///
/// # Errors
/// If the database is not available.
pub async fn sync(db: &Db, specs: &[&ScheduleSpec]) -> Result<()> {
    let mut tx = db.begin_engine().await?;
    // One at a time, or two programs' upserts would deadlock over the order of their lines.
    sqlx::query("lock table engine.schedules in share row exclusive mode")
        .execute(&mut *tx)
        .await?;
    for spec in specs {
        sqlx::query(
            "insert into engine.schedules as s (name, cron, tz, kind, args, policy)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (name) do update set
               cron = excluded.cron, tz = excluded.tz, kind = excluded.kind,
               args = excluded.args, policy = excluded.policy,
               since = case when (s.cron, s.tz) = (excluded.cron, excluded.tz)
                       then s.since else clock_timestamp() end",
        )
        .bind(spec.name)
        .bind(spec.cron)
        .bind(spec.tz)
        .bind(spec.kind)
        .bind(&spec.args)
        .bind(spec.missed.as_str())
        .execute(&mut *tx)
        .await?;
    }
    let names: Vec<&str> = specs.iter().map(|s| s.name).collect();
    sqlx::query("delete from engine.schedules where name <> all($1)")
        .bind(names)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// The whole table by name, and the database's time.
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db) -> Result<(DateTime<Utc>, Vec<ScheduleRow>)> {
    let mut connection = db.engine().acquire().await?;
    let rows = sqlx::query_as(
        "select name, cron, tz, kind, args, policy, paused, since, last_fire
           from engine.schedules order by name",
    )
    .fetch_all(&mut *connection)
    .await?;
    // Asked after the rows, so that no cursor is ahead of it.
    let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *connection).await?;
    Ok((now, rows))
}

/// The latest firings of a schedule, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn firings(db: &Db, name: &str, limit: u16) -> Result<Vec<Firing>> {
    Ok(sqlx::query_as(
        "select fire_time, job_id, fired_at from engine.schedule_fires
          where schedule = $1 order by fire_time desc limit $2",
    )
    .bind(name)
    .bind(i64::from(limit))
    .fetch_all(db.engine())
    .await?)
}

/// Stops a schedule, or lets it go on from now. Gives whether there is such a schedule.
///
/// # Errors
/// If the database is not available.
pub async fn pause(db: &Db, name: &str, paused: bool) -> Result<bool> {
    let done = sqlx::query(
        "update engine.schedules
            set paused = $2,
                since = case when paused and not $2 then clock_timestamp() else since end
          where name = $1",
    )
    .bind(name)
    .bind(paused)
    .execute(db.engine())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Makes the firings of a stretch, each with a job of its own made from `template`, and moves the
/// cursor: one transaction. Gives the times of the firings that were made; none if the schedule is paused or
/// gone, or if somebody else moved its cursor.
///
/// # Errors
/// If the database is not available; then nothing was done, unless the commit itself failed.
pub async fn fire(db: &Db, stretch: &Stretch<'_>, template: &NewJob) -> Result<Vec<DateTime<Utc>>> {
    // Before the transaction: making a lane takes a connection of its own.
    let lane = lanes::of(db, std::slice::from_ref(template)).await?;
    let mut tx = db.begin_engine().await?;
    if !lock(&mut tx, stretch).await? {
        return Ok(Vec::new());
    }
    let jobs: Vec<NewJob> =
        stretch.fires.iter().map(|_| NewJob { id: JobId::new(), ..template.clone() }).collect();
    let taken = record(&mut tx, stretch, &jobs).await?;
    let (times, jobs): (Vec<_>, Vec<_>) = stretch
        .fires
        .iter()
        .copied()
        .zip(jobs)
        .filter(|(_, job)| taken.contains(&job.id.0))
        .unzip();
    let lanes = lane.repeat(jobs.len());
    let wake = place(&mut tx, stretch.name, &times, &jobs, &lanes, db.cipher()).await?;
    sqlx::query(
        "update engine.schedules
            set last_fire = greatest(last_fire, $2), since = greatest(since, $3)
          where name = $1",
    )
    .bind(stretch.name)
    .bind(times.last())
    .bind(stretch.until)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    if wake && let Some(lane) = lanes.first() {
        db.wake().send(&[WakeToken::Lane(*lane)]);
    }
    Ok(times)
}

/// Locks the schedule if it may fire and its cursor is where the caller saw it.
async fn lock(tx: &mut EngineTx, stretch: &Stretch<'_>) -> Result<bool> {
    let found: Option<i32> = sqlx::query_scalar(
        "select 1 from engine.schedules
          where name = $1 and not paused and greatest(last_fire, since) = $2
            -- Nothing happens by itself in a system that was restored and is not released.
            and not engine.awaits_release()
            for no key update",
    )
    .bind(stretch.name)
    .bind(stretch.cursor)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.is_some())
}

/// Writes the firings down; gives the ids of the jobs whose firing is new.
async fn record(
    connection: &mut PgConnection,
    stretch: &Stretch<'_>,
    jobs: &[NewJob],
) -> Result<HashSet<Uuid>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.0).collect();
    let new: Vec<Uuid> = sqlx::query_scalar(
        "insert into engine.schedule_fires (schedule, fire_time, job_id)
         select $1, t, id from unnest($2::timestamptz[], $3::uuid[]) as u(t, id)
         on conflict (schedule, fire_time) do nothing
         returning job_id",
    )
    .bind(stretch.name)
    .bind(stretch.fires)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(new.into_iter().collect())
}

/// Enqueues the jobs; says whether one is due at once. A firing whose job's unique key is taken
/// points at the job that stands.
async fn place(
    connection: &mut PgConnection,
    name: &str,
    times: &[DateTime<Utc>],
    jobs: &[NewJob],
    lanes: &[LaneId],
    cipher: Option<&dyn ArgsCipher>,
) -> Result<bool> {
    let placed = enqueue::insert(connection, jobs, lanes, cipher).await?;
    let stands = times.iter().zip(&placed).filter(|(_, p)| !p.answer.inserted());
    let (at, ids): (Vec<DateTime<Utc>>, Vec<Uuid>) =
        stands.map(|(at, p)| (*at, p.answer.id.0)).unzip();
    if !at.is_empty() {
        sqlx::query(
            "update engine.schedule_fires f set job_id = u.id
               from unnest($2::timestamptz[], $3::uuid[]) as u(t, id)
              where f.schedule = $1 and f.fire_time = u.t",
        )
        .bind(name)
        .bind(at)
        .bind(ids)
        .execute(connection)
        .await?;
    }
    Ok(placed.iter().any(|p| p.wake.is_some()))
}

/// Forgets firings older than this many days. Their times are behind every cursor, so none of
/// them can be made again.
///
/// # Errors
/// If the database is not available.
pub async fn forget_firings(db: &Db, keep_days: u16) -> Result<u64> {
    let done = sqlx::query(
        "delete from engine.schedule_fires f using engine.schedules s
          where s.name = f.schedule and f.fire_time < greatest(s.last_fire, s.since)
            and f.fired_at < now() - make_interval(days => $1)",
    )
    .bind(i32::from(keep_days))
    .execute(db.engine())
    .await?;
    Ok(done.rows_affected())
}
