//! What operators see and do.

use super::support::{Bench, LONG, audit, failure, job};
use std::time::Duration;
use switchyard_queue::{JobId, JobState, JobStore, Options, SettleAs};
use switchyard_store::jobs::{self, JobFilter, Refusal};
use switchyard_store::maintenance;

#[tokio::test]
async fn a_waiting_job_runs_at_once_when_it_is_retried() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let scheduled = bench.enqueue(vec![job("k", Options::new().delay(LONG))]).await[0].id;
    let row = jobs::retry(db, scheduled).await.unwrap();
    assert_eq!((row.id, row.state), (scheduled, JobState::Available));
    let mine = bench.claim(1).await.pop().unwrap();
    assert!(bench.settle(&mine, SettleAs::Retry(LONG, failure())).await);
    let row = jobs::retry(db, scheduled).await.unwrap();
    assert_eq!((row.state, row.attempt), (JobState::Available, 1), "attempts stay used up");
    assert!(matches!(
        jobs::retry(db, scheduled).await,
        Err(Refusal::WrongState(JobState::Available))
    ));
    bench.claim(1).await;
    let running = jobs::retry(db, scheduled).await;
    assert!(matches!(running, Err(Refusal::WrongState(JobState::Running))));
    assert!(matches!(jobs::retry(db, JobId::new()).await, Err(Refusal::NotFound)));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_dead_letter_starts_over_if_its_key_is_free() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let unique = || Options::new().unique_by("one").max_attempts(1);
    let dead = bench.running(unique()).await;
    assert!(bench.settle(&dead, SettleAs::Discard(failure())).await);
    let rival = bench.running(unique()).await;
    match jobs::retry(db, dead.id).await {
        Err(Refusal::KeyHeld(holder)) => assert_eq!(holder, rival.id),
        other => panic!("{other:?}"),
    }
    assert!(bench.settle(&rival, SettleAs::Completed).await);
    let row = jobs::retry(db, dead.id).await.unwrap();
    assert_eq!((row.state, row.attempt), (JobState::Available, 0));
    let again = bench.enqueue(vec![job("k", unique())]).await;
    assert_eq!((again[0].inserted(), again[0].id), (false, dead.id), "it holds its key again");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn of_a_finished_job_a_copy_is_run() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let options = Options::new().unique_by("one").partition("p").priority(3).max_attempts(7);
    let old = bench.running(options).await;
    assert!(bench.settle(&old, SettleAs::Completed).await);
    let copy = jobs::retry(db, old.id).await.unwrap();
    assert_ne!(copy.id, old.id);
    assert_eq!(copy.state, JobState::Available);
    let was = jobs::show(db, old.id).await.unwrap();
    let is = jobs::show(db, copy.id).await.unwrap();
    assert_eq!(is.args, was.args);
    let (a, b) = (&is.row, &was.row);
    assert_eq!((&a.kind, &a.queue, &a.partition), (&b.kind, &b.queue, &b.partition));
    assert_eq!((a.priority, a.max_attempts, a.timeout_ms), (3, 7, b.timeout_ms));
    assert_eq!(a.unique_key, b.unique_key);
    match jobs::retry(db, old.id).await {
        Err(Refusal::KeyHeld(holder)) => assert_eq!(holder, copy.id),
        other => panic!("{other:?}"),
    }
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once_and_what_runs_is_asked() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let available = bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await[0].id;
    let row = jobs::cancel(db, available).await.unwrap();
    assert_eq!((row.state, row.attempt, row.worker), (JobState::Cancelled, 0, None));
    assert_eq!(row.error.as_deref(), Some("cancelled by an operator"));
    assert!(bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await[0].inserted());
    let over = jobs::cancel(db, available).await;
    assert!(matches!(over, Err(Refusal::WrongState(JobState::Cancelled))));

    let mine = bench.claim(1).await.pop().unwrap();
    assert!(jobs::cancel(db, mine.id).await.unwrap().cancel_requested);
    assert!(bench.settle(&mine, SettleAs::Snooze(LONG)).await);
    assert_eq!(jobs::find(db, mine.id).await.unwrap().state, JobState::Cancelled);

    let dead = bench.running(Options::new()).await;
    assert!(bench.settle(&dead, SettleAs::Discard(failure())).await);
    let row = jobs::cancel(db, dead.id).await.unwrap();
    assert_eq!(row.state, JobState::Cancelled, "a dead letter is put away");
    assert!(row.error.unwrap().contains("it broke"), "with its last error");
    assert!(matches!(jobs::cancel(db, JobId::new()).await, Err(Refusal::NotFound)));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn discarding_makes_a_dead_letter_of_what_waits() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let later = Options::new().delay(LONG).unique_by(1);
    let waiting = bench.enqueue(vec![job("k", later)]).await[0].id;
    let row = jobs::discard(db, waiting).await.unwrap();
    assert_eq!(row.state, JobState::Discarded);
    assert_eq!(row.error.as_deref(), Some("discarded by an operator"));
    assert_eq!(maintenance::promote_due(db).await.unwrap(), 0);
    let twice = jobs::discard(db, waiting).await;
    assert!(matches!(twice, Err(Refusal::WrongState(JobState::Discarded))));

    let mine = bench.running(Options::new()).await;
    assert!(jobs::discard(db, mine.id).await.unwrap().cancel_requested);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn an_action_does_not_wait_for_ever_for_a_jobs_own_transaction() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let tx = bench.test.db.begin_job(&mine).await.unwrap();
    let asked = jobs::cancel(&bench.test.db, mine.id);
    match tokio::time::timeout(Duration::from_secs(8), asked).await.unwrap() {
        Err(Refusal::Store(fault)) => assert!(fault.is_transient()),
        other => panic!("{other:?}"),
    }
    tx.done().await.unwrap();
}

