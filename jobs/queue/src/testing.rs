//! For tests of jobs: one attempt run on the spot, without a database or a worker.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use switchyard_queue::testing::Trial;
//! use switchyard_queue::{Context, Job, JobResult, Outcome, QueueName};
//!
//! /// Rests on Sundays.
//! #[derive(Serialize, Deserialize)]
//! struct Work {}
//!
//! impl Job for Work {
//!     type State = ();
//!     const KIND: &'static str = "demo.work";
//!     const ABOUT: &'static str = "Rests on Sundays.";
//!     const QUEUE: QueueName = QueueName("demo");
//!     async fn run(self, cx: &Context<()>) -> JobResult {
//!         let sunday = cx.clock().now().format("%a").to_string() == "Sun";
//!         Ok(if sunday { Outcome::Cancel("it is Sunday".into()) } else { Outcome::Done })
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let saturday = "2026-03-07T12:00:00Z".parse().unwrap();
//! let trial = Trial::new(()).at(saturday);
//! assert!(matches!(trial.run(&Work {}).await, Ok(Outcome::Done)));
//! trial.clock().advance(chrono::Duration::days(1));
//! assert!(matches!(trial.run(&Work {}).await, Ok(Outcome::Cancel(_))));
//! # });
//! ```
//!
//! A job that opens its own transaction (`begin_job`) needs a row to lock: run it on a database, with
//! the kit of the harness (`switchyard_tests::kit`).

use crate::{
    ClaimedJob, Fence, Job, JobResult, LaneId, ManualClock, NewJob, Progress, Registry, Report,
    SeededEntropy, WorkerId, kind_name,
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Circumstances in which jobs are tried: the state they get, a clock that stands still until it is
/// moved, reproducible randomness, and a signal to stop.
#[derive(Clone, Debug)]
pub struct Trial<S> {
    state: S,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    cancel: CancellationToken,
    attempt: i16,
    progress: Progress,
}

impl<S: Clone + Send + Sync + 'static> Trial<S> {
    /// A first attempt, now.
    pub fn new(state: S) -> Self {
        Self {
            state,
            clock: Arc::new(ManualClock::at(Utc::now())),
            entropy: Arc::new(SeededEntropy::new(1)),
            cancel: CancellationToken::new(),
            attempt: 1,
            progress: Progress::recording(),
        }
    }

    /// At another time.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        self.clock.set(now);
        self
    }

    /// Another attempt than the first.
    #[must_use]
    pub fn attempt(mut self, n: i16) -> Self {
        self.attempt = n;
        self
    }

    /// The clock that the jobs see.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The jobs' signal to stop.
    #[must_use]
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Everything that the jobs said of their progress, in its order.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.progress.all()
    }

    /// Runs one attempt as a worker does: from the stored arguments and with the job's options.
    ///
    /// # Panics
    /// If the arguments cannot be written as JSON.
    pub async fn run<J: Job<State = S>>(&self, job: &J) -> JobResult {
        let new = NewJob::of(job).expect("a job's arguments are JSON");
        let dispatcher = Registry::new().with::<J>().bind(
            self.state.clone(),
            Arc::clone(&self.clock) as _,
            Arc::clone(&self.entropy) as _,
        );
        let (job, cancel) = (Arc::new(self.claimed(new)), self.cancel.clone());
        dispatcher.run_reporting(job, cancel, self.progress.clone()).await
    }

    fn claimed(&self, new: NewJob) -> ClaimedJob {
        let now = crate::Clock::now(&*self.clock);
        ClaimedJob {
            id: new.id,
            fence: Fence(1),
            worker: WorkerId(1),
            lease: Duration::from_secs(30),
            lane: LaneId(1),
            kind: new.kind.into_owned(),
            args: new.args,
            priority: new.priority,
            attempt: self.attempt,
            max_attempts: new.max_attempts,
            crashes: 0,
            timeout: new.timeout,
            tenant: new.tenant,
            trace: None,
            request_id: None,
            created_at: now,
            run_at: now,
            limited: false,
        }
    }
}

/// What an enqueued job is expected to be. What is not said does not matter.
///
/// ```
/// use serde_json::json;
/// use std::time::Duration;
/// use switchyard_queue::testing::Expected;
///
/// let expected = Expected::kind("lead.distribute").args(json!({"lead": 7})).due_in(Duration::ZERO);
/// let now = chrono::Utc::now();
/// assert_eq!(expected.misses("lead.distribute", &json!({"lead": 7, "n": 1}), now, now), None);
/// assert!(expected.misses("lead.distribute", &json!({"lead": 8}), now, now).is_some());
/// ```
#[derive(Clone, Debug)]
pub struct Expected {
    kind: String,
    args: Value,
    due_in: Option<Duration>,
    leeway: Duration,
}

impl Expected {
    /// A job of this kind, whatever its version is.
    pub fn kind(kind: impl Into<String>) -> Self {
        let args = Value::Object(serde_json::Map::new());
        Self { kind: kind.into(), args, due_in: None, leeway: Duration::from_secs(5) }
    }

    /// With at least these arguments: members that are not named may have any value, at any depth.
    #[must_use]
    pub fn args(mut self, subset: Value) -> Self {
        self.args = subset;
        self
    }

    /// Due this long after it was enqueued.
    #[must_use]
    pub fn due_in(mut self, wait: Duration) -> Self {
        self.due_in = Some(wait);
        self
    }

    /// How far the due time may be off; 5 s if nothing is said.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// What a job lacks, in a sentence; nothing if it is as expected.
    #[must_use]
    pub fn misses(
        &self,
        kind: &str,
        args: &Value,
        created_at: DateTime<Utc>,
        run_at: DateTime<Utc>,
    ) -> Option<String> {
        if kind != self.kind && kind_name(kind) != self.kind {
            return Some(format!("its kind is `{kind}`"));
        }
        if !contains(args, &self.args) {
            return Some(format!("its arguments are {args}"));
        }
        let waits = (run_at - created_at).to_std().unwrap_or_default();
        let off = |wait: Duration| waits.abs_diff(wait) > self.leeway;
        self.due_in.filter(|wait| off(*wait)).map(|_| format!("it is due after {waits:?}"))
    }
}

/// Whether `whole` has everything that `part` has.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, p)| whole.get(name).is_some_and(|w| contains(w, p)))
        }
        _ => whole == part,
    }
}
