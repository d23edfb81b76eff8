//! Bulk operations on jobs that are more than a row: of workflows, under limits, encrypted, with a
//! deadline, kept for a time of their own.

use super::bulk::{done, of, rows, undone};
use super::retention::{class, declare};
use super::support::{Bench, LONG, audit, count, job};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{
    JobId, JobState, NewJob, Options, Retention, SettleAs, Workflow, WorkflowState, sealed_parts,
};
use switchyard_store::jobs::bulk::{Action, BulkRefusal, start};
use switchyard_store::jobs::{self, errors};
use switchyard_store::limits::{self, LimitScope};
use switchyard_store::{Db, Scope, maintenance, sealing};
use switchyard_tests::kit::ring;

fn plain() -> NewJob {
    job("k", Options::new())
}

#[tokio::test]
async fn a_workflow_hears_of_it_and_goes_on_and_undo_leaves_its_jobs() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    for action in [Action::Cancel, Action::Discard] {
        let alone = bench.enqueue(vec![plain()]).await[0].id;
        let fan = Workflow::new("w").add("a", plain()).add("b", plain());
        let flow = bench.start(fan.add_after("c", plain(), ["a", "b"])).await;
        let ready = of(&[("state", "available"), ("kind", "k")]);
        let op = done(db, &action, &ready).await;
        assert_eq!((op.state.as_str(), op.done), ("done", 3), "{op:?}");
        // Nobody but the operation was there to tell it: `c` waits for what will never be.
        let row = bench.row(&flow).await;
        assert_eq!(row.state, WorkflowState::Failed, "{action:?}: {row:?}");
        assert_eq!(bench.states(&flow).await["c"], JobState::Cancelled);
        audit(&mut owner).await;

        let undo = undone(db, &op).await;
        assert_eq!((undo.done, undo.skipped["workflow"]), (1, 2), "{undo:?}");
        assert_eq!(jobs::find(db, alone).await.unwrap().state, JobState::Available);
        assert_eq!(bench.row(&flow).await, row);
        audit(&mut owner).await;
        jobs::cancel(db, alone).await.unwrap();
    }
    let pending = start(db, &Action::Discard, &of(&[("state", "pending")]), "test").await;
    assert!(matches!(pending, Err(BulkRefusal::Unfit(_))), "as with a single one: {pending:?}");
}

#[tokio::test]
async fn jobs_of_a_workflow_are_moved_and_moved_back() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    let flow = bench.start(Workflow::chain("w", [plain(), plain()])).await;
    let before = rows(&mut owner).await;
    let away = Action::Move { queue: None, partition: Some("z".into()), priority: None };
    let op = done(db, &away, &of(&[("kind", "k")])).await;
    assert_eq!((op.done, undone(db, &op).await.done), (2, 2));
    assert_eq!(rows(&mut owner).await, before);

    let op = done(db, &away, &of(&[("kind", "k")])).await;
    let first = bench.claim(1).await.pop().unwrap();
    assert!(bench.settle(&first, SettleAs::Completed).await);
    // Meanwhile the second one is due, and stays so.
    assert_eq!(undone(db, &op).await.skipped["changed"], 1);
    let second = jobs::find(db, flow.jobs[1]).await.unwrap();
    assert_eq!((second.state, second.partition.as_str()), (JobState::Available, ""));
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_moved_job_stays_under_the_limit_of_its_key() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    limits::set(db, &LimitScope::Key { key: "twilio".into() }, Some(1), None).await.unwrap();
    let one = |p: i32| job("k", Options::new().partition(p).limit_key("twilio"));
    bench.enqueue((0..3).map(one).collect()).await;
    let away = Action::Move { queue: None, partition: Some("z".into()), priority: None };
    assert_eq!(done(db, &away, &of(&[("kind", "k")])).await.done, 3);
    let running = bench.claim(9).await;
    assert_eq!((running.len(), running[0].limited), (1, true));
    assert_eq!(running[0].lane, jobs::find(db, running[0].id).await.unwrap().lane);
    // Who is held is not moved, and its charge is its own.
    let back = Action::Move { queue: None, partition: Some("y".into()), priority: None };
    assert_eq!(done(db, &back, &of(&[("kind", "k")])).await.done, 2);
    audit(&mut bench.test.owner().await).await;
    assert!(bench.settle(&running[0], SettleAs::Completed).await);
    assert_eq!(bench.claim(9).await.len(), 1);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn every_class_of_the_history_gives_its_jobs_back() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    for kept in [Retention::Short, Retention::Long, Retention::Standard] {
        declare(&bench, kept).await;
        let id = bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await[0].id;
        let before = rows(&mut owner).await;
        let op = done(db, &Action::Cancel, &of(&[("kind", "k")])).await;
        assert_eq!(class(&mut owner, id).await, kept.code());
        assert_eq!(undone(db, &op).await.done, 1);
        assert_eq!(rows(&mut owner).await, before);
        assert_eq!(count(&mut owner, "select count(*) from engine.job_history").await, 0);
        audit(&mut owner).await;
        sqlx::raw_sql(
            "truncate engine.jobs, engine.job_uniques, engine.counter_deltas, engine.counters",
        )
        .execute(&mut owner)
        .await
        .unwrap();
    }
}

