//! Limits: how many jobs may run at once over the whole fleet, and how fast they may start.

use crate::auth::{Caller, QueuesManage, QueuesRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_store::limits::{self, LimitRefusal, LimitRow, LimitScope, StartRate};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Limits in one answer.
const MOST_LISTED: u32 = 1000;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, set, remove))
}

/// What a limit holds for: a queue (all of it, one partition, or each of its partitions by itself),
/// or a key.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitFor {
    /// A queue.
    #[schema(example = "notifications")]
    #[param(example = "notifications")]
    queue: Option<String>,
    /// Only this partition of the queue.
    #[schema(example = json!(null))]
    partition: Option<String>,
    /// Each partition of the queue by itself, those to come too.
    #[schema(example = false)]
    #[serde(default)]
    #[param(default = false)]
    each_partition: bool,
    /// All jobs that were enqueued with this limit key.
    #[schema(example = json!(null))]
    key: Option<String>,
}

impl LimitFor {
    fn scope(self) -> Result<LimitScope, LimitRefusal> {
        LimitScope::named(self.queue, self.partition, self.each_partition, self.key)
    }

    fn of(scope: LimitScope) -> Self {
        let none = Self { queue: None, partition: None, each_partition: false, key: None };
        match scope {
            LimitScope::Queue { queue } => Self { queue: Some(queue), ..none },
            LimitScope::Partition { queue, partition } => {
                Self { queue: Some(queue), partition: Some(partition), ..none }
            }
            LimitScope::EachPartition { queue } => {
                Self { queue: Some(queue), each_partition: true, ..none }
            }
            LimitScope::Key { key } => Self { key: Some(key), ..none },
        }
    }
}

/// How fast jobs may start. In no stretch of time there are more than
/// `burst + starts * stretch / period`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateView {
    /// Starts.
    #[schema(example = 10, minimum = 1)]
    starts: u32,
    /// In so many seconds; 1 if it is left out.
    #[schema(example = 1.0, minimum = 0.001)]
    #[serde(default = "one_second")]
    period_seconds: f64,
    /// So many of them may come at once; if it is left out, what the rate gives in 20 ms.
    #[schema(example = 1, minimum = 1)]
    burst: Option<u32>,
}

fn one_second() -> f64 {
    1.0
}

impl RateView {
    fn rate(self) -> Result<StartRate, ApiError> {
        let period = Duration::try_from_secs_f64(self.period_seconds).unwrap_or_default();
        if period < Duration::from_millis(1) {
            let message = "`period_seconds` is at least 0.001";
            return Err(ApiError::unprocessable("invalid_limit", message));
        }
        let burst = StartRate::usual_burst(self.starts, period);
        Ok(StartRate { starts: self.starts, period, burst }.bursting(self.burst))
    }

    fn of(rate: StartRate) -> Self {
        let StartRate { starts, period, burst } = rate;
        Self { starts, period_seconds: period.as_secs_f64(), burst: Some(burst) }
    }
}

/// A limit to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLimit {
    /// What it is for.
    #[serde(rename = "for")]
    what: LimitFor,
    /// Jobs that may run at once.
    #[schema(example = 5, minimum = 1)]
    max_running: Option<u32>,
    /// How fast they may start.
    rate: Option<RateView>,
}

/// A limit, and what goes on under it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LimitView {
    /// What it is for.
    #[serde(rename = "for")]
    what: LimitFor,
    /// Jobs that may run at once.
    #[schema(example = 5)]
    max_running: Option<u32>,
    /// How fast they may start.
    rate: Option<RateView>,
    /// Jobs that run under it; of the one for each partition: under all that came from it.
    #[schema(example = 2)]
    running: u64,
    /// The rate allows no start before this; `null`: it allows one now.
    next_start: Option<DateTime<Utc>>,
    /// It came from the limit for each partition of its queue.
    #[schema(example = false)]
    from_each: bool,
}

impl From<LimitRow> for LimitView {
    fn from(l: LimitRow) -> Self {
        Self {
            what: LimitFor::of(l.scope),
            max_running: l.max_running,
            rate: l.rate.map(RateView::of),
            running: l.running,
            next_start: l.next_start,
            from_each: l.from_pattern,
        }
    }
}

fn refused(refusal: LimitRefusal) -> ApiError {
    match refusal {
        LimitRefusal::Store(fault) => fault.into(),
        wrong => ApiError::unprocessable("invalid_limit", wrong.to_string()),
    }
}

/// List limits
///
/// Those that came from a limit for each partition only if something runs under them.
#[utoipa::path(get, path = "/api/admin/limits", tag = "jobs", operation_id = "limits",
    responses((status = 200, description = "Up to 1,000 limits.",
        body = Envelope<Vec<LimitView>>)))]
async fn list(State(api): State<Api>, _: Caller<QueuesRead>) -> Answer<Vec<LimitView>> {
    let all = limits::list(&api.db, MOST_LISTED).await?;
    Ok(Reply::ok("limits", all.into_iter().map(LimitView::from).collect()))
}

/// Set a limit
///
/// In the place of the one that stood for the same. Claims that begin from now on keep to it,
/// exactly and over the whole fleet; what runs already counts for nothing.
#[utoipa::path(put, path = "/api/admin/limits", tag = "jobs", operation_id = "limit_set",
    request_body = NewLimit,
    responses(
        (status = 200, description = "Set.", body = Envelope<LimitFor>),
        (status = 422, description = "It does not say what it is for, or limits nothing.",
            body = ErrorEnvelope)))]
async fn set(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiJson(new): ApiJson<NewLimit>,
) -> Answer<LimitFor> {
    let scope = new.what.scope().map_err(refused)?;
    let rate = new.rate.map(RateView::rate).transpose()?;
    limits::set(&api.db, &scope, new.max_running, rate).await.map_err(refused)?;
    Ok(Reply::ok("set", LimitFor::of(scope)))
}

/// Take a limit away
#[utoipa::path(delete, path = "/api/admin/limits", tag = "jobs", operation_id = "limit_remove",
    params(LimitFor),
    responses(
        (status = 200, description = "It is gone.", body = Envelope<LimitFor>),
        (status = 404, description = "There is no such limit, or it came from the one for each \
            partition: then remove that, or set one for this partition.", body = ErrorEnvelope)))]
async fn remove(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    ApiQuery(what): ApiQuery<LimitFor>,
) -> Answer<LimitFor> {
    let scope = what
        .scope()
        .map_err(|refusal| ApiError::bad_request("invalid_query", refusal.to_string()))?;
    limits::remove(&api.db, &scope).await?;
    Ok(Reply::ok("removed", LimitFor::of(scope)))
}
