//! Claims of lanes that are under limits.
//!
//! A limit is exact because one claim at a time works under it: it holds the limit's advisory lock
//! until it commits, and only then reads what is left. What runs is counted in `engine.charges`,
//! which the claim writes and the result deletes, in the same statement each; a rate's theoretical
//! arrival time stands in the limit's row. The lock is only tried: a claimer that hangs holds up the
//! lanes of its limits and no others.

use super::allot::{Grant, Rate, Room, Wish, allot};
use super::statements::{claim, rows_of_lanes};
use super::{Row, from_lanes, numbers, sort_out};
use crate::Result;
use crate::engine::{locks, seconds};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use switchyard_queue::{Claim, ClaimRequest, LaneId, LaneTake, LimitId};
use uuid::Uuid;

/// Jobs that nobody has held, and those of dead workers that ran when the lane was under none of
/// its limits. They are charged to all of them.
const FRESH: &str = claim!(
    ", charged = case when j.worker is not null then coalesce(j.charged, '{}') else '{}' end
         || (select l.limits from engine.lanes l where l.id = j.lane)",
    rows_of_lanes!(
        "l.limits is not null",
        "(w.worker is null or (
            (w.lease_until < now() or w.worker = any($4::int8[]))
            and (w.charged is null or not w.charged && l.limits)))"
    ),
    ", charged as (
       insert into engine.charges (limit_id, job_id)
       select l.id, c.id from claimed c
       join engine.lanes n on n.id = c.lane cross join lateral unnest(n.limits) l(id)
     )"
);

/// Jobs of dead workers. They have been charged all the time and go on so.
const VOID: &str = claim!(
    "",
    "select w.ctid from engine.jobs w
     where w.id = any($6::uuid[]) and w.stage = 0 and w.kind = any($5::text[])
       and (w.lease_until < now() or w.worker = any($4::int8[]))
     order by w.id for update skip locked",
    ""
);

/// Claims as much of these lanes as their limits allow. `look` also for jobs whose lease ran out
/// though nobody knows of their worker's death. The caller brings a transaction.
pub(crate) async fn take(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lanes: &[LaneTake],
    look: bool,
) -> Result<Claim> {
    let (mut wishes, locked) = lock(connection, lanes).await?;
    let rooms = rooms(connection, &locked).await?;
    let mut voids = HashMap::new();
    if look || !request.dead.is_empty() {
        voids = find_void(connection, request, &locked).await?;
    }
    for wish in &mut wishes {
        let void = voids.get(&wish.lane).map_or(0, Vec::len);
        wish.void = u32::try_from(void).unwrap_or(u32::MAX);
    }
    let leaves = rooms.iter().map(|(id, r)| (*id, r.0)).collect();
    let grants = allot(&wishes, &leaves);

    let mut rows = take_void(connection, request, &wishes, &grants, voids).await?;
    rows.extend(take_fresh(connection, request, lanes, &wishes, &grants).await?);
    spend(connection, &wishes, &rooms, &rows).await?;
    let jobs = sort_out(connection, request, rows).await?;
    let held_back = wishes.iter().zip(&grants).filter_map(|(w, g)| g.held_back(w)).collect();
    Ok(Claim { jobs, held_back })
}

