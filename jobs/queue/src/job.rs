//! A job: a serialisable struct, some constants, and `run`.

use crate::options::{DEFAULT_ATTEMPTS, Due, Replaces, Unique};
use crate::{
    Context, Fence, JobId, JobResult, LaneId, Membership, Options, Place, QueueName, TraceContext,
    UniqueKey, UniqueUntil, WorkerId, digest, kind_name, stored_kind,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;
use uuid::Uuid;

/// One kind of job. Its fields are its arguments.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the platform hands to every job: stores, providers, configuration.
    type State: Clone + Send + Sync + 'static;

    /// The permanent name. Renamed only by listing the old one in [`Job::ALIASES`].
    const KIND: &'static str;
    /// Earlier names that are still accepted.
    const ALIASES: &'static [&'static str] = &[];
    /// The version of the arguments and of what is done with them, from 1 on. A program of a higher one
    /// leaves jobs to enqueue that older programs do not take: they wait for a worker that knows the version.
    const VERSION: u16 = 1;
    /// The oldest version that this one still runs. See [`Job::upgrade`].
    const READS_FROM: u16 = 1;
    /// One sentence for operators.
    const ABOUT: &'static str;
    /// The queue it waits in.
    const QUEUE: QueueName;
    /// An attempt that takes longer than this is stopped and counts as failed.
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// How many attempts may fail before the job becomes a dead letter.
    const MAX_ATTEMPTS: u16 = DEFAULT_ATTEMPTS;
    /// A job that was not begun by this time after its enqueue is of no use any more: it becomes a dead
    /// letter of the class `deadline`, with attempts left or not. An attempt that runs then goes on.
    /// [`Options::deadline`] says it of one job.
    const DEADLINE: Option<Duration> = None;
    /// How long finished jobs are kept.
    const RETENTION: Retention = Retention::Standard;
    /// A running job that has said nothing ([`Context::progress`]) for longer than this is shown as
    /// stuck. Nothing is done to it: that is what [`Job::TIMEOUT`] is for. `None`: it may be silent.
    const STUCK_AFTER: Option<Duration> = None;
    /// Its arguments are stored encrypted, and shown to nobody. Unique keys are stored as keyed hashes.
    /// What the job itself writes (errors, logs, progress, its tables) is its own responsibility.
    const ENCRYPTED: bool = false;

    /// Options that follow from the arguments.
    fn options(&self) -> Options {
        Options::new()
    }

    /// The arguments of an older version, `from`, as this one has them. Without it they are read as
    /// they are: a new field that has a default needs nothing more.
    #[must_use]
    fn upgrade(args: Value, from: u16) -> Value {
        let _ = from;
        args
    }

    /// Does the work. Must be idempotent: after a crash it runs again.
    fn run(self, cx: &Context<Self::State>) -> impl Future<Output = JobResult> + Send;
}

/// How long the finished jobs of a kind are kept. The days of each class are the operator's:
/// `scheduler.keep_days_short` (1), `scheduler.keep_days` (14), `scheduler.keep_days_long` (400).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// As long as nothing else is said.
    #[default]
    Standard,
    /// Housekeeping: of interest while it fails, and in the way afterwards.
    Short,
    /// What must be shown after a year still.
    Long,
}

impl Retention {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Short => "short",
            Self::Long => "long",
        }
    }

    /// The number by which stores know it.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::Standard => 0,
            Self::Short => 1,
            Self::Long => 2,
        }
    }
}

/// A job on its way into the store, its type erased.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Made by the caller, so that it is known before the insert.
    pub id: JobId,
    /// The stored kind: [`Job::KIND`], and behind it the version if that is not the first.
    pub kind: Cow<'static, str>,
    /// Queue name.
    pub queue: Cow<'static, str>,
    /// Fair-share key within the queue; empty for none.
    pub partition: String,
    /// Key whose limits hold for it, see [`Options::limit_key`]; empty for none.
    pub limit_key: String,
    /// Lower runs first.
    pub priority: i16,
    /// Wait before it is due, by the database's clock.
    pub delay: Option<Duration>,
    /// Due at this instant (wins over `delay`).
    pub run_at: Option<DateTime<Utc>>,
    /// The arguments.
    pub args: Value,
    /// They are to be encrypted, see [`Job::ENCRYPTED`].
    pub encrypted: bool,
    /// Tenant scope; `None` is the platform's.
    pub tenant: Option<Uuid>,
    /// Kind and key as one text, see [`Options::unique_by`] and [`UniqueKey`].
    pub unique_key: Option<String>,
    /// The key is held this long instead of while the job is open.
    pub unique_for: Option<Duration>,
    /// What it changes in the job that holds its key.
    pub replaces: Replaces,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: i16,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// It is not begun later than this after its enqueue.
    pub deadline: Option<Duration>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The request that caused it, directly or through other jobs.
    pub request_id: Option<String>,
    /// The workflow that it belongs to; set by [`crate::Workflow::plan`].
    pub part_of: Option<Membership>,
}

impl NewJob {
    /// The job as it goes into the store.
    ///
    /// # Errors
    /// If the arguments cannot be written as JSON.
    pub fn of<J: Job>(job: &J) -> Result<Self, serde_json::Error> {
        Self::with_options(job, job.options())
    }

    /// The same with options other than the job's own.
    ///
    /// # Errors
    /// If the arguments cannot be written as JSON.
    pub fn with_options<J: Job>(job: &J, options: Options) -> Result<Self, serde_json::Error> {
        let args = serde_json::to_value(job)?;
        let options = options.or_of_kind(J::MAX_ATTEMPTS, J::DEADLINE);
        let kind = stored_kind(J::KIND, J::VERSION);
        let job = Self::raw(kind, J::QUEUE.0, J::TIMEOUT, args, options);
        Ok(Self { encrypted: J::ENCRYPTED, ..job })
    }

