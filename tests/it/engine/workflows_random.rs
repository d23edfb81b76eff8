//! Random workflows with random ends, run by several workers at once, against a model in plain Rust.

use super::support::{Bench, LONG, audit, claim_as, count, failure, info, settlement};
use super::workflows::plain;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_queue::{
    Entropy, FailurePolicy, JobId, JobState, JobStore, SeededEntropy, SettleAs, StartedWorkflow,
    WorkerId, Workflow, WorkflowState,
};
use switchyard_store::{Db, PgJobStore, jobs, workflows};

/// What becomes of a job when it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Completes,
    /// Gives itself up.
    Cancels,
    /// Dies, and completes when an operator retries it.
    Dies,
    /// Dies, and an operator cancels it.
    DiesForGood,
}

/// A workflow and what is to become of its jobs.
struct Play {
    flow: StartedWorkflow,
    policy: FailurePolicy,
    parents: Vec<Vec<usize>>,
    fates: Vec<Fate>,
}

fn below(dice: &SeededEntropy, n: usize) -> usize {
    ((dice.unit() * n as f64) as usize).min(n - 1)
}

impl Play {
    async fn start(bench: &Bench, dice: &SeededEntropy, policy: FailurePolicy) -> Self {
        let n = 1 + below(dice, 14);
        // Edges go from lower to higher numbers in a random order of the nodes.
        let parents: Vec<Vec<usize>> =
            (0..n).map(|child| (0..child).filter(|_| below(dice, 3) == 0).collect()).collect();
        let fates = (0..n)
            .map(|_| match below(dice, 12) {
                0 => Fate::Cancels,
                1 => Fate::Dies,
                2 => Fate::DiesForGood,
                _ => Fate::Completes,
            })
            .collect();
        let flow = (0..n).fold(Workflow::new("play").policy(policy), |flow, node| {
            flow.add_after(node.to_string(), plain(), parents[node].iter().map(usize::to_string))
        });
        Self { flow: bench.start(flow).await, policy, parents, fates }
    }

    /// The model: the state of each job once nothing can go on without an operator, or, with
    /// `acted`, once operators have acted on every dead letter. Not for [`FailurePolicy::CancelRest`],
    /// where it depends on the order.
    fn predicted(&self, acted: bool) -> Vec<JobState> {
        let mut states: Vec<JobState> = Vec::new();
        for (node, parents) in self.parents.iter().enumerate() {
            let ended = |p: &usize| match self.policy {
                FailurePolicy::Continue => true,
                _ => states[*p] == JobState::Completed,
            };
            let runs = parents.iter().all(ended);
            let lost = parents.iter().any(|p| states[*p] == JobState::Cancelled);
            states.push(match self.fates[node] {
                _ if !runs && lost => JobState::Cancelled,
                _ if !runs => JobState::Pending,
                Fate::Completes => JobState::Completed,
                Fate::Cancels => JobState::Cancelled,
                Fate::Dies if acted => JobState::Completed,
                Fate::DiesForGood if acted => JobState::Cancelled,
                Fate::Dies | Fate::DiesForGood => JobState::Discarded,
            });
        }
        states
    }

    async fn states(&self, bench: &Bench) -> Vec<JobState> {
        bench.detail(&self.flow).await.nodes.iter().map(|n| n.state).collect()
    }
}

/// What the players share.
struct Stage {
    /// By job: its play and its place.
    known: HashMap<JobId, (usize, usize)>,
    /// Jobs whose end is being written or was, so that nobody may run before.
    ended: Mutex<HashSet<JobId>>,
    /// Jobs that have died once.
    died: Mutex<HashSet<JobId>>,
}

impl Stage {
    fn of(plays: &[Play]) -> Arc<Self> {
        let known = plays.iter().enumerate().flat_map(|(p, play)| {
            play.flow.jobs.iter().enumerate().map(move |(at, id)| (*id, (p, at)))
        });
        Arc::new(Self { known: known.collect(), ended: Mutex::default(), died: Mutex::default() })
    }

    fn end(&self, plays: &[Play], id: JobId) -> SettleAs {
        let (play, place) = self.known[&id];
        let mut ended = self.ended.lock().unwrap();
        for parent in &plays[play].parents[place] {
            let parent = plays[play].flow.jobs[*parent];
            assert!(ended.contains(&parent), "{id} runs before its parent {parent}");
        }
        ended.insert(id);
        match plays[play].fates[place] {
            Fate::Completes => SettleAs::CompletedWith(serde_json::json!(place)),
            Fate::Cancels => SettleAs::Cancelled("fate".into()),
            Fate::Dies | Fate::DiesForGood => {
                let first = self.died.lock().unwrap().insert(id);
                if first { SettleAs::Discard(failure()) } else { SettleAs::Completed }
            }
        }
    }
}

