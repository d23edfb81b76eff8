//! Enqueuing over HTTP: one job, or up to 10,000 in one transaction.

use crate::auth::{Caller, JobsEnqueue};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, BatchJson, IdempotencyKey};
use crate::orders::{MOST_JOBS, NewJobRequest, secret};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_queue::{Enqueued, NewJob, Placement, digest};
use switchyard_store::requests::{self, Request};
use switchyard_store::{Scope, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Faults of a batch that are told at once.
const MOST_FAULTS: usize = 20;
pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(enqueue)).routes(routes!(enqueue_all))
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
    let job = new.into_job(&*api.registry);
    let job = job.map_err(|why| ApiError::unprocessable("invalid_job", why))?;
    let jobs = secret(&api.db, &*api.registry, vec![context.cause(job)]).await?;
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
    let jobs = secret(&api.db, &*api.registry, jobs).await?;
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
            match new.into_job(&*api.registry) {
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
