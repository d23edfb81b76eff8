//! Enqueuing over HTTP: one job, or up to 10,000 in one transaction.

use crate::auth::{Caller, JobsEnqueue};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, BatchJson, IdempotencyKey};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_queue::{Enqueued, NewJob, Options, Placement, digest};
use switchyard_store::requests::{self, Request};
use switchyard_store::{Scope, Tx, sealing};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// The longest delay of a job that is enqueued over HTTP: a year.
const LONGEST_DELAY: u64 = 366 * 24 * 3600;
/// The longest attempt: a day.
const LONGEST_TIMEOUT: u32 = 24 * 3600;
/// Most jobs in one request.
const MOST_JOBS: usize = 10_000;
/// Faults of a batch that are told at once.
const MOST_FAULTS: usize = 20;
/// Of a kind that is not registered nothing else is known.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(enqueue)).routes(routes!(enqueue_all))
}

/// A job to be enqueued. What is left out follows from its kind and its arguments.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJobRequest {
    /// A kind that is registered (see `GET /api/admin/kinds`), or any other together with `queue`:
    /// that job waits until a worker knows its kind.
    #[schema(example = "leads.rescan_unassigned")]
    kind: String,
    /// Its arguments, checked against the type of a registered kind.
    #[schema(value_type = Object, example = json!({}))]
    #[serde(default = "no_arguments")]
    args: Value,
    /// Not before this much time has passed.
    #[schema(example = 0)]
    #[serde(default)]
    delay_seconds: u64,
    /// Not before this instant.
    run_at: Option<DateTime<Utc>>,
    /// Where it waits, if not where its kind does.
    #[schema(example = json!(null))]
    queue: Option<String>,
    /// Fair-share key within the queue.
    partition: Option<String>,
    /// It counts under the limits of this key too, see `PUT /api/admin/limits`.
    #[schema(example = json!(null))]
    limit_key: Option<String>,
    /// Lower runs first; 0 is normal.
    priority: Option<i16>,
    /// Attempts before it becomes a dead letter.
    #[schema(minimum = 1, maximum = 32767)]
    max_attempts: Option<i16>,
    /// The longest time of one attempt.
    #[schema(minimum = 1, maximum = 86400)]
    timeout_seconds: Option<u32>,
    /// If nobody has begun it this long after now, it becomes a dead letter instead.
    #[schema(minimum = 1, maximum = 31622400)]
    deadline_seconds: Option<u64>,
    /// While a job of this kind with this key is open, that job is the answer.
    unique_key: Option<String>,
    /// The key is held this long instead, whatever becomes of the job.
    #[schema(minimum = 1, maximum = 31622400)]
    unique_for_seconds: Option<u64>,
    /// A standing job with the same key that has not begun gets these arguments.
    #[serde(default)]
    replace_args: bool,
    /// A standing job with the same key that has not begun becomes due at this job's time.
    #[serde(default)]
    replace_run_at: bool,
    /// The agency in whose scope it runs.
    tenant: Option<Uuid>,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Jobs to be enqueued together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJobsRequest {
    /// 1 to 10,000 jobs; all of them are enqueued, or none.
    jobs: Vec<NewJobRequest>,
}

/// The answer to an enqueue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnqueuedView {
    /// The new job, or the one that already holds the unique key.
    id: Uuid,
    /// `false`: nothing was inserted.
    #[schema(example = true)]
    inserted: bool,
    /// `inserted`, `standing` or `replaced` (the standing job was changed).
    #[schema(example = "inserted")]
    outcome: String,
}

impl From<Enqueued> for EnqueuedView {
    fn from(e: Enqueued) -> Self {
        Self { id: e.id.0, inserted: e.inserted(), outcome: e.what.as_str().to_owned() }
    }
}

/// The answer to many.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EnqueuedManyView {
    /// In the order of the request.
    jobs: Vec<EnqueuedView>,
}

/// Enqueue a job
///
/// With an `Idempotency-Key` the same request again (within a day) answers with the same job.
#[utoipa::path(post, path = "/api/admin/jobs", tag = "jobs", operation_id = "job_enqueue",
    params(IdempotencyKey), request_body = NewJobRequest,
    responses(
        (status = 200, description = "It stands already, under its unique key or this request's.",
            body = Envelope<EnqueuedView>),
        (status = 201, description = "Enqueued.", body = Envelope<EnqueuedView>),
        (status = 422, description = "The kind is unknown, the arguments do not fit, or the \
            idempotency key was used for another request.", body = ErrorEnvelope)))]
