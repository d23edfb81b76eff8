//! Whether this process lives, and whether it can do its work.

use crate::envelope::Envelope;
use crate::{Api, ApiError, ErrorEnvelope, Probe, Reply};
use axum::extract::State;
use futures::future::join_all;
use serde::Serialize;
use std::time::Duration;
use switchyard_store::MigrationStatus;
use switchyard_store::backups::restored;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Nobody waits longer than this for an answer about health.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(summary)).routes(routes!(live)).routes(routes!(ready))
}

/// How well one part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// It answers.
    Ok,
    /// It does not answer, but the service can do without.
    Degraded,
    /// It does not answer, and the service cannot do without.
    Failed,
}

/// One part and how it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    /// The part.
    #[schema(example = "database")]
    name: &'static str,
    /// How it is.
    status: Condition,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The worst of the parts, and each part.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// The worst of the parts.
    status: Condition,
    /// The program's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Every part.
    checks: Vec<Check>,
}

/// How every part is
///
/// Always 200 while the process can answer: the condition is in the body. For load balancers there
/// are `/health/live` and `/health/ready`.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "health",
    responses((status = 200, description = "How every part is.", body = Envelope<Health>)))]
async fn summary(State(api): State<Api>) -> Reply<Health> {
    let health = examine(&api).await;
    Reply::ok("health", health)
}

/// Whether the process lives
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "health_live",
    responses((status = 200, description = "The process lives.", body = Envelope<Health>)))]
async fn live() -> Reply<Health> {
    Reply::ok("alive", summarised(Vec::new()))
}

/// Whether the process can do its work
///
/// Needs the database with all migrations. What the service can do without only makes it degraded.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "health_ready",
    responses(
        (status = 200, description = "It can do its work.", body = Envelope<Health>),
        (status = 503, description = "It cannot; the details say why.", body = ErrorEnvelope)))]
async fn ready(State(api): State<Api>) -> Result<Reply<Health>, ApiError> {
    let health = examine(&api).await;
    if health.status == Condition::Failed {
        let wait = Duration::from_secs(2);
        let details = serde_json::to_value(&health).map_err(ApiError::internal)?;
        return Err(ApiError::unavailable("not_ready", wait, "not ready").details(details));
    }
    Ok(Reply::ok("ready", health))
}

async fn examine(api: &Api) -> Health {
    let mut checks = vec![database(api).await];
    checks.extend(released(api).await);
    checks.extend(join_all(api.probes.iter().map(other)).await);
    summarised(checks)
}

fn summarised(checks: Vec<Check>) -> Health {
    let has = |c| checks.iter().any(|x: &Check| x.status == c);
    let status = if has(Condition::Failed) {
        Condition::Failed
    } else if has(Condition::Degraded) {
        Condition::Degraded
    } else {
        Condition::Ok
    };
    Health { status, version: env!("CARGO_PKG_VERSION"), checks }
}

async fn database(api: &Api) -> Check {
    let answer = tokio::time::timeout(PATIENCE, api.db.migration_status()).await;
    let problem = match answer {
        Ok(Ok(MigrationStatus { known, applied, .. })) if applied >= known => None,
        Ok(Ok(MigrationStatus { known, applied, .. })) => {
            Some(format!("{applied} of {known} migrations are applied: run `switchyard migrate`"))
        }
        Ok(Err(_)) => Some("it does not answer".to_owned()),
        Err(_) => Some("it did not answer in time".to_owned()),
    };
    let status = if problem.is_none() { Condition::Ok } else { Condition::Failed };
    Check { name: "database", status, problem }
}

/// A system that was restored and is not released does its work but for what leaves it.
async fn released(api: &Api) -> Option<Check> {
    let asked = tokio::time::timeout(PATIENCE, restored::awaits_release(&api.db)).await;
    let problem = "this system was restored and is not released: nothing leaves it until \
                   `switchyard release`";
    matches!(asked, Ok(Ok(true))).then(|| Check {
        name: "released",
        status: Condition::Degraded,
        problem: Some(problem.to_owned()),
    })
}

async fn other(probe: &Probe) -> Check {
    let answer = tokio::time::timeout(PATIENCE, (probe.check)()).await;
    let problem = match answer {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("it did not answer in time".to_owned()),
    };
    let status = if problem.is_none() { Condition::Ok } else { Condition::Degraded };
    Check { name: probe.name, status, problem }
}
