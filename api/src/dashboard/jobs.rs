//! Jobs: the list, one job with its attempts, and what an operator can do with it.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{When, exact, span};
use super::job_view::{JobDone, JobView};
use super::live::{self, Hub};
use super::session::back;
use super::shell::{Fact, Notice, Pager, Shell, page};
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::{Api, ApiError};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use switchyard_queue::{JobId, JobState};
use switchyard_store::StoreFault;
use switchyard_store::jobs::{
    self, AttemptRow, EffectRow, EffectShown, Filter, JobFilter, JobRow, Refusal, Why,
};

const PAGE: u32 = 40;

/// What the list shows, as links and forms need it.
struct Shown {
    filter: Filter,
    state: Option<JobState>,
    kind: Option<String>,
    queue: Option<String>,
}

impl Shown {
    fn new(filter: Filter) -> Self {
        let (state, kind) = (filter.states.first().copied(), filter.kinds.first().cloned());
        Self { state, kind, queue: filter.queue.clone(), filter }
    }

    fn href(&self, state: Option<JobState>) -> String {
        let states = state.into_iter().collect();
        Self::link(&Filter { states, stuck: false, ..self.filter.clone() })
    }

    fn stuck_href(&self) -> String {
        Self::link(&Filter { states: Vec::new(), stuck: true, ..self.filter.clone() })
    }

    fn link(filter: &Filter) -> String {
        let query = query_of(filter.pairs().into_iter());
        if query.is_empty() { "/ops/jobs".to_owned() } else { format!("/ops/jobs?{query}") }
    }

    /// This list, from its beginning.
    fn here(&self) -> String {
        Self::link(&self.filter)
    }

    fn is_open(&self) -> bool {
        self.filter == Filter::default()
    }

    /// More is asked than the plain list knows.
    fn is_search(&self) -> bool {
        let simple = Filter {
            states: self.state.into_iter().collect(),
            kinds: self.kind.clone().into_iter().collect(),
            queue: self.queue.clone(),
            stuck: self.filter.stuck,
            ..Filter::default()
        };
        self.filter != simple
    }

    /// The text of a field of the search form.
    fn text(&self, name: &str) -> String {
        let found = self.filter.pairs().into_iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value).unwrap_or_default()
    }

    /// The same of a time, as a form field takes it.
    fn minute(&self, name: &str) -> String {
        self.text(name).get(..16).unwrap_or_default().to_owned()
    }

    /// Fields that the search form does not show, and those that the bulk form passes on.
    fn hidden(&self, shown: &[&str]) -> Vec<(&'static str, String)> {
        self.filter.pairs().into_iter().filter(|(name, _)| !shown.contains(name)).collect()
    }
}

pub(super) fn query_of(pairs: impl Iterator<Item = (&'static str, String)>) -> String {
    let pairs: Vec<String> =
        pairs.map(|(k, v)| format!("{k}={}", super::session::urlencode(&v))).collect();
    pairs.join("&")
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    shell: Shell,
    filter: Shown,
    kinds: Vec<String>,
    queues: Vec<String>,
    rows: Vec<JobView>,
    pager: Pager,
    seen: i64,
    /// How far a search looked before its time was up.
    looked: Option<When>,
    oob: bool,
}

/// `GET /ops/jobs`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<JobsRead>,
    shell: Shell,
    Query(query): Query<Vec<(String, String)>>,
) -> Screen {
    let wrong = |e: String| ApiError::bad_request("invalid_query", e);
    let (mut filter, mut after) = (Filter::default(), None);
    for (name, value) in query {
        match name.as_str() {
            "id" if value.trim().is_empty() => {}
            "id" => return look_up(&value),
            "after" => after = Some(value).filter(|v| !v.is_empty()),
            _ => filter.set(&name, value.trim()).map_err(wrong)?,
        }
    }
    let filter = Shown::new(filter);
    let (rows, next, looked) = if filter.is_search() {
        let cursor = after.as_deref().map(str::parse).transpose().map_err(wrong)?;
        let found = jobs::search(&api.db, &filter.filter, cursor, PAGE).await?;
        (found.rows, found.next.map(|c| c.to_string()), found.looked_back_to)
    } else {
        let before = after.as_deref().map(str::parse).transpose();
        let before = before.map_err(|_| wrong("`after` is no job id".to_owned()))?;
        let wanted = JobFilter {
            state: filter.state,
            kind: filter.kind.clone(),
            queue: filter.queue.clone(),
            stuck: filter.filter.stuck,
            before,
            limit: PAGE + 1,
            ..JobFilter::default()
        };
        let mut rows = jobs::list(&api.db, &wanted).await?;
        let more = rows.len() > PAGE as usize;
        rows.truncate(PAGE as usize);
        let next = rows.last().filter(|_| more).map(|r| r.id.to_string());
        (rows, next, None)
    };
    let data = hub.data().await?;
    let now = shell.now;
    let views = JobView::all(&api, &data, &rows, now).await?;
    let open = rows.iter().filter(|r| !r.state.is_final()).map(|r| r.id);
    page(&Jobs {
        shell: shell.at("/ops/jobs").live(live::url(open)),
        kinds: kinds(&api, &filter),
        queues: data.queues.iter().map(|q| q.name.clone()).collect(),
        pager: Pager::new(&filter.here(), after.is_some(), next),
        rows: views,
        seen: data.jobs(),
        looked: looked.map(|at| When::new(at, now)),
        filter,
        oob: false,
    })
}

