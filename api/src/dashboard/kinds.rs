//! Kinds of job: who knows them, how many there are, and pausing them.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{grouped, span};
use super::jobs::missing;
use super::live::Hub;
use super::overview::QUEUE_COLUMNS;
use super::pauses::Verb;
use super::session::back;
use super::shell::{Shell, page};
use crate::Api;
use crate::auth::{Caller, JobsRead, QueuesManage};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, Drained, KindRules, KindSummary};

/// A kind's row.
struct KindView {
    kind: String,
    about: &'static str,
    aliases: String,
    queue: Option<String>,
    paused: bool,
    unserved: bool,
    /// How its jobs are run, in words; empty if nobody says so.
    rules: String,
    encrypted: bool,
    counts: Vec<i64>,
}

impl KindView {
    /// (state, number, whether it is none), in the order of the columns.
    fn cells(&self) -> impl Iterator<Item = (JobState, String, bool)> {
        QUEUE_COLUMNS.iter().zip(&self.counts).map(|((s, _), n)| (*s, grouped(*n), *n == 0))
    }
}

fn words(r: &KindRules) -> Vec<String> {
    let seconds = |s: f64| span(Duration::try_from_secs_f64(s).unwrap_or_default());
    let all = [
        Some(format!("timeout {}", seconds(r.timeout_seconds))),
        Some(format!("{} attempts", r.max_attempts)),
        r.deadline_seconds.map(|s| format!("deadline {}", seconds(s))),
        Some(format!("{} retention", r.retention)),
        r.stuck_after_seconds.map(|s| format!("stuck after {}", seconds(s))),
    ];
    all.into_iter().flatten().collect()
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
    let info = |kind: &str| known.iter().find(|i| i.kind == kind);
    let view = |k: KindSummary| KindView {
        about: info(&k.kind).map_or("", |i| i.about),
        rules: k.rules.as_ref().map(words).unwrap_or_default().join(" · "),
        encrypted: k.rules.as_ref().is_some_and(|r| r.encrypted),
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
    let all = jobs::kinds(&api.db).await?.into_iter();
    let rows = all.map(|k| {
        let info = info(&k.kind);
        view(k.known_as(info))
    });
    let rows = rows.collect();
    page(&Kinds { rows, shell: shell.at("/ops/kinds") })
}

/// `POST /ops/kinds/{kind}/{verb}`: `pause`, `resume` or `drain`.
pub(super) async fn act(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Path((kind, verb)): Path<(String, String)>,
) -> Screen {
    let verb = Verb::of(&verb)
        .ok_or_else(|| OpsError::not_found("Kinds can be paused, resumed and drained."))?;
    let done = verb.apply(&api, Drained::Kind(&kind), &format!("The kind {kind}")).await;
    let notice = done.map_err(|e| missing(e, "No worker ever declared this kind."))?;
    Ok(back("/ops/kinds", &notice, &headers))
}