#[tokio::test]
async fn counts_come_from_the_books_and_survive_folding() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    bench.enqueue((0..10).map(|n| job("k", Options::new().partition(n % 2))).collect()).await;
    for mine in bench.claim(2).await {
        bench.settle(&mine, SettleAs::Completed).await;
    }
    let before = jobs::counts(db).await.unwrap();
    assert!(maintenance::fold_counters(db).await.unwrap() > 0);
    assert_eq!(maintenance::fold_counters(db).await.unwrap(), 0);
    assert_eq!(jobs::counts(db).await.unwrap(), before);
    let all: Vec<_> =
        before.iter().map(|c| (c.partition.as_str(), c.kind.as_str(), c.state, c.n)).collect();
    assert_eq!(
        all,
        [
            ("0", "k", JobState::Available, 3),
            ("0", "k", JobState::Completed, 2),
            ("1", "k", JobState::Available, 3),
            ("1", "k", JobState::Completed, 2),
        ]
    );
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn the_oldest_waiting_job_is_found_behind_the_running_and_the_urgent() {
    let bench = Bench::new().await;
    let ago = |s| chrono::Utc::now() - chrono::TimeDelta::seconds(s);
    bench
        .enqueue(vec![
            job("k", Options::new().run_at(ago(900))), // will be running
            job("k", Options::new().run_at(ago(100))),
            job("k", Options::new().priority(5).run_at(ago(400))),
            job("k", Options::new().partition("p").run_at(ago(50))),
        ])
        .await;
    let running = bench.claim(1).await;
    assert_eq!(running.len(), 2, "one of each lane");
    let summary = jobs::queues(&bench.test.db).await.unwrap().remove(0);
    let oldest = summary.oldest_waiting.unwrap().as_secs();
    assert!((400..410).contains(&oldest), "{oldest} s");
    assert_eq!(summary.counts.get(&JobState::Running), Some(&2));
}

#[tokio::test]
async fn lists_are_filtered_and_paged_over_open_and_finished_jobs() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let tenant = uuid::Uuid::now_v7();
    let mut ids = Vec::new();
    for n in 0..12 {
        let mut o = Options::new().delay(if n % 3 == 0 { LONG } else { Duration::ZERO });
        if n == 5 {
            o = o.tenant(tenant);
        }
        ids.push(bench.enqueue(vec![job("k", o).caused_by(None, Some("r"))]).await[0].id);
    }
    for (n, mine) in bench.claim(4).await.iter().enumerate() {
        if n < 3 {
            bench.settle(mine, SettleAs::Completed).await;
        }
    }
    let page = |state, before, limit| JobFilter { state, before, limit, ..JobFilter::default() };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let rows = jobs::list(db, &page(None, before, 5)).await.unwrap();
        let Some(last) = rows.last() else { break };
        before = Some(last.id);
        seen.extend(rows.iter().map(|r| r.id));
    }
    let mut youngest_first = ids.clone();
    youngest_first.sort();
    youngest_first.reverse();
    assert_eq!(seen, youngest_first, "every job once, the youngest first");
    for (state, n) in [
        (JobState::Available, 4),
        (JobState::Running, 1),
        (JobState::Scheduled, 4),
        (JobState::Completed, 3),
        (JobState::Discarded, 0),
        (JobState::Cancelled, 0),
    ] {
        let rows = jobs::list(db, &page(Some(state), None, 0)).await.unwrap();
        assert_eq!(rows.len(), n, "{state}");
        assert!(rows.iter().all(|r| r.state == state));
    }
    let of = JobFilter { tenant: Some(tenant), ..JobFilter::default() };
    assert_eq!(jobs::list(db, &of).await.unwrap().len(), 1);
    let of = JobFilter { queue: Some("other".into()), ..JobFilter::default() };
    assert!(jobs::list(db, &of).await.unwrap().is_empty());
    let of = JobFilter { kind: Some("k".into()), queue: Some("q".into()), ..JobFilter::default() };
    assert_eq!(jobs::list(db, &of).await.unwrap().len(), 12);
    let story: Vec<_> = jobs::by_request(db, "r").await.unwrap().iter().map(|r| r.id).collect();
    youngest_first.reverse();
    assert_eq!(story, youngest_first);
    assert_eq!(jobs::workers(db).await.unwrap().len(), 1);
    assert!(bench.store.reap(None).await.unwrap().gone.is_empty());
}
