//! Queues, kinds and workers for operators.

use super::job_views::{KindView, QueueView, WorkerView};
use crate::auth::{Caller, JobsRead, QueuesManage, QueuesRead, WorkersManage, WorkersRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use switchyard_queue::KindInfo;
use switchyard_store::jobs::{self, Drained};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(pause))
        .routes(routes!(pause_partition))
        .routes(routes!(drain))
        .routes(routes!(drain_partition))
        .routes(routes!(weigh))
        .routes(routes!(kinds))
        .routes(routes!(pause_kind))
        .routes(routes!(resume_kind))
        .routes(routes!(drain_kind))
        .routes(routes!(workers))
        .routes(routes!(quiet))
}

/// List queues
#[utoipa::path(get, path = "/api/admin/queues", tag = "jobs", operation_id = "queues",
    responses((status = 200, description = "Every queue with its counts.",
        body = Envelope<Vec<QueueView>>)))]
async fn list(State(api): State<Api>, _: Caller<QueuesRead>) -> Answer<Vec<QueueView>> {
    let all = jobs::queues(&api.db).await?;
    Ok(Reply::ok("queues", all.into_iter().map(QueueView::from).collect()))
}

/// Whether a queue is served.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    /// Nothing is claimed from a paused queue; what runs runs on.
    #[schema(example = true)]
    paused: bool,
}

/// Pause or resume a queue
#[utoipa::path(put, path = "/api/admin/queues/{queue}", tag = "jobs", operation_id = "queue_pause",
    params(("queue" = String, Path, description = "The queue", example = "leads")),
    request_body = Pause,
    responses(
        (status = 200, description = "Set.", body = Envelope<Pause>),
        (status = 404, description = "There never was a job in such a queue.",
            body = ErrorEnvelope)))]
async fn pause(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(queue): ApiPath<String>,
    ApiJson(pause): ApiJson<Pause>,
) -> Answer<Pause> {
    jobs::pause(&api.db, &queue, pause.paused).await?;
    Ok(Reply::ok(if pause.paused { "paused" } else { "resumed" }, pause))
}

/// Pause or resume one partition of a queue
///
/// Also one that has no job yet. It stays paused when its queue is resumed.
#[utoipa::path(put, path = "/api/admin/queues/{queue}/partitions/{partition}", tag = "jobs",
    operation_id = "partition_pause",
    params(("queue" = String, Path, description = "The queue", example = "notifications"),
        ("partition" = String, Path, description = "The partition: an agency's id, say",
            example = "0192f0c1-6f1c-7e3f-9d3a-0d6c5a1b2c3d")),
    request_body = Pause,
    responses(
        (status = 200, description = "Set.", body = Envelope<Pause>),
        (status = 404, description = "There never was a job in such a queue.",
            body = ErrorEnvelope)))]
async fn pause_partition(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath((queue, partition)): ApiPath<(String, String)>,
    ApiJson(pause): ApiJson<Pause>,
) -> Answer<Pause> {
    jobs::pause_partition(&api.db, &queue, &partition, pause.paused).await?;
    Ok(Reply::ok(if pause.paused { "paused" } else { "resumed" }, pause))
}

/// How far a drain is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainView {
    /// Nothing new is claimed.
    #[schema(example = true)]
    paused: bool,
    /// Jobs that workers still have in hand.
    #[schema(example = 2)]
    running: i64,
}

async fn drained(api: &Api, what: Drained<'_>) -> Answer<DrainView> {
    let running = jobs::drain(&api.db, what).await?;
    let message = if running == 0 { "paused, nothing runs" } else { "paused, jobs still run" };
    Ok(Reply::ok(message, DrainView { paused: true, running }))
}

/// Drain a queue
///
/// Pauses it, and says how many of its jobs still run. Ask again for how far it is: workers hear of a
/// pause within a second, so it is drained when `running` has been 0 for that long.
#[utoipa::path(post, path = "/api/admin/queues/{queue}/drain", tag = "jobs",
    operation_id = "queue_drain",
    params(("queue" = String, Path, description = "The queue", example = "leads")),
    responses(
        (status = 200, description = "Paused.", body = Envelope<DrainView>),
        (status = 404, description = "There never was a job in such a queue.",
            body = ErrorEnvelope)))]
async fn drain(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(queue): ApiPath<String>,
) -> Answer<DrainView> {
    drained(&api, Drained::Queue(&queue)).await
}

/// Drain one partition of a queue
///
/// As a queue is drained.
#[utoipa::path(post, path = "/api/admin/queues/{queue}/partitions/{partition}/drain", tag = "jobs",
    operation_id = "partition_drain",
    params(("queue" = String, Path, description = "The queue", example = "notifications"),
        ("partition" = String, Path, description = "The partition: an agency's id, say",
            example = "0192f0c1-6f1c-7e3f-9d3a-0d6c5a1b2c3d")),
    responses(
        (status = 200, description = "Paused.", body = Envelope<DrainView>),
        (status = 404, description = "There never was a job in such a queue.",
            body = ErrorEnvelope)))]
async fn drain_partition(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath((queue, partition)): ApiPath<(String, String)>,
) -> Answer<DrainView> {
    drained(&api, Drained::Partition { queue: &queue, partition: &partition }).await
}

/// A queue's share.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weight {
    /// From 1, the usual one, to 1,000. A queue of weight 3 gets three times as much as one of
    /// weight 1 when both have work; what has no work takes nothing from the others.
    #[schema(example = 3, minimum = 1, maximum = 1000)]
    weight: u16,
}

