//! Bulk operations: each job is acted on once, whatever happens in between; undone, it is what it was.

use super::support::{Bench, LONG, audit, count, failure, job};
use serde_json::Value;
use sqlx::PgConnection;
use std::time::Duration;
use switchyard_queue::{JobState, NewJob, Options, SettleAs};
use switchyard_store::jobs::bulk::{self, Action, BulkOp, BulkRefusal};
use switchyard_store::jobs::{self, Filter, filter_of};
use switchyard_store::{Db, DbConfig, maintenance};

pub fn of(pairs: &[(&str, &str)]) -> Filter {
    filter_of(pairs.iter().copied()).unwrap()
}

/// Starts one and does it.
pub async fn done(db: &Db, action: &Action, filter: &Filter) -> BulkOp {
    let op = bulk::start(db, action, filter, "test").await.unwrap();
    bulk::work(db).await.unwrap();
    bulk::find(db, op.id).await.unwrap()
}

pub async fn undone(db: &Db, op: &BulkOp) -> BulkOp {
    let undo = bulk::undo(db, op.id, "test").await.unwrap();
    bulk::work(db).await.unwrap();
    bulk::find(db, undo.id).await.unwrap()
}

/// Every row of the open jobs and of the unique keys.
pub async fn rows(owner: &mut PgConnection) -> Vec<Value> {
    sqlx::query_scalar(
        "select to_jsonb(j) from engine.jobs j
         union all select to_jsonb(u) from engine.job_uniques u order by 1",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

/// Jobs in every open state that nobody holds, with and without keys and arguments.
async fn every_state(bench: &Bench) {
    let plain = |n: i32| {
        Options::new().unique_by(n).partition(n % 2).limit_key(n % 2).deadline(LONG).max_attempts(1)
    };
    let mut jobs: Vec<NewJob> = (0..6).map(|n| job("k", plain(n))).collect();
    jobs[0].args = Value::Null;
    bench.enqueue(jobs).await;
    for (n, mine) in bench.claim(2).await.iter().enumerate() {
        let result = match n {
            0 | 1 => SettleAs::Discard(failure()),
            2 => SettleAs::Retry(LONG, failure()),
            _ => SettleAs::Snooze(LONG),
        };
        assert!(bench.settle(mine, result).await);
    }
    bench.enqueue(vec![job("k", Options::new().delay(LONG)), job("k", Options::new())]).await;
    sqlx::raw_sql(
        "with q as (update engine.jobs set stage = 4 where id = (select id from engine.jobs where stage = 0 limit 1)
           returning lane, kind)
         insert into engine.counter_deltas select lane, kind, s, n from q, (values (0, -1), (6, 1)) v(s, n)",
    )
    .execute(&mut bench.test.owner().await)
    .await
    .unwrap();
    maintenance::fold_counters(&bench.test.db).await.unwrap();
}

#[tokio::test]
async fn undo_restores_every_row_exactly() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    every_state(&bench).await;
    let before = rows(&mut owner).await;
    let elsewhere = Action::Move { queue: None, partition: Some("z".into()), priority: Some(7) };
    for (action, n) in
        [(Action::Cancel, 8), (Action::Discard, 6), (Action::Retry, 3), (elsewhere, 8)]
    {
        let op = done(db, &action, &of(&[("kind", "k")])).await;
        assert_eq!((op.state.as_str(), op.done, op.total), ("done", n, Some(n)), "{op:?}");
        assert_ne!(rows(&mut owner).await, before, "{action:?} did something");
        audit(&mut owner).await;
        let undo = undone(db, &op).await;
        assert_eq!((undo.done, undo.skipped.len()), (n, 0), "{undo:?}");
        assert_eq!(rows(&mut owner).await, before, "{action:?} is undone");
        audit(&mut owner).await;
        let twice = bulk::undo(db, op.id, "test").await;
        assert!(matches!(twice, Err(BulkRefusal::WrongState(_))), "{twice:?}");
    }
}

