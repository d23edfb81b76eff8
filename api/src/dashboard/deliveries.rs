//! Deliveries: what came in, how it was judged, and judging it again.

use super::assets::Asset;
use super::error::Screen;
use super::format::{When, exact, short, size};
use super::job_view::JobView;
use super::jobs::missing;
use super::leads::cursor;
use super::live::{self, Hub};
use super::overview::curl;
use super::session::back;
use super::shell::{Fact, Notice, Pager, Shell, Tab, page};
use crate::auth::{Caller, EventsRead, EventsRerun};
use crate::{Api, ApiError, RequestContext};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;
use switchyard_catalog::line;
use switchyard_domain::{EventId, FieldFault};
use switchyard_store::events::RerunFault;
use switchyard_store::leads::{self, Lead, LeadFilter};
use switchyard_store::overview::{self, EventDetail, EventFilter, EventRow};
use switchyard_store::{Scope, jobs};

const PAGE: u32 = 40;
/// Bytes of a body that the page shows; the rest is behind "Raw".
const SHOWN: usize = 64 * 1024;

/// A delivery's row.
struct EventView {
    id: EventId,
    short: String,
    state: String,
    received: When,
    portal_code: String,
    portal_name: String,
    lead: Option<String>,
    reasons: Vec<FieldFault>,
    size: String,
}

impl EventView {
    fn new(row: EventRow, now: DateTime<Utc>) -> Self {
        Self {
            id: row.id,
            short: short(row.id),
            received: When::new(row.received_at, now),
            lead: row.lead.map(|id| format!("/ops/leads/{id}")),
            size: size(row.bytes),
            state: row.state,
            portal_code: row.portal_code,
            portal_name: row.portal_name,
            reasons: row.reasons,
        }
    }
}

/// The list's query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    state: Option<String>,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct Deliveries {
    shell: Shell,
    tabs: Vec<Tab>,
    rows: Vec<EventView>,
    filtered: bool,
    hint: &'static str,
    curl: String,
    pager: Pager,
    seen: String,
}

const TABS: [(EventFilter, &str, &str); 4] = [
    (EventFilter::All, "", "All"),
    (EventFilter::Received, "received", "Waiting"),
    (EventFilter::Rejected, "rejected", "Rejected"),
    (EventFilter::Held, "held", "Held"),
];

/// `GET /ops/deliveries`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<EventsRead>,
    shell: Shell,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Screen {
    let word = query.state.unwrap_or_default();
    let known = TABS.iter().find(|(_, w, _)| *w == word);
    let (filter, ..) = *known.ok_or_else(|| {
        ApiError::bad_request(
            "bad_state",
            "deliveries are listed as `received`, `rejected` or `held`",
        )
    })?;
    let after = cursor(query.after.as_deref())?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::events(&mut tx, filter, after, PAGE).await?;
    tx.rollback().await?;
    let href = |w: &str| {
        if w.is_empty() {
            "/ops/deliveries".to_owned()
        } else {
            format!("/ops/deliveries?state={w}")
        }
    };
    let tab = |(f, w, label): (EventFilter, &str, &'static str)| Tab {
        href: href(w),
        label,
        current: f == filter,
    };
    let empty = found.rows.is_empty();
    page(&Deliveries {
        tabs: TABS.into_iter().map(tab).collect(),
        rows: found.rows.into_iter().map(|r| EventView::new(r, shell.now)).collect(),
        filtered: filter != EventFilter::All || after.is_some(),
        hint: match filter {
            EventFilter::All => "Send a lead to a portal's address:",
            EventFilter::Received => "Everything that came in during the last day was judged.",
            EventFilter::Rejected => "No delivery was rejected.",
            EventFilter::Held => "No delivery is held: no portal is paused, or nothing came.",
        },
        curl: if empty && filter == EventFilter::All {
            curl(&headers, &api).await?
        } else {
            String::new()
        },
        pager: Pager::new(&href(&word), after.is_some(), found.next),
        seen: hub.data().await?.newest_event(),
        shell: shell.at("/ops/deliveries").live("/ops/live"),
    })
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Delivery {
    shell: Shell,
    e: EventView,
    /// Its leads after the first: what to call them, and where they are.
    more: Vec<(String, String)>,
    body: String,
    headers: Vec<(String, String)>,
    facts: Vec<Fact>,
    jobs: Vec<JobView>,
}

/// `GET /ops/deliveries/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<EventsRead>,
    shell: Shell,
    Path(id): Path<EventId>,
) -> Screen {
    let detail = load(&api, id).await?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let filter = LeadFilter { event: Some(id), limit: 200, ..LeadFilter::default() };
    let mut made = leads::list(&mut tx, &filter).await?;
    tx.rollback().await?;
    made.sort_by_key(|l| l.ordinal);
    made.retain(|l| Some(l.id) != detail.row.lead);
    let lead = |l: &Lead| (format!("Lead {}", l.ordinal + 1), format!("/ops/leads/{}", l.id));
    let rows = match &detail.row.request_id {
        Some(request) => jobs::by_request(&api.db, request).await?,
        None => Vec::new(),
    };
    let data = hub.data().await?;
    page(&Delivery {
        shell: shell.clone().at("/ops/deliveries").live(live::url(rows.iter().map(|r| r.id))),
        more: made.iter().map(lead).collect(),
        body: pretty(&detail.body),
        headers: headers_of(&detail),
        facts: facts(&detail),
        jobs: JobView::all(&api, &data, &rows, shell.now).await?,
        e: EventView::new(detail.row, shell.now),
    })
}

