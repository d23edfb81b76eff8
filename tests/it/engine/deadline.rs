//! Jobs that are of no use later.

use super::support::{Bench, failure, job};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use std::time::Duration;
use switchyard_queue::{
    Context, Job, JobId, JobResult, JobState, NewJob, Options, Outcome, Placement, QueueName,
    Registry, SettleAs, Workflow, WorkflowState,
};
use switchyard_store::jobs::errors::{self, ErrorFilter};
use switchyard_store::{jobs, maintenance};

const HOUR: Duration = Duration::from_secs(3600);

/// Must begin within an hour.
#[derive(Serialize, Deserialize)]
struct Soon {}

impl Job for Soon {
    type State = ();

    const KIND: &'static str = "k";
    const ABOUT: &'static str = "Must begin within an hour.";
    const QUEUE: QueueName = QueueName("q");
    const DEADLINE: Option<Duration> = Some(HOUR);

    async fn run(self, _: &Context<()>) -> JobResult {
        Ok(Outcome::Done)
    }
}

/// As if so many minutes had passed for the deadlines.
async fn pass(bench: &Bench, minutes: u32) {
    let sql = format!("update engine.jobs set deadline = deadline - interval '{minutes} minutes'");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut bench.test.owner().await).await.unwrap();
}

async fn state(bench: &Bench, id: JobId) -> JobState {
    jobs::find(&bench.test.db, id).await.unwrap().state
}

async fn one(bench: &Bench, options: Options) -> JobId {
    bench.enqueue(vec![job("k", options)]).await[0].id
}

#[test]
fn a_jobs_own_deadline_wins_over_its_kinds() {
    assert_eq!(NewJob::of(&Soon {}).unwrap().deadline, Some(HOUR));
    let own = NewJob::with_options(&Soon {}, Options::new().deadline(HOUR * 2)).unwrap();
    assert_eq!(own.deadline, Some(HOUR * 2));
    let named = Registry::new().with::<Soon>().parse("k", serde_json::json!({})).unwrap();
    assert_eq!(named.deadline, Some(HOUR));
}

#[tokio::test]
async fn what_nobody_began_in_time_is_a_dead_letter_wherever_it_waited() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let by_kind = bench.enqueue(vec![NewJob::of(&Soon {}).unwrap()]).await[0].id;
    let ready = one(&bench, Options::new().deadline(HOUR).unique_by("key")).await;
    let later = one(&bench, Options::new().deadline(HOUR).delay(HOUR * 9)).await;
    let longer = one(&bench, Options::new().deadline(HOUR * 2)).await;
    let never = one(&bench, Options::new()).await;
    let all = [by_kind, ready, later, longer, never];
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 0);
    pass(&bench, 61).await;
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 3);
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 0);
    for id in &all[..3] {
        let row = jobs::find(db, *id).await.unwrap();
        assert_eq!((row.state, row.attempt), (JobState::Discarded, 0));
        let error = row.error.unwrap();
        assert!(error.starts_with("deadline: it was not begun by 20"), "{error}");
        let why = jobs::why(db, *id).await.unwrap();
        assert!(why.reasons[0].message().contains("deadline"), "{why:?}");
    }
    for id in &all[3..] {
        assert_eq!(state(&bench, *id).await, JobState::Available);
    }
    super::support::audit(&mut bench.test.owner().await).await;
    // Its key is free, its failure counted, and none of them is claimed.
    let again = bench.enqueue(vec![job("k", Options::new().unique_by("key"))]).await[0];
    assert_eq!(again.what, Placement::Inserted);
    maintenance::fold_errors(db).await.unwrap();
    let groups = errors::list(db, &ErrorFilter::default()).await.unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!((&*groups[0].class, groups[0].failures, groups[0].dead_letters), ("deadline", 3, 3));
    let claimed: Vec<JobId> = bench.claim(10).await.into_iter().map(|j| j.id).collect();
    assert!(all[..3].iter().all(|id| !claimed.contains(id)) && claimed.len() == 3);
}

#[tokio::test]
async fn what_runs_goes_on_and_is_not_begun_once_more() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let done = bench.running(Options::new().deadline(HOUR)).await;
    let fails = bench.running(Options::new().deadline(HOUR)).await;
    pass(&bench, 61).await;
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 0, "both run");
    assert!(bench.settle(&done, SettleAs::Completed).await);
    assert!(bench.settle(&fails, SettleAs::Retry(Duration::ZERO, failure())).await);
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 1);
    assert_eq!(state(&bench, done.id).await, JobState::Completed);
    let row = jobs::find(db, fails.id).await.unwrap();
    assert_eq!((row.state, row.attempt), (JobState::Discarded, 1));
    assert!(row.error.unwrap().contains("it broke"), "what happened before is told too");
    // Whoever retries it wants it to run.
    jobs::retry(db, fails.id).await.unwrap();
    assert_eq!(maintenance::end_overdue(db).await.unwrap(), 0);
    assert_eq!(bench.claim(1).await[0].id, fails.id);
}

#[tokio::test]
async fn a_workflow_hears_that_a_job_was_not_begun_by_its_deadline() {
    let bench = Bench::new().await;
    let soon = job("k", Options::new().deadline(HOUR));
    let flow = bench.start(Workflow::chain("w", [soon, job("k", Options::new())])).await;
    pass(&bench, 61).await;
    assert_eq!(maintenance::end_overdue(&bench.test.db).await.unwrap(), 1);
    let row = bench.row(&flow).await;
    assert_eq!((row.state, row.failed, row.cancelled), (WorkflowState::Failed, 1, 1));
    super::support::audit(&mut bench.test.owner().await).await;
}
