//! Workflows: who runs when, what is handed on, what a failure means, what operators can do.

use super::support::{Bench, LONG, audit, count, failure, job, settlement};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchyard_queue::{
    ClaimedJob, FailurePolicy, JobId, JobState, JobStore, Options, SettleAs, StartedWorkflow,
    WakeToken, Workflow, WorkflowFault, WorkflowState,
};
use switchyard_store::jobs::{self, Reason};
use switchyard_store::workflows::{
    self, Parent, Refusal, Tally, WorkflowDetail, WorkflowFilter, WorkflowRow,
};
use switchyard_store::{Scope, StoreFault};

pub fn plain() -> switchyard_queue::NewJob {
    job("k", Options::new())
}

impl Bench {
    pub async fn start(&self, flow: Workflow) -> StartedWorkflow {
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        let started = tx.start_workflow(flow).await.unwrap();
        tx.commit().await.unwrap();
        started
    }

    pub async fn detail(&self, flow: &StartedWorkflow) -> WorkflowDetail {
        workflows::show(&self.test.db, flow.id, 20_000).await.unwrap()
    }

    pub async fn row(&self, flow: &StartedWorkflow) -> WorkflowRow {
        workflows::find(&self.test.db, flow.id).await.unwrap()
    }

    /// The states of its jobs, by their names.
    pub async fn states(&self, flow: &StartedWorkflow) -> BTreeMap<String, JobState> {
        self.detail(flow).await.nodes.into_iter().map(|n| (n.node, n.state)).collect()
    }

    /// Claims one job and ends it; gives its place in the workflow.
    async fn end_next(&self, flow: &StartedWorkflow, result: SettleAs) -> usize {
        let mine = self.claim(1).await.pop().expect("something is due");
        assert!(self.settle(&mine, result).await);
        place(flow, &mine)
    }

    /// Ends what is due now, whatever it is, all in one batch.
    async fn end_all(&self, result: impl Fn(&ClaimedJob) -> SettleAs) -> usize {
        let mine = self.claim(20_000).await;
        for batch in mine.chunks(500) {
            let results: Vec<_> = batch.iter().map(|j| settlement(j, result(j))).collect();
            assert_eq!(self.store.settle(&results).await.unwrap().len(), batch.len());
        }
        mine.len()
    }
}

pub fn place(flow: &StartedWorkflow, job: &ClaimedJob) -> usize {
    flow.jobs.iter().position(|id| *id == job.id).expect("a job of the workflow")
}

fn said(states: &BTreeMap<String, JobState>) -> String {
    states.iter().map(|(node, state)| format!("{node}:{state}")).collect::<Vec<_>>().join(" ")
}

/// `a`, then `b` and `c`, then `d`.
fn diamond() -> Workflow {
    Workflow::new("diamond")
        .add("a", plain())
        .add_after("b", plain(), ["a"])
        .add_after("c", plain(), ["a"])
        .add_after("d", plain(), ["b", "c"])
}

