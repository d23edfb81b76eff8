//! Doing one thing to all jobs that a search finds: the count beforehand, the operation's progress, its
//! undo, and the list of operations.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{When, first_line, grouped};
use super::jobs::query_of;
use super::session::back;
use super::shell::{Fact, Notice, Shell, page};
use crate::Api;
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::routes::bulk::action_of;
use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use switchyard_store::jobs::bulk::{self, Action, BulkOp, BulkRefusal};
use switchyard_store::jobs::{Filter, JobRow};
use uuid::Uuid;

/// An operation's row.
struct OpView {
    id: Uuid,
    action: String,
    what: String,
    state: String,
    done: String,
    /// Percent of what was counted at the start; none while that was only a lower bound.
    percent: Option<i64>,
    of: Option<String>,
    skipped: Vec<(String, String)>,
    error: Option<String>,
    when: When,
    open: bool,
    stop: bool,
    undoable: bool,
    undo_of: Option<Uuid>,
    undone_by: Option<Uuid>,
}

impl OpView {
    fn new(op: BulkOp, now: DateTime<Utc>) -> Self {
        let total = op.total.filter(|_| op.total_exact);
        let least = if op.total_exact { "" } else { "at least " };
        Self {
            percent: total.filter(|n| *n > 0).map(|n| (op.dealt_with() * 100 / n).min(100)),
            of: op.total.map(|n| format!("{least}{}", grouped(n))),
            done: grouped(op.done),
            open: op.is_open(),
            stop: op.stop,
            undoable: op.can_be_undone(),
            skipped: op.skipped.iter().map(|(why, n)| (reason(why), grouped(*n))).collect(),
            when: When::new(op.created_at, now),
            what: told(&op.filter),
            id: op.id,
            action: op.action,
            state: op.state,
            error: op.error,
            undo_of: op.undo_of,
            undone_by: op.undone_by,
        }
    }
}

/// Why jobs were left alone, in words.
fn reason(code: &str) -> String {
    match code {
        "key_held" => "another job holds their unique key",
        "busy" => "somebody was just at them",
        "state" => "they had gone on meanwhile",
        "changed" => "they have begun or changed since",
        "sealed" => "their arguments are sealed with a key that is not there",
        "workflow" => "their workflow has gone on without them",
        "cannot_be_undone" => "they were running and were asked to stop",
        other => other,
    }
    .to_owned()
}

/// A filter in one line.
fn told(filter: &Filter) -> String {
    let pairs: Vec<String> =
        filter.pairs().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("  ")
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct Ops {
    shell: Shell,
    rows: Vec<OpView>,
}

/// `GET /ops/bulk`
pub(super) async fn list(State(api): State<Api>, _: Caller<JobsRead>, shell: Shell) -> Screen {
    let ops = bulk::list(&api.db, 100).await?;
    let rows = ops.into_iter().map(|op| OpView::new(op, shell.now)).collect();
    page(&Ops { rows, shell: shell.at("/ops/bulk") })
}

#[derive(Template)]
#[template(path = "bulk_op.html")]
struct OpPage {
    shell: Shell,
    o: OpView,
}

/// `GET /ops/bulk/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    shell: Shell,
    Path(id): Path<Uuid>,
) -> Screen {
    let op = bulk::find(&api.db, id).await.map_err(told_refusal)?;
    let o = OpView::new(op, shell.now);
    page(&OpPage { o, shell: shell.at("/ops/bulk") })
}

/// What the form of the jobs page sends: what to do, and the filter.
struct Wish {
    action: Action,
    filter: Filter,
    fields: Vec<(String, String)>,
}

impl Wish {
    fn of(fields: Vec<(String, String)>) -> Result<Self, OpsError> {
        let wrong = |e: String| crate::ApiError::bad_request("invalid_query", e);
        let (mut filter, mut word) = (Filter::default(), String::new());
        let (mut queue, mut partition, mut priority) = (None, None, None);
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            match name.as_str() {
                "do" => word = value.clone(),
                "to_queue" => queue = Some(value.clone()),
                "to_partition" => partition = Some(value.clone()),
                "to_priority" => {
                    let number =
                        value.parse().map_err(|_| wrong(format!("`{value}` is no priority")));
                    priority = Some(number?);
                }
                _ => filter.set(name, value).map_err(wrong)?,
            }
        }
        let action = action_of(&word, queue, partition, priority)?;
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Ok(Self { action, filter, fields })
    }
}

