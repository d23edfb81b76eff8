//! What the end of jobs means for their workflows: events are taken up, children released, the failure
//! policy applied, the workflow closed.
//!
//! One transaction at a time works on a workflow, whoever holds its row's lock. Others step over it:
//! their events were committed before they tried, and who holds the lock looks for more once it has
//! committed. So an event is taken up by whoever wrote it or by the one who was in the way, and only a
//! process that dies in between leaves events to the scheduler.

use crate::engine::jobs::sets::{ask_to_stop, end_waiting};
use crate::engine::plans::places;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;
use switchyard_queue::{FailurePolicy, JobId, JobState, LaneId, WakeToken, WorkflowState, causes};
use uuid::Uuid;

/// Events taken up in one statement.
const EVENTS: i64 = 1000;
/// How often one caller goes on with what others wrote meanwhile; then it is left to them or to the
/// scheduler, so that a settler of a large batch comes back to its results.
const ROUNDS: usize = 20;

/// Takes up the events of these workflows, as far as nobody else is at it, and sends the wake-ups.
pub(crate) async fn advance(
    db: &Db,
    connection: &mut PgConnection,
    workflows: &[Uuid],
) -> Result<()> {
    let mut due = workflows.to_vec();
    for _ in 0..ROUNDS {
        let mut tx = connection.begin().await?;
        let flows = lock(&mut tx, &due).await?;
        if flows.is_empty() {
            tx.rollback().await?;
            return Ok(());
        }
        let wakes = take_up(&mut tx, flows).await?;
        tx.commit().await?;
        if !wakes.is_empty() {
            db.wake().send(&wakes);
        }
        due = sqlx::query_scalar(
            "select w.id from unnest($1::uuid[]) w(id)
             where exists (select from engine.workflow_events e where e.workflow = w.id)",
        )
        .bind(&due)
        .fetch_all(&mut *connection)
        .await?;
        if due.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// The same after an end that is committed already: what fails here is left to the scheduler.
pub(crate) async fn advance_soon(db: &Db, workflows: &[Uuid]) {
    if workflows.is_empty() {
        return;
    }
    let done = async {
        let mut connection = db.engine().acquire().await?;
        advance(db, &mut connection, workflows).await
    };
    if let Err(fault) = done.await {
        left(&fault);
    }
}

/// Says that the scheduler has to do it.
pub(in crate::engine) fn left(fault: &StoreFault) {
    tracing::warn!(
        cause = causes(fault).join(": "),
        "a workflow could not go on at once; the scheduler takes it up"
    );
}

/// A workflow whose row is locked.
pub(super) struct Flow {
    id: Uuid,
    policy: FailurePolicy,
    state: WorkflowState,
}

impl Flow {
    pub(super) fn of((id, policy, state): (Uuid, i16, i16)) -> Self {
        // The table's checks allow no other numbers.
        let policy = FailurePolicy::from_code(policy).unwrap_or_default();
        let state = WorkflowState::from_code(state).unwrap_or(WorkflowState::Running);
        Self { id, policy, state }
    }

    pub(super) fn state(&self) -> WorkflowState {
        self.state
    }

    pub(super) fn cancelled(self) -> Self {
        Self { state: WorkflowState::Cancelling, ..self }
    }
}

async fn lock(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Flow>> {
    let rows: Vec<(Uuid, i16, i16)> = sqlx::query_as(
        "select id, policy, state from engine.workflows where id = any($1)
         order by id for update skip locked",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Flow::of).collect())
}

/// Takes up everything that there is about these workflows; gives the wake-ups for after the commit.
/// What the policy cancels here makes events of its own, which are taken up in the next round.
pub(super) async fn take_up(
    connection: &mut PgConnection,
    flows: Vec<Flow>,
) -> Result<Vec<WakeToken>> {
    let mut flows: BTreeMap<Uuid, Flow> = flows.into_iter().map(|f| (f.id, f)).collect();
    let ids: Vec<Uuid> = flows.keys().copied().collect();
    let mut wakes = Vec::new();
    loop {
        let (ends, mut more) = take_events(connection, &ids).await?;
        let counts_as_done = |end: &End, state: Option<i16>| {
            let policy = flows.get(&end.workflow).map(|f| f.policy);
            match policy {
                Some(FailurePolicy::Continue) => state.is_some(),
                _ => state == Some(JobState::Completed.code()),
            }
        };
        let passed: Vec<&End> = ends
            .iter()
            .filter(|e| !counts_as_done(e, e.before) && counts_as_done(e, Some(e.after)))
            .collect();
        wakes.extend(release(connection, &passed).await?);
        for flow in flows.values_mut() {
            let mine = || ends.iter().filter(|e| e.workflow == flow.id);
            if flow.policy == FailurePolicy::CancelRest
                && flow.state == WorkflowState::Running
                && mine().any(|e| e.fell)
            {
                set_failing(connection, flow.id).await?;
                flow.state = WorkflowState::Failing;
            }
            if flow.policy == FailurePolicy::Hold {
                let lost = mine().filter(|e| e.after == JobState::Cancelled.code());
                let lost: Vec<i32> = lost.map(|e| e.place).collect();
                more |= end_below(connection, flow.id, &lost).await?;
            }
            more |= end_rest(connection, flow, &mut wakes).await?;
        }
        if !more {
            break;
        }
    }
    close(connection, &ids).await?;
    Ok(wakes)
}

/// What became of one job.
struct End {
    workflow: Uuid,
    place: i32,
    /// How it had ended before, if it had: a dead letter that was retried ends twice.
    before: Option<i16>,
    after: i16,
    /// It was a dead letter or cancelled, be it that it completed since.
    fell: bool,
}

/// An end that was written down, and where its job stands in its workflow, if that is not forgotten.
type Event = (i64, Uuid, i16, Uuid, Option<i32>, Option<i16>);

/// Writes the ends into the workflow's own tables. Of several ends of one job the last counts: their
/// numbers rise in the order of their commits, because each was written under the job's row lock. Says
/// whether there may be more.
async fn take_events(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(Vec<End>, bool)> {
    let events: Vec<Event> = sqlx::query_as(
        "select e.id, e.job_id, e.outcome, e.workflow, n.place, n.state
         from (select workflow, id, job_id, outcome from engine.workflow_events
               where workflow = any($1) order by workflow, id limit $2) e
         left join lateral (select place, state from engine.workflow_jobs
           where job_id = e.job_id offset 0) n on true
         order by e.job_id, e.id",
    )
    .bind(ids)
    .bind(EVENTS)
    .fetch_all(&mut *connection)
    .await?;
    if events.is_empty() {
        return Ok((Vec::new(), false));
    }
    let (mut ends, mut last): (Vec<End>, Vec<(Uuid, i64)>) = (Vec::new(), Vec::new());
    let mut of: Option<Uuid> = None;
    for (id, job, after, workflow, place, before) in &events {
        let Some(place) = place else { continue };
        let fell = *after != JobState::Completed.code();
        if let (true, Some(end), Some(at)) = (of == Some(*job), ends.last_mut(), last.last_mut()) {
            *end = End { after: *after, fell: end.fell || fell, ..*end };
            at.1 = *id;
            continue;
        }
        of = Some(*job);
        let end = End { workflow: *workflow, place: *place, before: *before, after: *after, fell };
        ends.push(end);
        last.push((*job, *id));
    }
    write_ends(connection, &events, &ends, &last).await?;
    Ok((ends, events.len() as i64 >= EVENTS))
}

/// The jobs' ends, what the workflows count, and the events, which are done with.
async fn write_ends(
    connection: &mut PgConnection,
    events: &[Event],
    ends: &[End],
    last: &[(Uuid, i64)],
) -> Result<()> {
    let mut counts: BTreeMap<Uuid, [i64; 3]> = BTreeMap::new();
    for end in ends {
        let counted = counts.entry(end.workflow).or_default();
        for (state, n) in [(end.before, -1), (Some(end.after), 1)] {
            let states = [JobState::Completed, JobState::Discarded, JobState::Cancelled];
            if let Some(at) = states.iter().position(|s| Some(s.code()) == state) {
                counted[at] += n;
            }
        }
    }
    let count = |of: usize| counts.values().map(|n| n[of]).collect::<Vec<i64>>();
    sqlx::query(concat!(
        "with done as (
           delete from engine.workflow_events where ctid = any (array(
             select e.ctid from unnest($1::uuid[], $2::int8[]) i(workflow, id)
             cross join lateral (select ctid from engine.workflow_events
               where workflow = i.workflow and id = i.id offset 0) e))
         ), changed as (
           update engine.workflow_jobs n set state = ($5::int2[])[width_bucket(n.job_id, $3::uuid[])],
             result = (select e.result from engine.workflow_events e
               where e.workflow = n.workflow and e.id = ($4::int8[])[width_bucket(n.job_id, $3)])
           where n.ctid = any (",
        places!("engine.workflow_jobs", "job_id", "$3"),
        "))
         update engine.workflows w set
           completed = w.completed + ($7::int8[])[width_bucket(w.id, $6::uuid[])],
           failed = w.failed + ($8::int8[])[width_bucket(w.id, $6)],
           cancelled = w.cancelled + ($9::int8[])[width_bucket(w.id, $6)]
         where w.id = any($6)"
    ))
    .bind(events.iter().map(|(_, _, _, workflow, ..)| *workflow).collect::<Vec<_>>())
    .bind(events.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(last.iter().map(|(job, _)| *job).collect::<Vec<_>>())
    .bind(last.iter().map(|(_, id)| *id).collect::<Vec<_>>())
    .bind(ends.iter().map(|e| e.after).collect::<Vec<_>>())
    .bind(counts.keys().copied().collect::<Vec<_>>())
    .bind(count(0))
    .bind(count(1))
    .bind(count(2))
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts down what waits for these, and makes available what waits for nothing any more. It is due
/// now, unless it was to run later: it did not wait for a worker all the time.
async fn release(connection: &mut PgConnection, passed: &[&End]) -> Result<Vec<WakeToken>> {
    if passed.is_empty() {
        return Ok(Vec::new());
    }
    let hit: Vec<(Uuid, i32)> = sqlx::query_as(
        "select c.job_id, count(*)::int
         from unnest($1::uuid[], $2::int[]) p(workflow, place)
         cross join lateral (select child from engine.workflow_edges
           where workflow = p.workflow and parent = p.place offset 0) e
         cross join lateral (select job_id from engine.workflow_jobs
           where workflow = p.workflow and place = e.child offset 0) c
         group by 1 order by 1",
    )
    .bind(passed.iter().map(|e| e.workflow).collect::<Vec<_>>())
    .bind(passed.iter().map(|e| e.place).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    if hit.is_empty() {
        return Ok(Vec::new());
    }
    let ready: Vec<Uuid> = sqlx::query_scalar(concat!(
        "with counted as (
           update engine.workflow_jobs c
           set waits_on = c.waits_on - ($2::int[])[width_bucket(c.job_id, $1::uuid[])]
           where c.ctid = any (",
        places!("engine.workflow_jobs", "job_id", "$1"),
        ") returning c.job_id, c.waits_on
         )
         select w.id from (select job_id from counted where waits_on = 0 order by 1) c
         cross join lateral (
           select id from engine.jobs where id = c.job_id and stage = 2 for update) w"
    ))
    .bind(hit.iter().map(|(job, _)| *job).collect::<Vec<_>>())
    .bind(hit.iter().map(|(_, n)| *n).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    // The rows are locked, so this statement sees them as they are.
    let freed: Vec<(i32, i16, DateTime<Utc>)> = sqlx::query_as(concat!(
        "with freed as (
           update engine.jobs j set stage = (j.run_at > statement_timestamp())::int,
             run_at = greatest(j.run_at, statement_timestamp())
           where j.ctid = any (",
        places!("engine.jobs", "id", "$1::uuid[]"),
        ") returning j.lane, j.kind, j.priority, j.run_at, j.stage
         ), deltas as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select f.lane, f.kind, s.state, sum(s.n) from freed f
           cross join lateral (values (4::int2, -1),
             (engine.job_state(f.stage, 0::int2, null), 1)) s(state, n)
           group by 1, 2, 3
         )
         select lane, priority, min(run_at) from freed where stage = 0 group by 1, 2"
    ))
    .bind(ready)
    .fetch_all(connection)
    .await?;
    Ok(freed.into_iter().map(|(lane, p, at)| WakeToken::Work(LaneId(lane), p, at)).collect())
}

async fn set_failing(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query("update engine.workflows set state = 1 where id = $1 and state = 0")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Cancels everything that waits for these, directly or through others; says whether there was any.
/// All of it is pending, and nobody holds the lock of a pending job for long.
async fn end_below(connection: &mut PgConnection, id: Uuid, lost: &[i32]) -> Result<bool> {
    if lost.is_empty() {
        return Ok(false);
    }
    let below: Vec<Uuid> = sqlx::query_scalar(
        "with recursive below(place) as (
           select e.child from engine.workflow_edges e where e.workflow = $1 and e.parent = any($2)
           union
           select e.child from below b
           join engine.workflow_edges e on e.workflow = $1 and e.parent = b.place
         )
         select j.id from (
           select n.job_id from below b cross join lateral (select job_id from engine.workflow_jobs
             where workflow = $1 and place = b.place and state is null offset 0) n order by 1) n
         cross join lateral (
           select id from engine.jobs where id = n.job_id and stage = 2 for update) j",
    )
    .bind(id)
    .bind(lost)
    .fetch_all(&mut *connection)
    .await?;
    if below.is_empty() {
        return Ok(false);
    }
    let why = "cancelled because a job that it waited for was cancelled";
    end_waiting(connection, &below, why, None).await?;
    Ok(true)
}

/// Cancels what has not ended of a workflow that is to end; says whether there was anything to be
/// taken up. What runs is asked to stop. A row that is locked (a claim, a job's own transaction) is
/// left for the next time: `end_cancelled` comes by until nothing is left. Dead letters stay.
async fn end_rest(
    connection: &mut PgConnection,
    flow: &Flow,
    wakes: &mut Vec<WakeToken>,
) -> Result<bool> {
    let why = match flow.state {
        WorkflowState::Failing => "cancelled with its workflow: another of its jobs failed",
        WorkflowState::Cancelling => "cancelled by an operator with its workflow",
        _ => return Ok(false),
    };
    let rest: Vec<(Uuid, bool)> = sqlx::query_as(
        "select j.id, j.worker is not null
         from engine.workflow_jobs n cross join lateral (
           select id, worker from engine.jobs
           where id = n.job_id and stage <> 5 and not cancel_requested for update skip locked) j
         where n.workflow = $1 and n.state is null",
    )
    .bind(flow.id)
    .fetch_all(&mut *connection)
    .await?;
    let ids = |held: bool| -> Vec<Uuid> {
        rest.iter().filter(|(_, h)| *h == held).map(|(id, _)| *id).collect()
    };
    let (running, waiting) = (ids(true), ids(false));
    if !running.is_empty() {
        ask_to_stop(connection, &running, None).await?;
        wakes.extend(running.into_iter().map(|id| WakeToken::Cancel(JobId(id))));
    }
    if waiting.is_empty() {
        return Ok(false);
    }
    end_waiting(connection, &waiting, why, None).await?;
    Ok(true)
}

/// Closes the workflows in which every job has ended, and judges closed ones anew: a dead letter may
/// have been retried. While a workflow that holds goes on, a dead letter is no end.
async fn close(connection: &mut PgConnection, ids: &[Uuid]) -> Result<()> {
    sqlx::query(
        "update engine.workflows set
           state = case when state = 2 then 5 when failed + cancelled = 0 then 3 else 4 end,
           finished_at = coalesce(finished_at, statement_timestamp())
         where id = any($1) and state <> 5
           and completed + cancelled + case when policy = 1 and state = 0 then 0 else failed end = total
           and (finished_at is null or (state = 3) <> (failed + cancelled = 0))",
    )
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}