fn look_up(id: &str) -> Screen {
    let found = id.trim().trim_start_matches("job:").parse::<JobId>();
    let id = found.map_err(|_| {
        OpsError::not_found("That is no job id; it looks like 0198c2d4-…, 36 characters.")
    })?;
    Ok(Redirect::to(&format!("/ops/jobs/{id}")).into_response())
}

/// The kinds that this program knows, and the one that is asked for.
fn kinds(api: &Api, filter: &Shown) -> Vec<String> {
    let mut kinds: Vec<String> = api.registry.kinds().iter().map(|k| k.kind.to_owned()).collect();
    if let Some(kind) = filter.kind.as_ref().filter(|k| !kinds.contains(k)) {
        kinds.push(kind.clone());
    }
    kinds
}

/// One attempt on the job's page.
struct AttemptView {
    number: i16,
    class: &'static str,
    outcome: String,
    started: Option<When>,
    ended: Option<When>,
    duration: Option<String>,
    worker: Option<i64>,
    error: Option<String>,
}

impl AttemptView {
    fn new(row: &AttemptRow, now: DateTime<Utc>) -> Self {
        Self {
            number: row.attempt,
            class: match row.outcome.as_str() {
                "discard" => "bad",
                "snooze" => "",
                _ => "warn",
            },
            outcome: row.outcome.clone(),
            started: row.started_at.map(|at| When::new(at, now)),
            ended: Some(When::new(row.ended_at, now)),
            duration: row.started_at.and_then(|at| super::format::between(at, row.ended_at)),
            worker: row.worker,
            error: row.error.clone(),
        }
    }

    /// The attempt that runs, or the one that finished the job: it is the job's row itself.
    fn last(row: &JobRow, now: DateTime<Utc>) -> Option<Self> {
        let (class, number) = match row.state {
            JobState::Running => ("go", row.attempt + 1),
            JobState::Completed => ("done", row.attempt),
            JobState::Cancelled if row.started_at.is_some() => ("", row.attempt),
            _ => return None,
        };
        let begun = row.started_at?;
        Some(Self {
            number,
            class,
            outcome: row.state.to_string(),
            started: Some(When::new(begun, now)),
            ended: row.finished_at.map(|at| When::new(at, now)),
            duration: row.finished_at.and_then(|at| super::format::between(begun, at)),
            worker: row.worker.map(|w| w.0),
            error: row.error.clone().filter(|_| row.state == JobState::Cancelled),
        })
    }
}

/// An effect outside the database on the job's page.
struct EffectView {
    key: String,
    class: &'static str,
    state: &'static str,
    about: &'static str,
    begun: When,
    updated: When,
}

impl EffectView {
    fn new(row: &EffectRow, now: DateTime<Utc>) -> Self {
        let (class, state, about) = match row.state {
            EffectShown::Done => ("done", "done", "Done for good: a retry gets its result."),
            EffectShown::UnderWay => ("go", "under way", "The running attempt is at it."),
            EffectShown::Failed => ("bad", "failed", "Certainly not done: a retry tries it again."),
            EffectShown::InDoubt => (
                "warn",
                "in doubt",
                "Done or not, nobody knows: an attempt ended without its result. Ask the other \
                 side before you retry, unless the kind of job does that by itself.",
            ),
        };
        let (begun, updated) = (When::new(row.begun_at, now), When::new(row.updated_at, now));
        Self { key: row.key.clone(), class, state, about, begun, updated }
    }
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    shell: Shell,
    j: JobView,
    why: Why,
    about: Option<&'static str>,
    args: String,
    attempts: Vec<AttemptView>,
    effects: Vec<EffectView>,
    related: Vec<JobView>,
    facts: Vec<Fact>,
}

