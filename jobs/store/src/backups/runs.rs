//! Every run of a backup, a drill, a restore: one row each, kept for good, so that the share of those
//! that succeeded is a figure and not a feeling. Platform scope.

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

stored_words! {
    /// What a run does.
    RunKind {
        /// Copies every row.
        Full = "full",
        /// Takes the changes since the last one.
        Incremental = "incremental",
        /// Puts the changes since the full backup together.
        Differential = "differential",
        /// Reads what is in the archive and checks it.
        Verify = "verify",
        /// Restores into a scratch database and compares.
        Drill = "drill",
        /// Takes away what retention does not keep.
        Prune = "prune",
        /// Copies to the second archive.
        Copy = "copy",
        /// Restores for good.
        Restore = "restore",
    }
}

stored_words! {
    /// How a run stands.
    RunState {
        /// Under way.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Not done; the error says why.
        Failed = "failed",
    }
}

/// A run as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub kind: RunKind,
    /// How it stands.
    pub state: RunState,
    /// `schedule`, `admin:<id>` or `cli:<user>`.
    pub asked_by: String,
    /// The job that runs it, if one does.
    pub job: Option<Uuid>,
    /// The backup's name in the archive.
    pub backup: Option<String>,
    /// What it restores is at least as new as this.
    pub covers: Option<DateTime<Utc>>,
    /// After this position of the log.
    pub from_lsn: Option<String>,
    /// Up to this one.
    pub to_lsn: Option<String>,
    /// Bytes in the archive.
    pub stored_bytes: Option<i64>,
    /// Rows of a full backup, changes of the others.
    pub rows: Option<i64>,
    /// What was found.
    pub evidence: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl Run {
    /// How long it took, in seconds.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        let ms = (self.finished_at? - self.began_at).num_milliseconds();
        // Far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        Some(ms.max(0) as f64 / 1000.0)
    }

    /// An increment that asked for a full backup, because the schema was changed: no failure, though it
    /// has taken nothing.
    #[must_use]
    pub fn wants_full(&self) -> bool {
        self.evidence.as_ref().is_some_and(|e| e.get(FULL_NEEDED).is_some())
    }
}

/// What the evidence of a run has that [`Run::wants_full`].
pub const FULL_NEEDED: &str = "full_needed";