/// Weigh a queue
#[utoipa::path(put, path = "/api/admin/queues/{queue}/weight", tag = "jobs",
    operation_id = "queue_weigh",
    params(("queue" = String, Path, description = "The queue", example = "leads")),
    request_body = Weight,
    responses(
        (status = 200, description = "Set; workers take it in within a second.",
            body = Envelope<Weight>),
        (status = 404, description = "There never was a job in such a queue.",
            body = ErrorEnvelope),
        (status = 422, description = "The weight is out of bounds.", body = ErrorEnvelope)))]
async fn weigh(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(queue): ApiPath<String>,
    ApiJson(weight): ApiJson<Weight>,
) -> Answer<Weight> {
    if !(1..=jobs::MOST_WEIGHT).contains(&weight.weight) {
        let message = format!("`weight` is a number from 1 to {}", jobs::MOST_WEIGHT);
        return Err(ApiError::unprocessable("invalid_weight", message));
    }
    jobs::weigh(&api.db, &queue, weight.weight).await?;
    Ok(Reply::ok("weighed", weight))
}

/// List the kinds of job
#[utoipa::path(get, path = "/api/admin/kinds", tag = "jobs", operation_id = "kinds",
    responses((status = 200, description = "Every kind that this program knows.",
        body = Envelope<Vec<KindView>>)))]
async fn kinds(State(api): State<Api>, _: Caller<JobsRead>) -> Answer<Vec<KindView>> {
    let stored = jobs::kinds(&api.db).await?;
    let view = |k: KindInfo| KindView::new(k, stored.iter().find(|s| s.kind == k.kind));
    Ok(Reply::ok("kinds", api.registry.kinds().into_iter().map(view).collect()))
}

/// Whether jobs of a kind are claimed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KindPauseView {
    #[schema(example = "notify.whatsapp")]
    kind: String,
    #[schema(example = true)]
    paused: bool,
}

/// Pause a kind of job
///
/// None of its jobs is claimed, in whatever queue and under whatever name they are stored; what
/// runs runs on. Other kinds of the same queue are not held up.
#[utoipa::path(post, path = "/api/admin/kinds/{kind}/pause", tag = "jobs",
    operation_id = "kind_pause",
    params(("kind" = String, Path, description = "The kind", example = "notify.whatsapp")),
    responses(
        (status = 200, description = "Paused; workers hear of it within a second.",
            body = Envelope<KindPauseView>),
        (status = 404, description = "No worker ever declared such a kind.",
            body = ErrorEnvelope)))]
async fn pause_kind(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(kind): ApiPath<String>,
) -> Answer<KindPauseView> {
    jobs::pause_kind(&api.db, &kind, true).await?;
    Ok(Reply::ok("paused", KindPauseView { kind, paused: true }))
}

/// Let a kind of job go on
#[utoipa::path(post, path = "/api/admin/kinds/{kind}/resume", tag = "jobs",
    operation_id = "kind_resume",
    params(("kind" = String, Path, description = "The kind", example = "notify.whatsapp")),
    responses(
        (status = 200, description = "Its jobs are claimed again, within a second.",
            body = Envelope<KindPauseView>),
        (status = 404, description = "No worker ever declared such a kind.",
            body = ErrorEnvelope)))]
async fn resume_kind(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(kind): ApiPath<String>,
) -> Answer<KindPauseView> {
    jobs::pause_kind(&api.db, &kind, false).await?;
    Ok(Reply::ok("resumed", KindPauseView { kind, paused: false }))
}

/// Drain a kind of job
///
/// As a queue is drained: its jobs in every queue.
#[utoipa::path(post, path = "/api/admin/kinds/{kind}/drain", tag = "jobs",
    operation_id = "kind_drain",
    params(("kind" = String, Path, description = "The kind", example = "notify.whatsapp")),
    responses(
        (status = 200, description = "Paused.", body = Envelope<DrainView>),
        (status = 404, description = "No worker ever declared such a kind.",
            body = ErrorEnvelope)))]
async fn drain_kind(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiPath(kind): ApiPath<String>,
) -> Answer<DrainView> {
    drained(&api, Drained::Kind(&kind)).await
}

/// List worker processes
#[utoipa::path(get, path = "/api/admin/workers", tag = "jobs", operation_id = "workers",
    responses((status = 200, description = "Those that live and the last hundred that went.",
        body = Envelope<Vec<WorkerView>>)))]
async fn workers(State(api): State<Api>, _: Caller<WorkersRead>) -> Answer<Vec<WorkerView>> {
    let all = jobs::workers(&api.db).await?;
    Ok(Reply::ok("workers", all.into_iter().map(WorkerView::from).collect()))
}

/// Whether a worker claims jobs.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quiet {
    /// A quiet worker finishes what it has and claims nothing new.
    #[schema(example = true)]
    quiet: bool,
}

/// Quiet a worker, or let it claim again
#[utoipa::path(put, path = "/api/admin/workers/{worker}", tag = "jobs", operation_id = "worker_quiet",
    params(("worker" = i64, Path, description = "The worker's number", example = 12)),
    request_body = Quiet,
    responses(
        (status = 200, description = "Set; the worker hears of it within a second.",
            body = Envelope<Quiet>),
        (status = 404, description = "No such worker lives.", body = ErrorEnvelope)))]
async fn quiet(
    State(api): State<Api>,
    _: Caller<WorkersManage>,
    ApiPath(worker): ApiPath<i64>,
    ApiJson(quiet): ApiJson<Quiet>,
) -> Answer<Quiet> {
    jobs::quiet(&api.db, worker, quiet.quiet).await?;
    Ok(Reply::ok(if quiet.quiet { "quiet" } else { "claiming" }, quiet))
}
