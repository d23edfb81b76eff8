//! What a worker needs of the store of jobs. PostgreSQL implements it in `switchyard-store`.

use crate::{ClaimedJob, Fence, JobId, KindInfo, LaneId, LimitId, Report, WorkerId};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why the store did not answer. Workers wait and go on; they never exit over it.
#[derive(Debug)]
pub struct StoreError {
    what: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    /// `what` was being done: "claim jobs", say.
    pub fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, source: source.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job store failed to {}", self.what)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// How a worker presents itself.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Host name, for people.
    pub host: String,
    /// Process id, for people.
    pub pid: u32,
    /// Program version.
    pub version: String,
    /// Names of the kinds it can run.
    pub kinds: Vec<String>,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// What it knows of the kinds, for those who enqueue without this program.
    pub declares: Vec<KindInfo>,
}

/// A worker's presence: held as long as this lives. When the process dies, the store sees it.
#[derive(Debug)]
pub struct Presence {
    /// The number under which the worker claims.
    pub id: WorkerId,
    /// Fires when the presence was lost (the connection broke). The worker must then stop
    /// claiming, cancel what it runs, and register anew.
    pub lost: CancellationToken,
    /// Dropping it gives the presence up.
    pub guard: tokio_util::sync::DropGuard,
}

/// What a look for dead workers found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Workers that are gone and whose claims may still stand.
    pub gone: Vec<WorkerId>,
    /// How many workers are present, as far as is known: the more there are, the less often each
    /// of them has to look.
    pub live: usize,
    /// The worker that asks was told to claim no more.
    pub quiet: bool,
    /// Kinds that are paused: nobody is to claim jobs of theirs.
    pub paused_kinds: Vec<String>,
    /// Jobs of the worker that asks which it is to stop, each told once. One whose claim is still
    /// on its way to the worker may be among them.
    pub stop: Vec<JobId>,
}

/// A lane of a queue that a worker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveLane {
    /// The lane.
    pub lane: LaneId,
    /// Which of the queues that were asked for it belongs to.
    pub queue: usize,
    /// Stands for its partition of that queue: the same for all lanes of it. Turns go round the
    /// partitions, however many lanes they have.
    pub partition: i64,
    /// The queue's share when several queues have work, in proportion to the others'; at least 1.
    pub weight: u32,
    /// The limits that its jobs are under.
    pub limits: Vec<LimitId>,
}

/// Where a job stands in its lane: the most urgent priority first, then the earliest, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The smaller, the more urgent.
    pub priority: i16,
    /// When the job is due.
    pub run_at: DateTime<Utc>,
    /// The job.
    pub id: JobId,
}

impl Place {
    /// Before every job that is due at `run_at` or later with this priority.
    #[must_use]
    pub fn before(priority: i16, run_at: DateTime<Utc>) -> Self {
        Self { priority, run_at, id: JobId(Uuid::nil()) }
    }

    /// The place after every job.
    #[must_use]
    pub fn last() -> Self {
        let far = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(365 * 5000);
        Self { priority: i16::MAX, run_at: far, id: JobId(Uuid::max()) }
    }
}

/// A part of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// It begins after this place,
    pub after: Place,
    /// and ends with the last job of this priority.
    pub last_priority: i16,
}

impl Stretch {
    /// The whole lane.
    #[must_use]
    pub fn whole() -> Self {
        let long_ago = DateTime::<Utc>::UNIX_EPOCH - TimeDelta::days(365 * 1000);
        Self { after: Place::before(i16::MIN, long_ago), last_priority: i16::MAX }
    }
}

/// How many jobs to take from one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTake {
    /// The lane.
    pub lane: LaneId,
    /// At most this many.
    pub take: u32,
    /// Where to look, in this order. What was claimed before lies behind, as dead versions of rows
    /// that a scan from the beginning would step over again and again.
    pub stretches: Vec<Stretch>,
    /// The lane is under limits. A lane of which this is not so gives nothing to a claim that says
    /// otherwise, so nobody gets past a limit of which they have not heard yet.
    pub limited: bool,
}

impl LaneTake {
    /// From the whole lane.
    #[must_use]
    pub fn whole(lane: LaneId, take: u32) -> Self {
        Self { lane, take, stretches: vec![Stretch::whole()], limited: false }
    }
}

/// What a claim brought.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The jobs.
    pub jobs: Vec<ClaimedJob>,
    /// Lanes whose limits allowed less than was asked for.
    pub held_back: Vec<HeldBack>,
}