fn run(row: &PgRow) -> sqlx::Result<Run> {
    Ok(Run {
        id: row.try_get("id")?,
        kind: word(row, "kind")?,
        state: word(row, "state")?,
        asked_by: row.try_get("asked_by")?,
        job: row.try_get("job_id")?,
        backup: row.try_get("backup")?,
        covers: row.try_get("covers")?,
        from_lsn: row.try_get("from_lsn")?,
        to_lsn: row.try_get("to_lsn")?,
        stored_bytes: row.try_get("stored_bytes")?,
        rows: row.try_get("rows")?,
        evidence: row.try_get("evidence")?,
        error: row.try_get("error")?,
        began_at: row.try_get("began_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}

fn all(rows: &[PgRow]) -> Result<Vec<Run>> {
    Ok(rows.iter().map(run).collect::<sqlx::Result<_>>()?)
}

/// Writes down that a run begins. Whoever calls holds the [`super::BackupLock`] of its sort: what of the
/// same kind still counts as under way was left behind by a process that died, and is ended here.
///
/// # Errors
/// If the database is not available.
pub async fn begin(tx: &mut Tx, kind: RunKind, asked_by: &str, job: Option<Uuid>) -> Result<Uuid> {
    sqlx::query(
        "update switchyard.backup_runs set state = 'failed', finished_at = clock_timestamp(),
           error = 'the process that ran it ended before it was done'
         where kind = $1 and state = 'running'",
    )
    .bind(kind.as_str())
    .execute(tx.conn())
    .await?;
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into switchyard.backup_runs (id, kind, asked_by, job_id) values ($1, $2, $3, $4)",
    )
    .bind(id)
    .bind(kind.as_str())
    .bind(asked_by)
    .bind(job)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// The backup's name in the archive.
    pub backup: Option<String>,
    /// What it restores is at least as new as this.
    pub covers: Option<DateTime<Utc>>,
    /// After this position of the log.
    pub from_lsn: Option<String>,
    /// Up to this one.
    pub to_lsn: Option<String>,
    /// Bytes in the archive.
    pub stored_bytes: Option<u64>,
    /// Rows of a full backup, changes of the others.
    pub rows: Option<u64>,
    /// What was found.
    pub evidence: Option<Value>,
    /// What was found is that something is wrong: the run has failed, and its evidence says how.
    pub problem: Option<String>,
}

/// Ends a run: with what it came to, or with why it failed. One that another has ended meanwhile stays
/// as it is.
///
/// # Errors
/// If the database is not available.
pub async fn end(tx: &mut Tx, id: Uuid, came: &Came, error: Option<&str>) -> Result<()> {
    let whole = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    sqlx::query(
        "update switchyard.backup_runs set
           state = case when $2::text is null then 'succeeded' else 'failed' end, error = $2,
           backup = $3, covers = $4, from_lsn = $5, to_lsn = $6, stored_bytes = $7, rows = $8,
           evidence = $9, finished_at = clock_timestamp()
         where id = $1 and state = 'running'",
    )
    .bind(id)
    .bind(error.or(came.problem.as_deref()))
    .bind(&came.backup)
    .bind(came.covers)
    .bind(&came.from_lsn)
    .bind(&came.to_lsn)
    .bind(whole(came.stored_bytes))
    .bind(whole(came.rows))
    .bind(&came.evidence)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Runs, newest first: of a kind if one is given, begun before one if that is given.
///
/// # Errors
/// If the database is not available.
pub async fn list(
    tx: &mut Tx,
    kind: Option<RunKind>,
    before: Option<Uuid>,
    limit: u16,
) -> Result<Vec<Run>> {
    let rows = sqlx::query(
        "select * from switchyard.backup_runs
         where ($1::text is null or kind = $1) and ($2::uuid is null or id < $2)
         order by began_at desc, id desc limit $3",
    )
    .bind(kind.map(RunKind::as_str))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}

/// Runs that began since then, oldest first, at most `limit` of the newest.
///
/// # Errors
/// If the database is not available.
pub async fn since(tx: &mut Tx, since: DateTime<Utc>, limit: u16) -> Result<Vec<Run>> {
    let rows = sqlx::query(
        "select * from (select * from switchyard.backup_runs where began_at >= $1
           order by began_at desc, id desc limit $2) newest order by began_at, id",
    )
    .bind(since)
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}

/// One run by its id.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Run> {
    let row = sqlx::query("select * from switchyard.backup_runs where id = $1")
        .bind(id)
        .fetch_optional(tx.conn())
        .await?
        .ok_or(StoreFault::NotFound)?;
    Ok(run(&row)?)
}

/// The runs that made or looked at a backup, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn of_backup(tx: &mut Tx, backup: &str) -> Result<Vec<Run>> {
    let rows = sqlx::query(
        "select * from switchyard.backup_runs where backup = $1 order by began_at desc limit 100",
    )
    .bind(backup)
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}

/// The database's clock: runs are stamped by it, so what is due is reckoned by it.
///
/// # Errors
/// If the database is not available.
pub async fn clock(tx: &mut Tx) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(tx.conn()).await?)
}

/// Lets one transaction at a time plan what comes next, until it ends. Two runs that end at once would each
/// plan by what it read, and whoever writes last may have read before the other one's end.
///
/// # Errors
/// If the database is not available.
pub async fn plan_alone(tx: &mut Tx) -> Result<()> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('backup plan', 0))")
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// The newest run of each kind that succeeded. One that is to begin in the future was stamped by a clock
/// that came back since, and would stand in the way of all after it until then: it is left out.
///
/// # Errors
/// If the database is not available.
pub async fn latest(tx: &mut Tx) -> Result<Vec<Run>> {
    let kinds: Vec<&str> = RunKind::ALL.iter().map(|k| k.as_str()).collect();
    let rows = sqlx::query(
        "select r.* from unnest($1::text[]) k(kind) cross join lateral (
           select * from switchyard.backup_runs r where r.kind = k.kind and r.state = 'succeeded'
             and r.began_at <= clock_timestamp() + interval '1 minute'
           order by r.began_at desc limit 1) r",
    )
    .bind(kinds)
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}

