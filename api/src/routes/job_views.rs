//! What operators are shown of jobs, queues, kinds and workers.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_queue::KindInfo;
use switchyard_store::jobs::errors::{Acted, ErrorGroup};
use switchyard_store::jobs::{
    AttemptRow, EffectRow, JobDetail, JobRow, KindSummary, QueueSummary, Reason, Why, WorkerRow,
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    pub(super) id: Uuid,
    #[schema(example = "lead.distribute")]
    kind: String,
    #[schema(example = "leads")]
    queue: String,
    /// Fair-share key within the queue; empty for none.
    partition: String,
    /// The key under whose limit it runs besides those of queue and partition; empty for none.
    limit_key: String,
    /// `available`, `running`, `scheduled`, `retryable`, `pending`, `discarded`, `quarantined`,
    /// `completed` or `cancelled`.
    #[schema(example = "completed")]
    state: String,
    /// Lower runs first.
    priority: i16,
    /// Attempts used up.
    attempt: i16,
    max_attempts: i16,
    /// Workers that vanished in a row while they held it.
    crashes: i16,
    worker: Option<i64>,
    /// Somebody asked to cancel it while it runs.
    cancel_requested: bool,
    timeout_ms: i32,
    tenant: Option<Uuid>,
    unique_key: Option<String>,
    /// The last error, or why it was cancelled.
    error: Option<String>,
    /// W3C traceparent.
    trace: Option<String>,
    /// The request that caused it.
    request_id: Option<String>,
    /// The workflow that it belongs to.
    workflow: Option<Uuid>,
    created_at: DateTime<Utc>,
    /// When it was or will be due.
    run_at: DateTime<Utc>,
    /// When it must have begun, of an open job.
    deadline: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// How far the running attempt is, from 0 to 1, if it said so.
    #[schema(example = 0.4)]
    progress: Option<f32>,
    /// What it said last.
    #[schema(example = "page 2 of 5")]
    progress_note: Option<String>,
    progress_at: Option<DateTime<Utc>>,
    /// It runs, and has been silent since then, which is longer than its kind allows.
    stuck_since: Option<DateTime<Utc>>,
}

impl From<JobRow> for JobView {
    fn from(j: JobRow) -> Self {
        Self {
            id: j.id.0,
            kind: j.kind,
            queue: j.queue,
            partition: j.partition,
            limit_key: j.limit_key,
            state: j.state.to_string(),
            priority: j.priority,
            attempt: j.attempt,
            max_attempts: j.max_attempts,
            crashes: j.crashes,
            worker: j.worker.map(|w| w.0),
            cancel_requested: j.cancel_requested,
            timeout_ms: j.timeout_ms,
            tenant: j.tenant,
            unique_key: j.unique_key,
            error: j.error,
            trace: j.trace,
            request_id: j.request_id,
            workflow: j.workflow.map(|w| w.0),
            created_at: j.created_at,
            run_at: j.run_at,
            deadline: j.deadline,
            started_at: j.started_at,
            finished_at: j.finished_at,
            progress: j.progress,
            progress_note: j.progress_note,
            progress_at: j.progress_at,
            stuck_since: j.stuck_since,
        }
    }
}

/// One attempt that did not finish its job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    attempt: i16,
    worker: Option<i64>,
    started_at: Option<DateTime<Utc>>,
    ended_at: DateTime<Utc>,
    /// `retry`, `snooze`, `discard` or `crash`.
    #[schema(example = "retry")]
    outcome: String,
    error: Option<String>,
}

impl From<AttemptRow> for AttemptView {
    fn from(a: AttemptRow) -> Self {
        Self {
            attempt: a.attempt,
            worker: a.worker,
            started_at: a.started_at,
            ended_at: a.ended_at,
            outcome: a.outcome,
            error: a.error,
        }
    }
}

/// A job with everything there is about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct JobDetailView {
    job: JobView,
    /// Of encrypted arguments only the key's id: `{"$sealed": {"key": "..."}}`.
    #[schema(value_type = Object)]
    args: Value,
    /// Oldest first. The attempt that finished the job is the job itself.
    attempts: Vec<AttemptView>,
    /// What it did outside the database, in the order in which that was begun; at most 1,000.
    effects: Vec<EffectView>,
}

