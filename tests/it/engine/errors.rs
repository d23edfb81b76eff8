//! Failures in groups, and what is done with all dead letters of one.

use super::support::{Bench, LONG, audit, count, held, job};
use std::time::Duration;
use switchyard_queue::{ErrorReport, JobState, JobStore, Options, SettleAs, Settlement};
use switchyard_store::jobs::errors::{self, Acted, ErrorFilter, ErrorGroup};
use switchyard_store::jobs::{self, JobFilter};
use switchyard_store::{StoreFault, maintenance};

fn report(class: &'static str, message: &str) -> ErrorReport {
    ErrorReport { class, message: message.to_owned() }
}

async fn groups(bench: &Bench) -> Vec<ErrorGroup> {
    errors::list(&bench.test.db, &ErrorFilter::default()).await.unwrap()
}

async fn state_count(bench: &Bench, state: JobState) -> usize {
    let filter = JobFilter { state: Some(state), limit: 1000, ..JobFilter::default() };
    jobs::list(&bench.test.db, &filter).await.unwrap().len()
}

/// Dead letters that died of the same thing, in one batch.
async fn kill(bench: &Bench, n: usize, message: &str) -> String {
    bench.enqueue((0..n).map(|_| job("k", Options::new().max_attempts(1))).collect()).await;
    let taken = bench.claim(u32::try_from(n).unwrap()).await;
    assert_eq!(taken.len(), n);
    let dead: Vec<Settlement> = taken
        .iter()
        .enumerate()
        .map(|(i, job)| Settlement {
            held: held(job),
            result: SettleAs::Discard(report("error", &format!("{message} {i}"))),
            ran: Duration::ZERO,
        })
        .collect();
    assert_eq!(bench.store.settle(&dead).await.unwrap().len(), n);
    groups(bench).await[0].fingerprint.clone()
}

#[tokio::test]
async fn failures_that_differ_in_numbers_and_ids_are_one_group() {
    let bench = Bench::new().await;
    let mut last = None;
    for n in 0..3 {
        let mine = bench.running(Options::new()).await;
        let words = format!("lead {} was not sent in {n} s\nos error {n}", mine.id);
        let failed = SettleAs::Retry(LONG, report("error", &words));
        assert!(bench.settle(&mine, failed).await);
        last = Some(mine.id);
    }
    let timed_out = bench.running(Options::new()).await;
    let report = report("timeout", "the attempt took longer than 30 s");
    assert!(bench.settle(&timed_out, SettleAs::Retry(LONG, report)).await);
    let done = bench.running(Options::new()).await;
    assert!(bench.settle(&done, SettleAs::Completed).await);

    let found = groups(&bench).await;
    let seen: Vec<_> = found.iter().map(|g| (&*g.class, &*g.pattern, g.failures)).collect();
    let alike = "lead <uuid> was not sent in <n> s\nos error <n>";
    let timeout = "the attempt took longer than <n> s";
    assert_eq!(seen, [("timeout", timeout, 1), ("error", alike, 3)], "the latest first");
    let group = &found[1];
    assert_eq!((&*group.kind, Some(group.example)), ("k", last.map(|id| id.0)));
    assert!(group.first_seen < group.last_seen && group.dead_letters == 0);
    assert_eq!(errors::find(&bench.test.db, &group.fingerprint).await.unwrap(), *group);
    let other = ErrorFilter { kind: Some("other".into()), limit: 5 };
    assert!(errors::list(&bench.test.db, &other).await.unwrap().is_empty());
    let none = errors::find(&bench.test.db, "none").await;
    assert!(matches!(none, Err(StoreFault::NotFound)));
}