#[tokio::test]
async fn what_has_changed_since_stays_and_is_counted() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    let later = |n: i32| job("k", Options::new().delay(LONG).unique_by(n));
    bench.enqueue((0..4).map(later).collect()).await;
    let retried = done(db, &Action::Retry, &of(&[("state", "scheduled")])).await;
    assert_eq!(retried.done, 4);
    let begun = bench.claim(1).await.pop().unwrap();
    let undo = undone(db, &retried).await;
    assert_eq!((undo.done, undo.skipped["changed"]), (3, 1), "one has begun");
    assert_eq!(jobs::find(db, begun.id).await.unwrap().state, JobState::Running);

    let given_up = done(db, &Action::Cancel, &of(&[("queue", "q")])).await;
    assert_eq!(given_up.done, 4, "three at once, and one is asked to stop");
    assert!(jobs::find(db, begun.id).await.unwrap().cancel_requested);
    let taken = bench.enqueue(vec![later(0), later(1), later(2), later(3)]).await;
    let free = taken.iter().filter(|t| t.inserted()).count();
    assert_eq!(free, 3, "the running one holds its key");
    let undo = undone(db, &given_up).await;
    assert_eq!((undo.done, undo.skipped["key_held"], undo.skipped["cannot_be_undone"]), (0, 3, 1));
    audit(&mut owner).await;
}

#[tokio::test]
async fn finished_jobs_are_run_again_as_copies_once() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    bench.enqueue((0..5).map(|n| job("k", Options::new().unique_by(n % 4))).collect()).await;
    for mine in bench.claim(10).await {
        bench.settle(&mine, SettleAs::Completed).await;
    }
    bench.enqueue(vec![job("k", Options::new().unique_by(3))]).await;
    let op = bulk::start(db, &Action::Retry, &of(&[("state", "completed")]), "test").await.unwrap();
    // They finish while the operation is at it: none of its business.
    for mine in bench.claim(10).await {
        bench.settle(&mine, SettleAs::Completed).await;
    }
    bulk::work(db).await.unwrap();
    let op = bulk::find(db, op.id).await.unwrap();
    assert_eq!((op.done, op.total, op.skipped.len()), (4, Some(4), 0), "{op:?}");
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs where stage = 0").await, 4);
    audit(&mut owner).await;
    let begun = bench.claim(1).await;
    assert_eq!(begun.len(), 1);
    let undo = undone(db, &op).await;
    assert_eq!((undo.done, undo.skipped["changed"]), (3, 1));
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 1);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_retry_whose_key_is_taken_is_skipped() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let unique = || job("k", Options::new().unique_by("one").max_attempts(1));
    bench.enqueue(vec![unique()]).await;
    let dead = bench.claim(1).await.pop().unwrap();
    bench.settle(&dead, SettleAs::Discard(failure())).await;
    bench.enqueue(vec![unique()]).await;
    let op = done(db, &Action::Retry, &of(&[("kind", "k")])).await;
    assert_eq!((op.done, op.skipped["key_held"]), (0, 1));
    assert_eq!(jobs::find(db, dead.id).await.unwrap().state, JobState::Discarded);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_and_rivals_neither_lose_a_job_nor_act_twice() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    bench.enqueue((0..4200).map(|n| job("k", Options::new().unique_by(n))).collect()).await;
    let op = bulk::start(db, &Action::Discard, &of(&[("kind", "k")]), "test").await.unwrap();
    let rivals: Vec<_> = (0..2)
        .map(|_| {
            let db = bench.test.reached_by(DbConfig::new(bench.test.url.clone()));
            tokio::spawn(async move {
                loop {
                    // A connection that is cut answers with an error; the chore would try again.
                    let _ = bulk::work(&db).await;
                    match bulk::find(&db, op.id).await {
                        Ok(op) if !op.is_open() => return op,
                        _ => tokio::time::sleep(Duration::from_millis(2)).await,
                    }
                }
            })
        })
        .collect();
    let mut cut = 0;
    // No more: on a busy machine batches take long, and one that is never left in peace never ends.
    while cut < 40 && rivals.iter().any(|r| !r.is_finished()) {
        // Whoever is in the middle of a batch.
        cut += count(
            &mut owner,
            "with busy as materialized (
               select pid from pg_stat_activity
               where pid <> pg_backend_pid() and datname = current_database() and xact_start is not null
                 and application_name = 'switchyard engine' and random() < 0.2)
             select count(*) from busy where pg_terminate_backend(pid)",
        )
        .await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for rival in rivals {
        let op = rival.await.unwrap();
        assert_eq!(op.state, "done");
        assert_eq!(op.done + op.skipped.values().sum::<i64>(), 4200, "{op:?} after {cut} cuts");
    }
    assert!(cut > 0, "nothing was cut off");
    let twice = "select count(*) from engine.jobs where last_error like '%operator%operator%'";
    assert_eq!(count(&mut owner, twice).await, 0);
    let op = bulk::find(db, op.id).await.unwrap();
    assert_eq!(
        count(&mut owner, "select count(*) from engine.jobs where stage = 5").await,
        op.done
    );
    audit(&mut owner).await;
}

