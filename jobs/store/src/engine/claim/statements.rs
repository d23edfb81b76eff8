//! The statements of claims.

/// A claim, in one statement for any number of lanes; which rows it takes, and what becomes of limits,
/// differs.
///
/// `ctid = any (array(...))` makes the update visit exactly the rows that were locked (an `in` would
/// join, see ENGINE-NOTES), and it changes no indexed column (HOT). A row that was changed and
/// committed by somebody else while this statement looked is locked but not updated, because its
/// new version is not in this statement's snapshot: it is left for the next claim, never taken
/// twice.
///
/// What the later parts look at is named, not `*`, and counted before it is doubled into "one less
/// there, one more here": both were measured to cost a fifth of a claim.
///
/// A row that still has a worker was that worker's when it vanished: it counts as a crash, leaves
/// evidence, and was counted as running all the time.
macro_rules! claim {
    ($charge:literal, $candidates:expr, $charged:literal) => {
        concat!(
            "with claimed as (
               update engine.jobs j set
                 lease_until = now() + $1 * interval '1 second', fence = j.fence + 1,
                 worker = $2, claimed_at = now(),
                 prior_worker = j.worker, prior_claimed_at = j.claimed_at,
                 crashes = j.crashes + case when j.worker is null then 0 else 1 end,
                 lone_crashes = j.lone_crashes + case when j.worker is not null and j.alone then 1 else 0 end,
                 alone = $3",
            $charge,
            " where j.ctid = any (array(",
            $candidates,
            "))
               returning j.id, j.fence, j.lane, j.kind, j.args, j.priority, j.attempt, j.max_attempts,
                 j.crashes, j.lone_crashes, j.timeout_ms, j.tenant, j.trace, j.request_id, j.created_at,
                 j.run_at, j.cancel_requested, j.prior_worker, j.prior_claimed_at, j.charged
             ), crashed as (
               insert into engine.job_attempts (job_id, attempt, fence, worker, started_at, ended_at, outcome)
               select id, attempt + 1, fence - 1, prior_worker, prior_claimed_at, now(), 'crash'
               from claimed where prior_worker is not null
             ), counted as (
               insert into engine.counter_deltas (lane, kind, state, n)
               select c.lane, c.kind, s.state, s.sign * c.n
               from (select lane, kind, count(*) as n from claimed where prior_worker is null group by 1, 2) c
               cross join (values (0::int2, -1), (3::int2, 1)) s(state, sign)
             )",
            $charged,
            " select id, fence, lane, kind, args, priority, attempt, max_attempts, crashes, lone_crashes,
               timeout_ms, tenant, trace, request_id, created_at, run_at, cancel_requested,
               prior_worker is not null as crashed, charged is not null as limited
             from claimed"
        )
    };
}
pub(super) use claim;

/// The rows of lanes: each lane is one index range or a few, read in order up to the lane's limit
/// (an inner limit is reached lazily, so no more rows are locked than are taken); rows that another
/// claim has locked are stepped over.
macro_rules! rows_of_lanes {
    ($lanes:literal, $free:literal) => {
        concat!(
            "select c.ctid
             from unnest($6::int[], $7::int[], $8::int[], $9::int[]) want(lane, n, first, last)
             join engine.lanes l on l.id = want.lane and not l.paused and ",
            $lanes,
            " cross join lateral (
               select found.ctid
               from unnest(($10::int2[])[want.first:want.last], ($11::timestamptz[])[want.first:want.last],
                           ($12::uuid[])[want.first:want.last], ($13::int2[])[want.first:want.last])
                 part(priority, run_at, id, last_priority)
               cross join lateral (
                 select w.ctid from engine.jobs w
                 where w.lane = want.lane and w.stage = 0
                   and (w.priority, w.run_at, w.id) > (part.priority, part.run_at, part.id)
                   and w.priority <= part.last_priority
                   and ",
            $free,
            " and w.kind = any($5::text[])
                 order by w.priority, w.run_at, w.id
                 limit want.n for update skip locked) found
               limit want.n) c"
        )
    };
}
pub(super) use rows_of_lanes;

/// The same where one stretch of each lane is asked for, as nearly always: a third cheaper for claims
/// that look into many lanes.
macro_rules! heads_of_lanes {
    ($lanes:literal, $free:literal) => {
        concat!(
            "select c.ctid
             from unnest($6::int[], $7::int[], $8::int2[], $9::timestamptz[], $10::uuid[], $11::int2[])
               want(lane, n, priority, run_at, id, last_priority)
             join engine.lanes l on l.id = want.lane and not l.paused and ",
            $lanes,
            " cross join lateral (
               select w.ctid from engine.jobs w
               where w.lane = want.lane and w.stage = 0
                 and (w.priority, w.run_at, w.id) > (want.priority, want.run_at, want.id)
                 and w.priority <= want.last_priority
                 and ",
            $free,
            " and w.kind = any($5::text[])
               order by w.priority, w.run_at, w.id
               limit want.n for update skip locked) c"
        )
    };
}

/// Claims of lanes under no limit, whoever was there before. A charge of an earlier claim goes with
/// the one that it belongs to, see [`super::limited`].
pub(super) const OPEN: &str = claim!(
    ", charged = case when j.worker is not null then j.charged end",
    rows_of_lanes!(
        "l.limits is null",
        "(w.lease_until is null or w.lease_until < now() or w.worker = any($4::int8[]))"
    ),
    ""
);

/// The same for one stretch a lane.
pub(super) const OPEN_HEADS: &str = claim!(
    ", charged = case when j.worker is not null then j.charged end",
    heads_of_lanes!(
        "l.limits is null",
        "(w.lease_until is null or w.lease_until < now() or w.worker = any($4::int8[]))"
    ),
    ""
);