#[tokio::test]
async fn results_go_down_a_diamond() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(diamond()).await;
    assert_eq!(said(&bench.states(&flow).await), "a:available b:pending c:pending d:pending");
    let result = |job: &ClaimedJob| match place(&flow, job) {
        2 => SettleAs::Completed,
        n => SettleAs::CompletedWith(json!({ "from": n })),
    };
    assert_eq!(bench.end_all(result).await, 1, "only `a` is due");
    assert_eq!(said(&bench.states(&flow).await), "a:completed b:available c:available d:pending");
    let parent = |node: &str, at: usize, result: Value| Parent {
        node: node.to_owned(),
        job: flow.jobs[at],
        state: JobState::Completed,
        result: Some(result).filter(|r| !r.is_null()),
    };
    let parents = workflows::parents(db, flow.jobs[2]).await.unwrap();
    assert_eq!(parents, [parent("a", 0, json!({"from": 0}))]);
    assert_eq!(bench.end_all(result).await, 2);
    let parents = workflows::parents(db, flow.jobs[3]).await.unwrap();
    assert_eq!(parents, [parent("b", 1, json!({"from": 1})), parent("c", 2, Value::Null)]);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Running);
    assert_eq!(bench.end_all(result).await, 1);
    let row = bench.row(&flow).await;
    assert_eq!((row.state, row.completed, row.open()), (WorkflowState::Completed, 4, 0));
    assert!(row.finished_at.is_some());
    let finished = jobs::find(db, flow.jobs[3]).await.unwrap();
    assert_eq!(finished.workflow, Some(flow.id), "a finished job still knows its workflow");
    assert_eq!(workflows::parents(db, JobId::new()).await.unwrap(), []);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_chain_runs_in_order_and_says_what_it_waits_for() {
    let bench = Bench::new().await;
    let steps = [job("k", Options::new()), job("k", Options::new().delay(LONG)), plain()];
    let flow = bench.start(Workflow::chain("chain", steps)).await;
    let why = jobs::why(&bench.test.db, flow.jobs[2]).await.unwrap();
    let pending = why.reasons.iter().find(|r| matches!(r, Reason::Pending { .. })).unwrap();
    assert_eq!(pending.message(), "It waits for `2` of the workflow `chain`.");
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 0);
    let states = bench.states(&flow).await;
    assert_eq!(said(&states), "1:completed 2:scheduled 3:pending", "it was to run later");
    jobs::retry(&bench.test.db, flow.jobs[1]).await.unwrap();
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 1);
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 2);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Completed);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn one_fans_out_to_a_hundred_and_they_come_together() {
    let bench = Bench::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("part {n}")).collect();
    let flow = Workflow::new("fan").add("split", plain());
    let flow = names.iter().fold(flow, |f, name| f.add_after(name, plain(), ["split"]));
    let flow = bench.start(flow.add_after("join", plain(), names)).await;
    let result = |job: &ClaimedJob| SettleAs::CompletedWith(json!(place(&flow, job)));
    let ran = [bench.end_all(result).await, bench.end_all(result).await];
    assert_eq!(ran, [1, 100]);
    let parents = workflows::parents(&bench.test.db, flow.jobs[101]).await.unwrap();
    let sum: i64 = parents.iter().filter_map(|p| p.result.as_ref()?.as_i64()).sum();
    assert_eq!((parents.len(), sum), (100, (1..=100).sum()));
    assert_eq!(bench.end_all(result).await, 1);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Completed);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn the_callback_of_a_batch_sees_how_many_failed() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(Workflow::batch("b", (0..10).map(|_| plain())).then(plain())).await;
    let ran = bench
        .end_all(|job| match place(&flow, job) {
            3 => SettleAs::Discard(failure()),
            4 => SettleAs::Cancelled("no longer wanted".into()),
            n => SettleAs::CompletedWith(json!(n)),
        })
        .await;
    assert_eq!(ran, 10);
    let then = flow.jobs[10];
    let tally = workflows::tally(db, then).await.unwrap();
    assert_eq!(tally, Tally { completed: 8, failed: 1, cancelled: 1 });
    let parents = workflows::parents(db, then).await.unwrap();
    let failed: Vec<_> = parents.iter().filter(|p| p.state == JobState::Discarded).collect();
    assert_eq!((failed.len(), &*failed[0].node, &failed[0].result), (1, "4", &None));
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 10);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failed, "though the callback ran");
    // The dead letter is mended: what ran is not run again.
    jobs::retry(db, flow.jobs[3]).await.unwrap();
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 3);
    let row = bench.row(&flow).await;
    assert_eq!((row.completed, row.failed, row.cancelled), (10, 0, 1));
    assert!(bench.claim(9).await.is_empty());
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn an_end_that_was_mended_makes_the_workflow_complete() {
    let bench = Bench::new().await;
    let flow = bench.start(Workflow::batch("b", [plain()]).then(plain())).await;
    bench.end_next(&flow, SettleAs::Discard(failure())).await;
    bench.end_next(&flow, SettleAs::Completed).await;
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failed);
    jobs::retry(&bench.test.db, flow.jobs[0]).await.unwrap();
    bench.end_next(&flow, SettleAs::Completed).await;
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Completed);
}