#[tokio::test]
async fn an_operation_is_counted_beforehand_and_stopped_midway() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    bench.enqueue((0..1300).map(|_| job("k", Options::new().delay(LONG))).collect()).await;
    let dry = bulk::dry_run(db, &Action::Cancel, &of(&[("kind", "k")])).await.unwrap();
    assert_eq!((dry.count, dry.exact, dry.sample.len()), (1300, true, 10));
    assert_eq!(count(&mut owner, "select count(*) from engine.bulk_ops").await, 0);

    let op = bulk::start(db, &Action::Cancel, &of(&[("kind", "k")]), "test").await.unwrap();
    assert_eq!((op.state.as_str(), op.total, op.total_exact), ("waiting", Some(1300), true));
    let early = bulk::undo(db, op.id, "test").await;
    assert!(matches!(early, Err(BulkRefusal::WrongState(_))), "{early:?}");
    // Somebody asks it to stop while its first batch is under way.
    sqlx::raw_sql(
        "create function engine.halt() returns trigger language plpgsql as
           $$ begin if new.done >= 500 and old.done < 500 then new.stop := true; end if; return new; end $$;
         create trigger halt before update on engine.bulk_ops for each row execute function engine.halt()",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    bulk::work(db).await.unwrap();
    let op = bulk::find(db, op.id).await.unwrap();
    assert_eq!((op.state.as_str(), op.done), ("stopped", 500), "{op:?}");
    assert!(matches!(bulk::stop(db, op.id).await, Err(BulkRefusal::WrongState(_))));
    assert_eq!(undone(db, &op).await.done, 500);
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs where stage = 1").await, 1300);
    assert_eq!(bulk::list(db, 0).await.unwrap().len(), 2);
    assert_eq!(bulk::forget(db, 1).await.unwrap(), 0);
    sqlx::raw_sql("update engine.bulk_ops set finished_at = now() - interval '9 days'")
        .execute(&mut owner)
        .await
        .unwrap();
    bulk::forget(db, 7).await.unwrap();
    assert_eq!(count(&mut owner, "select count(*) from engine.bulk_undo").await, 0);
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let nowhere = Action::Move { queue: None, partition: None, priority: None };
    let unknown = Action::Move { queue: Some("none".into()), partition: None, priority: None };
    let k = of(&[("kind", "k")]);
    for (action, filter) in [
        (Action::Cancel, Filter::default()),
        (Action::Cancel, of(&[("state", "completed")])),
        (Action::Discard, of(&[("state", "discarded")])),
        (nowhere, k.clone()),
        (unknown, k),
    ] {
        let refused = bulk::start(db, &action, &filter, "test").await;
        assert!(matches!(refused, Err(BulkRefusal::Unfit(_))), "{action:?} {filter:?}");
        assert!(bulk::dry_run(db, &action, &filter).await.is_err());
    }
    let none = bulk::find(db, uuid::Uuid::nil()).await;
    assert!(matches!(none, Err(BulkRefusal::NotFound)));
}
