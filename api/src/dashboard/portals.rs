//! Portals: who may send, and how their events are read.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::format::{When, grouped};
use super::jobs::missing;
use super::overview::curl_to;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::auth::{Caller, PortalsManage, PortalsRead};
use crate::{Api, ApiError, RequestContext};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use switchyard_catalog::line;
use switchyard_store::overview::{self, PortalRow};
use switchyard_store::portals::{self, PortalVersion};
use switchyard_store::refusals::{self, Circuit, Refusal};
use switchyard_store::{Scope, Tx};

/// A portal's row.
struct PortalView {
    code: String,
    name: String,
    /// `active`, `closed`, `paused` or `silent`.
    state: &'static str,
    last: Option<When>,
    auth: &'static str,
    version: i32,
    rejected: i64,
    /// The share of requests refused in the last hour, or a dash.
    refused: String,
    updated: When,
}

impl PortalView {
    fn new(row: &PortalRow, circuits: &[Circuit], now: DateTime<Utc>) -> Self {
        let circuit = circuits.iter().find(|c| c.portal == row.id);
        Self {
            refused: circuit.and_then(rate).unwrap_or_else(|| "–".to_owned()),
            code: row.code.clone(),
            name: row.name.clone(),
            state: match (row.active, row.paused, row.silent_since) {
                (false, ..) => "closed",
                (_, true, _) => "paused",
                (.., Some(_)) => "silent",
                _ => "active",
            },
            last: row.last_event_at.map(|at| When::new(at, now)),
            auth: match (row.has_key, row.has_secret) {
                (true, true) => "API key and signature",
                (true, false) => "API key",
                (false, true) => "Signature",
                (false, false) => "none",
            },
            version: row.version,
            rejected: row.rejected,
            updated: When::new(row.updated_at, now),
        }
    }
}

#[derive(Template)]
#[template(path = "portals.html")]
struct Portals {
    shell: Shell,
    rows: Vec<PortalView>,
}

/// `GET /ops/portals`
pub(super) async fn list(State(api): State<Api>, _: Caller<PortalsRead>, shell: Shell) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let rows = overview::portals(&mut tx).await?;
    let circuits = refusals::circuits(&mut tx, None).await?;
    tx.rollback().await?;
    let rows = rows.iter().map(|p| PortalView::new(p, &circuits, shell.now)).collect();
    page(&Portals { rows, shell: shell.at("/ops/portals") })
}

/// The share of refused requests, for people; `None` if nothing came.
fn rate(circuit: &Circuit) -> Option<String> {
    circuit.error_rate().map(|rate| format!("{:.1} %", rate * 100.0))
}

/// How many refusals the portal's page shows.
const REFUSALS_SHOWN: i64 = 20;

/// The last hour at the door.
struct CircuitView {
    taken: String,
    refused: String,
    /// In hundredths, or empty if nothing came.
    rate: String,
    codes: Vec<(String, String)>,
}

impl From<Option<&Circuit>> for CircuitView {
    fn from(circuit: Option<&Circuit>) -> Self {
        let rate = circuit.and_then(rate);
        let codes = circuit.iter().flat_map(|c| &c.codes);
        Self {
            taken: grouped(circuit.map_or(0, |c| c.taken)),
            refused: grouped(circuit.map_or(0, |c| c.refused)),
            rate: rate.unwrap_or_default(),
            codes: codes.map(|(code, n)| (code.clone(), grouped(*n))).collect(),
        }
    }
}

/// A refused request's row.
struct RefusalView {
    at: When,
    address: String,
    status: u16,
    code: String,
    message: String,
}