#[tokio::test]
async fn a_failure_cancels_the_rest() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = Workflow::new("w").add("dies", plain()).add("runs", plain()).add("waits", plain());
    let flow = flow.add_after("after", plain(), ["dies"]).add_after("end", plain(), ["after"]);
    let flow = bench.start(flow.add_after("beside", plain(), ["runs"])).await;
    let both = bench.claim(2).await;
    assert!(bench.settle(&both[0], SettleAs::Discard(failure())).await);
    let states = said(&bench.states(&flow).await);
    let rest = "after:cancelled beside:cancelled dies:discarded end:cancelled";
    assert_eq!(states, format!("{rest} runs:running waits:cancelled"));
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failing);
    assert!(jobs::find(db, both[1].id).await.unwrap().cancel_requested);
    // It hears of it too late: what is done is done.
    assert!(bench.settle(&both[1], SettleAs::Completed).await);
    let row = bench.row(&flow).await;
    assert_eq!((row.state, row.completed, row.failed), (WorkflowState::Failed, 1, 1));
    let word = jobs::find(db, flow.jobs[3]).await.unwrap().error.unwrap();
    assert_eq!(word, "cancelled with its workflow: another of its jobs failed");
    // The dead letter runs again by itself; what was cancelled stays cancelled.
    jobs::retry(db, flow.jobs[0]).await.unwrap();
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 0);
    let row = bench.row(&flow).await;
    assert_eq!((row.state, row.completed, row.cancelled), (WorkflowState::Failed, 2, 4));
    assert!(bench.claim(9).await.is_empty());
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn what_a_jobs_own_transaction_locks_is_cancelled_later() {
    let bench = Bench::new().await;
    let flow = bench.start(Workflow::new("w").add("dies", plain()).add("busy", plain())).await;
    let both = bench.claim(2).await;
    let mut owner = bench.test.owner().await;
    let own = bench.test.db.begin_job(&both[1]).await.unwrap();
    assert!(bench.settle(&both[0], SettleAs::Discard(failure())).await);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failing, "nothing waited for the lock");
    let asked = "select count(*) from engine.jobs where cancel_requested";
    assert_eq!(count(&mut owner, asked).await, 0);
    own.commit().await.unwrap();
    assert_eq!(workflows::end_cancelled(&bench.test.db).await.unwrap(), 1);
    assert_eq!(count(&mut owner, asked).await, 1);
    assert!(bench.settle(&both[1], SettleAs::Retry(LONG, failure())).await);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failed);
    assert_eq!(said(&bench.states(&flow).await), "busy:cancelled dies:discarded");
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_waits_for_a_dead_letter_is_held_until_somebody_acts() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(diamond().policy(FailurePolicy::Hold)).await;
    bench.end_next(&flow, SettleAs::Completed).await;
    let die = |job: &ClaimedJob| match place(&flow, job) {
        1 => SettleAs::Discard(failure()),
        _ => SettleAs::Completed,
    };
    bench.end_all(die).await;
    let held = "a:completed b:discarded c:completed d:pending";
    assert_eq!(said(&bench.states(&flow).await), held);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Running);
    let refused = jobs::discard(db, flow.jobs[3]).await;
    assert!(matches!(refused, Err(jobs::Refusal::WrongState(JobState::Pending))));
    jobs::retry(db, flow.jobs[1]).await.unwrap();
    assert_eq!(bench.end_next(&flow, SettleAs::CompletedWith(json!("late"))).await, 1);
    assert_eq!(bench.end_next(&flow, SettleAs::Completed).await, 3);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Completed);

    let flow = bench.start(diamond().policy(FailurePolicy::Hold)).await;
    bench.end_next(&flow, SettleAs::Discard(failure())).await;
    jobs::cancel(db, flow.jobs[0]).await.unwrap();
    let all = "a:cancelled b:cancelled c:cancelled d:cancelled";
    assert_eq!(said(&bench.states(&flow).await), all);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Failed);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn an_operator_cancels_a_workflow_with_all_that_has_not_ended() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(diamond().add("also", plain())).await;
    let both = bench.claim(2).await;
    assert!(bench.settle(&both[0], SettleAs::Completed).await);
    let row = workflows::cancel(db, flow.id).await.unwrap();
    assert_eq!((row.state, row.cancelled), (WorkflowState::Cancelling, 3));
    assert_eq!(
        said(&bench.states(&flow).await),
        "a:completed also:running b:cancelled c:cancelled d:cancelled"
    );
    assert!(bench.settle(&both[1], SettleAs::Cancelled("told to".into())).await);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Cancelled);
    let again = workflows::cancel(db, flow.id).await;
    assert!(matches!(again, Err(Refusal::Finished(WorkflowState::Cancelled))));
    let none = workflows::cancel(db, switchyard_queue::WorkflowId::new()).await;
    assert!(matches!(none, Err(Refusal::NotFound)));
    let cancelled =
        WorkflowFilter { state: Some(WorkflowState::Cancelled), ..WorkflowFilter::default() };
    assert_eq!(workflows::list(db, &cancelled).await.unwrap(), [bench.row(&flow).await]);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_start_that_is_rolled_back_or_refused_leaves_nothing() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    tx.start_workflow(diamond()).await.unwrap();
    tx.rollback().await.unwrap();

    let unique = || job("k", Options::new().unique_by("one"));
    let holder = bench.enqueue(vec![unique()]).await[0].id;
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    match tx.start_workflow(diamond().add_after("u", unique(), ["a"])).await {
        Err(StoreFault::Workflow(WorkflowFault::KeyHeld { node, job })) => {
            assert_eq!((&*node, job), ("u", holder));
        }
        other => panic!("{other:?}"),
    }
    let bad = tx.start_workflow(diamond().add("a", plain())).await;
    assert!(matches!(bad, Err(StoreFault::Workflow(WorkflowFault::NameTaken(_)))));
    tx.enqueue(plain()).await.unwrap();
    tx.commit().await.unwrap();
    let all = "select (select count(*) from engine.jobs) * 1000 + (select count(*) from engine.workflows)
        + (select count(*) from engine.workflow_jobs) + (select count(*) from engine.workflow_edges)";
    assert_eq!(count(&mut owner, all).await, 2000, "the holder of the key and the plain job");

    let flow =
        bench.start(Workflow::new("u").add("u", job("k", Options::new().unique_by(2)))).await;
    let stands = bench.enqueue(vec![job("k", Options::new().unique_by(2))]).await[0];
    assert_eq!((stands.id, stands.inserted()), (flow.jobs[0], false));
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_a_process_left_behind_is_taken_up_by_the_scheduler() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(diamond()).await;
    let mine = bench.claim(1).await.pop().unwrap();
    // With the workflow's lock in other hands the end is written and goes no further, just as if the
    // process had died between the two commits.
    let mut other = bench.test.owner().await;
    sqlx::raw_sql("begin; select from engine.workflows for update")
        .execute(&mut other)
        .await
        .unwrap();
    assert!(bench.settle(&mine, SettleAs::CompletedWith(json!(1))).await);
    let states = said(&bench.states(&flow).await);
    assert_eq!(states, "a:completed b:pending c:pending d:pending");
    assert_eq!(workflows::advance_left(db).await.unwrap(), 1, "it tries, and steps over it");
    assert!(bench.claim(9).await.is_empty());
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    assert_eq!(workflows::advance_left(db).await.unwrap(), 1);
    assert_eq!(workflows::advance_left(db).await.unwrap(), 0);
    let parents = workflows::parents(db, flow.jobs[1]).await.unwrap();
    assert_eq!(parents[0].result, Some(json!(1)));
    assert_eq!(bench.claim(9).await.len(), 2);
    audit(&mut other).await;
}

