//! Workflows: jobs that wait for each other, as a caller describes them. No I/O; the store starts one
//! in the caller's transaction.

use crate::{Job, JobId, NewJob, TraceContext};
use std::collections::{BTreeSet, HashMap};

mod words;

pub use words::{FailurePolicy, WorkflowId, WorkflowState};

/// Most jobs of one workflow: they are inserted in one statement.
pub const MOST_NODES: usize = 10_000;
/// Most pairs of a job and one that it waits for.
pub const MOST_EDGES: usize = 100_000;
/// Longest name of a workflow or of a job in one, in bytes.
const LONGEST_NAME: usize = 200;

/// That a job belongs to a workflow, on its way into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The workflow.
    pub workflow: WorkflowId,
    /// It waits for other jobs.
    pub waits: bool,
}

/// What is wrong with the description of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowFault {
    /// It has no jobs.
    #[error("a workflow has at least one job")]
    Empty,
    /// It has too many.
    #[error("a workflow has at most {MOST_NODES} jobs, not {0}")]
    TooManyNodes(usize),
    /// They wait for too many others.
    #[error("the jobs of a workflow wait for at most {MOST_EDGES} others in all, not {0}")]
    TooManyEdges(usize),
    /// A name is empty or too long, or holds a zero byte.
    #[error("`{0}` is no name: it has 1 to {LONGEST_NAME} bytes, none of them zero")]
    Name(String),
    /// Two jobs have it.
    #[error("two jobs of the workflow are called `{0}`")]
    NameTaken(String),
    /// A job waits for one that there is not.
    #[error("`{node}` waits for `{parent}`, and there is no such job in the workflow")]
    UnknownParent {
        /// Who waits.
        node: String,
        /// For whom.
        parent: String,
    },
    /// Jobs wait for each other.
    #[error("these jobs wait for each other: {}", .0.join(", "))]
    Cycle(Vec<String>),
    /// A job's arguments cannot be written as JSON.
    #[error("the arguments of `{node}` cannot be written as JSON: {why}")]
    Arguments {
        /// Which job.
        node: String,
        /// Why not.
        why: String,
    },
    /// Another job holds the unique key of one of these. Nothing was started.
    #[error("the unique key of `{node}` is held by {job:?}")]
    KeyHeld {
        /// Which job.
        node: String,
        /// Who holds its key.
        job: JobId,
    },
}

/// A job to be put into a workflow: `&job`, or a [`NewJob`].
#[derive(Clone, Debug)]
pub struct Step(Result<NewJob, String>);

impl<J: Job> From<&J> for Step {
    fn from(job: &J) -> Self {
        Self(NewJob::of(job).map_err(|e| e.to_string()))
    }
}

impl From<NewJob> for Step {
    fn from(job: NewJob) -> Self {
        Self(Ok(job))
    }
}

#[derive(Clone, Debug)]
struct Node {
    name: String,
    step: Step,
    parents: Vec<String>,
}

/// Jobs that wait for each other: a directed acyclic graph.
///
/// Delays and run times count from the start of the workflow; a job whose parents end later is due
/// when the last of them has. A job may be unique; if another holds its key, nothing is started.
#[derive(Clone, Debug)]
pub struct Workflow {
    name: String,
    policy: FailurePolicy,
    nodes: Vec<Node>,
    trace: Option<TraceContext>,
    request_id: Option<String>,
}

