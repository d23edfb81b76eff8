//! Claiming and renewing: what a worker's loops send many times a second.

mod allot;
mod limited;
mod statements;

pub(crate) use limited::take as take_limited;

use super::plans::{of_job, places, uncharged};
use super::seconds;
use super::settle;
use crate::Result;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgConnection, Postgres};
use statements::{OPEN, OPEN_HEADS};
use std::collections::HashMap;
use std::mem;
use std::time::Duration;
use switchyard_queue::{
    ActiveLane, ClaimRequest, ClaimedJob, Fence, Held, JobId, LaneId, LaneTake, LimitId, Renewed,
    SettleAs, WorkerId,
};
use uuid::Uuid;

/// A job goes into quarantine when its worker vanished this many times in a row while the worker had
/// nothing else in hand. Vanishing with others in hand proves nothing against any of them.
const QUARANTINE_AFTER: i16 = 3;

type LaneRow = (i32, i32, i64, i32, Option<Vec<i32>>);

fn lane((lane, queue, partition, weight, limits): LaneRow) -> ActiveLane {
    ActiveLane {
        lane: LaneId(lane),
        queue: usize::try_from(queue - 1).unwrap_or_default(),
        partition,
        weight: weight.unsigned_abs().max(1),
        limits: limits.unwrap_or_default().into_iter().map(LimitId).collect(),
    }
}

/// Lanes of these queues with work that is due or running, paused ones left out.
///
/// A skip scan: one probe of the claim index for every lane that has anything, however many jobs
/// it has.
pub(crate) async fn active_lanes(
    connection: &mut PgConnection,
    queues: &[String],
) -> Result<Vec<ActiveLane>> {
    let lanes: Vec<LaneRow> = sqlx::query_as(
        "with recursive seen(lane) as (
           (select lane from engine.jobs where stage = 0 order by lane limit 1)
           union all
           select (select j.lane from engine.jobs j where j.stage = 0 and j.lane > seen.lane
                   order by j.lane limit 1)
           from seen where seen.lane is not null
         )
         select l.id, array_position($1::text[], l.queue), hashtextextended(l.partition, 0), q.weight, l.limits
         from seen join engine.lanes l on l.id = seen.lane join engine.queues q on q.queue = l.queue
         where l.queue = any($1::text[]) and not l.paused
         order by l.id",
    )
    .bind(queues)
    .fetch_all(connection)
    .await?;
    Ok(lanes.into_iter().map(lane).collect())
}

/// Those of these lanes that belong to these queues.
pub(crate) async fn lanes_of(
    connection: &mut PgConnection,
    queues: &[String],
    lanes: &[LaneId],
) -> Result<Vec<ActiveLane>> {
    let found: Vec<LaneRow> = sqlx::query_as(
        "select l.id, array_position($2::text[], l.queue), hashtextextended(l.partition, 0), q.weight,
           l.limits
         from engine.lanes l join engine.queues q on q.queue = l.queue
         where l.id = any($1::int[]) and l.queue = any($2::text[])",
    )
    .bind(lanes.iter().map(|l| l.0).collect::<Vec<_>>())
    .bind(queues)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(lane).collect())
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    fence: i64,
    lane: i32,
    kind: String,
    args: serde_json::Value,
    priority: i16,
    attempt: i16,
    max_attempts: i16,
    crashes: i16,
    lone_crashes: i16,
    timeout_ms: i32,
    tenant: Option<Uuid>,
    trace: Option<String>,
    request_id: Option<String>,
    created_at: DateTime<Utc>,
    run_at: DateTime<Utc>,
    cancel_requested: bool,
    crashed: bool,
    limited: bool,
}

/// Claims jobs of lanes that are under no limit, in the order of the lanes asked for and most urgent
/// first within a lane.
pub(crate) async fn take(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lanes: &[LaneTake],
) -> Result<Vec<ClaimedJob>> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = if lanes.iter().all(|l| l.stretches.len() == 1) {
        from_heads(connection, request, lanes).await?
    } else {
        from_lanes(connection, OPEN, request, lanes).await?
    };
    sort_out(connection, request, rows).await
}

