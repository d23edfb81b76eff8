//! Undoing a bulk operation: each job goes back to the row that it was, unless something has happened
//! to it since.

use super::super::sets;
use super::BulkOp;
use super::batch::{BATCH, KEY, Outcome};
use crate::Result;
use crate::engine::plans::keys_freed;
use sqlx::PgConnection;
use std::collections::HashSet;
use uuid::Uuid;

/// It has begun, ended, or was changed by somebody since.
const CHANGED: &str = "changed";
/// A running job was asked to stop: that cannot be taken back.
const FINAL: &str = "cannot_be_undone";
/// Its workflow has heard of its end and gone on: what waited for it may have been cancelled.
const WORKFLOW: &str = "workflow";

/// A job, what was done to it, and whether its workflow was told of it.
#[derive(sqlx::FromRow)]
struct Done {
    job_id: Uuid,
    did: String,
    copy: Option<Uuid>,
    told: bool,
}

/// The next jobs of the operation, in the order of their ids.
pub(super) async fn batch(
    connection: &mut PgConnection,
    op: &BulkOp,
    undone: Uuid,
) -> Result<Outcome> {
    sqlx::query("select set_config('lock_timeout', '3s', true)").execute(&mut *connection).await?;
    let after = op.cursor.as_deref().and_then(|c| c.parse().ok()).unwrap_or(Uuid::nil());
    let mut rows: Vec<Done> = sqlx::query_as(
        "select job_id, did, copy,
           did in ('cancelled', 'discarded') and prior->>'workflow' is not null as told
         from engine.bulk_undo where op = $1 and job_id > $2 order by job_id limit $3",
    )
    .bind(undone)
    .bind(after)
    .bind(i64::from(BATCH))
    .fetch_all(&mut *connection)
    .await?;
    let mut outcome = Outcome::default();
    let Some(last) = rows.last() else { return Ok(outcome) };
    outcome.next = Some(last.job_id.to_string());
    outcome.skip(WORKFLOW, rows.iter().filter(|r| r.told).count());
    rows.retain(|r| !r.told);
    let of = |did: &[&str]| -> Vec<Uuid> {
        rows.iter().filter(|r| did.contains(&r.did.as_str())).map(|r| r.job_id).collect()
    };
    put_back(connection, undone, &of(&["revived", "discarded", "moved"]), &mut outcome).await?;
    reopen(connection, undone, &of(&["cancelled"]), &mut outcome).await?;
    let copies: Vec<Uuid> = rows.iter().filter_map(|r| r.copy).collect();
    remove(connection, &copies, &mut outcome).await?;
    outcome.skip(FINAL, of(&["asked"]).len());
    Ok(outcome)
}

/// Open jobs that are as the operation left them: what it changed goes back, and nothing else.
async fn put_back(
    connection: &mut PgConnection,
    op: Uuid,
    ids: &[Uuid],
    outcome: &mut Outcome,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let same: Vec<Uuid> = sqlx::query_scalar(
        "select j.id from engine.bulk_undo u join engine.jobs j on j.id = u.job_id
         where u.op = $1 and u.job_id = any($2) and j.worker is null
           and j.fence = (u.prior->>'fence')::int8
           and case u.did when 'revived' then j.stage = 0 when 'discarded' then j.stage = 5
             else (j.lane, j.priority) = (u.lane, u.priority) end
         order by j.id for update of j skip locked",
    )
    .bind(op)
    .bind(ids)
    .fetch_all(&mut *connection)
    .await?;
    let back: Vec<(Uuid, i32)> = sqlx::query_as(concat!(
        "with was as materialized (
           select j.ctid as place, u.job_id, u.did, p.lane, p.priority, p.run_at, p.stage, p.attempt, p.crashes,
             p.lone_crashes, p.last_error, p.deadline, j.unique_key, j.lane as lane_now,
             engine.job_state(j.stage, j.attempt, j.worker) as state_now
           from engine.bulk_undo u join engine.jobs j on j.id = u.job_id
           cross join lateral jsonb_populate_record(j, case u.did
             when 'moved' then jsonb_build_object('lane', u.prior->'lane', 'priority', u.prior->'priority')
             else u.prior - '{lane,priority}'::text[] end) p
           where u.op = $1 and u.job_id = any($2)
         ), keyed as (
           insert into engine.job_uniques (key, job_id)
           select unique_key, job_id from was
           where did = 'discarded' and unique_key is not null order by 1, 2
           on conflict do nothing
           returning job_id
         ), freed as (",
        keys_freed!(
            "(select job_id as id, unique_key from was where did = 'revived' and stage = 5)"
        ),
        "), back as (
           update engine.jobs j set lane = w.lane, priority = w.priority, stage = w.stage,
             run_at = w.run_at, attempt = w.attempt, crashes = w.crashes,
             lone_crashes = w.lone_crashes, last_error = w.last_error, deadline = w.deadline
           from was w
           where j.ctid = w.place and (w.did <> 'discarded' or w.unique_key is null
             or w.job_id in (select job_id from keyed))
           returning j.id, j.lane, j.kind, engine.job_state(j.stage, j.attempt, j.worker) as state,
             w.lane_now, w.state_now
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select s.lane, b.kind, s.state, sum(s.n) from back b
           cross join lateral (values (b.lane_now, b.state_now, -1), (b.lane, b.state, 1))
             s(lane, state, n)
           group by 1, 2, 3 having sum(s.n) <> 0
         )
         select id, lane from back"
    ))
    .bind(op)
    .bind(&same)
    .fetch_all(connection)
    .await?;
    outcome.skip(CHANGED, ids.len() - same.len());
    outcome.skip(KEY, same.len() - back.len());
    outcome.acted(&back);
    Ok(())
}