impl Workflow {
    /// An empty one. The name is for people and need not be unique.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (trace, request_id) = (None, None);
        let policy = FailurePolicy::default();
        Self { name: name.into(), policy, nodes: Vec::new(), trace, request_id }
    }

    /// Jobs that run one after the other, called `1`, `2` and so on.
    #[must_use]
    pub fn chain<S: Into<Step>>(
        name: impl Into<String>,
        jobs: impl IntoIterator<Item = S>,
    ) -> Self {
        jobs.into_iter().zip(1..).fold(Self::new(name), |flow, (job, n)| {
            let before = (n > 1).then(|| (n - 1).to_string());
            flow.add_after(n.to_string(), job, before)
        })
    }

    /// Jobs that run beside each other, called `1`, `2` and so on. Failures are put up with, so that
    /// what [`Workflow::then`] adds runs in any case.
    #[must_use]
    pub fn batch<S: Into<Step>>(
        name: impl Into<String>,
        jobs: impl IntoIterator<Item = S>,
    ) -> Self {
        let flow = Self::new(name).policy(FailurePolicy::Continue);
        jobs.into_iter().zip(1..).fold(flow, |flow, (job, n)| flow.add(n.to_string(), job))
    }

    /// What a failure means for the rest.
    #[must_use]
    pub fn policy(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// A job that waits for nothing.
    #[must_use]
    pub fn add(self, name: impl Into<String>, job: impl Into<Step>) -> Self {
        self.add_after(name, job, None::<String>)
    }

    /// A job that waits for others, which may be added later.
    #[must_use]
    pub fn add_after<P: Into<String>>(
        mut self,
        name: impl Into<String>,
        job: impl Into<Step>,
        parents: impl IntoIterator<Item = P>,
    ) -> Self {
        let parents = parents.into_iter().map(Into::into).collect();
        self.nodes.push(Node { name: name.into(), step: job.into(), parents });
        self
    }

    /// A job called `then` that waits for every job added so far: the callback of a batch.
    #[must_use]
    pub fn then(self, job: impl Into<Step>) -> Self {
        let all: Vec<String> = self.nodes.iter().map(|n| n.name.clone()).collect();
        self.add_after("then", job, all)
    }

    /// Carries the trace and the request over from whatever causes the workflow, to all its jobs.
    #[must_use]
    pub fn caused_by(mut self, trace: Option<TraceContext>, request_id: Option<&str>) -> Self {
        self.trace = trace;
        self.request_id = request_id.map(str::to_owned);
        self
    }

    /// Checks it, and makes of it what a store inserts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn plan(self) -> Result<Plan, WorkflowFault> {
        let nodes = self.nodes.len();
        match nodes {
            0 => return Err(WorkflowFault::Empty),
            1..=MOST_NODES => {}
            n => return Err(WorkflowFault::TooManyNodes(n)),
        }
        let named = |name: &str| {
            let fits = (1..=LONGEST_NAME).contains(&name.len()) && !name.contains('\0');
            if fits { Ok(()) } else { Err(WorkflowFault::Name(name.to_owned())) }
        };
        named(&self.name)?;
        let mut places = HashMap::with_capacity(nodes);
        for (place, node) in self.nodes.iter().enumerate() {
            named(&node.name)?;
            if places.insert(node.name.as_str(), place).is_some() {
                return Err(WorkflowFault::NameTaken(node.name.clone()));
            }
        }
        let edges = edges(&self.nodes, &places)?;
        drop(places);
        if let Err(stuck) = layers(nodes, &edges) {
            let names = stuck.into_iter().take(10).map(|place| self.nodes[place].name.clone());
            return Err(WorkflowFault::Cycle(names.collect()));
        }
        let id = WorkflowId::new();
        let mut waits_on = vec![0; nodes];
        for (_, child) in &edges {
            waits_on[*child] += 1;
        }
        let (mut names, mut jobs) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
        for (node, waits) in self.nodes.into_iter().zip(&waits_on) {
            let mut job = node
                .step
                .0
                .map_err(|why| WorkflowFault::Arguments { node: node.name.clone(), why })?;
            job.part_of = Some(Membership { workflow: id, waits: *waits > 0 });
            job.trace = job.trace.or(self.trace);
            job.request_id = job.request_id.or_else(|| self.request_id.clone());
            names.push(node.name);
            jobs.push(job);
        }
        let (name, policy, request_id) = (self.name, self.policy, self.request_id);
        Ok(Plan { id, name, policy, request_id, names, jobs, waits_on, edges })
    }
}

fn edges(
    nodes: &[Node],
    places: &HashMap<&str, usize>,
) -> Result<Vec<(usize, usize)>, WorkflowFault> {
    let named: usize = nodes.iter().map(|n| n.parents.len()).sum();
    if named > MOST_EDGES {
        return Err(WorkflowFault::TooManyEdges(named));
    }
    let mut edges = BTreeSet::new();
    for (child, node) in nodes.iter().enumerate() {
        for parent in &node.parents {
            let place = places.get(parent.as_str()).ok_or_else(|| {
                WorkflowFault::UnknownParent { node: node.name.clone(), parent: parent.clone() }
            })?;
            edges.insert((*place, child));
        }
    }
    Ok(edges.into_iter().collect())
}

/// A checked workflow, for stores. Positions in the vectors are what edges name.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The workflow.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What a failure means for the rest.
    pub policy: FailurePolicy,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The jobs' names in the workflow.
    pub names: Vec<String>,
    /// The jobs.
    pub jobs: Vec<NewJob>,
    /// For how many others each waits.
    pub waits_on: Vec<i32>,
    /// Parent and child, without repetitions.
    pub edges: Vec<(usize, usize)>,
}

/// A workflow that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// Its jobs, in the order in which they were added.
    pub jobs: Vec<JobId>,
}

/// The layer of each of `nodes` nodes: one more than the deepest of its parents', 0 without parents.
///
/// # Errors
/// The nodes on cycles and those behind them.
pub fn layers(nodes: usize, edges: &[(usize, usize)]) -> Result<Vec<usize>, Vec<usize>> {
    let mut children = vec![Vec::new(); nodes];
    let mut waits = vec![0_usize; nodes];
    for (parent, child) in edges {
        children[*parent].push(*child);
        waits[*child] += 1;
    }
    let mut layer = vec![0; nodes];
    let mut free: Vec<usize> = (0..nodes).filter(|n| waits[*n] == 0).collect();
    let mut seen = 0;
    while let Some(node) = free.pop() {
        seen += 1;
        for child in &children[node] {
            layer[*child] = layer[*child].max(layer[node] + 1);
            waits[*child] -= 1;
            if waits[*child] == 0 {
                free.push(*child);
            }
        }
    }
    if seen == nodes { Ok(layer) } else { Err((0..nodes).filter(|n| waits[*n] > 0).collect()) }
}

#[cfg(test)]
mod tests;
