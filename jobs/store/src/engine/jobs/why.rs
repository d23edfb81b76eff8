//! Why a job is not running: everything that holds it now, in one answer.

use super::read::{JobRow, find};
use super::reason::{Ahead, HeldBy, Reason, when};
use crate::engine::limits::{LimitRow, of_lane};
use crate::engine::locks;
use crate::engine::workflows::waits_for;
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use switchyard_queue::{JobId, JobState, LaneId, SUSPECT_AFTER};

/// Jobs ahead are counted up to here; a lane may hold millions.
const MOST_COUNTED: i64 = 1000;
/// Jobs that another waits for, told by their names.
const PARENTS_TOLD: i64 = 10;
/// Crashes that are told one by one.
const CRASHES_TOLD: i64 = 3;

/// What the reasons come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is over.
    Finished,
    /// A living worker has it.
    Running,
    /// It runs by itself when its time or its turn comes.
    Waiting,
    /// It does not run until somebody does something.
    Stuck,
}

impl Verdict {
    /// The stable word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
        }
    }

    /// A headline for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Finished => "It is over",
            Self::Running => "It is running",
            Self::Waiting => "It waits, and will run by itself",
            Self::Stuck => "It will not run until somebody acts",
        }
    }

    fn of(reasons: &[Reason]) -> Self {
        let any = |test: fn(&Reason) -> bool| reasons.iter().any(test);
        if any(|r| matches!(r, Reason::Completed { .. } | Reason::Cancelled { .. })) {
            Self::Finished
        } else if any(|r| matches!(r, Reason::Running { .. })) {
            Self::Running
        } else if any(Reason::blocks) {
            Self::Stuck
        } else {
            Self::Waiting
        }
    }
}

/// The answer about one job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The job.
    pub job: JobId,
    /// Stored kind.
    pub kind: String,
    /// Queue.
    pub queue: String,
    /// Its state.
    pub state: JobState,
    /// What the reasons come to.
    pub verdict: Verdict,
    /// Everything that holds now.
    pub reasons: Vec<Reason>,
}

impl Why {
    fn new(job: JobId, kind: String, queue: String, state: JobState, reasons: Vec<Reason>) -> Self {
        Self { job, kind, queue, state, verdict: Verdict::of(&reasons), reasons }
    }

    fn finished(row: JobRow) -> Self {
        let reason = match row.state {
            JobState::Cancelled => Reason::Cancelled { at: row.finished_at, why: row.error },
            _ => Reason::Completed { at: row.finished_at, attempt: row.attempt },
        };
        Self::new(row.id, row.kind, row.queue, row.state, vec![reason])
    }
}

/// Says why a job is not running, or what became of it.
///
/// A worker counts as living while its presence lock is held, not by its row: a row outlives a
/// process that was killed until somebody looks for the dead.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is no such job, or its history was dropped.
pub async fn why(db: &Db, id: JobId) -> Result<Why> {
    let Some(facts) = facts(db, id).await? else {
        return Ok(Why::finished(find(db, id).await?));
    };
    let seen = match facts.state() {
        JobState::Quarantined | JobState::Discarded => ends(db, id).await?,
        _ => Vec::new(),
    };
    let state = facts.state();
    let limits = match state {
        JobState::Available if facts.limited => of_lane(db, LaneId(facts.lane)).await?,
        _ => Vec::new(),
    };
    let mut reasons = facts.reasons(&seen, &limits);
    if state == JobState::Pending
        && let Some(waits) = waits_for(db, id, PARENTS_TOLD).await?
        && let Some(pending) = reasons.iter_mut().find(|r| matches!(r, Reason::Pending { .. }))
    {
        let (workflow, parents) = (Some(waits.name), waits.parents);
        *pending = Reason::Pending { workflow, parents, waits_on: waits.waits_on };
    }
    Ok(Why::new(id, facts.kind, facts.queue, state, reasons))
}

/// What is so of an open job at this moment: one statement, so that no two parts of the answer are
/// from different times.
#[derive(sqlx::FromRow)]
struct Facts {
    kind: String,
    kind_paused: bool,
    lane: i32,
    /// The lane is under limits.
    limited: bool,
    queue: String,
    queue_paused: bool,
    partition: String,
    partition_paused: bool,
    stage: i16,
    state: i16,
    run_at: DateTime<Utc>,
    attempt: i16,
    max_attempts: i16,
    crashes: i16,
    lone_crashes: i16,
    worker: Option<i64>,
    host: Option<String>,
    claimed_at: Option<DateTime<Utc>>,
    lease_until: Option<DateTime<Utc>>,
    cancel_requested: bool,
    last_error: Option<String>,
    progress: Option<f32>,
    progress_note: Option<String>,
    progress_at: Option<DateTime<Utc>>,
    stuck_since: Option<DateTime<Utc>>,
    stuck_after_ms: Option<i64>,
    /// The holder's presence lock is held and its lease runs.
    held: bool,
    /// A scheduler leads.
    led: bool,
    /// Living workers that serve the queue.
    serving: i64,
    /// Living workers that know the kind.
    knowing: i64,
    /// Living workers that do both.
    both: i64,
    /// Those of them that are not quiet.
    able: i64,
    /// Jobs of the lane that come first and that nobody holds, up to one more than are counted.
    ahead: i64,
}