async fn load(api: &Api, id: EventId) -> Screen<EventDetail> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::event(&mut tx, id).await;
    tx.rollback().await?;
    found.map_err(|e| missing(e, "There is no such delivery."))
}

/// JSON indented, anything else as it is; what is no UTF-8 is marked as such.
fn pretty(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let text = json
        .and_then(|v| serde_json::to_string_pretty(&v).ok())
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}\n… the rest is behind “Raw”", &text[..cut]),
        None => text,
    }
}

fn headers_of(detail: &EventDetail) -> Vec<(String, String)> {
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match &detail.headers {
        serde_json::Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        serde_json::Value::Array(pairs) => {
            pairs.iter().filter_map(|pair| Some((text(pair.get(0)?), text(pair.get(1)?)))).collect()
        }
        _ => Vec::new(),
    }
}

fn facts(detail: &EventDetail) -> Vec<Fact> {
    let row = &detail.row;
    let mut facts = vec![
        Fact::code("Id", row.id.to_string()),
        Fact::new("Portal", row.portal_name.clone())
            .to(format!("/ops/portals/{}", row.portal_code)),
        Fact::new("Received", exact(row.received_at)),
    ];
    let some = [
        Fact::maybe("Judged", row.processed_at.map(exact)),
        Fact::maybe("By settings", detail.portal_version.map(|v| format!("version {v}"))),
        detail.remote_addr.clone().map(|a| Fact::code("From", a)),
        row.request_id.clone().map(|r| Fact::code("Request", r)),
    ];
    facts.extend(some.into_iter().flatten());
    facts
}

/// `GET /ops/deliveries/{id}/raw`: the body, byte for byte, as text that nothing will run.
pub(super) async fn raw(
    State(api): State<Api>,
    _: Caller<EventsRead>,
    Path(id): Path<EventId>,
) -> Screen {
    let detail = load(&api, id).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], detail.body).into_response())
}

/// `POST /ops/deliveries/{id}/rerun`
pub(super) async fn rerun(
    State(api): State<Api>,
    _: Caller<EventsRerun>,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<EventId>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let notice = match line::rerun(&mut tx, id, &cause(&context)).await {
        Ok(()) => {
            tx.commit().await?;
            Notice::done("The delivery is judged again, by the portal's settings of now.")
        }
        Err(RerunFault::Store(fault)) => {
            return Err(missing(fault, "There is no such delivery."));
        }
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(&format!("/ops/deliveries/{id}"), &notice, &headers))
}

/// The operator's request, for the jobs that follow.
pub(super) fn cause(context: &RequestContext) -> line::Cause {
    line::Cause { trace: Some(context.trace), request_id: Some(context.request_id.to_string()) }
}