/// What of the claimed jobs is to be run, in its order.
///
/// A job whose last worker vanished is not run again if somebody asked to cancel it, or if it has
/// taken too many workers with it: it is cancelled or put into quarantine. Should that fail, the
/// job stays claimed and is found again when the lease has run out.
async fn sort_out(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    mut rows: Vec<Row>,
) -> Result<Vec<ClaimedJob>> {
    let held = |r: &Row| Held { id: JobId(r.id), fence: Fence(r.fence) };
    let unwanted: Vec<Held> = rows.iter().filter(|r| r.cancel_requested).map(held).collect();
    let deadly = |r: &&Row| !r.cancel_requested && r.crashed && r.lone_crashes >= QUARANTINE_AFTER;
    let killers: Vec<Held> = rows.iter().filter(deadly).map(held).collect();
    if !unwanted.is_empty() {
        let why = "cancelled by an operator; its worker vanished before it could stop it";
        settle::write_all(connection, &unwanted, &SettleAs::Cancelled(why.to_owned())).await?;
    }
    if !killers.is_empty() {
        quarantine(connection, killers).await?;
    }
    rows.retain(|r| !r.cancel_requested && !deadly(&r));

    // RETURNING promises no order.
    let place: HashMap<i32, usize> =
        request.lanes.iter().enumerate().map(|(i, l)| (l.lane.0, i)).collect();
    rows.sort_by_cached_key(|r| (place.get(&r.lane).copied(), r.priority, r.run_at, r.id));
    Ok(rows.into_iter().map(|r| r.into_job(request)).collect())
}

async fn from_heads(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lanes: &[LaneTake],
) -> Result<Vec<Row>> {
    let stretches = Stretches::of(lanes);
    Ok(stretches.bind(asked(OPEN_HEADS, request, lanes)).fetch_all(connection).await?)
}

async fn from_lanes(
    connection: &mut PgConnection,
    statement: &'static str,
    request: &ClaimRequest<'_>,
    lanes: &[LaneTake],
) -> Result<Vec<Row>> {
    let mut stretches = Stretches::of(lanes);
    let whose = (mem::take(&mut stretches.first), mem::take(&mut stretches.last));
    let query = asked(statement, request, lanes).bind(whose.0).bind(whose.1);
    Ok(stretches.bind(query).fetch_all(connection).await?)
}

type Asked<'q> = QueryAs<'q, Postgres, Row, PgArguments>;

/// Parameters 1 to 7, which every claim has: for how long and by whom, of which kinds, from which lanes how
/// many.
fn asked<'q>(
    statement: &'static str,
    request: &'q ClaimRequest<'_>,
    lanes: &[LaneTake],
) -> Asked<'q> {
    sqlx::query_as(statement)
        .bind(seconds(request.lease))
        .bind(request.worker.0)
        .bind(request.alone)
        .bind(numbers(request.dead))
        .bind(request.kinds)
        .bind(lanes.iter().map(|l| l.lane.0).collect::<Vec<_>>())
        .bind(lanes.iter().map(|l| i32::try_from(l.take).unwrap_or(i32::MAX)).collect::<Vec<_>>())
}

fn numbers(workers: &[WorkerId]) -> Vec<i64> {
    workers.iter().map(|w| w.0).collect()
}

/// The stretches of all lanes as columns, and which of them are whose: `first..=last`, from 1.
#[derive(Default)]
struct Stretches {
    first: Vec<i32>,
    last: Vec<i32>,
    priority: Vec<i16>,
    run_at: Vec<DateTime<Utc>>,
    id: Vec<Uuid>,
    last_priority: Vec<i16>,
}

impl Stretches {
    fn of(lanes: &[LaneTake]) -> Self {
        let mut all = Self::default();
        for lane in lanes {
            all.first.push(all.count() + 1);
            for stretch in &lane.stretches {
                all.priority.push(stretch.after.priority);
                all.run_at.push(stretch.after.run_at);
                all.id.push(stretch.after.id.0);
                all.last_priority.push(stretch.last_priority);
            }
            all.last.push(all.count());
        }
        all
    }

