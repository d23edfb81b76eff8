//! Enqueuing: any number of jobs in one statement, in the caller's transaction.

use super::uniques::Changes;
use super::{sealing, seconds, uniques};
use crate::{Result, StoreFault};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Row};
use std::borrow::Cow;
use std::collections::HashMap;
use switchyard_queue::{
    ArgsCipher, Enqueued, JobId, LaneId, NewJob, Placement, WakeToken, sealed_parts,
};
use uuid::Uuid;

/// Enqueues the jobs of [`Batch`], which is parameters 1 to 17; what the statement answers comes behind
/// it. `$before` is what else it does first, `$which` picks among the jobs, which are numbered from 1 in
/// `g.n`.
macro_rules! placing {
    ($before:literal, $which:literal) => {
        concat!(
            "with ",
            $before,
            " given as materialized (
           select g.*, coalesce(g.at, statement_timestamp() + g.wait * interval '1 second') as run_at
           from unnest($1::uuid[], $2::int[], $3::text[], $4::int2[], $5::timestamptz[], $6::float8[],
                       $7::int2[], $8::int[], $9::uuid[], $10::text[], $11::jsonb[], $12::text[], $13::text[],
                       $14::float8[], $15::float8[], $16::uuid[], $17::bool[])
             with ordinality g(id, lane, kind, priority, at, wait, max_attempts, timeout_ms, tenant,
                               unique_key, args, trace, request_id, held_for, due_within, workflow, waits, n)
           ",
            $which,
            "
         ), keyed as (
           insert into engine.job_uniques (key, job_id, until)
           select unique_key, id, statement_timestamp() + held_for * interval '1 second' from given where unique_key is not null order by n
           on conflict do nothing
           returning job_id
         ), placed as (
           insert into engine.jobs (id, lane, kind, priority, run_at, stage, max_attempts, timeout_ms,
                                    tenant, unique_key, args, trace, request_id, workflow, created_at, deadline)
           select id, lane, kind, priority, run_at,
                  case when waits then 2 else (run_at > statement_timestamp())::int end, max_attempts,
                  timeout_ms, tenant, case when held_for is null then unique_key end, args, trace,
                  request_id, workflow, statement_timestamp(),
                  statement_timestamp() + due_within * interval '1 second'
           from given
           where unique_key is null or id in (select job_id from keyed)
           returning id, lane, kind, stage, run_at
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select lane, kind, engine.job_state(stage, 0::int2, null), count(*) from placed group by 1, 2, 3
         )"
        )
    };
}
pub(crate) use placing;

/// What became of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// The answer to the caller.
    pub answer: Enqueued,
    /// It waits for a worker at once; this is to be said after the commit.
    pub wake: Option<WakeToken>,
}

/// How often a key may slip away between "it is taken" and "by whom?" before the caller hears
/// that the database is too busy. Each round needs another job of the same key to begin and end.
const ROUNDS: usize = 20;

/// Inserts jobs into their lanes (`lanes[i]` is the lane of `jobs[i]`); answers in their order.
///
/// A job whose unique key is taken is not inserted; its answer names the job that holds the key,
/// which is changed if the new job asks for it. Of two jobs with the same key in one batch the first
/// is inserted. This is the one door: what is to be encrypted is so from here on.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    lanes: &[LaneId],
    cipher: Option<&dyn ArgsCipher>,
) -> Result<Vec<Placed>> {
    let jobs = &*sealing::ready(connection, jobs, cipher).await?;
    let mut answers: Vec<Option<Placed>> = vec![None; jobs.len()];
    let mut open: Vec<usize> = (0..jobs.len()).collect();
    // Keys are taken in their order, so two batches that share keys cannot deadlock. The sort is
    // stable: of equal keys the first comes first.
    open.sort_by(|a, b| jobs[*a].unique_key.cmp(&jobs[*b].unique_key));
    for _ in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        let placed = insert_once(connection, jobs, lanes, &open, cipher).await?;
        for i in &open {
            let Some(due) = placed.get(&jobs[*i].id.0) else { continue };
            let (id, lane) = (jobs[*i].id, lanes[*i]);
            let answer = Enqueued { id, what: Placement::Inserted, lane };
            let wake = due.map(|at| WakeToken::Work(lane, jobs[*i].priority, at));
            answers[*i] = Some(Placed { answer, wake });
        }
        open.retain(|i| answers[*i].is_none());
        if open.is_empty() {
            break;
        }
        // A second statement, because the first one's snapshot cannot see a holder that committed
        // while it waited. A holder that is gone by now is no holder: those go round again.
        let holders = uniques::holders(connection, jobs, &open).await?;
        let replaced = uniques::replace(connection, jobs, &open, &holders, cipher).await?;
        let begun = uniques::begun(connection, jobs, &open, &holders, &replaced).await?;
        for i in &open {
            let holder = jobs[*i].unique_key.as_deref().and_then(|key| holders.get(key));
            let holder = holder.filter(|id| !begun.contains(*id));
            answers[*i] = holder.map(|id| stands(&jobs[*i], JobId(*id), lanes[*i], &replaced));
        }
        open.retain(|i| answers[*i].is_none());
    }
    let busy = || sqlx::Error::Protocol("a unique key kept changing hands".to_owned());
    answers.into_iter().map(|a| a.ok_or_else(|| StoreFault::Unavailable(busy()))).collect()
}

