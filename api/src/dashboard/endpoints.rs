//! Endpoints of outbound webhooks: who hears of what, and what became of it.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::format::{When, exact, short, span};
use super::jobs::missing;
use super::session::back;
use super::shell::{Fact, Notice, Pager, Shell, Tab, page};
use crate::auth::{Caller, EndpointsManage};
use crate::{Api, ApiError, RequestContext};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use std::time::Duration;
use switchyard_catalog::outbound::{self as manage, EndpointFault};
use switchyard_domain::outbound::webhook_id;
use switchyard_domain::{EndpointId, OutboundMessageId};
use switchyard_store::outbound::{
    self, Attempt, Delivery, DeliveryFilter, DeliveryState, Endpoint, EndpointFilter,
    EndpointState, Health, ResendFault,
};
use switchyard_store::{Scope, StoreFault};
use uuid::Uuid;

const PAGE: i64 = 40;
/// As far back as records are kept.
const ALL_FAILED: TimeDelta = TimeDelta::days(30);
const NONE: &str = "There is no such endpoint.";

/// An endpoint's row.
struct EndpointView {
    id: EndpointId,
    short: String,
    title: String,
    url: String,
    state: EndpointState,
    reason: Option<String>,
    owner: String,
    events: String,
    ordered: bool,
    success: String,
    pending: i64,
    failed: i64,
    last_success: Option<When>,
}

impl EndpointView {
    fn new(e: &Endpoint, h: Health, now: DateTime<Utc>) -> Self {
        Self {
            id: e.id,
            short: short(e.id),
            title: if e.description.is_empty() { e.url.clone() } else { e.description.clone() },
            url: e.url.clone(),
            state: e.state,
            reason: e.reason.clone(),
            owner: e.owner.clone().unwrap_or_else(|| "a partner".to_owned()),
            events: e.events.join(" "),
            ordered: e.ordered,
            success: h
                .success_percent()
                .map_or_else(|| "–".to_owned(), |percent| format!("{percent} % of {}", h.attempts)),
            pending: h.pending,
            failed: h.failed,
            last_success: e.last_success_at.map(|t| When::new(t, now)),
        }
    }

    fn active(&self) -> bool {
        self.state == EndpointState::Active
    }
}

/// A delivery's row.
struct DeliveryView {
    endpoint: EndpointId,
    message: OutboundMessageId,
    short: String,
    kind: String,
    state: DeliveryState,
    why: String,
    attempts: i32,
    created: When,
}

impl DeliveryView {
    fn new(d: &Delivery, now: DateTime<Utc>) -> Self {
        Self {
            endpoint: d.endpoint,
            message: d.message,
            short: short(d.message),
            kind: d.kind.clone(),
            state: d.state,
            why: d.why(),
            attempts: d.attempts,
            created: When::new(d.created_at, now),
        }
    }
}

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Endpoints {
    shell: Shell,
    rows: Vec<EndpointView>,
    pager: Pager,
}

/// The lists' query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    show: Option<String>,
    after: Option<Uuid>,
}

/// `GET /ops/endpoints`
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller<EndpointsManage>,
    shell: Shell,
    Query(query): Query<ListQuery>,
) -> Screen {
    let before = query.after.map(EndpointId);
    let filter = EndpointFilter { before, limit: PAGE + 1, ..EndpointFilter::default() };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let mut found = outbound::list(&mut tx, &filter).await?;
    let next = cut(&mut found).map(|e| e.id);
    let ids: Vec<_> = found.iter().map(|e| e.id).collect();
    let health = outbound::health(&mut tx, &ids).await?;
    tx.rollback().await?;
    let of = |e: &Endpoint| health.get(&e.id).copied().unwrap_or_default();
    page(&Endpoints {
        rows: found.iter().map(|e| EndpointView::new(e, of(e), shell.now)).collect(),
        pager: Pager::new("/ops/endpoints", before.is_some(), next),
        shell: shell.at("/ops/endpoints"),
    })
}

