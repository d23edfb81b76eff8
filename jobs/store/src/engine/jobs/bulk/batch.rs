//! Working on bulk operations, a batch a transaction.

use super::super::filter::Filter;
use super::super::search::{Cursor, page};
use super::super::sets::{self, Target};
use super::{Action, BulkOp, BulkRefusal, columns, find, undo};
use crate::engine::{lanes, workflows};
use crate::tx::EngineTx;
use crate::{Db, Result};
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchyard_queue::{ArgsCipher, JobId, JobState, LaneId, WakeToken};
use uuid::Uuid;

/// Jobs in one transaction: few enough to hold their locks briefly.
pub(super) const BATCH: u32 = 500;
/// How long one batch looks for its jobs.
const PATIENCE: Duration = Duration::from_millis(300);

/// Reasons to leave a job alone.
pub(super) const BUSY: &str = "busy";
pub(super) const STATE: &str = "state";
pub(super) const KEY: &str = "key_held";
/// There is no key with which their arguments open.
const SEALED: &str = "sealed";

/// What one batch came to.
#[derive(Default)]
pub(super) struct Outcome {
    pub done: usize,
    pub skipped: BTreeMap<&'static str, usize>,
    /// Where to go on; nothing if that was all.
    pub next: Option<String>,
    /// Said after the commit.
    pub wakes: Vec<WakeToken>,
    /// Workflows that go on after the commit.
    pub told: Vec<Uuid>,
}

impl Outcome {
    pub(super) fn skip(&mut self, why: &'static str, n: usize) {
        if n > 0 {
            *self.skipped.entry(why).or_default() += n;
        }
    }

    /// Jobs that may run now in these lanes.
    pub(super) fn acted(&mut self, jobs: &[(Uuid, i32)]) {
        self.done += jobs.len();
        let lanes: BTreeSet<i32> = jobs.iter().map(|(_, lane)| *lane).collect();
        self.wakes.extend(lanes.into_iter().map(|lane| WakeToken::Lane(LaneId(lane))));
    }
}

/// Works on all operations that are open, until none is; gives how many batches that took. Of several
/// each has its turns. Safe to run from several processes at once.
///
/// # Errors
/// If the database is not available: what was committed stands, and a later call goes on there.
pub async fn work(db: &Db) -> Result<u64> {
    let mut batches = 0;
    while batch(db, None).await? {
        batches += 1;
    }
    Ok(batches)
}