/// The lanes that are still under limits, and those of their limits that are ours until the
/// transaction ends. What is left under them must be read by a later statement: this one's snapshot
/// is older than the locks.
async fn lock(
    connection: &mut PgConnection,
    lanes: &[LaneTake],
) -> Result<(Vec<Wish>, BTreeSet<LimitId>)> {
    let rows: Vec<(i32, i32, Vec<i32>, Vec<i32>)> = sqlx::query_as(
        "with asked as materialized (
           select l.id as lane, l.limits, want.n, want.place
           from unnest($1::int[], $2::int[]) with ordinality want(lane, n, place)
           join engine.lanes l on l.id = want.lane and not l.paused
           where l.limits is not null
         ), locked as materialized (
           select id from (select distinct unnest(limits) as id from asked) every
           where pg_try_advisory_xact_lock($3, id)
         )
         select lane, n, limits, array(select id from locked where id = any(limits))
         from asked order by place",
    )
    .bind(lanes.iter().map(|l| l.lane.0).collect::<Vec<_>>())
    .bind(lanes.iter().map(|l| i32::try_from(l.take).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(locks::LIMIT)
    .fetch_all(connection)
    .await?;
    let locked = rows.iter().flat_map(|r| r.3.iter().copied().map(LimitId)).collect();
    let wish = |(lane, want, limits, _): (i32, i32, Vec<i32>, Vec<i32>)| Wish {
        lane: LaneId(lane),
        want: want.unsigned_abs(),
        void: 0,
        limits: limits.into_iter().map(LimitId).collect(),
    };
    Ok((rows.into_iter().map(wish).collect(), locked))
}

/// Limit, free slots, seconds between two starts, burst, seconds by which the theoretical arrival time
/// lies ahead, and when that was.
type Left = (i32, Option<i64>, Option<f64>, Option<i32>, f64, DateTime<Utc>);

/// What the limits leave, and when that was.
async fn rooms(
    connection: &mut PgConnection,
    limits: &BTreeSet<LimitId>,
) -> Result<HashMap<LimitId, (Room, DateTime<Utc>)>> {
    let rows: Vec<Left> = sqlx::query_as(
        "select l.id,
           l.max_running - (select count(*) from (
             select 1 from engine.charges c where c.limit_id = l.id limit l.max_running) running),
           l.period_ms / 1000.0::float8 / l.rate, l.burst,
           coalesce(greatest(extract(epoch from l.tat - now.at), 0), 0)::float8, now.at
         from engine.limits l cross join (select clock_timestamp() as at) now
         where l.id = any($1::int[])",
    )
    .bind(limits.iter().map(|l| l.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let room = |(id, slots, interval, burst, ahead, at): Left| {
        let slots = slots.map(|n| u32::try_from(n).unwrap_or_default());
        let burst = burst.map_or(1, i32::unsigned_abs);
        let rate = interval.map(|interval| Rate { interval, burst, ahead });
        (LimitId(id), (Room { slots, rate }, at))
    };
    Ok(rows.into_iter().map(room).collect())
}

/// Jobs under these limits whose worker is gone or let the lease run out, by lane, most urgent first.
async fn find_void(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    limits: &BTreeSet<LimitId>,
) -> Result<HashMap<LaneId, Vec<Uuid>>> {
    let rows: Vec<(Uuid, i32)> = sqlx::query_as(
        "select j.id, j.lane from engine.jobs j
         where j.id = any (array(select c.job_id from engine.charges c where c.limit_id = any($1::int[])))
           and j.stage = 0 and (j.lease_until < now() or j.worker = any($2::int8[]))
           and j.kind = any($3::text[])
         order by j.priority, j.run_at, j.id",
    )
    .bind(limits.iter().map(|l| l.0).collect::<Vec<_>>())
    .bind(numbers(request.dead))
    .bind(request.kinds)
    .fetch_all(connection)
    .await?;
    let mut voids: HashMap<LaneId, Vec<Uuid>> = HashMap::new();
    for (id, lane) in rows {
        voids.entry(LaneId(lane)).or_default().push(id);
    }
    Ok(voids)
}

async fn take_void(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    wishes: &[Wish],
    grants: &[Grant],
    mut voids: HashMap<LaneId, Vec<Uuid>>,
) -> Result<Vec<Row>> {
    let granted = wishes.iter().zip(grants).flat_map(|(wish, grant)| {
        let jobs = voids.remove(&wish.lane).unwrap_or_default();
        jobs.into_iter().take(grant.void as usize)
    });
    let ids: Vec<Uuid> = granted.collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as(VOID)
        .bind(seconds(request.lease))
        .bind(request.worker.0)
        .bind(request.alone)
        .bind(numbers(request.dead))
        .bind(request.kinds)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

async fn take_fresh(
    connection: &mut PgConnection,
    request: &ClaimRequest<'_>,
    lanes: &[LaneTake],
    wishes: &[Wish],
    grants: &[Grant],
) -> Result<Vec<Row>> {
    let granted: HashMap<LaneId, u32> =
        wishes.iter().zip(grants).map(|(w, g)| (w.lane, g.fresh)).collect();
    let takes = lanes.iter().filter_map(|lane| {
        let take = granted.get(&lane.lane).copied().filter(|n| *n > 0)?;
        Some(LaneTake { take, ..lane.clone() })
    });
    let takes: Vec<LaneTake> = takes.collect();
    if takes.is_empty() {
        return Ok(Vec::new());
    }
    from_lanes(connection, FRESH, request, &takes).await
}

/// Moves the theoretical arrival times on by what was begun.
async fn spend(
    connection: &mut PgConnection,
    wishes: &[Wish],
    rooms: &HashMap<LimitId, (Room, DateTime<Utc>)>,
    rows: &[Row],
) -> Result<()> {
    let limits: HashMap<i32, &[LimitId]> = wishes.iter().map(|w| (w.lane.0, &*w.limits)).collect();
    let mut starts: BTreeMap<LimitId, u32> = BTreeMap::new();
    for limit in rows.iter().filter_map(|row| limits.get(&row.lane)).copied().flatten() {
        *starts.entry(*limit).or_default() += 1;
    }
    let tats: Vec<(i32, DateTime<Utc>)> = starts
        .into_iter()
        .filter_map(|(id, n)| {
            let (Room { rate: Some(rate), .. }, at) = rooms.get(&id)? else { return None };
            Some((id.0, *at + rate.after(n)))
        })
        .collect();
    if tats.is_empty() {
        return Ok(());
    }
    let (ids, tats): (Vec<i32>, Vec<DateTime<Utc>>) = tats.into_iter().unzip();
    sqlx::query(
        "update engine.limits l set tat = n.tat
         from unnest($1::int[], $2::timestamptz[]) n(id, tat) where l.id = n.id",
    )
    .bind(ids)
    .bind(tats)
    .execute(connection)
    .await?;
    Ok(())
}