/// Cancelled jobs leave the history and are open again, under their ids.
async fn reopen(
    connection: &mut PgConnection,
    op: Uuid,
    ids: &[Uuid],
    outcome: &mut Outcome,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, Option<i32>)> = sqlx::query_as(
        "with was as materialized (
           select u.job_id, u.at, p.unique_key, p.stage
           from engine.bulk_undo u
           join engine.job_history h on h.id = u.job_id and h.finished_at = u.at and h.outcome = 9
           cross join lateral jsonb_populate_record(null::engine.jobs, u.prior) p
           where u.op = $1 and u.job_id = any($2)
         ), keyed as (
           insert into engine.job_uniques (key, job_id)
           select unique_key, job_id from was
           where unique_key is not null and stage <> 5 order by 1, 2
           on conflict do nothing
           returning job_id
         ), gone as (
           delete from engine.job_history h using was w
           where h.id = w.job_id and h.finished_at = w.at and (w.unique_key is null or w.stage = 5
             or w.job_id in (select job_id from keyed))
           returning h.id
         ), back as (
           insert into engine.jobs
           select p.* from gone join engine.bulk_undo u on u.op = $1 and u.job_id = gone.id
           cross join lateral jsonb_populate_record(null::engine.jobs,
             case when u.prior->'args' = 'null' then u.prior || '{\"args\": {}}' else u.prior end) p
           returning id, lane, kind, stage, attempt, worker
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select b.lane, b.kind, s.state, sum(s.n) from back b
           cross join lateral (values (9::int2, -1),
             (engine.job_state(b.stage, b.attempt, b.worker), 1)) s(state, n)
           group by 1, 2, 3
         )
         select was.job_id, back.lane from was left join back on back.id = was.job_id",
    )
    .bind(op)
    .bind(ids)
    .fetch_all(&mut *connection)
    .await?;
    // A record knows no difference between a JSON null and nothing.
    sqlx::query(
        "update engine.jobs j set args = 'null' from engine.bulk_undo u
         where u.op = $1 and u.job_id = any($2) and j.id = u.job_id and u.prior->'args' = 'null'",
    )
    .bind(op)
    .bind(ids)
    .execute(connection)
    .await?;
    let back: Vec<(Uuid, i32)> =
        rows.iter().filter_map(|(id, lane)| Some((*id, (*lane)?))).collect();
    outcome.skip(CHANGED, ids.len() - rows.len());
    outcome.skip(KEY, rows.len() - back.len());
    outcome.acted(&back);
    Ok(())
}

/// Copies of finished jobs that have not begun.
async fn remove(
    connection: &mut PgConnection,
    copies: &[Uuid],
    outcome: &mut Outcome,
) -> Result<()> {
    if copies.is_empty() {
        return Ok(());
    }
    let locked: HashSet<Uuid> = sets::lock(connection, copies).await?.into_keys().collect();
    let gone: Vec<Uuid> = sqlx::query_scalar(concat!(
        "with gone as (
           delete from engine.jobs
           where id = any($1) and fence = 0 and worker is null and stage in (0, 1)
           returning id, lane, kind, stage, attempt, worker, unique_key
         ), keys as (",
        keys_freed!("gone"),
        "), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select lane, kind, engine.job_state(stage, attempt, worker), -count(*) from gone
           group by 1, 2, 3
         )
         select id from gone"
    ))
    .bind(locked.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    outcome.done += gone.len();
    outcome.skip(CHANGED, copies.len() - gone.len());
    Ok(())
}