impl From<JobDetail> for JobDetailView {
    fn from(d: JobDetail) -> Self {
        let attempts = d.attempts.into_iter().map(AttemptView::from).collect();
        let effects = d.effects.into_iter().map(EffectView::from).collect();
        Self { job: d.row.into(), args: d.args, attempts, effects }
    }
}

/// An effect outside the database: a message that was sent, say.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EffectView {
    /// What names it for good.
    #[schema(example = "message 0198c0de-0000-7000-8000-000000000001")]
    key: String,
    /// `under_way` (the running attempt has begun it), `done`, `failed` (it certainly was not done)
    /// or `in_doubt`: it may have been done or not, because an attempt ended without a result.
    #[schema(example = "done")]
    state: &'static str,
    begun_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<EffectRow> for EffectView {
    fn from(e: EffectRow) -> Self {
        let EffectRow { key, state, begun_at, updated_at } = e;
        Self { key, state: state.as_str(), begun_at, updated_at }
    }
}

/// Why a job is not running, or what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WhyView {
    job: Uuid,
    #[schema(example = "lead.distribute")]
    kind: String,
    #[schema(example = "leads")]
    queue: String,
    #[schema(example = "available")]
    state: String,
    /// `finished`, `running`, `waiting` (it runs by itself in time) or `stuck` (somebody must act).
    #[schema(example = "stuck")]
    verdict: &'static str,
    /// Everything that holds now.
    reasons: Vec<ReasonView>,
}

/// One thing that keeps a job from running, or explains where it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReasonView {
    /// A stable word. What somebody has to see to: `queue_paused`, `partition_paused`, `kind_paused`,
    /// `queue_unserved`, `kind_unknown`, `kind_not_in_queue`, `workers_quiet`, `no_scheduler`, `parked`,
    /// `quarantined`, `dead_letter`. What passes by itself: `scheduled`, `retryable`, `pending`, `limited`,
    /// `runs_alone`, `waiting`, `holder_gone`. What is so: `running`, `progress`, `stuck` (silent for too
    /// long), `cancel_requested`, `completed`, `cancelled`.
    #[schema(example = "queue_paused")]
    code: &'static str,
    /// One sentence for people.
    #[schema(example = "Its queue `leads` is paused.")]
    message: String,
    /// What to do about it.
    #[schema(
        example = "Resume the queue when what it was paused for is over (`switchyard queues resume`)."
    )]
    remedy: &'static str,
}

impl From<Why> for WhyView {
    fn from(w: Why) -> Self {
        Self {
            job: w.job.0,
            kind: w.kind,
            queue: w.queue,
            state: w.state.to_string(),
            verdict: w.verdict.as_str(),
            reasons: w.reasons.iter().map(ReasonView::from).collect(),
        }
    }
}

impl From<&Reason> for ReasonView {
    fn from(r: &Reason) -> Self {
        Self { code: r.code(), message: r.message(), remedy: r.remedy() }
    }
}

/// Failed attempts that are alike.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorGroupView {
    /// Names the group for good.
    #[schema(example = "9f86d081884c7d65")]
    fingerprint: String,
    #[schema(example = "notify.email")]
    kind: String,
    /// `error`, `panic`, `timeout` or `deadline`.
    #[schema(example = "error")]
    class: String,
    /// The message without what varies.
    #[schema(example = "message <uuid> was not sent (smtp_<n>); its row has the provider's words")]
    pattern: String,
    /// Attempts that failed so.
    #[schema(example = 412)]
    failures: i64,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    /// The job that failed so last.
    example: Uuid,
    /// Dead letters that died of it and wait for somebody to act; counted up to 10,000.
    #[schema(example = 7)]
    dead_letters: i64,
}

impl From<ErrorGroup> for ErrorGroupView {
    fn from(g: ErrorGroup) -> Self {
        Self {
            fingerprint: g.fingerprint,
            kind: g.kind,
            class: g.class,
            pattern: g.pattern,
            failures: g.failures,
            first_seen: g.first_seen,
            last_seen: g.last_seen,
            example: g.example,
            dead_letters: g.dead_letters,
        }
    }
}

/// What became of a group's dead letters.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ActedView {
    /// Jobs that were acted on.
    #[schema(example = 7)]
    done: u64,
    /// Jobs that stay dead letters because another job holds their unique key by now.
    #[schema(example = 0)]
    kept: u64,
}

