//! Jobs that nobody knows are put out of the way, and come back with somebody who does.

use super::support::{Bench, LONG, audit, count, info, job};
use std::time::Duration;
use switchyard_queue::{ClaimRequest, JobId, JobStore, LaneTake, Options, WorkerInfo};
use switchyard_store::jobs::{self, Reason};
use switchyard_store::maintenance::park_unknown;

const AT_ONCE: Duration = Duration::ZERO;

async fn parked(bench: &Bench) -> i64 {
    let mut owner = bench.test.owner().await;
    count(&mut owner, "select count(*) from engine.jobs where stage = 3").await
}

async fn codes(bench: &Bench, id: JobId) -> Vec<&'static str> {
    let why = jobs::why(&bench.test.db, id).await.unwrap();
    why.reasons.iter().map(Reason::code).collect()
}

#[tokio::test]
async fn a_kind_that_nobody_knows_waits_aside_and_is_back_with_the_worker_that_does() {
    let bench = Bench::new().await;
    let strange: Vec<_> = (0..1500).map(|_| job("strange", Options::new())).collect();
    let strange = bench.enqueue(strange).await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    // Not yet: somebody may be starting again.
    assert_eq!(park_unknown(&bench.test.db, Duration::from_secs(60)).await.unwrap(), 0);
    assert_eq!(park_unknown(&bench.test.db, AT_ONCE).await.unwrap(), 1500);
    assert_eq!((parked(&bench).await, bench.claim(10).await.len()), (1500, 1));
    let said = codes(&bench, strange[0].id).await;
    assert!(said.contains(&"parked") && said.contains(&"kind_unknown"), "{said:?}");
    audit(&mut bench.test.owner().await).await;
    // Again, and nothing moves.
    assert_eq!(park_unknown(&bench.test.db, AT_ONCE).await.unwrap(), 0);

    let knows = WorkerInfo { kinds: vec!["strange".into()], ..info() };
    let other = bench.store.register(&knows).await.unwrap();
    // Beside the registration, which keeps nobody waiting.
    let back = async || (parked(&bench).await == 0).then_some(());
    super::support::until("it is there, and so are they", back).await;
    let lanes: Vec<LaneTake> = super::support::lanes_of(&bench.store, 2000).await;
    let request = ClaimRequest {
        worker: other.id,
        kinds: &knows.kinds,
        lanes: &lanes,
        lease: LONG,
        dead: &[],
        alone: false,
    };
    assert_eq!(bench.store.claim(&request).await.unwrap().jobs.len(), 1500);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn who_knows_a_kind_but_not_its_queue_is_no_help_and_a_queue_without_workers_is_left_alone() {
    let bench = Bench::new().await;
    let elsewhere =
        WorkerInfo { kinds: vec!["strange".into()], queues: vec!["elsewhere".into()], ..info() };
    let elsewhere = bench.store.register(&elsewhere).await.unwrap();
    bench.enqueue(vec![job("strange", Options::new())]).await;
    assert_eq!(park_unknown(&bench.test.db, AT_ONCE).await.unwrap(), 1);
    drop(elsewhere);
    // What came back too early for a worker that registered meanwhile is found by the next round.
    let knows = WorkerInfo { kinds: vec!["strange".into()], ..info() };
    let _there = bench.store.register(&knows).await.unwrap();
    sqlx::query("update engine.jobs set stage = 3")
        .execute(&mut bench.test.owner().await)
        .await
        .unwrap();
    assert_eq!(park_unknown(&bench.test.db, AT_ONCE).await.unwrap(), 1);
    assert_eq!(parked(&bench).await, 0);

    let mut unserved = job("strange", Options::new());
    unserved.queue = "nobody".into();
    bench.enqueue(vec![unserved]).await;
    assert_eq!(park_unknown(&bench.test.db, AT_ONCE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_parked_job_can_be_cancelled_and_what_runs_is_never_parked() {
    let bench = Bench::new().await;
    let running = bench.running(Options::new()).await;
    let id = bench.enqueue(vec![job("strange", Options::new())]).await[0].id;
    park_unknown(&bench.test.db, AT_ONCE).await.unwrap();
    jobs::cancel(&bench.test.db, id).await.unwrap();
    assert_eq!(codes(&bench, id).await, ["cancelled"]);
    assert_eq!(codes(&bench, running.id).await, ["running"]);
    audit(&mut bench.test.owner().await).await;
}
