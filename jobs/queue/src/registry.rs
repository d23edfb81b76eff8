//! The kinds of job that a program knows, and how to run each.

use crate::{
    ArgsCipher, ClaimedJob, Clock, Context, Entropy, Job, JobError, JobResult, NewJob, Options,
    Progress, QueueName, Retention, kind_name, kind_version, opened_args, stored_kind,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

type RunFn<S> =
    Arc<dyn Fn(Value, Context<S>) -> BoxFuture<'static, JobResult> + Send + Sync + 'static>;
type CheckFn = fn(Value, u16) -> Result<Options, String>;

/// What dashboards, the CLI and documentation show of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    /// Permanent name.
    pub kind: &'static str,
    /// Earlier names.
    pub aliases: &'static [&'static str],
    /// The version that it enqueues, and the last that it runs.
    pub version: u16,
    /// The first version that it runs.
    pub reads_from: u16,
    /// One sentence for operators.
    pub about: &'static str,
    /// Where it waits.
    pub queue: QueueName,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Attempts before a job becomes a dead letter.
    pub max_attempts: u16,
    /// How long after its enqueue a job may still begin.
    pub deadline: Option<Duration>,
    /// How long finished jobs are kept.
    pub retention: Retention,
    /// A running job that is silent for longer counts as stuck.
    pub stuck_after: Option<Duration>,
    /// Arguments are encrypted.
    pub encrypted: bool,
}

impl KindInfo {
    /// Its name and its earlier ones.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.kind).chain(self.aliases.iter().copied())
    }

    /// Every stored kind that it runs: its names, in each version.
    pub fn runs(&self) -> impl Iterator<Item = Cow<'static, str>> {
        let versions = self.reads_from..=self.version;
        self.names().flat_map(move |name| versions.clone().map(move |v| stored_kind(name, v)))
    }
}

struct Entry<S> {
    info: KindInfo,
    run: RunFn<S>,
    check: CheckFn,
}

/// The table of kinds. `S` is the state that every job of this program gets.
pub struct Registry<S> {
    entries: BTreeMap<&'static str, Arc<Entry<S>>>,
    names: BTreeMap<&'static str, &'static str>,
    runs: BTreeMap<Cow<'static, str>, &'static str>,
    cipher: Option<Arc<dyn ArgsCipher>>,
}

impl<S: Clone + Send + Sync + 'static> Default for Registry<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Registry<S> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let (entries, names, runs) = <_>::default();
        Self { entries, names, runs, cipher: None }
    }

    /// Adds a kind.
    ///
    /// # Panics
    /// If its name or one of its aliases is taken, or ends as a version does, or its versions make no sense:
    /// a mistake in the program, seen at start.
    #[must_use]
    pub fn with<J: Job<State = S>>(mut self) -> Self {
        let info = KindInfo {
            kind: J::KIND,
            aliases: J::ALIASES,
            version: J::VERSION,
            reads_from: J::READS_FROM,
            about: J::ABOUT,
            queue: J::QUEUE,
            timeout: J::TIMEOUT,
            max_attempts: J::MAX_ATTEMPTS,
            deadline: J::DEADLINE,
            retention: J::RETENTION,
            stuck_after: J::STUCK_AFTER,
            encrypted: J::ENCRYPTED,
        };
        let run: RunFn<S> = Arc::new(|args, cx| run_erased::<J>(args, cx).boxed());
        for name in info.names() {
            let taken = self.names.insert(name, J::KIND);
            assert!(taken.is_none(), "two jobs claim the kind `{name}`");
            assert!(!name.contains('@'), "`@` in `{name}` would be read as a version");
        }
        let sound = (1..=J::VERSION).contains(&J::READS_FROM);
        assert!(sound, "`{}` reads from version {}, and is {}", J::KIND, J::READS_FROM, J::VERSION);
        self.runs.extend(info.runs().map(|stored| (stored, J::KIND)));
        let entry = Entry { info, run, check: options_of::<J> };
        self.entries.insert(J::KIND, Arc::new(entry));
        self
    }

    /// The same, able to open encrypted arguments.
    #[must_use]
    pub fn opening_with(mut self, cipher: Option<Arc<dyn ArgsCipher>>) -> Self {
        self.cipher = cipher;
        self
    }

    /// Every kind, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &KindInfo> {
        self.entries.values().map(|e| &e.info)
    }

    /// Every stored kind that is known, aliases and versions included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.runs.keys().map(|stored| stored.clone().into_owned()).collect()
    }

    /// A job given as a name and JSON, checked against the kind's type, with its own options. It is of
    /// this program's version, by which it was checked, unless the name says an older one.
    ///
    /// # Errors
    /// A sentence for the caller: the kind or its version is unknown, or the arguments do not fit.
    pub fn parse(&self, kind: &str, args: Value) -> Result<NewJob, String> {
        let name = kind_name(kind);
        let entry = self.names.get(name).and_then(|known| self.entries.get(known));
        let entry = entry.ok_or_else(|| {
            let known: Vec<_> = self.entries.keys().copied().collect();
            format!("`{name}` is no kind of job; known are {}", known.join(", "))
        })?;
        let KindInfo { kind: known, queue, timeout, encrypted, version, reads_from, .. } =
            entry.info;
        let asked = if name == kind { version } else { kind_version(kind) };
        if !(reads_from..=version).contains(&asked) {
            return Err(format!(
                "version {asked} of `{known}` is not known here, only {reads_from} to {version}"
            ));
        }
        let options = (entry.check)(args.clone(), asked);
        let options = options.map_err(|e| misfit(known, encrypted, &e))?;
        let kind = stored_kind(known, asked);
        Ok(NewJob { encrypted, ..NewJob::raw(kind, queue.0, timeout, args, options) })
    }

    /// Joins the table with the state: what a worker needs to run any job.
    #[must_use]
    pub fn bind(self, state: S, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Dispatcher {
        let names = self.names();
        let kinds = self.kinds().copied().collect();
        let call = move |job: Arc<ClaimedJob>, cancel: CancellationToken, progress: Progress| {
            let Some(entry) = self.find(&job.kind).cloned() else {
                let why = format!("kind `{}` is not registered in this worker", job.kind);
                return async move { Err(JobError::lost(why)) }.boxed();
            };
            let opened = opened_args(self.cipher.as_deref(), &job.kind, job.id, job.args.clone());
            let args = match opened {
                Ok(args) => args,
                Err(fault) => return async move { Err(fault.into_job_error()) }.boxed(),
            };
            let cx =
                Context::new(state.clone(), job, cancel, Arc::clone(&clock), Arc::clone(&entropy));
            (entry.run)(args, cx.reporting_to(progress))
        };
        Dispatcher { names, kinds, call: Arc::new(call) }
    }

    fn find(&self, stored: &str) -> Option<&Arc<Entry<S>>> {
        self.runs.get(stored).and_then(|kind| self.entries.get(kind))
    }
}