async fn enqueue(
    State(api): State<Api>,
    caller: Caller<JobsEnqueue>,
    context: RequestContext,
    key: IdempotencyKey,
    ApiJson(new): ApiJson<NewJobRequest>,
) -> Answer<EnqueuedView> {
    let asked = json!(new);
    let job = new.into_job(&api).map_err(|why| ApiError::unprocessable("invalid_job", why))?;
    let jobs = secret(&api, vec![context.cause(job)]).await?;
    let once = Once::of(&api, &caller, key, &asked, &jobs);
    let placed = place(&api, once, jobs).await?.pop();
    let view = placed.ok_or_else(|| ApiError::internal("a job without an answer"))?;
    Ok(if view.inserted {
        Reply::created("enqueued", view)
    } else {
        Reply::ok("open already", view)
    })
}

/// Enqueue many jobs in one transaction
///
/// All of them are enqueued, or none. With an `Idempotency-Key` the same request again (within a
/// day) answers with the same jobs.
#[utoipa::path(post, path = "/api/admin/jobs/batch", tag = "jobs", operation_id = "jobs_enqueue",
    params(IdempotencyKey), request_body = NewJobsRequest,
    responses(
        (status = 200, description = "All of them stand already.",
            body = Envelope<EnqueuedManyView>),
        (status = 201, description = "Enqueued, but for those that stand already.",
            body = Envelope<EnqueuedManyView>),
        (status = 413, description = "The body is larger than 32 MiB.", body = ErrorEnvelope),
        (status = 422, description = "One of them cannot be enqueued; `error.details` says which \
            and why.", body = ErrorEnvelope)))]
async fn enqueue_all(
    State(api): State<Api>,
    caller: Caller<JobsEnqueue>,
    context: RequestContext,
    key: IdempotencyKey,
    BatchJson(new): BatchJson<NewJobsRequest>,
) -> Answer<EnqueuedManyView> {
    let asked = json!(new);
    let jobs = new.into_jobs(&api)?.into_iter().map(|job| context.cause(job)).collect();
    let jobs = secret(&api, jobs).await?;
    let once = Once::of(&api, &caller, key, &asked, &jobs);
    let jobs = place(&api, once, jobs).await?;
    let inserted = jobs.iter().filter(|j| j.inserted).count();
    let message = format!("{inserted} enqueued, {} open already", jobs.len() - inserted);
    let reply = if inserted > 0 { Reply::created } else { Reply::ok };
    Ok(reply(message, EnqueuedManyView { jobs }))
}

impl NewJobsRequest {
    fn into_jobs(self, api: &Api) -> Result<Vec<NewJob>, ApiError> {
        if !(1..=MOST_JOBS).contains(&self.jobs.len()) {
            let message = format!("`jobs` holds 1 to {MOST_JOBS} jobs");
            return Err(ApiError::unprocessable("invalid_batch", message));
        }
        let mut jobs = Vec::with_capacity(self.jobs.len());
        let mut faults = Vec::new();
        for (index, new) in self.jobs.into_iter().enumerate() {
            match new.into_job(api) {
                Ok(job) => jobs.push(job),
                Err(message) => faults.push((index, message)),
            }
            if faults.len() == MOST_FAULTS {
                break;
            }
        }
        if let Some((index, message)) = faults.first() {
            let fault = ApiError::unprocessable("invalid_job", format!("job {index}: {message}"));
            let all = faults.iter().map(|(i, why)| json!({ "index": i, "message": why }));
            return Err(fault.details(json!({ "jobs": all.collect::<Vec<_>>() })));
        }
        Ok(jobs)
    }
}

impl NewJobRequest {
    /// The job, or what is wrong with it in a sentence.
    pub(super) fn into_job(mut self, api: &Api) -> Result<NewJob, String> {
        self.check()?;
        let args = self.args.take();
        let job = self.plain(api, args)?;
        self.adjusted(job)
    }