impl From<Acted> for ActedView {
    fn from(Acted { done, kept }: Acted) -> Self {
        Self { done, kept }
    }
}

/// A queue at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct QueueView {
    #[schema(example = "leads")]
    queue: String,
    /// Nothing is claimed from it.
    paused: bool,
    /// Its share when several queues have work, in proportion to the others'.
    #[schema(example = 1)]
    weight: u16,
    /// Partitions that are paused by themselves.
    paused_partitions: Vec<String>,
    /// Jobs by state; `completed` and `cancelled` count everything that ever ended so.
    #[schema(example = json!({"available": 3, "running": 2, "completed": 1204}))]
    counts: BTreeMap<&'static str, i64>,
    /// How long the job that has been due the longest has waited.
    #[schema(example = 0.4)]
    oldest_waiting_seconds: Option<f64>,
}

impl From<QueueSummary> for QueueView {
    fn from(q: QueueSummary) -> Self {
        Self {
            queue: q.queue,
            paused: q.paused,
            weight: q.weight,
            paused_partitions: q.held,
            counts: q.counts.iter().map(|(state, n)| (state.as_str(), *n)).collect(),
            oldest_waiting_seconds: q.oldest_waiting.map(|d| d.as_secs_f64()),
        }
    }
}

/// A kind of job that this program knows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct KindView {
    #[schema(example = "lead.distribute")]
    kind: &'static str,
    /// Earlier names.
    #[schema(value_type = Vec<String>)]
    aliases: &'static [&'static str],
    #[schema(example = "Gives one lead to the agency whose turn it is.")]
    about: &'static str,
    #[schema(example = "leads")]
    queue: &'static str,
    timeout_seconds: f64,
    max_attempts: u16,
    /// How long after its enqueue a job may still begin.
    deadline_seconds: Option<f64>,
    /// How long finished jobs are kept: `short`, `standard` or `long` (`scheduler.keep_days*`).
    #[schema(example = "standard")]
    retention: &'static str,
    /// A running job that is silent for longer is shown as stuck.
    stuck_after_seconds: Option<f64>,
    /// Arguments are stored encrypted and shown to nobody.
    encrypted: bool,
    /// None of its jobs is claimed.
    paused: bool,
    /// Jobs by state; `completed` and `cancelled` count everything that ever ended so.
    #[schema(example = json!({"available": 3, "running": 2, "completed": 1204}))]
    counts: BTreeMap<&'static str, i64>,
}

impl KindView {
    /// A kind, and what the database knows of it.
    pub(super) fn new(k: KindInfo, now: Option<&KindSummary>) -> Self {
        let counts = now.map(|n| n.counts.iter().map(|(state, n)| (state.as_str(), *n)).collect());
        Self {
            paused: now.is_some_and(|n| n.paused),
            counts: counts.unwrap_or_default(),
            kind: k.kind,
            aliases: k.aliases,
            about: k.about,
            queue: k.queue.0,
            timeout_seconds: k.timeout.as_secs_f64(),
            max_attempts: k.max_attempts,
            deadline_seconds: k.deadline.map(|d| d.as_secs_f64()),
            retention: k.retention.as_str(),
            stuck_after_seconds: k.stuck_after.map(|d| d.as_secs_f64()),
            encrypted: k.encrypted,
        }
    }
}

/// A worker process.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkerView {
    id: i64,
    #[schema(example = "worker-1")]
    host: String,
    pid: i32,
    #[schema(example = "0.1.0")]
    version: String,
    kinds: Vec<String>,
    queues: Vec<String>,
    /// Neither left nor found dead.
    live: bool,
    /// It finishes what it has and claims nothing new.
    quiet: bool,
    started_at: DateTime<Utc>,
    stopped_at: Option<DateTime<Utc>>,
    died_at: Option<DateTime<Utc>>,
}

impl From<WorkerRow> for WorkerView {
    fn from(w: WorkerRow) -> Self {
        Self {
            live: w.is_live(),
            quiet: w.quiet,
            id: w.id,
            host: w.host,
            pid: w.pid,
            version: w.version,
            kinds: w.kinds,
            queues: w.queues,
            started_at: w.started_at,
            stopped_at: w.stopped_at,
            died_at: w.died_at,
        }
    }
}