impl RefusalView {
    fn new(refusal: &Refusal, now: DateTime<Utc>) -> Self {
        let request = &refusal.request;
        Self {
            at: When::new(refusal.at, now),
            address: request.address.clone(),
            status: request.status,
            code: request.code.clone(),
            message: request.message.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "portal.html")]
struct Portal {
    shell: Shell,
    p: PortalView,
    paused: Option<When>,
    circuit: CircuitView,
    refusals: Vec<RefusalView>,
    curl: String,
    settings: String,
    versions: Vec<VersionView>,
}

/// One version of the settings.
struct VersionView {
    version: i32,
    current: bool,
    by: String,
    changed: When,
    settings: String,
}

impl VersionView {
    fn new(v: PortalVersion, current: i32, now: DateTime<Utc>) -> Self {
        Self {
            version: v.version,
            current: v.version == current,
            by: v.changed_by,
            changed: When::new(v.changed_at, now),
            settings: serde_json::to_string_pretty(&v.settings).unwrap_or_default(),
        }
    }
}

/// Versions that the page shows; the others are told by `switchyard portals versions`.
const VERSIONS: usize = 20;

/// `GET /ops/portals/{code}`
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<PortalsRead>,
    shell: Shell,
    headers: HeaderMap,
    Path(code): Path<String>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::portal(&mut tx, &code).await;
    let row = found.map_err(|e| missing(e, "There is no portal with this code."))?;
    let paused = portals::get(&mut tx, row.id).await?.paused_at;
    let circuits = refusals::circuits(&mut tx, Some(row.id)).await?;
    let refused = refusals::list(&mut tx, row.id, None, REFUSALS_SHOWN).await?;
    let versions = portals::versions(&mut tx, row.id).await?;
    tx.rollback().await?;
    let version = |v| VersionView::new(v, row.version, shell.now);
    page(&Portal {
        paused: paused.map(|at| When::new(at, shell.now)),
        circuit: CircuitView::from(circuits.first()),
        refusals: refused.iter().map(|r| RefusalView::new(r, shell.now)).collect(),
        versions: versions.into_iter().take(VERSIONS).map(version).collect(),
        p: PortalView::new(&row, &circuits, shell.now),
        curl: curl_to(&headers, &row, "@delivery.json"),
        settings: serde_json::to_string_pretty(&row.settings).map_err(ApiError::internal)?,
        shell: shell.at("/ops/portals"),
    })
}

/// `POST /ops/portals/{code}/{verb}`: pause, resume.
pub(super) async fn act(
    State(api): State<Api>,
    _: Caller<PortalsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path((code, verb)): Path<(String, String)>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = named(&mut tx, &code).await?;
    let notice = match verb.as_str() {
        "pause" => {
            line::pause(&mut tx, portal.id).await?;
            Notice::done("Paused: what comes is taken and held.")
        }
        "resume" => {
            line::resume(&mut tx, portal.id, &cause(&context)).await?;
            Notice::done("It goes on. What was held is judged now.")
        }
        _ => return Err(OpsError::not_found("There is no such action.")),
    };
    tx.commit().await?;
    Ok(back(&format!("/ops/portals/{code}"), &notice, &headers))
}

/// `POST /ops/portals/{code}/rollback/{version}`
pub(super) async fn rollback(
    State(api): State<Api>,
    caller: Caller<PortalsManage>,
    headers: HeaderMap,
    Path((code, version)): Path<(String, i32)>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portal = named(&mut tx, &code).await?;
    portals::acting(&mut tx, &format!("admin:{}", caller.claims.sub)).await?;
    let now = portals::rollback(&mut tx, portal.id, version).await;
    let now = now.map_err(|e| missing(e, "The portal has no such version."))?;
    tx.commit().await?;
    api.portals.forget(&code).await;
    let told = format!("The settings of version {version} are in force, as version {now}.");
    Ok(back(&format!("/ops/portals/{code}"), &Notice::done(told), &headers))
}

async fn named(tx: &mut Tx, code: &str) -> Screen<portals::Portal> {
    let found = portals::by_code(tx, code).await?;
    found.ok_or_else(|| OpsError::not_found("There is no portal with this code."))
}
