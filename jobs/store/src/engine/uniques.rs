//! Unique keys that are taken: whose they are, and what becomes of the job that holds one.

use super::{sealing, seconds};
use crate::Result;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use switchyard_queue::{ArgsCipher, JobId, LaneId, NewJob, UniqueKey, UniqueUntil, WakeToken};
use uuid::Uuid;

/// Standing jobs that were changed: their lanes, and the wake-up of those that are due now.
pub(super) type Changes = HashMap<Uuid, (LaneId, Option<WakeToken>)>;

/// Who holds the keys of the jobs at `which`. Keys whose time is over are removed, so that whoever
/// asks next takes them; in the order of the keys, as everybody locks them.
///
/// A key that is kept until its job begins ([`UniqueUntil::Start`]) is over once it has: its fence is no
/// longer 0. Whoever is told of a standing one relies on it, so it does not begin before the caller's
/// transaction ends: claims step over it. Many may hold it so at once; who wants to change it locks it in
/// [`replace`] instead, because two that hold it so could not.
pub(super) async fn holders(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    which: &[usize],
) -> Result<HashMap<String, Uuid>> {
    let keyed =
        || which.iter().map(|i| &jobs[*i]).filter_map(|j| Some((j.unique_key.as_deref()?, j)));
    let changing = keyed().filter(|(_, job)| job.replaces.any()).map(|(key, _)| key);
    let rows: Vec<(String, Uuid, bool)> = sqlx::query_as(
        "select q.key, q.job_id, case
           when q.key !~ '^[^ ]+ start:' then coalesce(q.until <= statement_timestamp(), false)
           when q.key = any($2::text[]) then not exists (
             select from engine.jobs j where j.id = q.job_id and j.fence = 0)
           else not exists (
             select from engine.jobs j where j.id = q.job_id and j.fence = 0 for key share) end
         from engine.job_uniques q where q.key = any($1::text[])",
    )
    .bind(keyed().map(|(key, _)| key).collect::<Vec<_>>())
    .bind(changing.collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let (mut lapsed, held): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(.., lapsed)| *lapsed);
    if !lapsed.is_empty() {
        lapsed.sort_unstable();
        let (keys, holders): (Vec<_>, Vec<_>) = lapsed.into_iter().map(|(k, j, _)| (k, j)).unzip();
        sqlx::query(
            "delete from engine.job_uniques where ctid = any (array(
               select q.ctid from unnest($1::text[], $2::uuid[]) over(key, job_id)
               cross join lateral (
                 select u.ctid from engine.job_uniques u
                 where u.key = over.key and u.job_id = over.job_id
                   and (u.until <= statement_timestamp() or u.key ~ '^[^ ]+ start:')
                 for update) q))",
        )
        .bind(keys)
        .bind(holders)
        .execute(connection)
        .await?;
    }
    Ok(held.into_iter().map(|(key, job, _)| (key, job)).collect())
}

/// Those of the holders that were to be changed and could not, because they have begun, where the key is
/// kept until then only: nobody is to be told of them.
pub(super) async fn begun(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    which: &[usize],
    holders: &HashMap<String, Uuid>,
    changed: &Changes,
) -> Result<HashSet<Uuid>> {
    let changing = which.iter().map(|i| &jobs[*i]).filter(|job| job.replaces.any());
    let keys = changing.filter_map(|job| job.unique_key.as_deref());
    let until_start = keys.filter(|key| UniqueKey::read(key).until == UniqueUntil::Start);
    let unchanged: Vec<Uuid> = until_start
        .filter_map(|key| holders.get(key).copied())
        .filter(|id| !changed.contains_key(id))
        .collect();
    if unchanged.is_empty() {
        return Ok(HashSet::new());
    }
    // Those that have not begun (they wait for others) are locked: they stay so, see [`replace`].
    let waiting: Vec<Uuid> = sqlx::query_scalar(
        "select s.id from unnest($1::uuid[]) listed(id) cross join lateral (
           select j.id from engine.jobs j where j.id = listed.id and j.fence = 0 offset 0) s",
    )
    .bind(&unchanged)
    .fetch_all(connection)
    .await?;
    Ok(unchanged.into_iter().filter(|id| !waiting.contains(id)).collect())
}