/// A job with arguments that nobody is to see.
async fn secret(db: &Db, n: i32) -> JobId {
    let mut secret = job("k", Options::new().unique_by(n));
    (secret.args, secret.encrypted) = (json!({ "word": "xyzzy", "n": n }), true);
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let placed = tx.enqueue(secret).await.unwrap();
    tx.commit().await.unwrap();
    placed.id
}

#[tokio::test]
async fn sealed_arguments_are_sealed_anew_for_copies_and_left_as_they_are_by_an_undo() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let db = &bench.test.db.clone().sealing_with(Some(Arc::new(ring(&[1]))));
    let ids = [secret(db, 1).await, secret(db, 2).await];
    let before = rows(&mut owner).await;
    let op = done(db, &Action::Cancel, &of(&[("kind", "k")])).await;
    assert_eq!((op.done, undone(db, &op).await.done), (2, 2));
    assert_eq!(rows(&mut owner).await, before);
    assert_eq!(sealing::reveal(db, ids[0]).await.unwrap()["n"], 1);

    for mine in bench.claim(2).await {
        assert!(bench.settle(&mine, SettleAs::Completed).await);
    }
    // A scheduler without the key leaves them alone and says so.
    let completed = of(&[("kind", "k"), ("state", "completed")]);
    let op = done(&bench.test.db, &Action::Retry, &completed).await;
    assert_eq!((op.state.as_str(), op.done, op.skipped["sealed"]), ("done", 0, 2), "{op:?}");
    let op = done(db, &Action::Retry, &completed).await;
    assert_eq!((op.done, op.skipped.len()), (2, 0), "{op:?}");
    let copies = jobs::search(db, &of(&[("state", "available")]), None, 0).await.unwrap().rows;
    assert_eq!(copies.len(), 2);
    for copy in copies {
        assert!(!ids.contains(&copy.id));
        let stored: Value = sqlx::query_scalar("select args from engine.jobs where id = $1")
            .bind(copy.id.0)
            .fetch_one(&mut owner)
            .await
            .unwrap();
        assert!(sealed_parts(&stored).is_some(), "{stored}");
        assert_eq!(sealing::reveal(db, copy.id).await.unwrap()["word"], "xyzzy");
    }
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_retried_job_has_no_deadline_until_that_is_undone() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    let hour = Duration::from_secs(3600);
    let due = bench.enqueue(vec![job("k", Options::new().deadline(hour).unique_by(1))]).await[0].id;
    let late = async |owner: &mut sqlx::PgConnection| {
        sqlx::raw_sql("update engine.jobs set deadline = deadline - interval '61 minutes'")
            .execute(owner)
            .await
            .unwrap();
        maintenance::end_overdue(db).await.unwrap()
    };
    assert_eq!(late(&mut owner).await, 1);
    let before = rows(&mut owner).await;
    let op = done(db, &Action::Retry, &of(&[("kind", "k")])).await;
    assert_eq!((op.done, maintenance::end_overdue(db).await.unwrap()), (1, 0));
    assert_eq!(undone(db, &op).await.done, 1);
    assert_eq!(rows(&mut owner).await, before);
    // By way of its group of failures it is the same operation.
    let group: String = sqlx::query_scalar("select fingerprint from engine.jobs")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(errors::retry(db, &group).await.unwrap().done, 1);
    assert_eq!(jobs::find(db, due).await.unwrap().deadline, None);

    // One that was moved becomes a dead letter: the undo moves it back and does not touch that.
    let later = Options::new().deadline(hour).delay(LONG);
    let id = bench.enqueue(vec![job("k", later)]).await[0].id;
    let away = Action::Move { queue: None, partition: Some("z".into()), priority: Some(3) };
    let op = done(db, &away, &of(&[("state", "scheduled")])).await;
    assert_eq!(late(&mut owner).await, 1);
    assert_eq!((op.done, undone(db, &op).await.done), (1, 1));
    let row = jobs::find(db, id).await.unwrap();
    assert_eq!((row.state, row.partition.as_str(), row.priority), (JobState::Discarded, "", 0));
    assert!(row.error.unwrap().starts_with("deadline"));
    audit(&mut owner).await;
}