    /// The last four parameters of a claim: where each stretch begins and ends.
    fn bind(self, query: Asked<'_>) -> Asked<'_> {
        query.bind(self.priority).bind(self.run_at).bind(self.id).bind(self.last_priority)
    }

    fn count(&self) -> i32 {
        i32::try_from(self.id.len()).unwrap_or(i32::MAX)
    }
}

impl Row {
    fn into_job(self, request: &ClaimRequest<'_>) -> ClaimedJob {
        ClaimedJob {
            id: JobId(self.id),
            fence: Fence(self.fence),
            worker: request.worker,
            lease: request.lease,
            lane: LaneId(self.lane),
            kind: self.kind,
            args: self.args,
            priority: self.priority,
            attempt: self.attempt.saturating_add(1),
            max_attempts: self.max_attempts,
            crashes: self.crashes,
            timeout: Duration::from_millis(u64::from(self.timeout_ms.unsigned_abs())),
            tenant: self.tenant,
            trace: self.trace.and_then(|t| t.parse().ok()),
            request_id: self.request_id,
            created_at: self.created_at,
            run_at: self.run_at,
            limited: self.limited,
        }
    }
}

/// Puts jobs aside until an operator retries or discards them.
async fn quarantine(connection: &mut PgConnection, mut held: Vec<Held>) -> Result<()> {
    held.sort_by_key(|h| h.id);
    sqlx::query(concat!(
        "with aside as (
           update engine.jobs j set stage = 4, prior_worker = j.worker, prior_claimed_at = j.claimed_at,
             worker = null, claimed_at = null, lease_until = null,
             last_error = format('crash: its worker vanished %s times in a row, %s of them while it ran alone',
               j.crashes, j.lone_crashes)
           where j.ctid = any (",
        places!("engine.jobs", "id", "$1::uuid[]"),
        ") and j.worker is not null and j.fence = ",
        of_job!("$2::int8[]"),
        " returning j.id, j.lane, j.kind, j.charged
         ), uncharged as (",
        uncharged!("aside"),
        ")
         insert into engine.counter_deltas (lane, kind, state, n)
         select a.lane, a.kind, s.state, sum(s.n) from aside a
         cross join (values (3::int2, -1), (6::int2, 1)) s(state, n)
         group by 1, 2, 3"
    ))
    .bind(held.iter().map(|h| h.id.0).collect::<Vec<_>>())
    .bind(held.iter().map(|h| h.fence.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Renews leases; gives the jobs that are still held.
///
/// It never waits. A row that is locked is in the hands of its own job's transaction (then nobody
/// can take it, and the transaction renews the lease itself, see [`settle::lock`]) or of a claim that
/// takes it over (then the next renewal misses it): it is answered for as it stood. So one long
/// transaction cannot cost all the other jobs their leases.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    held: &[Held],
    lease: Duration,
) -> Result<Vec<Renewed>> {
    let rows: Vec<(Uuid, bool)> = sqlx::query_as(
        "with renewed as (
           update engine.jobs j set lease_until = now() + $3 * interval '1 second'
           where j.ctid = any (array(
             select c.ctid from unnest($1::uuid[], $2::int8[]) i(id, fence)
             cross join lateral (
               select w.ctid from engine.jobs w
               where w.id = i.id and w.fence = i.fence and w.worker is not null
               for no key update skip locked) c))
         )
         select j.id, j.cancel_requested
         from unnest($1::uuid[], $2::int8[]) i(id, fence)
         cross join lateral (
           select w.id, w.cancel_requested from engine.jobs w
           where w.id = i.id and w.fence = i.fence and w.worker is not null offset 0) j",
    )
    .bind(held.iter().map(|h| h.id.0).collect::<Vec<_>>())
    .bind(held.iter().map(|h| h.fence.0).collect::<Vec<_>>())
    .bind(seconds(lease))
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, cancel_requested)| Renewed { id: JobId(id), cancel_requested })
        .collect())
}