/// Changes the standing jobs as the new ones wish, of several wishes for one job as the last; gives
/// those that were changed.
///
/// A job has begun once it was claimed: its fence is no longer 0. A claim that is under way has the
/// row locked; this waits for it, looks again, and leaves the job alone. The other way round, a
/// claim steps over a row that is being changed until the caller's transaction ends.
pub(super) async fn replace(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    which: &[usize],
    holders: &HashMap<String, Uuid>,
    cipher: Option<&dyn ArgsCipher>,
) -> Result<Changes> {
    let wishes = Wishes::of(jobs, which, holders, cipher);
    if wishes.jobs.is_empty() {
        return Ok(Changes::new());
    }
    // Locked first: the statement that changes them sees them as they are then.
    let standing = sqlx::query(
        "select s.id from unnest($1::uuid[]) listed(id) cross join lateral (
           select j.id from engine.jobs j where j.id = listed.id for update) s",
    );
    standing.bind(&wishes.jobs).execute(&mut *connection).await?;
    let rows: Vec<(Uuid, i32, i16, DateTime<Utc>, bool)> = sqlx::query_as(
        "with standing as materialized (
           select s.* from unnest($1::uuid[]) listed(id) cross join lateral (
             select j.ctid as place, j.lane, j.kind, j.stage from engine.jobs j
             where j.id = listed.id and j.fence = 0 and j.stage in (0, 1, 3) offset 0) s
         ), changed as (
           update engine.jobs j set
             args = coalesce(($2::jsonb[])[width_bucket(j.id, $1)], j.args),
             run_at = case when ($3::bool[])[width_bucket(j.id, $1)]
               then coalesce(($4::timestamptz[])[width_bucket(j.id, $1)],
                 statement_timestamp() + ($5::float8[])[width_bucket(j.id, $1)] * interval '1 second')
               else j.run_at end,
             stage = case when ($3)[width_bucket(j.id, $1)]
               then (coalesce(($4)[width_bucket(j.id, $1)], statement_timestamp()
                 + ($5)[width_bucket(j.id, $1)] * interval '1 second') > statement_timestamp())::int
               else j.stage end
           where j.ctid = any (array(select place from standing))
           returning j.id, j.lane, j.kind, j.priority, j.run_at, j.stage,
             ($3)[width_bucket(j.id, $1)] as timed
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select lane, kind, state, sum(n) from (
             select lane, kind, engine.job_state(stage, 0::int2, null) as state, -1 as n from standing
             union all
             select lane, kind, engine.job_state(stage, 0::int2, null), 1 from changed) each
           group by 1, 2, 3 having sum(n) <> 0
         )
         select id, lane, priority, run_at, timed and stage = 0 from changed",
    )
    .bind(wishes.jobs)
    .bind(wishes.args)
    .bind(wishes.timed)
    .bind(wishes.at)
    .bind(wishes.wait)
    .fetch_all(connection)
    .await?;
    let told = |(id, lane, priority, at, due): (Uuid, i32, i16, DateTime<Utc>, bool)| {
        let lane = LaneId(lane);
        (id, (lane, due.then_some(WakeToken::Work(lane, priority, at))))
    };
    Ok(rows.into_iter().map(told).collect())
}

/// What new jobs wish of standing ones, as columns for `unnest`, a row a standing job.
#[derive(Default)]
struct Wishes<'a> {
    jobs: Vec<Uuid>,
    args: Vec<Option<Json<Cow<'a, Value>>>>,
    timed: Vec<bool>,
    at: Vec<Option<DateTime<Utc>>>,
    wait: Vec<f64>,
}

impl<'a> Wishes<'a> {
    fn of(
        jobs: &'a [NewJob],
        which: &[usize],
        holders: &HashMap<String, Uuid>,
        cipher: Option<&dyn ArgsCipher>,
    ) -> Self {
        // `which` is in the order of the keys, and of equal keys in that of the batch.
        let mut last: BTreeMap<Uuid, [Option<&NewJob>; 2]> = BTreeMap::new();
        for job in which.iter().map(|i| &jobs[*i]).filter(|j| j.replaces.any()) {
            let holder = job.unique_key.as_deref().and_then(|key| holders.get(key));
            let Some(holder) = holder else { continue };
            let [args, time] = last.entry(*holder).or_default();
            if job.replaces.args {
                *args = Some(job);
            }
            if job.replaces.run_at {
                *time = Some(job);
            }
        }
        let mut wishes = Self::default();
        for (holder, [args, time]) in last {
            wishes.jobs.push(holder);
            // Sealed for the job that they go to, which is not the one that brings them.
            let sealed = |job| Json(sealing::stored(job, JobId(holder), cipher));
            wishes.args.push(args.map(sealed));
            wishes.timed.push(time.is_some());
            wishes.at.push(time.and_then(|job| job.run_at));
            wishes.wait.push(time.and_then(|job| job.delay).map_or(0.0, seconds));
        }
        wishes
    }
}
