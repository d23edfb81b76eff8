//! How one job is to be run: where, when, how often, and what makes it unique.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// A queue's name, a constant of the program: lower-case letters, digits and dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(pub &'static str);

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Attempts of a job that says nothing about them.
pub(crate) const DEFAULT_ATTEMPTS: u16 = 20;

/// When a job becomes due. Relative delays are measured by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Due {
    #[default]
    Now,
    In(Duration),
    At(DateTime<Utc>),
}

/// What makes a job the same as another of its kind.
#[derive(Clone, Debug)]
pub(crate) enum Unique {
    /// This JSON text.
    Key(String),
    /// All its arguments.
    Args,
    /// These of its arguments.
    Fields(Vec<String>),
}

/// How long a job keeps its unique key: in which states it is the one that stands.
///
/// It is part of the key: the same key kept for another while is another key, also in a release that
/// changes its mind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueUntil {
    /// While it has not begun: until a worker takes it for the first time. What is enqueued after that is
    /// a job of its own, so nothing that changed since is missed. A job that is tried again does
    /// not take its key back: it may wait beside another one.
    Start,
    /// While it is open: until it completes, is cancelled or becomes a dead letter.
    #[default]
    Finish,
}

impl UniqueUntil {
    /// All, the shortest first.
    pub const ALL: [Self; 2] = [Self::Start, Self::Finish];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Finish => "finish",
        }
    }

    /// What stands before a stored key, behind its kind; the usual has nothing. Keys are JSON or
    /// hashes, so none begins so by itself. `engine.take_key` in the migrations reads it.
    fn mark(self) -> &'static str {
        match self {
            Self::Start => "start:",
            Self::Finish => "",
        }
    }
}

impl fmt::Display for UniqueUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UniqueUntil {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|until| until.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is neither `start` nor `finish`"))
    }
}

/// A unique key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey<'a> {
    /// The kind's name, without a version: jobs of two versions share their keys.
    pub kind: &'a str,
    /// How long it is kept.
    pub until: UniqueUntil,
    /// JSON, or a hash.
    pub key: &'a str,
}

impl<'a> UniqueKey<'a> {
    /// Takes a stored key apart.
    #[must_use]
    pub fn read(stored: &'a str) -> Self {
        let (kind, rest) = stored.split_once(' ').unwrap_or(("", stored));
        let (until, key) = match rest.strip_prefix(UniqueUntil::Start.mark()) {
            Some(key) => (UniqueUntil::Start, key),
            None => (UniqueUntil::Finish, rest),
        };
        Self { kind, until, key }
    }
}

/// `engine.enqueue` in the migrations makes the same of a text.
impl fmt::Display for UniqueKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.kind, self.until.mark(), self.key)
    }
}

/// What a new job changes in the standing one that holds its unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaces {
    /// Its arguments.
    pub args: bool,
    /// When it is due.
    pub run_at: bool,
}

impl Replaces {
    /// Whether there is anything to change.
    #[must_use]
    pub fn any(self) -> bool {
        self.args || self.run_at
    }
}

/// The options of one job. The defaults suit short, idempotent work.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) priority: i16,
    pub(crate) partition: String,
    pub(crate) limit_key: String,
    pub(crate) unique: Option<Unique>,
    pub(crate) unique_until: UniqueUntil,
    pub(crate) unique_for: Option<Duration>,
    pub(crate) replaces: Replaces,
    pub(crate) max_attempts: Option<u16>,
    pub(crate) due: Due,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) tenant: Option<Uuid>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            priority: 0,
            partition: String::new(),
            limit_key: String::new(),
            unique: None,
            unique_until: UniqueUntil::default(),
            unique_for: None,
            replaces: Replaces::default(),
            max_attempts: None,
            due: Due::Now,
            timeout: None,
            deadline: None,
            tenant: None,
        }
    }
}