/// `GET /ops/jobs/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<JobsRead>,
    shell: Shell,
    Path(id): Path<JobId>,
) -> Screen {
    let gone = "There is no such job, or its history was dropped.";
    let job = jobs::show(&api.db, id).await.map_err(|e| missing(e, gone))?;
    let why = jobs::why(&api.db, id).await.map_err(|e| missing(e, gone))?;
    let data = hub.data().await?;
    let now = shell.now;
    let related = match &job.row.request_id {
        Some(request) => jobs::by_request(&api.db, request).await?,
        None => Vec::new(),
    };
    let related: Vec<JobRow> = related.into_iter().filter(|r| r.id != id).take(50).collect();
    let mut attempts: Vec<AttemptView> =
        job.attempts.iter().map(|a| AttemptView::new(a, now)).collect();
    attempts.extend(AttemptView::last(&job.row, now));
    attempts.reverse();
    let kinds = api.registry.kinds();
    let about =
        kinds.iter().find(|k| k.kind == job.row.kind || k.aliases.contains(&job.row.kind.as_str()));
    page(&JobPage {
        shell: shell.at("/ops/jobs").live(live::url(std::iter::once(id))),
        why,
        about: about.map(|k| k.about),
        args: serde_json::to_string_pretty(&job.args).map_err(ApiError::internal)?,
        attempts,
        effects: job.effects.iter().map(|e| EffectView::new(e, now)).collect(),
        related: JobView::all(&api, &data, &related, now).await?,
        facts: facts(&job.row),
        j: JobView::new(&job.row, None, &data, now),
    })
}

fn facts(row: &JobRow) -> Vec<Fact> {
    let timeout = std::time::Duration::from_millis(u64::from(row.timeout_ms.unsigned_abs()));
    let mut facts = vec![
        Fact::code("Id", row.id.to_string()),
        Fact::new("Queue", row.queue.clone()).to(format!("/ops/jobs?queue={}", row.queue)),
        Fact::new("Priority", row.priority.to_string()),
        Fact::new("Attempts", format!("{} of {}", row.attempt, row.max_attempts)),
        Fact::new("Timeout", span(timeout)),
        Fact::new("Created", exact(row.created_at)),
        Fact::new("Due", exact(row.run_at)),
    ];
    let some = [
        Fact::maybe("Deadline", row.deadline.map(exact)),
        Fact::maybe("Started", row.started_at.map(exact)),
        Fact::maybe("Finished", row.finished_at.map(exact)),
        Fact::maybe("Worker", row.worker.map(|w| format!("number {}", w.0)))
            .map(|f| f.to("/ops/workers")),
        (row.crashes > 0).then(|| Fact::new("Crashes", row.crashes.to_string())),
        (!row.partition.is_empty()).then(|| Fact::code("Partition", row.partition.clone())),
        row.tenant.map(|t| Fact::code("Tenant", t.to_string())),
        row.unique_key.clone().map(|k| Fact::code("Unique key", k)),
        row.workflow
            .map(|w| Fact::code("Workflow", w.to_string()).to(format!("/ops/workflows/{w}"))),
        row.request_id.clone().map(|r| Fact::code("Request", r)),
        row.trace.clone().map(|t| Fact::code("Trace", t)),
        (!row.state.is_final())
            .then(|| row.error.clone())
            .flatten()
            .map(|e| Fact::code("Last error", e)),
    ];
    facts.extend(some.into_iter().flatten());
    facts
}

/// `POST /ops/jobs/{id}/{verb}`: `retry`, `cancel` or `discard`.
pub(super) async fn act(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<JobsManage>,
    headers: HeaderMap,
    Path((id, verb)): Path<(JobId, String)>,
) -> Screen {
    let (result, done) = match verb.as_str() {
        "retry" => (jobs::retry(&api.db, id).await, "runs again"),
        "cancel" => (jobs::cancel(&api.db, id).await, "is cancelled"),
        "discard" => (jobs::discard(&api.db, id).await, "is a dead letter now"),
        _ => return Err(OpsError::not_found("Jobs can be retried, cancelled and discarded.")),
    };
    let (status, row, notice) = match result {
        Ok(row) => (StatusCode::OK, row.clone(), Notice::done(outcome(&row, id, done))),
        Err(Refusal::Store(fault)) => return Err(fault.into()),
        Err(Refusal::NotFound) => {
            return Err(OpsError::not_found("There is no such job any more."));
        }
        Err(refusal) => {
            let notice = Notice::failed(format!("Not done: {refusal}."));
            (StatusCode::CONFLICT, jobs::find(&api.db, id).await?, notice)
        }
    };
    if !headers.contains_key("hx-request") {
        return Ok(back(&format!("/ops/jobs/{}", row.id), &notice, &headers));
    }
    let data = hub.data().await?;
    let j = JobView::find(&api, &data, row.id).await?;
    let j = j.ok_or_else(|| OpsError::not_found("There is no such job any more."))?;
    let html = JobDone { j, oob: true, notice }.render()?;
    Ok((status, [("hx-trigger", "acted")], Html(html)).into_response())
}

fn outcome(row: &JobRow, asked: JobId, done: &str) -> String {
    if row.id != asked {
        format!("{}: a copy of the job was enqueued.", row.kind)
    } else if row.cancel_requested && row.state == JobState::Running {
        format!("{}: the worker was asked to stop.", row.kind)
    } else {
        format!("{} {done}.", row.kind)
    }
}

/// "Not found" in this screen's words.
pub(super) fn missing(fault: StoreFault, what: &'static str) -> OpsError {
    match fault {
        StoreFault::NotFound => OpsError::not_found(what),
        other => other.into(),
    }
}
