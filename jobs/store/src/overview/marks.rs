//! Glances at jobs on a screen: their arguments, and cheap marks that tell when one has changed.

use crate::{Db, Result};
use chrono::{DateTime, Utc};
use sqlx::Row;
use std::collections::HashMap;
use switchyard_queue::JobId;
use uuid::Uuid;

/// What changes when a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobMark {
    stage: i16,
    attempt: i16,
    fence: i64,
    held: bool,
    cancel_requested: bool,
    run_at: DateTime<Utc>,
    progress_at: Option<DateTime<Utc>>,
    stuck: bool,
}

/// The marks of these jobs that are still open; what is missing has finished.
///
/// # Errors
/// If the database is not available.
pub async fn job_marks(db: &Db, ids: &[JobId]) -> Result<HashMap<JobId, JobMark>> {
    const SQL: &str = "select j.id, j.stage, j.attempt, j.fence, j.cancel_requested, j.run_at,
            j.worker is not null as held, j.progress_at,
            engine.stuck_since(j.claimed_at, j.progress_at, k.stuck_after_ms) is not null as stuck
        from engine.jobs j left join engine.kinds k on k.kind = j.kind where j.id = any($1)";
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(SQL).bind(ids).fetch_all(db.engine()).await?;
    rows.iter()
        .map(|row| {
            let mark = JobMark {
                stage: row.try_get("stage")?,
                attempt: row.try_get("attempt")?,
                fence: row.try_get("fence")?,
                held: row.try_get("held")?,
                cancel_requested: row.try_get("cancel_requested")?,
                run_at: row.try_get("run_at")?,
                progress_at: row.try_get("progress_at")?,
                stuck: row.try_get("stuck")?,
            };
            Ok((JobId(row.try_get("id")?), mark))
        })
        .collect()
}

/// The arguments of these jobs, open or finished, as compact JSON of at most 400 characters; of
/// encrypted ones only the key's id.
///
/// # Errors
/// If the database is not available.
pub async fn job_args(db: &Db, ids: &[JobId]) -> Result<HashMap<JobId, String>> {
    const SQL: &str = "select id, left(case when args ? '$sealed'
            then jsonb_set(args, '{$sealed}', (args -> '$sealed') - 'data') else args end::text, 400) as args
        from (select id, args from engine.jobs where id = any($1)
              union all
              select id, args from engine.job_history where id = any($1)) j";
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(SQL).bind(ids).fetch_all(db.engine()).await?;
    rows.iter().map(|r| Ok((JobId(r.try_get("id")?), r.try_get("args")?))).collect()
}
