//! What operators are shown of workflows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_queue::StartedWorkflow;
use switchyard_store::workflows::{Fan, NodeRow, WorkflowDetail, WorkflowRow};
use utoipa::ToSchema;
use uuid::Uuid;

/// A workflow.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowView {
    id: Uuid,
    #[schema(example = "onboard")]
    name: String,
    /// What a failure means for the rest: `cancel_rest`, `hold` or `continue`.
    #[schema(example = "cancel_rest")]
    policy: &'static str,
    /// `running`, `failing` or `cancelling` (the rest is being cancelled), `completed`, `failed` or
    /// `cancelled`.
    #[schema(example = "running")]
    state: &'static str,
    /// Jobs in it.
    #[schema(example = 4)]
    total: i32,
    #[schema(example = 3)]
    completed: i32,
    /// Dead letters.
    #[schema(example = 0)]
    failed: i32,
    #[schema(example = 0)]
    cancelled: i32,
    /// The request that caused it.
    request_id: Option<String>,
    created_at: DateTime<Utc>,
    /// When its last job ended.
    finished_at: Option<DateTime<Utc>>,
}

impl From<WorkflowRow> for WorkflowView {
    fn from(w: WorkflowRow) -> Self {
        Self {
            id: w.id.0,
            name: w.name,
            policy: w.policy.as_str(),
            state: w.state.as_str(),
            total: w.total,
            completed: w.completed,
            failed: w.failed,
            cancelled: w.cancelled,
            request_id: w.request_id,
            created_at: w.created_at,
            finished_at: w.finished_at,
        }
    }
}

/// One job of a workflow.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct NodeView {
    /// Its name in the workflow.
    #[schema(example = "rescan")]
    node: String,
    job: Uuid,
    #[schema(example = "leads.rescan_unassigned")]
    kind: String,
    #[schema(example = "pending")]
    state: &'static str,
    /// The names of those that it waits for, or waited for.
    after: Vec<String>,
    /// For how many of them it still waits.
    #[schema(example = 1)]
    waits_on: i32,
    /// What it handed on.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

/// A workflow with its jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDetailView {
    workflow: WorkflowView,
    /// In the order in which they were added, up to 1,000.
    jobs: Vec<NodeView>,
}

impl From<WorkflowDetail> for WorkflowDetailView {
    fn from(WorkflowDetail { row, nodes, edges }: WorkflowDetail) -> Self {
        let mut after = vec![Vec::new(); nodes.len()];
        // Places count from 0 without gaps, and edges only name nodes that are here.
        let at = |place: i32| usize::try_from(place).unwrap_or(usize::MAX);
        for Fan { parent, child } in edges {
            if let (Some(names), Some(node)) = (after.get_mut(at(child)), nodes.get(at(parent))) {
                names.push(node.node.clone());
            }
        }
        let view = |(n, after): (NodeRow, Vec<String>)| NodeView {
            node: n.node,
            job: n.job.0,
            kind: n.kind,
            state: n.state.as_str(),
            after,
            waits_on: n.waits_on,
            result: n.result,
        };
        Self { workflow: row.into(), jobs: nodes.into_iter().zip(after).map(view).collect() }
    }
}

/// A workflow that was started.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StartedView {
    id: Uuid,
    /// Its jobs, in the order of the request.
    jobs: Vec<Uuid>,
}

impl From<StartedWorkflow> for StartedView {
    fn from(started: StartedWorkflow) -> Self {
        Self { id: started.id.0, jobs: started.jobs.iter().map(|j| j.0).collect() }
    }
}