/// Runs what is due until nothing is.
async fn run(db: Db, plays: Arc<Vec<Play>>, stage: Arc<Stage>, me: WorkerId, seed: u64) {
    let store = PgJobStore::new(&db);
    let dice = SeededEntropy::new(seed);
    let mut idle = 0;
    while idle < 5 {
        let take = u32::try_from(1 + below(&dice, 6)).unwrap();
        let mine = claim_as(&store, me, take, LONG, &[]).await;
        if mine.is_empty() {
            idle += 1;
            tokio::time::sleep(Duration::from_millis(4)).await;
            continue;
        }
        idle = 0;
        let results: Vec<_> =
            mine.iter().map(|job| settlement(job, stage.end(&plays, job.id))).collect();
        assert_eq!(store.settle(&results).await.unwrap().len(), mine.len());
    }
}

async fn run_all(bench: &Bench, plays: &Arc<Vec<Play>>, stage: &Arc<Stage>, seed: u64) {
    let mut owner = bench.test.owner().await;
    loop {
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let (db, plays, stage) = (bench.test.db.clone(), plays.clone(), stage.clone());
                tokio::spawn(run(db, plays, stage, bench.presence.id, seed * 10 + n))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        // What was locked while the rest was cancelled.
        workflows::end_cancelled(&bench.test.db).await.unwrap();
        workflows::advance_left(&bench.test.db).await.unwrap();
        let open = "select (select count(*) from engine.jobs where stage = 0)
            + (select count(*) from engine.workflow_events)";
        if count(&mut owner, open).await == 0 {
            return;
        }
    }
}

/// Retries or cancels every dead letter, as its fate is; says whether there was any.
async fn act(bench: &Bench, plays: &[Play], stage: &Stage) -> bool {
    let dead =
        jobs::JobFilter { state: Some(JobState::Discarded), limit: 1000, ..Default::default() };
    let dead = jobs::list(&bench.test.db, &dead).await.unwrap();
    for row in &dead {
        let (play, place) = stage.known[&row.id];
        let acted = match plays[play].fates[place] {
            Fate::Dies => jobs::retry(&bench.test.db, row.id).await,
            _ => jobs::cancel(&bench.test.db, row.id).await,
        };
        acted.unwrap();
    }
    !dead.is_empty()
}

/// What must hold of a workflow in which a failure cancels the rest, in whatever order it ran.
fn fair(play: &Play, states: &[JobState], state: WorkflowState) {
    let own = |node: usize| match play.fates[node] {
        Fate::Completes => JobState::Completed,
        Fate::Cancels => JobState::Cancelled,
        Fate::Dies | Fate::DiesForGood => JobState::Discarded,
    };
    let fell = |s: JobState| s != JobState::Completed;
    for (node, parents) in play.parents.iter().enumerate() {
        assert!(states[node] == own(node) || states[node] == JobState::Cancelled, "{states:?}");
        if states[node] == JobState::Completed || states[node] == JobState::Discarded {
            assert!(parents.iter().all(|p| states[*p] == JobState::Completed), "{states:?}");
        }
    }
    if states.iter().any(|s| fell(*s)) {
        assert_eq!(state, WorkflowState::Failed);
        let culprit = |n: usize| fell(own(n)) && states[n] == own(n);
        assert!((0..states.len()).any(culprit), "nobody failed by itself: {states:?}");
    } else {
        assert_eq!(state, WorkflowState::Completed);
    }
}

async fn judge(bench: &Bench, plays: &[Play], acted: bool) {
    for play in plays {
        let (states, row) = (play.states(bench).await, bench.row(&play.flow).await);
        if play.policy == FailurePolicy::CancelRest {
            if !acted {
                fair(play, &states, row.state);
            }
            continue;
        }
        assert_eq!(states, play.predicted(acted), "{:?} {:?}", play.policy, play.fates);
        let waits = |s: &JobState| {
            *s == JobState::Pending
                || (*s == JobState::Discarded && play.policy == FailurePolicy::Hold)
        };
        let expected = if states.iter().any(waits) {
            WorkflowState::Running
        } else if states.iter().all(|s| *s == JobState::Completed) {
            WorkflowState::Completed
        } else {
            WorkflowState::Failed
        };
        assert_eq!(row.state, expected, "{states:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_workflows_end_as_the_model_says() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let _second = bench.store.register(&info()).await.unwrap();
    for seed in 0..12 {
        let dice = SeededEntropy::new(seed);
        let mut plays = Vec::new();
        for policy in FailurePolicy::ALL.iter().cycle().take(6) {
            plays.push(Play::start(&bench, &dice, *policy).await);
        }
        let plays = Arc::new(plays);
        let stage = Stage::of(&plays);
        run_all(&bench, &plays, &stage, seed).await;
        judge(&bench, &plays, false).await;
        audit(&mut owner).await;
        while act(&bench, &plays, &stage).await {
            run_all(&bench, &plays, &stage, seed + 1000).await;
        }
        judge(&bench, &plays, true).await;
        audit(&mut owner).await;
    }
}