impl Options {
    /// The defaults: priority 0, no partition, not unique, the kind's attempts, due at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lower numbers run first among the jobs of a queue that have the same partition and limit key;
    /// 0 is normal. Urgent work that does not end keeps nothing waiting for ever: of every ten jobs
    /// that a worker takes there one is less urgent, from each lower priority in turn, the earliest
    /// first.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// The fair-share key within the queue, usually a tenant's or a portal's id. Partitions with work
    /// take turns, whatever number of jobs each has.
    #[must_use]
    pub fn partition(mut self, key: impl fmt::Display) -> Self {
        self.partition = key.to_string();
        self
    }

    /// Counts under the limits of this key as well, in whatever queue it waits: `whatsapp` for all
    /// that calls the same provider, say. Set with `switchyard limits set`; without such a limit it
    /// changes nothing but that the job waits in a line of its own.
    #[must_use]
    pub fn limit_key(mut self, key: impl fmt::Display) -> Self {
        self.limit_key = key.to_string();
        self
    }

    /// While a job of the same kind with the same key is open, enqueuing answers with that job.
    ///
    /// The key is stored as readable JSON, so keep it short.
    #[must_use]
    pub fn unique_by(mut self, key: impl Serialize) -> Self {
        self.unique = Some(Unique::Key(serde_json::json!(key).to_string()));
        self
    }

    /// The same with all arguments for a key: equal JSON is the same job, however it is written
    /// (see [`crate::canonical`]).
    #[must_use]
    pub fn unique_by_args(mut self) -> Self {
        self.unique = Some(Unique::Args);
        self
    }

    /// The same with some of the arguments for a key. One that is missing counts as null.
    #[must_use]
    pub fn unique_by_fields<F: Into<String>>(mut self, names: impl IntoIterator<Item = F>) -> Self {
        self.unique = Some(Unique::Fields(names.into_iter().map(Into::into).collect()));
        self
    }

    /// In which states the job holds its unique key; without it, while it is open. Of this and
    /// [`Options::unique_for`] the last that is said counts.
    ///
    /// Until [`UniqueUntil::Start`], whoever is told of a standing job may rely on it: that job does not
    /// begin before the caller's transaction has ended, so it sees what the transaction wrote.
    #[must_use]
    pub fn unique_until(mut self, until: UniqueUntil) -> Self {
        (self.unique_until, self.unique_for) = (until, None);
        self
    }

    /// The unique key is held for this long from the enqueue, no longer and no shorter, whatever
    /// becomes of the job: "once an hour". Without it the key is held while the job is open.
    #[must_use]
    pub fn unique_for(mut self, period: Duration) -> Self {
        (self.unique_until, self.unique_for) = (UniqueUntil::Finish, Some(period));
        self
    }

    /// A standing job with the same key gets this job's arguments, unless it has begun.
    #[must_use]
    pub fn replace_args(mut self) -> Self {
        self.replaces.args = true;
        self
    }

    /// A standing job with the same key becomes due when this job would be, unless it has begun.
    #[must_use]
    pub fn replace_run_at(mut self) -> Self {
        self.replaces.run_at = true;
        self
    }

    /// Overrides the kind's attempts for this job (at least 1).
    #[must_use]
    pub fn max_attempts(mut self, n: u16) -> Self {
        self.max_attempts = Some(n.max(1));
        self
    }

    /// The same with what its kind says where it says nothing itself.
    pub(crate) fn or_of_kind(mut self, attempts: u16, deadline: Option<Duration>) -> Self {
        self.max_attempts.get_or_insert(attempts.max(1));
        self.deadline = self.deadline.or(deadline);
        self
    }

    /// Not before this much time has passed.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = Due::In(delay);
        self
    }

    /// Not before this instant.
    #[must_use]
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.due = Due::At(at);
        self
    }

    /// Overrides the kind's timeout for this job.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Overrides the kind's deadline for this job: if nobody has begun it this long after its enqueue,
    /// it becomes a dead letter instead.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// The tenant (agency) in whose row-level-security scope the job runs. Without one it runs in
    /// the platform's scope.
    #[must_use]
    pub fn tenant(mut self, tenant: Uuid) -> Self {
        self.tenant = Some(tenant);
        self
    }
}
