//! What running jobs say of how far they are.

use crate::Result;
use sqlx::PgConnection;
use switchyard_queue::{Held, JobId, Report};
use uuid::Uuid;

/// Writes reports down where the fence stands; gives the jobs for which it was done.
///
/// It never waits: a row that is locked is in the hands of its own job's transaction, or of a claim
/// that takes it over, and is passed by. None of the columns is in an index (HOT).
pub(super) async fn report(
    connection: &mut PgConnection,
    reports: &[(Held, Report)],
) -> Result<Vec<JobId>> {
    let mut reports: Vec<&(Held, Report)> = reports.iter().collect();
    reports.sort_unstable_by_key(|(held, _)| (held.id, held.fence));
    let written: Vec<Uuid> = sqlx::query_scalar(
        "update engine.jobs j set progress = ($3::float4[])[width_bucket(j.id, $1::uuid[])],
           progress_note = ($4::text[])[width_bucket(j.id, $1)], progress_at = now()
         where j.ctid = any (array(
           select free.ctid from unnest($1, $2::int8[]) i(id, fence)
           cross join lateral (
             select w.ctid from engine.jobs w
             where w.id = i.id and w.fence = i.fence and w.worker is not null
             for no key update skip locked) free))
         returning j.id",
    )
    .bind(reports.iter().map(|(h, _)| h.id.0).collect::<Vec<_>>())
    .bind(reports.iter().map(|(h, _)| h.fence.0).collect::<Vec<_>>())
    .bind(reports.iter().map(|(_, r)| r.fraction).collect::<Vec<_>>())
    .bind(reports.iter().map(|(_, r)| r.note.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(written.into_iter().map(JobId).collect())
}