/// The arguments of a stored job as this program's version of it has them.
fn current<J: Job>(args: Value, version: u16) -> Value {
    if version < J::VERSION { J::upgrade(args, version) } else { args }
}

async fn run_erased<J: Job>(args: Value, cx: Context<J::State>) -> JobResult {
    match serde_json::from_value::<J>(current::<J>(args, kind_version(&cx.job().kind))) {
        Ok(job) => job.run(&cx).await,
        Err(e) => Err(JobError::permanent(misfit(J::KIND, J::ENCRYPTED, &e))),
    }
}

/// What is said of arguments that do not fit. Of encrypted ones nothing: the reason may quote them.
fn misfit(kind: &str, encrypted: bool, why: &dyn std::fmt::Display) -> String {
    if encrypted {
        format!("the arguments do not fit `{kind}`; why is not said, because they are secret")
    } else {
        format!("the arguments do not fit `{kind}`: {why}")
    }
}

fn options_of<J: Job>(args: Value, version: u16) -> Result<Options, String> {
    let job = J::deserialize(current::<J>(args, version)).map_err(|e| e.to_string())?;
    Ok(job.options().or_of_kind(J::MAX_ATTEMPTS, J::DEADLINE))
}

type CallFn = dyn Fn(Arc<ClaimedJob>, CancellationToken, Progress) -> BoxFuture<'static, JobResult>
    + Send
    + Sync;

/// A registry with its state: runs any registered job.
#[derive(Clone)]
pub struct Dispatcher {
    names: Vec<String>,
    kinds: Vec<KindInfo>,
    call: Arc<CallFn>,
}

impl Dispatcher {
    /// Every stored kind that this program runs.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Every kind.
    #[must_use]
    pub fn kinds(&self) -> &[KindInfo] {
        &self.kinds
    }

    /// Runs one attempt. `cancel` is the job's signal to stop.
    pub fn run(
        &self,
        job: Arc<ClaimedJob>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, JobResult> {
        self.run_reporting(job, cancel, Progress::default())
    }

    /// The same, with a place for what the job says of its progress.
    pub fn run_reporting(
        &self,
        job: Arc<ClaimedJob>,
        cancel: CancellationToken,
        progress: Progress,
    ) -> BoxFuture<'static, JobResult> {
        (self.call)(job, cancel, progress)
    }
}