#[derive(Template)]
#[template(path = "bulk_new.html")]
struct NewPage {
    shell: Shell,
    action: &'static str,
    moves: bool,
    what: String,
    count: String,
    none: bool,
    exact: bool,
    sample: Vec<SampleRow>,
    fields: Vec<(String, String)>,
    back: String,
    /// Why it cannot be done.
    refused: Option<String>,
    facts: Vec<Fact>,
}

struct SampleRow {
    id: String,
    kind: String,
    state: String,
    queue: String,
    error: String,
    when: When,
}

impl SampleRow {
    fn new(row: &JobRow, now: DateTime<Utc>) -> Self {
        Self {
            id: row.id.to_string(),
            kind: row.kind.clone(),
            state: row.state.to_string(),
            queue: row.queue.clone(),
            error: row.error.as_deref().map(first_line).unwrap_or_default(),
            when: When::new(row.finished_at.unwrap_or(row.created_at), now),
        }
    }
}

/// `GET /ops/bulk/new`: how many jobs it would be, and some of them.
pub(super) async fn new(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    shell: Shell,
    Query(fields): Query<Vec<(String, String)>>,
) -> Screen {
    let wish = Wish::of(fields)?;
    let query = query_of(wish.filter.pairs().into_iter());
    let (moves, facts) = match &wish.action {
        Action::Move { queue, partition, priority } => {
            let some = [
                Fact::maybe("To queue", queue.clone()),
                Fact::maybe("To partition", partition.clone()),
                Fact::maybe("To priority", priority.map(|p| p.to_string())),
            ];
            (true, some.into_iter().flatten().collect())
        }
        _ => (false, Vec::new()),
    };
    let mut page_of = NewPage {
        action: wish.action.as_str(),
        moves,
        what: told(&wish.filter),
        count: String::new(),
        none: true,
        exact: true,
        sample: Vec::new(),
        fields: wish.fields,
        back: format!("/ops/jobs?{query}"),
        refused: None,
        facts,
        shell: shell.at("/ops/bulk"),
    };
    match bulk::dry_run(&api.db, &wish.action, &wish.filter).await {
        Ok(dry) => {
            let now = page_of.shell.now;
            page_of.what = told(&dry.filter);
            page_of.none = dry.count == 0;
            page_of.count = grouped(dry.count);
            page_of.exact = dry.exact;
            page_of.sample = dry.sample.iter().map(|r| SampleRow::new(r, now)).collect();
        }
        Err(BulkRefusal::Store(fault)) => return Err(fault.into()),
        Err(refusal) => page_of.refused = Some(refusal.to_string()),
    }
    page(&page_of)
}

/// `POST /ops/bulk`: starts it.
pub(super) async fn start(
    State(api): State<Api>,
    caller: Caller<JobsManage>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Screen {
    let Wish { action, filter, .. } = Wish::of(fields)?;
    let by = caller.claims.sub.to_string();
    match bulk::start(&api.db, &action, &filter, &by).await {
        Ok(op) => Ok(back(
            &format!("/ops/bulk/{}", op.id),
            &Notice::done("It has been started."),
            &headers,
        )),
        Err(BulkRefusal::Store(fault)) => Err(fault.into()),
        Err(refusal) => {
            Ok(back("/ops/bulk", &Notice::failed(format!("Not done: {refusal}.")), &headers))
        }
    }
}

/// `POST /ops/bulk/{id}/{verb}`: `stop` or `undo`.
pub(super) async fn act(
    State(api): State<Api>,
    caller: Caller<JobsManage>,
    headers: HeaderMap,
    Path((id, verb)): Path<(Uuid, String)>,
) -> Screen {
    let (result, done) = match verb.as_str() {
        "stop" => (bulk::stop(&api.db, id).await, "It stops after the batch that it is at."),
        "undo" => {
            let by = caller.claims.sub.to_string();
            (bulk::undo(&api.db, id, &by).await, "The undo has been started.")
        }
        _ => return Err(OpsError::not_found("Operations can be stopped and undone.")),
    };
    let (to, notice) = match result {
        Ok(op) => (op.id, Notice::done(done)),
        Err(BulkRefusal::WrongState(why)) => {
            (id, Notice::failed(format!("Not done: the operation {why}.")))
        }
        Err(refusal) => return Err(told_refusal(refusal)),
    };
    Ok(back(&format!("/ops/bulk/{to}"), &notice, &headers))
}

fn told_refusal(refusal: BulkRefusal) -> OpsError {
    match refusal {
        BulkRefusal::Store(fault) => fault.into(),
        _ => OpsError::not_found("There is no such operation, or it was forgotten."),
    }
}
