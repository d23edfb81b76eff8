//! Judging events again, one or a range, first as a dry run.

use super::events::portal_id;
use crate::auth::{Caller, EventsRead, EventsRerun};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_catalog::replay::EventReplay;
use switchyard_catalog::{line, replay};
use switchyard_domain::EventId;
use switchyard_store::Scope;
use switchyard_store::events::{self, EventState, Range};
use switchyard_store::replays::{self, Replay};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(show))
}

/// Which events to judge again: one, or those of a range. A range needs at least one condition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// One event; then nothing else is said of which.
    event: Option<Uuid>,
    /// Events of this portal, by code.
    #[schema(example = "demo")]
    portal: Option<String>,
    /// Events that came then or later.
    from: Option<DateTime<Utc>>,
    /// Events that came before; now, if nothing is said.
    to: Option<DateTime<Utc>>,
    /// Events in this state.
    #[schema(value_type = Option<String>, example = "rejected")]
    state: Option<EventState>,
    /// Show what would change and change nothing.
    #[serde(default)]
    #[schema(example = true)]
    dry_run: bool,
}

/// A replay of a range, or what was found at one event.
#[derive(Debug, Serialize, ToSchema)]
struct ReplayView {
    /// The replay of a range, to ask for how far it is; `null` for one event.
    id: Option<Uuid>,
    dry_run: bool,
    /// Events in the range, counted up to 100,000.
    total: i64,
    /// `events`, `events_changed`, and leads by what happens to them.
    #[schema(example = json!({"events": 2, "events_changed": 1, "leads_changed": 1, "leads_same": 1}))]
    counts: BTreeMap<String, i64>,
    /// The events with a difference, at most 200: per lead the field, before and after.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Value>,
    created_at: Option<DateTime<Utc>>,
    /// `null`: it is under way.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Replay> for ReplayView {
    fn from(r: Replay) -> Self {
        Self {
            id: Some(r.id),
            dry_run: r.dry_run,
            total: r.total,
            counts: r.counts,
            changes: r.changes,
            created_at: Some(r.created_at),
            finished_at: r.finished_at,
        }
    }
}

impl ReplayView {
    fn of_one(told: &EventReplay, dry_run: bool) -> Result<Self, ApiError> {
        let mut counts = BTreeMap::new();
        told.count(&mut counts);
        let told = serde_json::to_value(told).map_err(ApiError::internal)?;
        let (id, created_at, finished_at) = (None, None, None);
        Ok(Self { id, dry_run, total: 1, counts, changes: vec![told], created_at, finished_at })
    }
}

/// Judge events again
///
/// By their portals' settings of today. Leads that stand are changed in place: what they say, never who
/// holds them. New ones are given out. Ones that the mapping would not make now are told and stay. Doing
/// it again changes nothing. One event is judged at once; a range is a job that shows how far it is.
#[utoipa::path(post, path = "/api/admin/events/replay", tag = "line", operation_id = "events_replay",
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "One event: what changed, or would.", body = Envelope<ReplayView>),
        (status = 202, description = "A range: it is under way.", body = Envelope<ReplayView>),
        (status = 404, description = "There is no such event or portal.", body = ErrorEnvelope),
        (status = 422, description = "Nothing says which events.", body = ErrorEnvelope)))]
async fn start(
    State(api): State<Api>,
    caller: Caller<EventsRerun>,
    context: RequestContext,
    ApiJson(request): ApiJson<ReplayRequest>,
) -> Answer<ReplayView> {
    let ReplayRequest { event, portal, from, to, state, dry_run } = request;
    let ranged = portal.is_some() || from.is_some() || to.is_some() || state.is_some();
    if let (Some(event), false) = (event, ranged) {
        return one(&api, EventId(event), dry_run, &context.as_cause()).await;
    }
    if event.is_some() || !ranged {
        let message = "say which events: `event` alone, or `portal`, `from`, `to` and `state`";
        return Err(ApiError::unprocessable("which_events", message));
    }
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = portal_id(&mut tx, portal.as_deref()).await?;
    let to = match to {
        Some(to) => to,
        None => events::now(&mut tx).await?,
    };
    let range = Range { portal, from, to, state };
    let by = format!("admin:{}", caller.claims.sub);
    let asked = line::replay_range(&mut tx, &range, dry_run, &by, &context.as_cause()).await?;
    tx.commit().await?;
    Ok(Reply::ok("it is under way", asked.into()).status(StatusCode::ACCEPTED))
}

async fn one(api: &Api, event: EventId, dry_run: bool, cause: &line::Cause) -> Answer<ReplayView> {
    if dry_run {
        let told = replay::preview(&api.db, event).await?;
        return Ok(Reply::ok("nothing was changed", ReplayView::of_one(&told, true)?));
    }
    let mut tx = api.db.begin(Scope::Platform).await?;
    let told = line::replay(&mut tx, event, cause).await?;
    tx.commit().await?;
    let message = if told.differs() { "changed" } else { "nothing differs" };
    Ok(Reply::ok(message, ReplayView::of_one(&told, false)?))
}

/// See how far a replay is and what it found
#[utoipa::path(get, path = "/api/admin/replays/{id}", tag = "line", operation_id = "replay",
    params(("id" = Uuid, Path, description = "The replay")),
    responses(
        (status = 200, description = "The replay.", body = Envelope<ReplayView>),
        (status = 404, description = "There is no such replay.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<EventsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<ReplayView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    Ok(Reply::ok("replay", replays::get(&mut tx, id).await?.into()))
}
