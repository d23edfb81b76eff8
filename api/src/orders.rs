//! Jobs and workflows as documents: what is asked for over HTTP and on the command line, and how it is
//! checked.

use crate::Kinds;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use switchyard_queue::{FailurePolicy, NewJob, Options, UniqueUntil, Workflow, kind_name};
use switchyard_store::{Db, Result as Stored, sealing};
use utoipa::ToSchema;
use uuid::Uuid;

/// Most jobs that are enqueued together.
pub const MOST_JOBS: usize = 10_000;
/// The longest delay of a job that is asked for so: a year.
const LONGEST_DELAY: u64 = 366 * 24 * 3600;
/// The longest attempt: a day.
const LONGEST_TIMEOUT: u32 = 24 * 3600;
/// Of a kind that is not registered nothing else is known.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A job to be enqueued. What is left out follows from its kind and its arguments.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJobRequest {
    /// A kind that is registered (see `GET /api/admin/kinds`), or any other together with `queue`:
    /// that job waits until a worker knows its kind.
    #[schema(example = "leads.rescan_unassigned")]
    pub kind: String,
    /// Its arguments, checked against the type of a registered kind.
    #[schema(value_type = Object, example = json!({}))]
    #[serde(default = "no_arguments")]
    pub args: Value,
    /// Not before this much time has passed.
    #[schema(example = 0)]
    #[serde(default)]
    pub delay_seconds: u64,
    /// Not before this instant.
    pub run_at: Option<DateTime<Utc>>,
    /// Where it waits, if not where its kind does.
    #[schema(example = json!(null))]
    pub queue: Option<String>,
    /// Fair-share key within the queue.
    pub partition: Option<String>,
    /// It counts under the limits of this key too, see `PUT /api/admin/limits`.
    #[schema(example = json!(null))]
    pub limit_key: Option<String>,
    /// Lower runs first; 0 is normal.
    pub priority: Option<i16>,
    /// Attempts before it becomes a dead letter.
    #[schema(minimum = 1, maximum = 32767)]
    pub max_attempts: Option<i16>,
    /// The longest time of one attempt.
    #[schema(minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<u32>,
    /// If nobody has begun it this long after now, it becomes a dead letter instead.
    #[schema(minimum = 1, maximum = 31622400)]
    pub deadline_seconds: Option<u64>,
    /// While a job of this kind with this key is open, that job is the answer.
    pub unique_key: Option<String>,
    /// The key is held this long instead, whatever becomes of the job.
    #[schema(minimum = 1, maximum = 31622400)]
    pub unique_for_seconds: Option<u64>,
    /// In which states the job holds the key: `start` (until it begins) or `finish` (while it is open, as
    /// usual).
    #[schema(value_type = Option<String>, example = json!(null))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_until: Option<UniqueUntil>,
    /// A standing job with the same key that has not begun gets these arguments.
    #[serde(default)]
    pub replace_args: bool,
    /// A standing job with the same key that has not begun becomes due at this job's time.
    #[serde(default)]
    pub replace_run_at: bool,
    /// The agency in whose scope it runs.
    pub tenant: Option<Uuid>,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