async fn facts(db: &Db, id: JobId) -> Result<Option<Facts>> {
    let facts = sqlx::query_as(
        "with locks as materialized (
           select classid, objid::int8 as id from pg_catalog.pg_locks
           where locktype = 'advisory' and granted and objsubid = 2 and database =
             (select oid from pg_catalog.pg_database where datname = current_database())
         ), live as materialized (
           select w.id, w.kinds, w.queues, w.quiet from engine.workers w
           where w.stopped_at is null and w.died_at is null
             and exists (select from locks k where k.classid = $2::int4::oid and k.id = w.id)
         )
         select j.kind, coalesce(k.paused, false) as kind_paused, j.lane,
           l.limits is not null as limited, l.queue, q.paused as queue_paused, l.partition,
           l.held as partition_paused, j.stage,
           engine.job_state(j.stage, j.attempt, j.worker) as state, j.run_at, j.attempt,
           j.max_attempts, j.crashes, j.lone_crashes, j.worker, h.host, j.claimed_at, j.lease_until,
           j.cancel_requested, j.last_error, j.progress, j.progress_note,
           case when j.progress_at >= j.claimed_at then j.progress_at end as progress_at,
           engine.stuck_since(j.claimed_at, j.progress_at, k.stuck_after_ms) as stuck_since,
           k.stuck_after_ms,
           coalesce(j.lease_until > statement_timestamp(), false)
             and exists (select from live where live.id = j.worker) as held,
           exists (select from locks k where k.classid = $3::int4::oid and k.id = 0) as led,
           (select count(*) from live where l.queue = any(live.queues)) as serving,
           (select count(*) from live where j.kind = any(live.kinds)) as knowing,
           (select count(*) from live
             where l.queue = any(live.queues) and j.kind = any(live.kinds)) as both,
           (select count(*) from live
             where l.queue = any(live.queues) and j.kind = any(live.kinds) and not quiet) as able,
           (select count(*) from (
              select 1 from engine.jobs w
              where w.lane = j.lane and w.stage = 0 and w.worker is null and j.stage = 0
                and (w.priority, w.run_at, w.id) < (j.priority, j.run_at, j.id)
              order by w.priority, w.run_at, w.id limit $4) first) as ahead
         from engine.jobs j
         join engine.lanes l on l.id = j.lane
         join engine.queues q on q.queue = l.queue
         left join engine.workers h on h.id = j.worker
         left join engine.kinds k on k.kind = j.kind
         where j.id = $1",
    )
    .bind(id.0)
    .bind(locks::WORKER)
    .bind(locks::LEADER)
    .bind(MOST_COUNTED + 1)
    .fetch_optional(db.engine())
    .await?;
    Ok(facts)
}

/// How an attempt ended that left the job where it is.
#[derive(sqlx::FromRow)]
struct End {
    outcome: String,
    worker: Option<i64>,
    host: Option<String>,
    ended_at: DateTime<Utc>,
}

async fn ends(db: &Db, id: JobId) -> Result<Vec<End>> {
    let ends = sqlx::query_as(
        "select a.outcome, a.worker, w.host, a.ended_at
         from engine.job_attempts a left join engine.workers w on w.id = a.worker
         where a.job_id = $1 and a.outcome in ('crash', 'discard')
         order by a.ended_at desc limit $2",
    )
    .bind(id.0)
    .bind(CRASHES_TOLD)
    .fetch_all(db.engine())
    .await?;
    Ok(ends)
}

impl Facts {
    fn state(&self) -> JobState {
        JobState::from_code(self.state).unwrap_or(JobState::Available)
    }

    fn reasons(&self, ends: &[End], limits: &[LimitRow]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match self.state() {
            JobState::Running => {
                reasons.push(self.holder());
                reasons.extend(self.said());
                if self.cancel_requested {
                    reasons.push(Reason::CancelRequested);
                }
                if !self.held {
                    self.way(&mut reasons);
                }
            }
            JobState::Scheduled | JobState::Retryable => {
                reasons.push(self.clock());
                if !self.led {
                    reasons.push(Reason::NoScheduler);
                }
                self.way(&mut reasons);
            }
            JobState::Pending => {
                reasons.push(Reason::Pending { workflow: None, parents: Vec::new(), waits_on: 0 });
                self.way(&mut reasons);
            }
            JobState::Quarantined => reasons.push(self.quarantined(ends)),
            JobState::Discarded => reasons.push(self.dead(ends)),
            _ => {
                self.way(&mut reasons);
                reasons.extend(limits.iter().flat_map(used_up));
            }
        }
        self.turn(&mut reasons);
        reasons
    }