/// The answer to a job whose key is `holder`'s.
fn stands(job: &NewJob, holder: JobId, lane: LaneId, replaced: &Changes) -> Placed {
    match replaced.get(&holder.0).filter(|_| job.replaces.any()) {
        Some((lane, wake)) => Placed {
            answer: Enqueued { id: holder, what: Placement::Replaced, lane: *lane },
            wake: *wake,
        },
        None => {
            Placed { answer: Enqueued { id: holder, what: Placement::Standing, lane }, wake: None }
        }
    }
}

/// One try for the jobs at `which`; gives the ids that went in, and since when each is due, if it is.
///
/// The keys go first. A key that another transaction is just taking or releasing makes this wait
/// for that transaction's end; a taken key inserts nothing and drops its job from the batch. A key
/// that is held for a time is not in the job's row, so that the job's end does not free it.
/// Times are the statement's, not the transaction's: a caller may have begun long ago.
async fn insert_once(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    lanes: &[LaneId],
    which: &[usize],
    cipher: Option<&dyn ArgsCipher>,
) -> Result<HashMap<Uuid, Option<DateTime<Utc>>>> {
    let statement =
        concat!(placing!("", ""), " select id, case stage when 0 then run_at end from placed");
    let batch = Batch::of(jobs, lanes, which, cipher);
    let rows = batch.bind(sqlx::query(statement)).fetch_all(connection).await?;
    let placed = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
    Ok(rows.iter().map(placed).collect::<sqlx::Result<_>>()?)
}

/// Whether the statement alone places this job: it has no key that another may hold, and nothing of it
/// is to be encrypted.
pub(crate) fn is_plain(job: &NewJob) -> bool {
    job.unique_key.is_none() && !job.encrypted && sealed_parts(&job.args).is_none()
}

/// The columns of a batch, as arrays for `unnest`.
pub(crate) struct Batch<'a> {
    ids: Vec<Uuid>,
    lanes: Vec<i32>,
    kinds: Vec<&'a str>,
    priorities: Vec<i16>,
    at: Vec<Option<DateTime<Utc>>>,
    wait: Vec<f64>,
    max_attempts: Vec<i16>,
    timeouts: Vec<i32>,
    tenants: Vec<Option<Uuid>>,
    keys: Vec<Option<&'a str>>,
    args: Vec<Json<Cow<'a, Value>>>,
    traces: Vec<Option<String>>,
    requests: Vec<Option<&'a str>>,
    held_for: Vec<Option<f64>>,
    due_within: Vec<Option<f64>>,
    workflows: Vec<Option<Uuid>>,
    waits: Vec<bool>,
}

impl<'a> Batch<'a> {
    /// The jobs at `which`; `lanes[i]` is the lane of `jobs[i]`.
    pub(crate) fn of(
        jobs: &'a [NewJob],
        lanes: &[LaneId],
        which: &[usize],
        cipher: Option<&dyn ArgsCipher>,
    ) -> Self {
        fn column<'j, T>(
            jobs: &'j [NewJob],
            which: &[usize],
            f: impl Fn(&'j NewJob) -> T,
        ) -> Vec<T> {
            which.iter().map(|i| f(&jobs[*i])).collect()
        }
        Self {
            ids: column(jobs, which, |j| j.id.0),
            lanes: which.iter().map(|i| lanes[*i].0).collect(),
            kinds: column(jobs, which, |j| &*j.kind),
            priorities: column(jobs, which, |j| j.priority),
            at: column(jobs, which, |j| j.run_at),
            wait: column(jobs, which, |j| j.delay.map_or(0.0, seconds)),
            max_attempts: column(jobs, which, |j| j.max_attempts.max(1)),
            timeouts: column(jobs, which, |j| {
                i32::try_from(j.timeout.as_millis()).unwrap_or(i32::MAX).max(1)
            }),
            tenants: column(jobs, which, |j| j.tenant),
            keys: column(jobs, which, |j| j.unique_key.as_deref()),
            args: column(jobs, which, |j| Json(sealing::stored(j, j.id, cipher))),
            traces: column(jobs, which, |j| j.trace.map(|t| t.to_string())),
            requests: column(jobs, which, |j| j.request_id.as_deref()),
            held_for: column(jobs, which, |j| j.unique_for.map(seconds)),
            due_within: column(jobs, which, |j| j.deadline.map(seconds)),
            workflows: column(jobs, which, |j| j.part_of.map(|p| p.workflow.0)),
            waits: column(jobs, which, |j| j.part_of.is_some_and(|p| p.waits)),
        }
    }

    /// Parameters 1 to 17.
    pub(crate) fn bind(
        self,
        query: Query<'a, Postgres, PgArguments>,
    ) -> Query<'a, Postgres, PgArguments> {
        query
            .bind(self.ids)
            .bind(self.lanes)
            .bind(self.kinds)
            .bind(self.priorities)
            .bind(self.at)
            .bind(self.wait)
            .bind(self.max_attempts)
            .bind(self.timeouts)
            .bind(self.tenants)
            .bind(self.keys)
            .bind(self.args)
            .bind(self.traces)
            .bind(self.requests)
            .bind(self.held_for)
            .bind(self.due_within)
            .bind(self.workflows)
            .bind(self.waits)
    }
}