/// Takes off the row that was asked for to know whether there is a next page; gives the last one.
fn cut<T>(rows: &mut Vec<T>) -> Option<&T> {
    let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    rows.last().filter(|_| more)
}

#[derive(Template)]
#[template(path = "endpoint.html")]
struct OneEndpoint {
    shell: Shell,
    e: EndpointView,
    tabs: Vec<Tab>,
    rows: Vec<DeliveryView>,
    pager: Pager,
    facts: Vec<Fact>,
}

const TABS: [(Option<DeliveryState>, &str); 4] = [
    (None, "All"),
    (Some(DeliveryState::Pending), "Pending"),
    (Some(DeliveryState::Delivered), "Delivered"),
    (Some(DeliveryState::Failed), "Failed"),
];

/// `GET /ops/endpoints/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<EndpointsManage>,
    shell: Shell,
    Path(id): Path<EndpointId>,
    Query(query): Query<ListQuery>,
) -> Screen {
    let bad = |e: String| ApiError::bad_request("bad_filter", e);
    let wanted = query.show.as_deref().filter(|s| !s.is_empty());
    let state = wanted.map(str::parse::<DeliveryState>).transpose().map_err(bad)?;
    let before = query.after.map(OutboundMessageId);
    let mut tx = api.db.begin(Scope::Platform).await?;
    let endpoint = outbound::get(&mut tx, id).await.map_err(|e| missing(e, NONE))?;
    let filter = DeliveryFilter { endpoint: id, state, before, limit: PAGE + 1 };
    let mut found = outbound::deliveries(&mut tx, &filter).await?;
    let next = cut(&mut found).map(|d| d.message);
    let health = outbound::health(&mut tx, &[id]).await?;
    tx.rollback().await?;
    let href = |s: Option<DeliveryState>| match s {
        Some(s) => format!("/ops/endpoints/{id}?show={s}"),
        None => format!("/ops/endpoints/{id}"),
    };
    let tab = |(s, label): (Option<DeliveryState>, &'static str)| Tab {
        href: href(s),
        label,
        current: s == state,
    };
    let health = health.get(&id).copied().unwrap_or_default();
    page(&OneEndpoint {
        tabs: TABS.into_iter().map(tab).collect(),
        rows: found.iter().map(|d| DeliveryView::new(d, shell.now)).collect(),
        pager: Pager::new(&href(state), before.is_some(), next),
        facts: facts(&endpoint),
        e: EndpointView::new(&endpoint, health, shell.now),
        shell: shell.at("/ops/endpoints"),
    })
}

fn facts(e: &Endpoint) -> Vec<Fact> {
    let owner = e.owner.clone().unwrap_or_else(|| "a partner of the platform".to_owned());
    let order = if e.ordered { "one at a time, in the order of events" } else { "none" };
    let mut facts = vec![
        Fact::code("Id", e.id.to_string()),
        Fact::code("URL", e.url.clone()),
        Fact::new("Of", owner),
        Fact::code("Hears of", e.events.join(" ")),
        Fact::new("Order", order),
        Fact::new("Added", exact(e.created_at)),
    ];
    let some = [
        Fact::maybe("Rate", e.rate.map(|r| format!("{r} requests a second"))),
        Fact::maybe("Failing since", e.failing_since.map(exact)),
        Fact::maybe("Last failure", e.last_failure_at.map(exact)),
        Fact::maybe("Last success", e.last_success_at.map(exact)),
        Fact::maybe("Old secret signs until", e.old_secret_until.map(exact)),
    ];
    facts.extend(some.into_iter().flatten());
    facts
}

/// An attempt's row.
struct AttemptView {
    n: i32,
    started: String,
    status: String,
    took: String,
    error: Option<String>,
    body: String,
}