    /// What keeps workers from the job, now or once it is due.
    fn way(&self, reasons: &mut Vec<Reason>) {
        let (kind, queue) = (|| self.kind.clone(), || self.queue.clone());
        if self.stage == 3 {
            reasons.push(Reason::Parked);
        }
        if self.queue_paused {
            reasons.push(Reason::QueuePaused { queue: queue() });
        }
        if self.partition_paused {
            let partition = self.partition.clone();
            reasons.push(Reason::PartitionPaused { queue: queue(), partition });
        }
        if self.serving == 0 {
            reasons.push(Reason::QueueUnserved { queue: queue() });
        }
        if self.knowing == 0 {
            reasons.push(Reason::KindUnknown { kind: kind() });
        }
        if self.both == 0 && self.serving > 0 && self.knowing > 0 {
            reasons.push(Reason::KindNotInQueue { kind: kind(), queue: queue() });
        }
        if self.both > 0 && self.able == 0 {
            reasons.push(Reason::WorkersQuiet { workers: self.both });
        }
        if self.kind_paused {
            reasons.push(Reason::KindPaused { kind: kind() });
        }
        if self.crashes >= SUSPECT_AFTER {
            reasons.push(Reason::RunsAlone { crashes: self.crashes });
        }
    }

    /// What is left when nothing is in the way: the jobs before it.
    fn turn(&self, reasons: &mut Vec<Reason>) {
        if self.state() == JobState::Available && !reasons.iter().any(Reason::blocks) {
            let ahead = match self.ahead {
                n if n > MOST_COUNTED => Ahead::MoreThan(MOST_COUNTED),
                n => Ahead::Exactly(n),
            };
            reasons.push(Reason::Waiting { ahead, workers: self.able });
        }
    }

    fn holder(&self) -> Reason {
        let worker = named(self.worker, self.host.as_deref());
        let (since, lease_until) = (self.claimed_at, self.lease_until);
        if self.held {
            Reason::Running { worker, since, lease_until }
        } else {
            Reason::HolderGone { worker, lease_until }
        }
    }

    /// How far the attempt is, and whether it should have said more by now.
    fn said(&self) -> impl Iterator<Item = Reason> {
        let progress = self.progress_at.map(|at| Reason::Progress {
            fraction: self.progress,
            note: self.progress_note.clone().unwrap_or_default(),
            at,
        });
        let silent = self.stuck_since.zip(self.stuck_after_ms).map(|(since, ms)| {
            let allowed = Duration::from_millis(ms.unsigned_abs());
            Reason::Silent { since, allowed }
        });
        progress.into_iter().chain(silent)
    }

    fn clock(&self) -> Reason {
        let (at, attempt, max_attempts) = (self.run_at, self.attempt, self.max_attempts);
        match self.state() {
            JobState::Scheduled => Reason::Scheduled { at },
            _ => Reason::Retryable { at, attempt, max_attempts, error: self.last_error.clone() },
        }
    }

    fn quarantined(&self, ends: &[End]) -> Reason {
        let (crashes, lone_crashes) = (self.crashes, self.lone_crashes);
        let crash = |e: &End| {
            let worker = named(e.worker, e.host.as_deref());
            format!("{worker}{}", when(", missed at ", Some(e.ended_at)))
        };
        let seen = ends.iter().filter(|e| e.outcome == "crash").map(crash).collect();
        Reason::Quarantined { crashes, lone_crashes, seen }
    }

    fn dead(&self, ends: &[End]) -> Reason {
        Reason::DeadLetter {
            at: ends.iter().find(|e| e.outcome == "discard").map(|e| e.ended_at),
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            error: self.last_error.clone(),
        }
    }
}

/// What of a limit allows no start at this moment.
fn used_up(limit: &LimitRow) -> impl Iterator<Item = Reason> {
    let running = limit.running;
    let full = limit.max_running.filter(|max| running >= u64::from(*max));
    let slots = full.map(|max_running| HeldBy::Slots { running, max_running });
    let rate = limit.rate.zip(limit.next_start);
    let rate = rate.map(|(rate, next_start)| HeldBy::Rate { rate, next_start });
    let limit = &limit.scope;
    slots.into_iter().chain(rate).map(move |by| Reason::Limited { limit: limit.clone(), by })
}

fn named(worker: Option<i64>, host: Option<&str>) -> String {
    match (worker, host) {
        (Some(id), Some(host)) => format!("Worker {id} on {host}"),
        (Some(id), None) => format!("Worker {id}"),
        (None, _) => "A worker".to_owned(),
    }
}