/// A lane whose limits allowed less than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The lane.
    pub lane: LaneId,
    /// At most this many jobs were taken from it. With 0 it was not looked at.
    pub allowed: u32,
    /// The limits that are used up, and until when.
    pub by: Vec<(LimitId, Until)>,
}

/// Until when a limit holds a lane back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until a running job ends, here or elsewhere.
    Slot,
    /// So long.
    Passed(Duration),
    /// Somebody else is claiming under it at this moment.
    Free,
}

/// One claim.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// Who claims.
    pub worker: WorkerId,
    /// Names of the kinds it can run; others are left for those who can.
    pub kinds: &'a [String],
    /// Where to look, in order, and how much to take from each. A lane under no limits may be named
    /// twice, with stretches that share no place.
    pub lanes: &'a [LaneTake],
    /// How long the claim holds without renewal.
    pub lease: Duration,
    /// Workers known to be dead, whose claims are void.
    pub dead: &'a [WorkerId],
    /// The worker has no other job in hand and begins this one at once: should it vanish now, the
    /// job is to blame.
    pub alone: bool,
}

/// A job held under a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The job.
    pub id: JobId,
    /// The claim.
    pub fence: Fence,
}

/// A lease that was renewed. What is missing in the answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The job.
    pub id: JobId,
    /// Somebody asked to cancel it.
    pub cancel_requested: bool,
}

/// The evidence of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReport {
    /// `error`, `panic` or `timeout`.
    pub class: &'static str,
    /// The chain of causes, outermost first, joined by line feeds.
    pub message: String,
}

/// What is to be written about one attempt.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which job, under which claim.
    pub held: Held,
    /// What became of it.
    pub result: SettleAs,
    /// How long the attempt ran.
    pub ran: Duration,
}

/// The next state of the job.
#[derive(Clone, Debug)]
pub enum SettleAs {
    /// To history as `completed`.
    Completed,
    /// The same, with a result for those of its workflow that wait for it.
    CompletedWith(Value),
    /// To history as `cancelled`, with the reason.
    Cancelled(String),
    /// Due again after the wait; uses up an attempt.
    Retry(Duration, ErrorReport),
    /// Due again after the wait; uses up no attempt.
    Snooze(Duration),
    /// A dead letter; uses up an attempt.
    Discard(ErrorReport),
    /// Back to `available` untouched: it was claimed but never started.
    GiveBack,
}

/// The store of jobs, as a worker sees it. Every call may fail and be repeated.
pub trait JobStore: Clone + Send + Sync + 'static {
    /// Registers a worker and takes its presence lock on a connection of its own.
    fn register(
        &self,
        info: &WorkerInfo,
    ) -> impl Future<Output = Result<Presence, StoreError>> + Send;

    /// Says that a worker left in good order.
    fn deregister(&self, worker: WorkerId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Looks for workers that died, marks them, and gives the ones whose claims may still stand;
    /// tells `me`, who asks, whether to be quiet and which of its jobs to stop.
    fn reap(&self, me: Option<WorkerId>)
    -> impl Future<Output = Result<Reaped, StoreError>> + Send;

    /// The lanes of these queues that have due work, paused ones left out.
    fn active_lanes(
        &self,
        queues: &[String],
    ) -> impl Future<Output = Result<Vec<ActiveLane>, StoreError>> + Send;

    /// Those of these lanes that belong to these queues, with work or without.
    fn lanes_of(
        &self,
        queues: &[String],
        lanes: &[LaneId],
    ) -> impl Future<Output = Result<Vec<ActiveLane>, StoreError>> + Send;

    /// Claims due jobs, most urgent first within a lane, and no more than limits allow.
    fn claim(
        &self,
        request: &ClaimRequest<'_>,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Renews the leases that still stand under their fences.
    fn renew(
        &self,
        held: &[Held],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Renewed>, StoreError>> + Send;

    /// Writes down what running jobs say of their progress, where their fences still stand. Never
    /// waits for a row that somebody has locked. Gives the jobs for which it was written.
    fn report(
        &self,
        reports: &[(Held, Report)],
    ) -> impl Future<Output = Result<Vec<JobId>, StoreError>> + Send;

    /// Writes results down, in one transaction. Gives the ids whose fence still stood; the others
    /// belong to somebody else by now and nothing was written for them.
    fn settle(
        &self,
        results: &[Settlement],
    ) -> impl Future<Output = Result<Vec<JobId>, StoreError>> + Send;
}
