//! `workflows`: list, show, start, cancel.

use super::args::{Global, Workflows, WorkflowsList};
use super::enqueue::read;
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::json;
use std::path::Path;
use switchyard_api::orders::{self, NewWorkflowRequest, Shape};
use switchyard_queue::{NewJob, TraceContext, WorkflowFault, WorkflowId, layers};
use switchyard_store::workflows::{self, Refusal, WorkflowDetail, WorkflowFilter, WorkflowRow};
use switchyard_store::{Db, Scope, StoreFault};

/// Names of parents in one cell.
const NAMED: usize = 3;

pub(super) async fn run(
    global: &Global,
    command: &Workflows,
    output: Output,
) -> Result<(), Failure> {
    // What is wrong with a file is told before anything is connected.
    let asked = match command {
        Workflows::Start { file } => Some(asked(file)?),
        _ => None,
    };
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let base = Base::open(config)?;
    let ended = match command {
        Workflows::List(args) => list(&base.db, args, output).await,
        Workflows::Show { workflow, jobs } => show(&base.db, *workflow, *jobs, output).await,
        Workflows::Start { .. } => start(&base.db, asked, output).await,
        Workflows::Cancel { workflow } => cancel(&base.db, *workflow, output).await,
    };
    base.close().await;
    ended
}

async fn list(db: &Db, args: &WorkflowsList, output: Output) -> Result<(), Failure> {
    let filter = WorkflowFilter {
        state: args.state,
        name: args.name.clone(),
        before: args.before,
        limit: u32::from(args.limit),
    };
    let rows = workflows::list(db, &filter).await.map_err(away)?;
    output.answer(&json!({ "workflows": rows }), || {
        let cells: Vec<_> = rows.iter().map(row).collect();
        table(&["WORKFLOW", "NAME", "STATE", "COMPLETED", "FAILED", "CANCELLED", "STARTED"], &cells)
    });
    Ok(())
}

fn row(w: &WorkflowRow) -> Vec<String> {
    vec![
        w.id.to_string(),
        w.name.clone(),
        w.state.to_string(),
        format!("{}/{}", w.completed, w.total),
        w.failed.to_string(),
        w.cancelled.to_string(),
        instant(w.created_at),
    ]
}

async fn show(db: &Db, id: WorkflowId, jobs: u16, output: Output) -> Result<(), Failure> {
    let detail = workflows::show(db, id, u32::from(jobs)).await.map_err(|e| match e {
        StoreFault::NotFound => refused(Refusal::NotFound),
        other => away(other).into(),
    })?;
    output.answer(&detail, || told(&detail));
    Ok(())
}

/// The workflow, and its jobs indented by how many stand before them.
fn told(detail: &WorkflowDetail) -> String {
    let w = &detail.row;
    let finished = w.finished_at.map_or_else(|| "-".to_owned(), instant);
    let facts = [
        ("workflow", w.id.to_string()),
        ("name", w.name.clone()),
        ("state", w.state.to_string()),
        ("policy", w.policy.to_string()),
        ("completed", format!("{} of {}", w.completed, w.total)),
        ("failed", w.failed.to_string()),
        ("cancelled", w.cancelled.to_string()),
        ("started", instant(w.created_at)),
        ("finished", finished),
    ];
    let lines: Vec<String> = facts.iter().map(|(n, v)| format!("{n:<10} {v}")).collect();
    let at = |place: i32| usize::try_from(place).unwrap_or(usize::MAX);
    let edges: Vec<(usize, usize)> =
        detail.edges.iter().map(|e| (at(e.parent), at(e.child))).collect();
    // What was started has no cycle.
    let depth = layers(detail.nodes.len(), &edges).unwrap_or_else(|_| vec![0; detail.nodes.len()]);
    let mut after: Vec<Vec<&str>> = vec![Vec::new(); detail.nodes.len()];
    for (parent, child) in &edges {
        after[*child].push(&detail.nodes[*parent].node);
    }
    let cells = detail.nodes.iter().enumerate().map(|(n, node)| {
        let result = node.result.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![
            format!("{}{}", "  ".repeat(depth[n].min(20)), node.node),
            node.state.to_string(),
            node.kind.clone(),
            node.job.to_string(),
            names(&after[n]),
            result.chars().take(60).collect(),
        ]
    });
    let head = ["NODE", "STATE", "KIND", "JOB", "WAITS FOR", "RESULT"];
    let jobs = table(&head, &cells.collect::<Vec<_>>());
    let rest = usize::try_from(w.total).unwrap_or(0).saturating_sub(detail.nodes.len());
    let rest = if rest > 0 { format!("\nand {rest} more (--jobs)") } else { String::new() };
    format!("{}\n\n{jobs}{rest}", lines.join("\n"))
}

fn names(all: &[&str]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named = all[..all.len() - more].join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// The jobs of the document, and what makes a workflow of them.
type Asked = (Vec<NewJob>, Shape);

fn asked(file: &Path) -> Result<Asked, Failure> {
    let usage = |what: String| Failure::Usage(Fault::new("workflow", what));
    let document: NewWorkflowRequest = serde_json::from_str(&read(file)?)
        .map_err(|e| usage(format!("{} holds no workflow: {e}", file.display())))?;
    document.into_parts(&switchyard_catalog::registry()).map_err(usage)
}

async fn start(db: &Db, asked: Option<Asked>, output: Output) -> Result<(), Failure> {
    let Some((jobs, shape)) = asked else { return Ok(()) };
    let jobs = orders::secret(db, &switchyard_catalog::registry(), jobs).await.map_err(away)?;
    let request = jobs.first().map(|job| format!("cli-{}", job.id));
    let flow = shape.with(jobs).caused_by(Some(TraceContext::new_root()), request.as_deref());
    let mut tx = db.begin(Scope::Platform).await.map_err(away)?;
    let started = tx.start_workflow(flow).await.map_err(unfit)?;
    tx.commit().await.map_err(away)?;
    output.answer(&json!({ "id": started.id, "jobs": started.jobs }), || {
        format!("{} is started: {} jobs", started.id, started.jobs.len())
    });
    Ok(())
}

fn unfit(fault: StoreFault) -> Failure {
    match fault {
        StoreFault::Workflow(f @ WorkflowFault::KeyHeld { .. }) => {
            Fault::new("key_held", f.to_string()).into()
        }
        StoreFault::Workflow(f) => Failure::Usage(Fault::new("workflow", f.to_string())),
        other => away(other).into(),
    }
}

async fn cancel(db: &Db, id: WorkflowId, output: Output) -> Result<(), Failure> {
    let row = workflows::cancel(db, id).await.map_err(refused)?;
    output.answer(&json!({ "workflow": row }), || {
        if row.state.is_final() {
            format!("{} is {}", row.id, row.state)
        } else {
            format!("{} is {}: what runs was asked to stop", row.id, row.state)
        }
    });
    Ok(())
}

fn refused(refusal: Refusal) -> Failure {
    let what = refusal.to_string();
    let fault = match refusal {
        Refusal::NotFound => Fault::new("not_found", what)
            .remedy("`switchyard workflows list` names those that there are"),
        Refusal::Finished(_) => Fault::new("wrong_state", what),
        Refusal::Store(e) => away(e),
    };
    fault.into()
}