impl NewJobRequest {
    /// The job as a program with these kinds enqueues it.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn into_job(mut self, kinds: &dyn Kinds) -> Result<NewJob, String> {
        self.check()?;
        let args = self.args.take();
        let job = self.plain(kinds, args)?;
        self.adjusted(job)
    }

    /// The job as its kind has it.
    fn plain(&self, kinds: &dyn Kinds, args: Value) -> Result<NewJob, String> {
        let known = |name: &str| {
            let all = kinds.kinds();
            all.iter().any(|k| k.names().any(|known| known == kind_name(name)))
        };
        match self.queue.clone() {
            Some(queue) if !known(&self.kind) => {
                Ok(NewJob::raw(self.kind.clone(), queue, USUAL_TIMEOUT, args, Options::new()))
            }
            _ => kinds.parse(&self.kind, args),
        }
    }

    /// The same with what the request says otherwise.
    fn adjusted(self, mut job: NewJob) -> Result<NewJob, String> {
        if let Some(queue) = self.queue {
            job.queue = queue.into();
        }
        if self.delay_seconds > 0 || self.run_at.is_some() {
            job.run_at = self.run_at;
            job.delay = Some(Duration::from_secs(self.delay_seconds));
        }
        if let Some(seconds) = self.timeout_seconds {
            job.timeout = Duration::from_secs(seconds.into());
        }
        job.deadline = self.deadline_seconds.map(Duration::from_secs).or(job.deadline);
        if let Some(key) = self.unique_key {
            job = job.unique_by(key);
        }
        let until = self.unique_until;
        if let Some(until) = until {
            job = job.unique_until(until);
        }
        job.unique_for = self.unique_for_seconds.map(Duration::from_secs).or(job.unique_for);
        job.replaces.args |= self.replace_args;
        job.replaces.run_at |= self.replace_run_at;
        let keyless = job.unique_key.is_none();
        if keyless && (job.unique_for.is_some() || until.is_some() || job.replaces.any()) {
            let message = "`unique_for_seconds`, `unique_until` and `replace_*` need a unique key";
            return Err(message.to_owned());
        }
        job.partition = self.partition.unwrap_or(job.partition);
        job.limit_key = self.limit_key.unwrap_or(job.limit_key);
        job.priority = self.priority.unwrap_or(job.priority);
        job.max_attempts = self.max_attempts.unwrap_or(job.max_attempts);
        job.tenant = self.tenant.or(job.tenant);
        Ok(job)
    }

    fn check(&self) -> Result<(), String> {
        let word = |s: &str, fits: fn(char) -> bool| {
            !s.is_empty() && s.len() <= 200 && s.chars().all(fits)
        };
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let long =
            |s: &Option<String>| s.as_ref().is_some_and(|s| s.len() > 1000 || s.contains('\0'));
        let far = Utc::now() + Duration::from_secs(LONGEST_DELAY);
        let fault = if !word(&self.kind, |c| !c.is_whitespace() && !c.is_control()) {
            "`kind` is a word of at most 200 letters"
        } else if self.queue.as_ref().is_some_and(|q| !word(q, name)) {
            "`queue` is made of lower-case letters, digits and dashes"
        } else if self.delay_seconds > LONGEST_DELAY || self.run_at.is_some_and(|at| at > far) {
            "`delay_seconds` and `run_at` are at most a year ahead"
        } else if self.delay_seconds > 0 && self.run_at.is_some() {
            "`delay_seconds` and `run_at` exclude each other"
        } else if self.max_attempts.is_some_and(|n| n < 1) {
            "`max_attempts` is at least 1"
        } else if self.timeout_seconds.is_some_and(|n| !(1..=LONGEST_TIMEOUT).contains(&n)) {
            "`timeout_seconds` is from 1 second to a day"
        } else if self.deadline_seconds.is_some_and(|n| !(1..=LONGEST_DELAY).contains(&n)) {
            "`deadline_seconds` is from 1 second to a year"
        } else if self.unique_for_seconds.is_some_and(|n| !(1..=LONGEST_DELAY).contains(&n)) {
            "`unique_for_seconds` is from 1 second to a year"
        } else if self.unique_for_seconds.is_some() && self.unique_until.is_some() {
            "`unique_for_seconds` and `unique_until` exclude each other"
        } else if [&self.partition, &self.limit_key, &self.unique_key].into_iter().any(long) {
            "`partition`, `limit_key` and `unique_key` have at most 1,000 bytes, none of them zero"
        } else {
            return Ok(());
        };
        Err(fault.to_owned())
    }
}

/// A workflow to be started.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkflowRequest {
    /// For people; need not be unique.
    #[schema(example = "onboard")]
    pub name: String,
    /// What a failure means for the rest: `cancel_rest`, `hold` or `continue`.
    #[schema(value_type = String, example = "cancel_rest")]
    #[serde(default)]
    pub policy: FailurePolicy,
    /// 1 to 10,000 jobs; all of them are enqueued, or none.
    pub jobs: Vec<NewNodeRequest>,
}

/// One job of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNodeRequest {
    /// Its name in the workflow.
    #[schema(example = "rescan")]
    pub node: String,
    /// The names of those that it waits for.
    #[schema(example = json!([]))]
    #[serde(default)]
    pub after: Vec<String>,
    /// The job.
    pub job: NewJobRequest,
}

impl NewWorkflowRequest {
    /// The jobs in their order, and what makes a workflow of them.
    ///
    /// # Errors
    /// Which job is wrong, and why.
    pub fn into_parts(self, kinds: &dyn Kinds) -> Result<(Vec<NewJob>, Shape), String> {
        let flow = Workflow::new(self.name).policy(self.policy);
        let mut shape = Shape { flow, nodes: Vec::with_capacity(self.jobs.len()) };
        let mut jobs = Vec::with_capacity(self.jobs.len());
        for NewNodeRequest { node, after, job } in self.jobs {
            jobs.push(job.into_job(kinds).map_err(|why| format!("job `{node}`: {why}"))?);
            shape.nodes.push((node, after));
        }
        Ok((jobs, shape))
    }
}

/// A workflow that lacks its jobs: the name of each, and which it waits for.
pub struct Shape {
    flow: Workflow,
    nodes: Vec<(String, Vec<String>)>,
}

impl Shape {
    /// The workflow of these jobs, in the order of the document.
    #[must_use]
    pub fn with(self, jobs: Vec<NewJob>) -> Workflow {
        let nodes = self.nodes.into_iter().zip(jobs);
        nodes.fold(self.flow, |flow, ((node, after), job)| flow.add_after(node, job, after))
    }
}

/// Marks the jobs of kinds that this program does not know and whose workers say that they are
/// encrypted; of those that it knows it knows that too.
///
/// # Errors
/// If the database is not available.
pub async fn secret(db: &Db, kinds: &dyn Kinds, mut jobs: Vec<NewJob>) -> Stored<Vec<NewJob>> {
    let known = kinds.kinds();
    let foreign = |job: &NewJob| known.iter().all(|k| k.kind != job.kind);
    let names: Vec<&str> = jobs.iter().filter(|j| foreign(j)).map(|j| &*j.kind).collect();
    if names.is_empty() {
        return Ok(jobs);
    }
    let encrypted = sealing::encrypted_kinds(db, &names).await?;
    for job in &mut jobs {
        job.encrypted |= encrypted.contains(&*job.kind);
    }
    Ok(jobs)
}