/// Works on one operation to its end.
pub(in super::super) async fn run(db: &Db, id: Uuid) -> Result<BulkOp, BulkRefusal> {
    loop {
        let mine = batch(db, Some(id)).await?;
        let op = find(db, id).await?;
        if !op.is_open() {
            return Ok(op);
        }
        if !mine {
            // A scheduler has it in hand.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One batch of one operation; false if there is none that nobody is at.
async fn batch(db: &Db, only: Option<Uuid>) -> Result<bool> {
    let mut tx = db.begin_engine().await?;
    let op: Option<BulkOp> = sqlx::query_as(concat!(
        columns!(),
        "where o.state in ('waiting', 'running') and ($1::uuid is null or o.id = $1)
         order by random() limit 1 for update of o skip locked"
    ))
    .bind(only)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(op) = op else { return Ok(false) };
    match act(db, &mut tx, &op).await {
        Ok(outcome) => {
            let (wakes, told) = (outcome.wakes.clone(), outcome.told.clone());
            commit(tx, op, outcome).await?;
            if !wakes.is_empty() {
                db.wake().send(&wakes);
            }
            workflows::advance_soon(db, &told).await;
            Ok(true)
        }
        Err(fault) => {
            tx.rollback().await?;
            let failed = !fault.is_transient();
            sqlx::query(
                "update engine.bulk_ops set error = $2, state = case when $3 then 'failed' else state end,
                   finished_at = case when $3 then statement_timestamp() end
                 where id = $1 and state in ('waiting', 'running')",
            )
            .bind(op.id)
            .bind(switchyard_queue::causes(&fault).join(": "))
            .bind(failed)
            .execute(db.engine())
            .await?;
            if failed { Ok(true) } else { Err(fault) }
        }
    }
}

/// The acts and the place where they stopped are one commit.
async fn commit(mut tx: EngineTx, op: BulkOp, outcome: Outcome) -> Result<()> {
    let state = match &outcome.next {
        _ if op.stop => "stopped",
        None => "done",
        Some(_) => "running",
    };
    let mut skipped = op.skipped;
    for (why, n) in outcome.skipped {
        *skipped.entry(why.to_owned()).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
    }
    sqlx::query(
        "update engine.bulk_ops set state = $2, cursor = $3, done = done + $4, skipped = $5, error = null,
           started_at = coalesce(started_at, now()),
           finished_at = case when $2 = 'running' then null else statement_timestamp() end
         where id = $1",
    )
    .bind(op.id)
    .bind(state)
    .bind(outcome.next)
    .bind(i64::try_from(outcome.done).unwrap_or(i64::MAX))
    .bind(Json(skipped))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn act(db: &Db, connection: &mut PgConnection, op: &BulkOp) -> Result<Outcome> {
    if op.stop {
        return Ok(Outcome::default());
    }
    if let Some(undone) = op.undo_of {
        return undo::batch(connection, op, undone).await;
    }
    let action: Action = serde_json::from_value(op.params.clone())?;
    let (phase, at) = Phase::read(op.cursor.as_deref());
    let filter = phase.filter(op);
    if filter.states.is_empty() {
        return Ok(Outcome { next: phase.next(), ..Outcome::default() });
    }
    let found = page(connection, &filter, at, BATCH, PATIENCE).await?;
    limit_statements(connection).await?;
    let ids: Vec<Uuid> = found.rows.iter().map(|r| r.id.0).collect();
    let mut outcome = match phase {
        Phase::Open => act_on_open(db, connection, op.id, &action, &filter, &ids).await?,
        Phase::Finished => {
            let times = || found.rows.iter().filter_map(|r| r.finished_at);
            let between = times().min().zip(times().max());
            run_copies(connection, op.id, &ids, between, db.cipher()).await?
        }
    };
    outcome.next = found.next.map(|at| format!("{}{at}", phase.mark())).or_else(|| phase.next());
    Ok(outcome)
}

/// The search has set its own, for reading.
async fn limit_statements(connection: &mut PgConnection) -> Result<()> {
    sqlx::query(
        "select set_config('statement_timeout', '15s', true), set_config('lock_timeout', '3s', true)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// First what was open, then what had finished when the operation was started.
#[derive(Clone, Copy)]
enum Phase {
    Open,
    Finished,
}

impl Phase {
    fn read(cursor: Option<&str>) -> (Self, Cursor) {
        let (phase, rest) = match cursor {
            Some(cursor) if cursor.starts_with('F') => (Self::Finished, cursor.get(1..)),
            Some(cursor) => (Self::Open, cursor.get(1..)),
            None => (Self::Open, None),
        };
        (phase, rest.and_then(|rest| rest.parse().ok()).unwrap_or(Cursor::START))
    }

    fn mark(self) -> char {
        match self {
            Self::Open => 'O',
            Self::Finished => 'F',
        }
    }

    fn next(self) -> Option<String> {
        match self {
            Self::Open => Some(format!("{}{}", Self::Finished.mark(), Cursor::START)),
            Self::Finished => None,
        }
    }

    fn filter(self, op: &BulkOp) -> Filter {
        let mut filter = op.filter.clone();
        let before = |at: Option<_>| Some(at.map_or(op.created_at, |at| op.created_at.min(at)));
        match self {
            Self::Open => {
                filter.states.retain(|s| !s.is_final());
                filter.created_to = before(filter.created_to);
            }
            Self::Finished => {
                filter.states.retain(|s| s.is_final());
                filter.finished_to = before(filter.finished_to);
            }
        }
        filter
    }
}

async fn act_on_open(
    db: &Db,
    connection: &mut PgConnection,
    op: Uuid,
    action: &Action,
    filter: &Filter,
    ids: &[Uuid],
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let locked = sets::lock(connection, ids).await?;
    outcome.skip(BUSY, ids.len() - locked.len());
    // Between the search and the lock a job may have gone on.
    let meant: Vec<(Uuid, JobState)> =
        locked.iter().filter(|(_, s)| filter.states.contains(s)).map(|(id, s)| (*id, *s)).collect();
    outcome.skip(STATE, locked.len() - meant.len());
    let (running, waiting): (Vec<_>, Vec<_>) =
        meant.into_iter().partition(|(_, state)| *state == JobState::Running);
    let of = |jobs: Vec<(Uuid, JobState)>| -> Vec<Uuid> { jobs.into_iter().map(|j| j.0).collect() };
    let (running, waiting) = (of(running), of(waiting));
    match action {
        Action::Retry => {
            let back = sets::revive(connection, &waiting, Some(op)).await?;
            outcome.skip(KEY, waiting.len() - back.len());
            outcome.acted(&back);
        }
        Action::Cancel => {
            outcome.told =
                sets::end_waiting(connection, &waiting, sets::BY_OPERATOR, Some(op)).await?;
            outcome.done += waiting.len();
        }
        Action::Discard => {
            outcome.told = sets::discard(connection, &waiting, Some(op)).await?;
            outcome.done += waiting.len();
        }
        Action::Move { queue, partition, priority } => {
            let to = Target {
                queue: queue.as_deref(),
                partition: partition.as_deref(),
                priority: *priority,
            };
            let targets = sets::targets(connection, &waiting, to).await?;
            lanes::ensure(db, &targets).await?;
            let put = sets::put(connection, &waiting, to, Some(op)).await?;
            outcome.acted(&put);
        }
    }
    if matches!(action, Action::Cancel | Action::Discard) {
        sets::ask_to_stop(connection, &running, Some(op)).await?;
        outcome.done += running.len();
        outcome.wakes.extend(running.into_iter().map(|id| WakeToken::Cancel(JobId(id))));
    }
    Ok(outcome)
}

async fn run_copies(
    connection: &mut PgConnection,
    op: Uuid,
    ids: &[Uuid],
    between: Option<(chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>)>,
    cipher: Option<&dyn ArgsCipher>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let copies = sets::copy(connection, ids, between, cipher, Some(op)).await?;
    let placed: Vec<(Uuid, i32)> =
        copies.made.iter().filter(|c| c.inserted).map(|c| (c.id, c.lane.0)).collect();
    outcome.skip(STATE, ids.len() - copies.made.len() - copies.sealed.len());
    outcome.skip(SEALED, copies.sealed.len());
    outcome.skip(KEY, copies.made.len() - placed.len());
    outcome.acted(&placed);
    Ok(outcome)
}
