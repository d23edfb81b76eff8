//! Workflows: the list, one drawn with its jobs, and cancelling one.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{When, between, exact, grouped, short};
use super::jobs::missing;
use super::live;
use super::session::back;
use super::shell::{Fact, Notice, Pager, Shell, page};
use super::workflow_graph::Graph;
use crate::auth::{Caller, JobsManage, JobsRead};
use crate::{Api, ApiError};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use switchyard_queue::{WorkflowId, WorkflowState};
use switchyard_store::workflows::{self, NodeRow, Refusal, WorkflowFilter, WorkflowRow};

const PAGE: u32 = 40;
/// Jobs that are listed on a workflow's page.
const LISTED: u32 = 500;
/// Jobs that are drawn; beyond that a picture says nothing.
const DRAWN: usize = 120;

/// A workflow's row.
struct WorkflowView {
    id: WorkflowId,
    short: String,
    name: String,
    policy: &'static str,
    state: WorkflowState,
    total: String,
    completed: String,
    failed: i32,
    cancelled: i32,
    created: When,
    took: Option<String>,
}

impl WorkflowView {
    fn new(row: &WorkflowRow, now: DateTime<Utc>) -> Self {
        Self {
            id: row.id,
            short: short(row.id),
            name: row.name.clone(),
            policy: row.policy.as_str(),
            state: row.state,
            total: grouped(row.total.into()),
            completed: grouped(row.completed.into()),
            failed: row.failed,
            cancelled: row.cancelled,
            created: When::new(row.created_at, now),
            took: row.finished_at.and_then(|end| between(row.created_at, end)),
        }
    }

    fn can_be_cancelled(&self) -> bool {
        matches!(self.state, WorkflowState::Running | WorkflowState::Failing)
    }
}

/// The list's query, as it comes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    state: Option<String>,
    after: Option<WorkflowId>,
}

#[derive(Template)]
#[template(path = "workflows.html")]
struct Workflows {
    shell: Shell,
    state: Option<WorkflowState>,
    rows: Vec<WorkflowView>,
    pager: Pager,
}

/// `GET /ops/workflows`
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    shell: Shell,
    Query(query): Query<ListQuery>,
) -> Screen {
    let state = query.state.filter(|s| !s.is_empty()).map(|s| s.parse::<WorkflowState>());
    let state = state.transpose().map_err(|e| ApiError::bad_request("bad_state", e))?;
    let filter =
        WorkflowFilter { state, before: query.after, limit: PAGE + 1, ..WorkflowFilter::default() };
    let mut rows = workflows::list(&api.db, &filter).await?;
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let next = rows.last().filter(|_| more).map(|r| r.id);
    let here = match state {
        Some(state) => format!("/ops/workflows?state={state}"),
        None => "/ops/workflows".to_owned(),
    };
    page(&Workflows {
        pager: Pager::new(&here, query.after.is_some(), next),
        rows: rows.iter().map(|r| WorkflowView::new(r, shell.now)).collect(),
        state,
        shell: shell.at("/ops/workflows"),
    })
}

/// A job's row on the workflow's page.
struct NodeView {
    row: NodeRow,
    after: String,
    result: String,
}

#[derive(Template)]
#[template(path = "workflow.html")]
struct WorkflowPage {
    shell: Shell,
    w: WorkflowView,
    facts: Vec<Fact>,
    graph: Option<Graph>,
    nodes: Vec<NodeView>,
    /// Jobs that are not listed.
    rest: i32,
}

/// `GET /ops/workflows/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    shell: Shell,
    Path(id): Path<WorkflowId>,
) -> Screen {
    let gone = "There is no such workflow, or it was forgotten.";
    let detail = workflows::show(&api.db, id, LISTED).await.map_err(|e| missing(e, gone))?;
    let (row, listed) = (&detail.row, detail.nodes.len());
    let whole = i32::try_from(listed).is_ok_and(|n| n == row.total);
    let graph = (whole && listed <= DRAWN).then(|| Graph::new(&detail.nodes, &detail.edges));
    let names = |child: &NodeRow| {
        let parents = detail.edges.iter().filter(|e| e.child == child.place);
        let names = parents.filter_map(|e| detail.nodes.get(usize::try_from(e.parent).ok()?));
        let mut names: Vec<&str> = names.map(|n| n.node.as_str()).collect();
        let more = names.len().saturating_sub(3);
        names.truncate(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let open = detail.nodes.iter().filter(|n| !n.state.is_final()).map(|n| n.job);
    let now = shell.now;
    let nodes = detail.nodes.iter().map(|n| NodeView {
        after: names(n),
        result: n.result.as_ref().map(brief).unwrap_or_default(),
        row: n.clone(),
    });
    page(&WorkflowPage {
        shell: shell.at("/ops/workflows").live(live::url(open)),
        w: WorkflowView::new(row, now),
        facts: facts(row),
        graph,
        nodes: nodes.collect(),
        rest: row.total - i32::try_from(listed).unwrap_or(row.total),
    })
}

/// A result in one line.
fn brief(result: &serde_json::Value) -> String {
    result.to_string().chars().take(200).collect()
}

fn facts(row: &WorkflowRow) -> Vec<Fact> {
    let policy = match row.policy {
        switchyard_queue::FailurePolicy::CancelRest => "cancels the rest",
        switchyard_queue::FailurePolicy::Hold => "holds what waits for it",
        switchyard_queue::FailurePolicy::Continue => "is put up with",
    };
    let mut facts = vec![
        Fact::code("Id", row.id.to_string()),
        Fact::new("A failure", policy),
        Fact::new("Started", exact(row.created_at)),
    ];
    let some = [
        Fact::maybe("Finished", row.finished_at.map(exact)),
        row.request_id.clone().map(|r| Fact::code("Request", r)),
    ];
    facts.extend(some.into_iter().flatten());
    facts
}

/// `POST /ops/workflows/{id}/{verb}`: `cancel`.
pub(super) async fn act(
    State(api): State<Api>,
    _: Caller<JobsManage>,
    headers: HeaderMap,
    Path((id, verb)): Path<(WorkflowId, String)>,
) -> Screen {
    if verb != "cancel" {
        return Err(OpsError::not_found("Workflows can be cancelled."));
    }
    let notice = match workflows::cancel(&api.db, id).await {
        Ok(row) if row.state.is_final() => Notice::done(format!("{} is cancelled.", row.name)),
        Ok(row) => {
            Notice::done(format!("{} is being cancelled: what runs was asked to stop.", row.name))
        }
        Err(Refusal::NotFound) => {
            return Err(OpsError::not_found("There is no such workflow any more."));
        }
        Err(Refusal::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(&format!("/ops/workflows/{id}"), &notice, &headers))
}
