//! Portals: who may send, and how their events are read.

use super::assets::Asset;
use super::error::Screen;
use super::format::When;
use super::jobs::missing;
use super::overview::curl_to;
use super::shell::{Shell, page};
use crate::auth::{Caller, PortalsRead};
use crate::{Api, ApiError};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use switchyard_store::Scope;
use switchyard_store::overview::{self, PortalRow};

/// A portal's row.
struct PortalView {
    code: String,
    name: String,
    active: bool,
    auth: &'static str,
    version: i32,
    rejected: i64,
    updated: When,
}

impl PortalView {
    fn new(row: &PortalRow, now: DateTime<Utc>) -> Self {
        Self {
            code: row.code.clone(),
            name: row.name.clone(),
            active: row.active,
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
    tx.rollback().await?;
    let rows = rows.iter().map(|p| PortalView::new(p, shell.now)).collect();
    page(&Portals { rows, shell: shell.at("/ops/portals") })
}

#[derive(Template)]
#[template(path = "portal.html")]
struct Portal {
    shell: Shell,
    p: PortalView,
    curl: String,
    settings: String,
}

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
    tx.rollback().await?;
    let row = found.map_err(|e| missing(e, "There is no portal with this code."))?;
    page(&Portal {
        p: PortalView::new(&row, shell.now),
        curl: curl_to(&headers, &row, "@delivery.json"),
        settings: serde_json::to_string_pretty(&row.settings).map_err(ApiError::internal)?,
        shell: shell.at("/ops/portals"),
    })
}