impl From<Attempt> for AttemptView {
    fn from(a: Attempt) -> Self {
        let took = |ms: i32| span(Duration::from_millis(u64::from(ms.unsigned_abs())));
        Self {
            n: a.n,
            started: exact(a.started_at),
            status: a.status.map_or_else(|| "–".to_owned(), |s| s.to_string()),
            took: a.duration_ms.map_or_else(|| "–".to_owned(), took),
            error: a.error,
            body: a.body.unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "endpoint_delivery.html")]
struct OneDelivery {
    shell: Shell,
    d: DeliveryView,
    endpoint_short: String,
    attempts: Vec<AttemptView>,
    payload: String,
    facts: Vec<Fact>,
}

/// `GET /ops/endpoints/{id}/deliveries/{message}`
pub(super) async fn delivery(
    State(api): State<Api>,
    _: Caller<EndpointsManage>,
    shell: Shell,
    Path((id, message)): Path<(EndpointId, OutboundMessageId)>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = outbound::delivery(&mut tx, id, message).await;
    let (d, payload) = found.map_err(|e| missing(e, "There is no such delivery."))?;
    let attempts = outbound::attempts(&mut tx, id, message).await?;
    tx.rollback().await?;
    let mut facts = vec![
        Fact::code("webhook-id", webhook_id(message)),
        Fact::new("Happened", exact(d.created_at)),
    ];
    let some = [
        Fact::maybe("Next attempt", d.next_at.map(exact)),
        Fact::maybe("Settled", d.settled_at.map(exact)),
        d.job.map(|j| Fact::code("Job", j.to_string()).to(format!("/ops/jobs/{j}"))),
        d.lead.map(|l| Fact::new("About", "the lead").to(format!("/ops/leads/{l}"))),
    ];
    facts.extend(some.into_iter().flatten());
    page(&OneDelivery {
        d: DeliveryView::new(&d, shell.now),
        endpoint_short: short(id),
        attempts: attempts.into_iter().map(AttemptView::from).collect(),
        payload: serde_json::to_string_pretty(&payload).map_err(ApiError::internal)?,
        facts,
        shell: shell.at("/ops/endpoints"),
    })
}

/// `POST /ops/endpoints/{id}/{verb}`: `pause`, `resume`, `test` or `resend` (all that failed).
pub(super) async fn act(
    State(api): State<Api>,
    _: Caller<EndpointsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path((id, verb)): Path<(EndpointId, String)>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let cause = cause(&context);
    let done = match verb.as_str() {
        "pause" => manage::pause(&mut tx, id)
            .await
            .map(|_| "The endpoint is paused. What happens meanwhile is kept for it.")
            .map_err(EndpointFault::from),
        "resume" => manage::resume(&mut tx, id, &cause)
            .await
            .map(|_| "The endpoint goes on. What waited is sent now.")
            .map_err(EndpointFault::from),
        "test" => manage::test(&mut tx, id, &cause).await.map(|_| "The test is on its way."),
        "resend" => manage::resend_failed(&mut tx, id, api.clock.now() - ALL_FAILED, &cause)
            .await
            .map(|()| "Everything that was given up is sent again."),
        _ => {
            let what = "Endpoints can be paused, resumed, tested, and what failed be resent.";
            return Err(OpsError::not_found(what));
        }
    };
    let notice = match done {
        Ok(said) => {
            tx.commit().await?;
            Notice::done(said)
        }
        Err(EndpointFault::Store(StoreFault::NotFound)) => return Err(OpsError::not_found(NONE)),
        Err(EndpointFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(&format!("/ops/endpoints/{id}"), &notice, &headers))
}

/// `POST /ops/endpoints/{id}/deliveries/{message}/resend`
pub(super) async fn resend(
    State(api): State<Api>,
    _: Caller<EndpointsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path((id, message)): Path<(EndpointId, OutboundMessageId)>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let notice = match manage::resend(&mut tx, id, message, &cause(&context)).await {
        Ok(()) => {
            tx.commit().await?;
            Notice::done("It is sent again, with the same id.")
        }
        Err(ResendFault::Store(fault)) => return Err(missing(fault, "There is no such delivery.")),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(&format!("/ops/endpoints/{id}/deliveries/{message}"), &notice, &headers))
}
