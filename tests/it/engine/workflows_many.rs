//! Large workflows, and many settlers at one of them.

use super::support::{Bench, audit, claim_as, count, info, settlement};
use super::workflows::plain;
use std::time::Instant;
use switchyard_queue::{JobState, JobStore, SettleAs, StartedWorkflow, Workflow, WorkflowState};
use switchyard_store::{PgJobStore, Scope, workflows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_of_five_hundred_is_released_once_by_many_settlers() {
    let bench = Bench::new().await;
    let flow = bench.start(Workflow::batch("b", (0..500).map(|_| plain())).then(plain())).await;
    let mine = bench.claim(1000).await;
    assert_eq!(mine.len(), 500);
    // Two stores with two settling connections each, many small batches at once.
    let stores = [bench.store.clone(), PgJobStore::new(&bench.test.db)];
    let tasks: Vec<_> = mine
        .chunks(10)
        .enumerate()
        .map(|(n, part)| {
            let (store, part) = (stores[n % 2].clone(), part.to_vec());
            tokio::spawn(async move {
                let results: Vec<_> =
                    part.iter().map(|j| settlement(j, SettleAs::Completed)).collect();
                store.settle(&results).await.unwrap().len()
            })
        })
        .collect();
    let mut stood = 0;
    for task in tasks {
        stood += task.await.unwrap();
    }
    assert_eq!(stood, 500);
    // Nothing is left to the scheduler: who was in the way has taken it up.
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.workflow_events").await, 0);
    let waits = "select sum(waits_on)::int8 from engine.workflow_jobs";
    assert_eq!(count(&mut owner, waits).await, 0);
    assert_eq!(bench.claim(1000).await.len(), 1, "the child is there once");
    assert_eq!(bench.row(&flow).await.completed, 500);
    audit(&mut owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_are_started_settled_and_cancelled_in_bounded_time() {
    ten_thousand(async |bench, flow| bench.start(flow).await).await;
}

/// Who analyses a table while ten thousand rows are on their way into it finds it empty, and plans are made
/// for an empty table until the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_are_no_burden_where_tables_are_taken_for_empty() {
    ten_thousand(async |bench, flow| {
        let mut tx = bench.test.db.begin(Scope::Platform).await.unwrap();
        let started = tx.start_workflow(flow).await.unwrap();
        sqlx::raw_sql(
            "analyze engine.jobs, engine.workflows, engine.workflow_jobs, engine.workflow_edges,
               engine.workflow_events",
        )
        .execute(&mut bench.test.owner().await)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        started
    })
    .await;
}

async fn ten_thousand(start: impl AsyncFn(&Bench, Workflow) -> StartedWorkflow) {
    let bench = Bench::new().await;
    let batch = || Workflow::batch("b", (0..9_999).map(|_| plain())).then(plain());
    let begun = Instant::now();
    let flow = start(&bench, batch()).await;
    let worker = bench.store.register(&info()).await.unwrap();
    let mut settled = 0;
    while settled < 9_999 {
        let mine = claim_as(&bench.store, worker.id, 500, super::support::LONG, &[]).await;
        assert!(!mine.is_empty());
        let results: Vec<_> = mine.iter().map(|j| settlement(j, SettleAs::Completed)).collect();
        settled += bench.store.settle(&results).await.unwrap().len();
    }
    let tally = workflows::tally(&bench.test.db, flow.jobs[9_999]).await.unwrap();
    assert_eq!(tally.completed, 9_999);
    let then = bench.claim(10).await;
    assert_eq!(then.len(), 1);
    assert!(bench.settle(&then[0], SettleAs::Completed).await);
    assert_eq!(bench.row(&flow).await.state, WorkflowState::Completed);

    let flow = start(&bench, batch()).await;
    let row = workflows::cancel(&bench.test.db, flow.id).await.unwrap();
    assert_eq!((row.state, row.cancelled), (WorkflowState::Cancelled, 10_000));
    let all = bench.states(&flow).await;
    assert!(all.values().all(|s| *s == JobState::Cancelled) && all.len() == 10_000);
    // Minutes if each settlement went over the whole batch; seconds as it is.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    audit(&mut bench.test.owner().await).await;
}
