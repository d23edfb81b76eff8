//! Workflows run by real workers: what one job hands on, the next one reads.

use super::stage::{Act, PATIENCE, Stage, brisk, eventually};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use switchyard_queue::{
    Context, Job, JobResult, JobState, Options, Outcome, QueueName, Registry, StartedWorkflow,
    SystemClock, SystemEntropy, Workflow, WorkflowState,
};
use switchyard_store::{Db, PgJobStore, Scope, workflows};
use switchyard_workers::WorkerConfig;
use tokio_util::sync::CancellationToken;

/// Adds its own number to what those hand on that it waited for.
#[derive(Serialize, Deserialize)]
struct Add {
    n: i64,
    /// In its own transaction.
    own: bool,
}

impl Job for Add {
    type State = Db;

    const KIND: &'static str = "test.add";
    const ABOUT: &'static str = "Adds.";
    const QUEUE: QueueName = QueueName("adding");

    async fn run(self, cx: &Context<Db>) -> JobResult {
        let parents = workflows::parents(cx.state(), cx.job().id).await?;
        let handed = parents.iter().filter_map(|p| p.result.as_ref()?.as_i64());
        let sum = json!(self.n + handed.sum::<i64>());
        if self.own {
            return cx.state().begin_job(cx.job()).await?.done_with(sum).await;
        }
        Ok(Outcome::DoneWith(sum))
    }
}

/// Hands on more than is kept.
#[derive(Serialize, Deserialize)]
struct Boast {}

impl Job for Boast {
    type State = Db;

    const KIND: &'static str = "test.boast";
    const ABOUT: &'static str = "Boasts.";
    const QUEUE: QueueName = QueueName("adding");

    async fn run(self, _: &Context<Db>) -> JobResult {
        Ok(Outcome::DoneWith(json!("x".repeat(1 << 20))))
    }
}

async fn start(stage: &Stage, flow: Workflow) -> StartedWorkflow {
    let mut tx = stage.db.begin(Scope::Platform).await.unwrap();
    let started = tx.start_workflow(flow).await.unwrap();
    tx.commit().await.unwrap();
    started
}

async fn ended(stage: &Stage, flow: &StartedWorkflow) -> WorkflowState {
    eventually("the workflow ends", async || {
        let row = workflows::find(&stage.db, flow.id).await.unwrap();
        row.state.is_final().then_some(row.state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_handed_on_and_nobody_waits_for_the_scheduler() {
    let stage = Stage::new().await;
    let dispatcher = Registry::new().with::<Add>().with::<Boast>().bind(
        stage.db.clone(),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    );
    let (shutdown, store) = (CancellationToken::new(), PgJobStore::new(&stage.db));
    // It hears of what is due, or it does nothing for an hour; and no scheduler runs.
    let config = WorkerConfig { poll_interval: PATIENCE * 180, ..brisk() };
    let worker = switchyard_workers::run(store, dispatcher, stage.wake(), config, shutdown.clone());
    let worker = tokio::spawn(worker);
    let add = |n, own| Add { n, own };
    let flow = Workflow::new("sums")
        .add("one", &add(1, false))
        .add_after("two", &add(2, true), ["one"])
        .add_after("four", &add(4, false), ["one"])
        .add_after("all", &add(100, true), ["two", "four"]);
    let flow = start(&stage, flow).await;
    assert_eq!(ended(&stage, &flow).await, WorkflowState::Completed);
    let nodes = workflows::show(&stage.db, flow.id, 10).await.unwrap().nodes;
    let results: Vec<_> = nodes.iter().map(|n| n.result.clone().unwrap()).collect();
    assert_eq!(results, [json!(1), json!(3), json!(5), json!(108)]);

    let flow =
        Workflow::new("w").add("boasts", &Boast {}).add_after("a", &add(1, false), ["boasts"]);
    let flow = start(&stage, flow).await;
    assert_eq!(ended(&stage, &flow).await, WorkflowState::Failed);
    let error = stage.show(flow.jobs[0]).await.row.error.unwrap();
    assert!(error.contains("at most 262144 are kept"), "{error}");
    shutdown.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_stops_what_runs_beside_it() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let flow = Workflow::new("w")
        .add("runs", &Act::Obey)
        .add("gate", &Act::Wait("go".into()))
        .add_after("dies", &Act::Never, ["gate"])
        .add_after("end", &Act::Finish, ["dies", "runs"]);
    let flow = start(&stage, flow).await;
    stage.running(flow.jobs[0], 0).await;
    let begun = Instant::now();
    stage.record.open("go");
    assert_eq!(ended(&stage, &flow).await, WorkflowState::Failed);
    assert!(begun.elapsed() < PATIENCE);
    let mut states = Vec::new();
    for id in &flow.jobs {
        states.push(stage.state(*id).await);
    }
    use JobState::{Cancelled, Completed, Discarded};
    assert_eq!(states, [Cancelled, Completed, Discarded, Cancelled]);
    assert!(stage.record.runs_of(flow.jobs[3]).is_empty());
    // A job outside of any workflow goes on as ever.
    let other = stage.enqueue(Act::Settle, Options::new()).await;
    stage.until(other, Completed).await;
    worker.leave().await;
}
