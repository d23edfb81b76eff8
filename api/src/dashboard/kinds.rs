//! Kinds of job: who knows them, how many there are, and pausing them.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::grouped;
use super::jobs::missing;
use super::live::Hub;
use super::overview::QUEUE_COLUMNS;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::Api;
use crate::auth::{Caller, JobsRead, QueuesManage};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use std::sync::Arc;
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, KindSummary};

/// A kind's row.
struct KindView {
    kind: String,
    about: &'static str,
    aliases: String,
    queue: Option<String>,
    paused: bool,
    unserved: bool,
    counts: Vec<i64>,
}

impl KindView {
    /// (state, number, whether it is none), in the order of the columns.
    fn cells(&self) -> impl Iterator<Item = (JobState, String, bool)> {
        QUEUE_COLUMNS.iter().zip(&self.counts).map(|((s, _), n)| (*s, grouped(*n), *n == 0))
    }
}

#[derive(Template)]
#[template(path = "kinds.html")]
struct Kinds {
    shell: Shell,
    rows: Vec<KindView>,
}

/// `GET /ops/kinds`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<JobsRead>,
    shell: Shell,
) -> Screen {
    let data = hub.data().await?;
    let known = api.registry.kinds();
    let view = |k: KindSummary| KindView {
        about: known.iter().find(|i| i.kind == k.kind).map_or("", |i| i.about),
        aliases: k.aliases.join(", "),
        unserved: data.unserved(&k.kind),
        counts: QUEUE_COLUMNS
            .iter()
            .map(|(state, _)| k.counts.get(state).copied().unwrap_or(0))
            .collect(),
        queue: k.queue,
        paused: k.paused,
        kind: k.kind,
    };
    let rows = jobs::kinds(&api.db).await?.into_iter().map(view).collect();
    page(&Kinds { rows, shell: shell.at("/ops/kinds") })
}

/// `POST /ops/kinds/{kind}/{verb}`: `pause` or `resume`.
pub(super) async fn act(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Path((kind, verb)): Path<(String, String)>,
) -> Screen {
    let paused = match verb.as_str() {
        "pause" => true,
        "resume" => false,
        _ => return Err(OpsError::not_found("Kinds can be paused and resumed.")),
    };
    let none = "No worker ever declared this kind.";
    jobs::pause_kind(&api.db, &kind, paused).await.map_err(|e| missing(e, none))?;
    let word =
        if paused { "is paused: what runs goes on, nothing new is started" } else { "goes on" };
    let notice = Notice::done(format!("The kind {kind} {word}."));
    Ok(back("/ops/kinds", &notice, &headers))
}
