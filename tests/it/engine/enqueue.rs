//! Enqueuing: with the caller's transaction, in batches, once for a unique key.

use super::support::{Bench, audit, count, job};
use chrono::{TimeDelta, Utc};
use std::collections::HashSet;
use std::time::Duration;
use switchyard_queue::{Options, SettleAs};
use switchyard_store::Scope;
use switchyard_tests::TestDb;

#[tokio::test]
async fn a_job_commits_or_rolls_back_with_its_caller() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    assert!(tx.enqueue(job("k", Options::new())).await.unwrap().inserted());
    tx.rollback().await.unwrap();
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 0);
    assert_eq!(count(&mut owner, "select count(*) from engine.counter_deltas").await, 0);

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let one = tx.enqueue(job("k", Options::new())).await.unwrap();
    tx.commit().await.unwrap();
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from engine.jobs").fetch_one(&mut owner).await.unwrap();
    assert_eq!(id, one.id.0);
}

#[tokio::test]
async fn a_batch_answers_in_order_and_keeps_every_column() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let tenant = uuid::Uuid::now_v7();
    let jobs: Vec<_> = (0..500_i16)
        .map(|n| {
            let o = Options::new().priority(n).partition(n % 7).max_attempts(3).tenant(tenant);
            job("k", o).caused_by(None, Some("req-1"))
        })
        .collect();
    let ids: Vec<_> = jobs.iter().map(|j| j.id).collect();

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let answers = tx.enqueue_all(jobs).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(answers.iter().map(|a| a.id).collect::<Vec<_>>(), ids);
    let lanes: HashSet<_> = answers.iter().map(|a| a.lane).collect();
    assert_eq!(lanes.len(), 7);
    let whole = count(
        &mut owner,
        "select count(*) from engine.jobs j join engine.lanes l on l.id = j.lane
         where l.partition = (j.priority % 7)::text and l.queue = 'q' and j.max_attempts = 3
           and j.tenant is not null and j.request_id = 'req-1' and j.timeout_ms = 30000
           and j.args = '{\"n\": 1}' and j.stage = 0 and j.attempt = 0 and j.fence = 0",
    )
    .await;
    assert_eq!(whole, 500);
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_is_due_later_is_scheduled_by_the_databases_clock() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let in_a_minute = Options::new().delay(Duration::from_secs(60));
    let yesterday = Options::new().run_at(Utc::now() - TimeDelta::days(1));
    let never = Options::new().delay(Duration::MAX);
    for options in [in_a_minute, yesterday, never] {
        tx.enqueue(job("k", options)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let stages: Vec<i16> = sqlx::query_scalar("select stage from engine.jobs order by id")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert_eq!(stages, [1, 0, 1]);
    let wait = "select count(*) from engine.jobs
                where run_at - created_at = interval '60 seconds'";
    assert_eq!(count(&mut owner, wait).await, 1);
    audit(&mut owner).await;
}

#[tokio::test]
async fn the_standing_job_answers_for_its_key() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let unique = || job("k", Options::new().unique_by("lead 7"));

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let both = tx.enqueue_all(vec![unique(), unique(), job("k", Options::new())]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(both.iter().map(|e| e.inserted()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(both[1].id, both[0].id, "the first of two in a batch holds the key");

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let later = tx.enqueue(unique()).await.unwrap();
    let other_kind = tx.enqueue(job("other", Options::new().unique_by("lead 7"))).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!later.inserted());
    assert_eq!(later.id, both[0].id);
    assert!(other_kind.inserted(), "a key belongs to its kind");
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 3);
    audit(&mut owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_enqueuers_one_wins_and_all_hear_of_it() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let db = test.db.clone();
            tokio::spawn(async move {
                // The same keys in different orders: only sorting keeps this from deadlocking.
                let mut keys: Vec<u32> = (0..50).collect();
                keys.rotate_left(n * 6);
                let mut jobs: Vec<_> =
                    keys.iter().map(|k| job("k", Options::new().unique_by(k))).collect();
                if n % 2 == 1 {
                    jobs.reverse();
                }
                let mut tx = db.begin(Scope::Platform).await.unwrap();
                let answers = tx.enqueue_all(jobs).await.unwrap();
                tx.commit().await.unwrap();
                answers
            })
        })
        .collect();
    let mut inserted = HashSet::new();
    let mut told = HashSet::new();
    for task in tasks {
        for answer in task.await.unwrap() {
            told.insert(answer.id);
            if answer.inserted() {
                assert!(inserted.insert(answer.id));
            }
        }
    }
    assert_eq!(inserted.len(), 50);
    assert_eq!(told, inserted, "losers are told the winners");
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 50);
    assert_eq!(count(&mut owner, "select count(*) from engine.lanes").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_slips_away_is_taken_by_the_one_who_asks() {
    let bench = Bench::new().await;
    let unique = || job("k", Options::new().unique_by("one"));
    // One task enqueues and the other completes, over and over: every enqueue must be answered by
    // a job that was open at some moment of the call.
    let enqueuer = {
        let db = bench.test.db.clone();
        tokio::spawn(async move {
            let mut inserted = 0;
            while inserted < 60 {
                let mut tx = db.begin(Scope::Platform).await.unwrap();
                inserted += u32::from(tx.enqueue(unique()).await.unwrap().inserted());
                tx.commit().await.unwrap();
            }
        })
    };
    while !enqueuer.is_finished() {
        for claimed in bench.claim(1).await {
            assert!(bench.settle(&claimed, SettleAs::Completed).await);
        }
    }
    enqueuer.await.unwrap();
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn an_enqueuer_waits_for_a_key_that_is_being_released() {
    let bench = Bench::new().await;
    let options = || Options::new().unique_by("one");
    let first = bench.running(options()).await;
    let tx = bench.test.db.begin_job(&first).await.unwrap();
    // Not committed yet: the job has ended in its own transaction only.
    let mut ending = bench.test.owner().await;
    drop(tx);
    sqlx::raw_sql("begin; delete from engine.job_uniques").execute(&mut ending).await.unwrap();

    let db = bench.test.db.clone();
    let waiting = tokio::spawn(async move {
        let mut tx = db.begin(Scope::Platform).await.unwrap();
        let answer = tx.enqueue(job("k", options())).await.unwrap();
        tx.commit().await.unwrap();
        answer
    });
    let blocked = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let mut owner = bench.test.owner().await;
    let mut seen = 0;
    for _ in 0..1000 {
        seen = count(&mut owner, blocked).await;
        if seen > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(seen, 1, "the enqueuer waits for the end of the other transaction");
    sqlx::raw_sql("commit").execute(&mut ending).await.unwrap();
    assert!(waiting.await.unwrap().inserted());
}

#[tokio::test]
async fn single_jobs_of_many_callers_are_enqueued_together_and_each_is_answered() {
    let bench = Bench::new().await;
    let one = |n: u32| {
        let (db, key) = (bench.test.db.clone(), n / 2);
        async move { db.enqueue(job("k", Options::new().unique_by(key))).await.unwrap() }
    };
    let answers = futures::future::join_all((0..400).map(one)).await;
    let inserted = answers.iter().filter(|a| a.inserted()).count();
    assert_eq!(inserted, 200, "two callers for each key");
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].id, pair[1].id);
    }
    assert_eq!(bench.claim(500).await.len(), 200);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_job_that_is_refused_does_not_take_others_down_and_one_that_stands_is_not_doubled() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let twice = job("k", Options::new());
    db.enqueue(twice.clone()).await.unwrap();
    // No zero byte fits into PostgreSQL's text.
    let mut bad = job("k", Options::new());
    bad.request_id = Some("\0".to_owned());
    let jobs = [job("k", Options::new()), twice, bad, job("k", Options::new())];
    let answers = futures::future::join_all(jobs.map(|j| db.enqueue(j))).await;
    let fine: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, false, true]);
    assert_eq!(bench.claim(9).await.len(), 3);
    audit(&mut bench.test.owner().await).await;
}