#[tokio::test]
async fn groups_survive_folding_and_are_forgotten_when_nothing_is_left_of_them() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    kill(&bench, 3, "it broke").await;
    let before = groups(&bench).await;
    assert_eq!(maintenance::fold_errors(db).await.unwrap(), 1, "a batch is one row");
    assert_eq!(maintenance::fold_errors(db).await.unwrap(), 0);
    assert_eq!(groups(&bench).await, before);
    let fingerprint = kill(&bench, 2, "it broke").await;
    assert_eq!((groups(&bench).await.len(), groups(&bench).await[0].failures), (1, 5));
    maintenance::fold_errors(db).await.unwrap();
    let after = groups(&bench).await.remove(0);
    assert_eq!((after.failures, after.first_seen), (5, before[0].first_seen));
    assert!(after.last_seen > before[0].last_seen && after.example != before[0].example);

    let mut owner = bench.test.owner().await;
    let age = "update engine.error_groups set last_seen = now() - interval '15 days'";
    sqlx::query(age).execute(&mut owner).await.unwrap();
    assert_eq!(maintenance::forget_errors(db, 14).await.unwrap(), 0, "its dead letters remain");
    assert_eq!(errors::cancel(db, &fingerprint).await.unwrap(), Acted { done: 5, kept: 0 });
    assert_eq!(maintenance::forget_errors(db, 20).await.unwrap(), 0);
    assert_eq!(maintenance::forget_errors(db, 14).await.unwrap(), 1);
    assert!(groups(&bench).await.is_empty());
}

#[tokio::test]
async fn all_dead_letters_of_a_group_run_again_and_no_others() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    // More than one transaction's worth.
    let fingerprint = kill(&bench, 600, "no answer from host").await;
    let other = kill(&bench, 2, "the disk is full").await;
    assert_ne!(fingerprint, other);
    assert_eq!(errors::find(db, &fingerprint).await.unwrap().dead_letters, 600);
    assert_eq!(errors::retry(db, &fingerprint).await.unwrap(), Acted { done: 600, kept: 0 });
    assert_eq!(errors::retry(db, &fingerprint).await.unwrap(), Acted::default(), "once");
    assert_eq!(state_count(&bench, JobState::Available).await, 600);
    assert_eq!(state_count(&bench, JobState::Discarded).await, 2);
    let again = bench.claim(1).await.pop().unwrap();
    assert_eq!(again.attempt, 1, "it starts over");
    assert!(bench.settle(&again, SettleAs::Completed).await);
    let none = errors::retry(db, "none").await;
    assert!(matches!(none, Err(StoreFault::NotFound)));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_dead_letter_whose_key_is_held_stays() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    for _ in 0..2 {
        let mine = bench.running(Options::new().unique_by("one").max_attempts(1)).await;
        assert!(bench.settle(&mine, SettleAs::Discard(report("error", "no"))).await);
    }
    let fingerprint = groups(&bench).await[0].fingerprint.clone();
    let acted = errors::retry(db, &fingerprint).await.unwrap();
    assert_eq!(acted, Acted { done: 1, kept: 1 }, "two cannot hold one key");
    assert_eq!(errors::retry(db, &fingerprint).await.unwrap(), Acted { done: 0, kept: 1 });
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn all_dead_letters_of_a_group_are_given_up() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let fingerprint = kill(&bench, 3, "no answer").await;
    assert_eq!(errors::cancel(db, &fingerprint).await.unwrap(), Acted { done: 3, kept: 0 });
    assert_eq!(errors::cancel(db, &fingerprint).await.unwrap(), Acted::default());
    assert_eq!(state_count(&bench, JobState::Cancelled).await, 3);
    let group = errors::find(db, &fingerprint).await.unwrap();
    assert_eq!((group.failures, group.dead_letters), (3, 0));
    audit(&mut bench.test.owner().await).await;
}

/// A worker of the version before writes its failures without a fingerprint.
#[tokio::test]
async fn an_older_worker_beside_a_new_one_fails_as_before() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let mut old = bench.test.owner().await;
    sqlx::raw_sql("set role switchyard_engine").execute(&mut old).await.unwrap();
    let before =
        "update engine.jobs set stage = 5, attempt = attempt + 1, last_error = 'error: no',
        worker = null, claimed_at = null, lease_until = null where id = $1";
    sqlx::query(before).bind(mine.id.0).execute(&mut old).await.unwrap();
    assert!(groups(&bench).await.is_empty());
    assert_eq!(count(&mut old, "select count(*) from engine.error_deltas").await, 0);
    assert_eq!(jobs::retry(&bench.test.db, mine.id).await.unwrap().state, JobState::Available);
}