    /// The job as its kind has it.
    fn plain(&self, api: &Api, args: Value) -> Result<NewJob, String> {
        let known = |name: &str| {
            let kinds = api.registry.kinds();
            kinds.iter().any(|k| k.kind == name || k.aliases.contains(&name))
        };
        match self.queue.clone() {
            Some(queue) if !known(&self.kind) => {
                Ok(NewJob::raw(self.kind.clone(), queue, USUAL_TIMEOUT, args, Options::new()))
            }
            _ => api.registry.parse(&self.kind, args),
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
        job.unique_for = self.unique_for_seconds.map(Duration::from_secs).or(job.unique_for);
        job.replaces.args |= self.replace_args;
        job.replaces.run_at |= self.replace_run_at;
        if job.unique_key.is_none() && (job.unique_for.is_some() || job.replaces.any()) {
            return Err("`unique_for_seconds` and `replace_*` need a unique key".to_owned());
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
        } else if [&self.partition, &self.limit_key, &self.unique_key].into_iter().any(long) {
            "`partition`, `limit_key` and `unique_key` have at most 1,000 bytes, none of them zero"
        } else {
            return Ok(());
        };
        Err(fault.to_owned())
    }
}

/// A request that is to have its effect once.
pub(super) struct Once {
    pub(super) key: String,
    digest: String,
}

impl Once {
    /// Keys of different administrators have nothing to do with each other.
    /// What is kept of a request with secret arguments is a keyed hash.
    pub(super) fn of(
        api: &Api,
        caller: &Caller<JobsEnqueue>,
        key: IdempotencyKey,
        asked: &Value,
        jobs: &[NewJob],
    ) -> Option<Self> {
        let key = format!("{} {}", caller.claims.sub, key.idempotency_key?);
        let mut digest = digest(asked);
        if jobs.iter().any(|job| job.encrypted) {
            digest = digest_of(&api.keys.keyed_hash("request", digest.as_bytes()));
        }
        Some(Self { key, digest })
    }

    /// The answer to the same request, if it was made before; otherwise the request is entered, and
    /// its answer has to follow in this transaction.
    pub(super) async fn earlier(&self, tx: &mut Tx) -> Result<Option<Value>, ApiError> {
        match requests::enter(tx, &self.key, &self.digest).await? {
            Request::New => Ok(None),
            Request::Repeated(answer) => Ok(Some(answer)),
            Request::Other => Err(ApiError::unprocessable(
                "idempotency_key_reused",
                "this idempotency key was used for another request; take a new one",
            )),
        }
    }
}

fn digest_of(hash: &[u8]) -> String {
    digest(&json!(hash))
}

/// Marks the jobs of kinds that this program does not know and whose workers say that they are
/// encrypted; of those that it knows it knows that too.
pub(super) async fn secret(api: &Api, mut jobs: Vec<NewJob>) -> Result<Vec<NewJob>, ApiError> {
    let known = api.registry.kinds();
    let foreign = |job: &NewJob| known.iter().all(|k| k.kind != job.kind);
    let names: Vec<&str> = jobs.iter().filter(|j| foreign(j)).map(|j| &*j.kind).collect();
    if names.is_empty() {
        return Ok(jobs);
    }
    let encrypted = sealing::encrypted_kinds(&api.db, &names).await?;
    for job in &mut jobs {
        job.encrypted |= encrypted.contains(&*job.kind);
    }
    Ok(jobs)
}

/// Enqueues the jobs in one transaction, or answers as before if the same was asked before.
async fn place(
    api: &Api,
    once: Option<Once>,
    mut jobs: Vec<NewJob>,
) -> Result<Vec<EnqueuedView>, ApiError> {
    if once.is_none()
        && jobs.len() == 1
        && let Some(job) = jobs.pop()
    {
        return Ok(vec![EnqueuedView::from(api.db.enqueue(job).await?)]);
    }
    let mut tx = api.db.begin(Scope::Platform).await?;
    if let Some(once) = &once
        && let Some(answer) = repeated(&mut tx, once).await?
    {
        return Ok(answer);
    }
    let placed: Vec<EnqueuedView> =
        tx.enqueue_all(jobs).await?.into_iter().map(EnqueuedView::from).collect();
    if let Some(once) = &once {
        requests::answered(&mut tx, &once.key, &json!(placed)).await?;
    }
    tx.commit().await?;
    Ok(placed)
}

async fn repeated(tx: &mut Tx, once: &Once) -> Result<Option<Vec<EnqueuedView>>, ApiError> {
    let Some(answer) = once.earlier(tx).await? else { return Ok(None) };
    let mut jobs: Vec<EnqueuedView> = serde_json::from_value(answer).map_err(ApiError::internal)?;
    for job in &mut jobs {
        job.inserted = false;
        job.outcome = Placement::Standing.as_str().to_owned();
    }
    Ok(Some(jobs))
}