    /// A job whose type is known only by name (CLI, HTTP).
    #[must_use]
    pub fn raw(
        kind: impl Into<Cow<'static, str>>,
        queue: impl Into<Cow<'static, str>>,
        timeout: Duration,
        args: Value,
        options: Options,
    ) -> Self {
        let kind = kind.into();
        let (delay, run_at) = match options.due {
            Due::Now => (None, None),
            Due::In(d) => (Some(d), None),
            Due::At(t) => (None, Some(t)),
        };
        let max_attempts = options.max_attempts.unwrap_or(DEFAULT_ATTEMPTS);
        Self {
            id: JobId::new(),
            unique_key: options.unique.map(|unique| {
                let key = &*unique.text(&args);
                UniqueKey { kind: kind_name(&kind), until: options.unique_until, key }.to_string()
            }),
            unique_for: options.unique_for,
            replaces: options.replaces,
            kind,
            queue: queue.into(),
            partition: options.partition,
            limit_key: options.limit_key,
            priority: options.priority,
            delay,
            run_at,
            args,
            encrypted: false,
            tenant: options.tenant,
            max_attempts: i16::try_from(max_attempts).unwrap_or(i16::MAX),
            timeout: options.timeout.unwrap_or(timeout),
            deadline: options.deadline,
            trace: None,
            request_id: None,
            part_of: None,
        }
    }

    /// The same with this unique key, as [`Options::unique_by`] makes it; kept as long as the one that it
    /// had.
    #[must_use]
    pub fn unique_by(mut self, key: impl Serialize) -> Self {
        let until = self.unique_key.as_deref().map(|key| UniqueKey::read(key).until);
        let (kind, until) = (kind_name(&self.kind), until.unwrap_or_default());
        let key = &*serde_json::json!(key).to_string();
        self.unique_key = Some(UniqueKey { kind, until, key }.to_string());
        self
    }

    /// The same with its unique key, if it has one, kept until then; see [`Options::unique_until`].
    #[must_use]
    pub fn unique_until(mut self, until: UniqueUntil) -> Self {
        if let Some(key) = &mut self.unique_key {
            *key = UniqueKey { until, ..UniqueKey::read(key) }.to_string();
        }
        self.unique_for = None;
        self
    }

    /// Carries the trace and the request over from whatever causes this job.
    #[must_use]
    pub fn caused_by(mut self, trace: Option<TraceContext>, request_id: Option<&str>) -> Self {
        self.trace = trace;
        self.request_id = request_id.map(str::to_owned);
        self
    }
}

impl Unique {
    /// The key, as it stands behind the kind. A hash cannot be taken for a key that was given:
    /// those are JSON.
    fn text(self, args: &Value) -> String {
        let hash = |value: &Value| format!("sha256:{}", digest(value));
        match self {
            Self::Key(key) => key,
            Self::Args => hash(args),
            Self::Fields(names) => {
                let chosen = names.into_iter().map(|name| {
                    let value = args.get(&name).cloned().unwrap_or_default();
                    (name, value)
                });
                hash(&Value::Object(chosen.collect()))
            }
        }
    }
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There is a new job.
    Inserted,
    /// A standing job holds the unique key; nothing was changed.
    Standing,
    /// A standing job holds the unique key; it has not begun, and was changed as asked.
    Replaced,
}

impl Placement {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Standing => "standing",
            Self::Replaced => "replaced",
        }
    }
}

/// The answer to an enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The new job, or the one that already holds the unique key.
    pub id: JobId,
    /// Which of them.
    pub what: Placement,
    /// Where it waits; the wake-up names it.
    pub lane: LaneId,
}

impl Enqueued {
    /// Whether there is a new job.
    #[must_use]
    pub fn inserted(&self) -> bool {
        self.what == Placement::Inserted
    }
}

/// A job whose workers vanished this many times runs alone from then on. Not after the first time:
/// almost always the process was killed from outside, and its jobs should run again at once, all
/// together. If one of them did it, it does it again, and then few are left to be looked at.
pub const SUSPECT_AFTER: i16 = 2;

/// A job in the hands of a worker.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The job.
    pub id: JobId,
    /// The token under which its result will be accepted.
    pub fence: Fence,
    /// Who holds it.
    pub worker: WorkerId,
    /// How long the claim stands without being renewed.
    pub lease: Duration,
    /// Its lane.
    pub lane: LaneId,
    /// The stored kind (may be an alias, and names the version if that is not the first).
    pub kind: String,
    /// The arguments.
    pub args: Value,
    /// The smaller, the more urgent.
    pub priority: i16,
    /// The number of this attempt, from 1. A crash uses up none.
    pub attempt: i16,
    /// Attempts allowed.
    pub max_attempts: i16,
    /// How often its worker vanished while holding it.
    pub crashes: i16,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Tenant scope.
    pub tenant: Option<Uuid>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it was due.
    pub run_at: DateTime<Utc>,
    /// It takes up a place under a limit, which is free again when its result is written.
    pub limited: bool,
}

impl ClaimedJob {
    /// Whether it may have taken its workers down with it; see [`SUSPECT_AFTER`].
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.crashes >= SUSPECT_AFTER
    }

    /// Where it stood in its lane.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { priority: self.priority, run_at: self.run_at, id: self.id }
    }
}