#[tokio::test]
async fn a_job_ends_in_its_own_transaction_with_a_result() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let flow = bench.start(Workflow::chain("c", [plain(), plain()])).await;
    let mine = bench.claim(1).await.pop().unwrap();
    let tx = db.begin_job(&mine).await.unwrap();
    let large = tx.done_with(json!("x".repeat(switchyard_queue::LARGEST_RESULT))).await;
    assert!(large.unwrap_err().to_string().contains("at most 262144"));
    let tx = db.begin_job(&mine).await.unwrap();
    tx.done_with(json!({"rows": 3})).await.unwrap();
    let parents = workflows::parents(db, flow.jobs[1]).await.unwrap();
    assert_eq!(parents[0].result, Some(json!({"rows": 3})));
    assert_eq!(said(&bench.states(&flow).await), "1:completed 2:available");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn what_is_released_wakes_its_lane_and_is_due_since_then() {
    let bench = Bench::new().await;
    let wake = std::sync::Arc::new(Heard::default());
    let db = bench.test.with_wake(wake.clone());
    let store = switchyard_store::PgJobStore::new(&db);
    let flow = bench.start(Workflow::chain("c", [plain(), plain()])).await;
    let mine = bench.claim(1).await.pop().unwrap();
    store.settle(&[settlement(&mine, SettleAs::Completed)]).await.unwrap();
    let next = jobs::find(&db, flow.jobs[1]).await.unwrap();
    assert!(next.run_at > next.created_at, "it did not wait for a worker before");
    let heard = wake.0.lock().unwrap().clone();
    assert_eq!(heard, [WakeToken::Work(next.lane, 0, next.run_at)]);
}

/// Wake-ups that were sent.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<WakeToken>>);

impl switchyard_queue::Wake for Heard {
    fn send(&self, tokens: &[WakeToken]) {
        self.0.lock().unwrap().extend_from_slice(tokens);
    }

    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<WakeToken> {
        tokio::sync::broadcast::channel(1).1
    }
}

#[tokio::test]
async fn workflows_are_forgotten_after_their_time() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    let dead = bench.start(Workflow::batch("old", [plain()])).await;
    bench.end_next(&dead, SettleAs::Discard(failure())).await;
    let open = bench.start(diamond()).await;
    let aged = "update engine.workflows set finished_at = finished_at - interval '31 days'";
    sqlx::raw_sql(aged).execute(&mut owner).await.unwrap();
    assert_eq!(workflows::forget(db, 30).await.unwrap(), 1);
    assert_eq!(workflows::forget(db, 30).await.unwrap(), 0);
    assert!(matches!(workflows::find(db, dead.id).await, Err(StoreFault::NotFound)));
    let rows = "select (select count(*) from engine.workflow_jobs) * 10
        + (select count(*) from engine.workflow_edges)";
    assert_eq!(count(&mut owner, rows).await, 44, "the open one is whole");
    // A dead letter that outlived its workflow tells nobody.
    jobs::cancel(db, dead.jobs[0]).await.unwrap();
    workflows::advance_left(db).await.unwrap();
    assert_eq!(count(&mut owner, "select count(*) from engine.workflow_events").await, 0);
    assert_eq!(bench.row(&open).await.state, WorkflowState::Running);
    audit(&mut owner).await;
}