/// Since when the first full backup is awaited: since it was put into its queue, or tried. None: there is one,
/// or nobody has looked yet.
///
/// # Errors
/// If the database is not available.
pub async fn awaited(tx: &mut Tx) -> Result<Option<DateTime<Utc>>> {
    let since = sqlx::query_scalar(
        "select least((select min(created_at) from engine.jobs where kind = 'backup.full'),
           (select min(began_at) from switchyard.backup_runs where kind = 'full'))
         where not exists (select from switchyard.backup_runs where kind = 'full' and state = 'succeeded')",
    );
    Ok(since.fetch_optional(tx.conn()).await?.flatten())
}

/// How the runs of 30 days went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Runs that ended, but for those that [`Run::wants_full`].
    pub ended: i64,
    /// Of these, those that succeeded.
    pub succeeded: i64,
    /// The most data that could have been lost, 99 times of 100, in seconds: the time from what one
    /// backup covers to the end of the next.
    pub rpo_p99: Option<f64>,
    /// The longest such time.
    pub rpo_worst: Option<f64>,
    /// How long an increment takes, 99 times of 100, in seconds.
    pub increment_p99: Option<f64>,
    /// How long the last drill's restore took, in seconds.
    pub rto: Option<f64>,
    /// The slowest drill's restore.
    pub rto_worst: Option<f64>,
}

/// Reads them. What the system lost nothing in while it was off counts for nothing: a gap over `gap_seconds` in
/// which no backup was tried is left out.
///
/// # Errors
/// If the database is not available.
pub async fn figures(tx: &mut Tx, gap_seconds: f64) -> Result<Figures> {
    let row = sqlx::query(
        "with recent as (
           select kind, state, began_at, finished_at, covers, evidence,
             kind in ('full', 'incremental') as backs_up,
             coalesce(evidence ? 'full_needed', false) as wants_full
           from switchyard.backup_runs
           where began_at > now() - interval '30 days' and began_at <= clock_timestamp() + interval '1 minute'
         ), increments as (
           select extract(epoch from finished_at - began_at)::float8 as took
           from recent where kind = 'incremental' and state = 'succeeded'
         ), taken as (
           select began_at, finished_at, lag(finished_at) over ended as ended_before,
             max(covers) over (ended rows between unbounded preceding and 1 preceding) as covered
           from recent where backs_up and state = 'succeeded' and covers is not null
           window ended as (order by finished_at)
         ), lost as (
           select extract(epoch from finished_at - covered)::float8 as seconds, began_at, ended_before
           from taken where covered is not null
         ), counted as (
           select seconds from lost
           where case when seconds <= $1 then true else exists (select from recent r
             where r.backs_up and r.began_at > lost.ended_before and r.began_at < lost.began_at) end
         ), drills as (
           select (evidence ->> 'restore_seconds')::float8 as took, began_at
           from recent where kind = 'drill' and state = 'succeeded'
         )
         select (select count(*) from recent where state <> 'running' and not wants_full) as ended,
           (select count(*) from recent where state = 'succeeded') as succeeded,
           (select percentile_cont(0.99) within group (order by seconds) from counted) as rpo,
           (select max(seconds) from counted) as rpo_worst,
           (select percentile_cont(0.99) within group (order by took) from increments) as increment,
           (select took from drills order by began_at desc limit 1) as rto,
           (select max(took) from drills) as worst",
    )
    .bind(gap_seconds)
    .fetch_one(tx.conn())
    .await?;
    Ok(Figures {
        ended: row.try_get("ended")?,
        succeeded: row.try_get("succeeded")?,
        rpo_p99: row.try_get("rpo")?,
        rpo_worst: row.try_get("rpo_worst")?,
        increment_p99: row.try_get("increment")?,
        rto: row.try_get("rto")?,
        rto_worst: row.try_get("worst")?,
    })
}
