//! Claiming: each job once, the urgent first, and what becomes of the jobs of the dead.

use super::support::{
    Bench, LONG, audit, claim_alone, claim_as, count, held, info, job, settlement, until,
};
use chrono::{TimeDelta, Utc};
use std::collections::HashSet;
use std::time::Duration;
use switchyard_queue::{ClaimRequest, JobStore, LaneTake, Options, SettleAs};
use switchyard_store::{PgJobStore, Scope, jobs, maintenance};

#[tokio::test]
async fn the_urgent_come_first_then_the_older() {
    let bench = Bench::new().await;
    let now = Utc::now();
    let at = |priority, seconds| {
        Options::new().priority(priority).run_at(now - TimeDelta::seconds(seconds))
    };
    let ids: Vec<_> = bench
        .enqueue([at(0, 10), at(-5, 1), at(0, 20), at(7, 99)].map(|o| job("k", o)).into())
        .await
        .iter()
        .map(|e| e.id)
        .collect();
    let first: Vec<_> = bench.claim(3).await.iter().map(|j| j.id).collect();
    assert_eq!(first, [ids[1], ids[2], ids[0]]);
    let rest: Vec<_> = bench.claim(3).await.iter().map(|j| j.id).collect();
    assert_eq!(rest, [ids[3]]);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_claim_goes_round_the_lanes_and_takes_so_many_from_each() {
    let bench = Bench::new().await;
    let jobs: Vec<_> =
        (0..30).map(|n| job("k", Options::new().partition(if n < 26 { 0 } else { n }))).collect();
    bench.enqueue(jobs).await;
    let claimed = bench.claim(2).await;
    let lanes: Vec<_> = claimed.iter().map(|j| j.lane).collect();
    assert_eq!(claimed.len(), 2 + 4, "two of the crowded lane, one of each of the four others");
    assert!(lanes.is_sorted(), "in the order of the lanes asked for");
}

#[tokio::test]
async fn a_claimed_job_carries_everything() {
    let bench = Bench::new().await;
    let tenant = uuid::Uuid::now_v7();
    let trace = switchyard_queue::TraceContext::new_root();
    let options = Options::new().tenant(tenant).max_attempts(4).timeout(Duration::from_millis(77));
    let new = job("k", options).caused_by(Some(trace), Some("req"));
    bench.enqueue(vec![new.clone()]).await;
    let got = bench.claim(9).await.pop().unwrap();
    assert_eq!((got.id, got.kind.as_str(), &got.args), (new.id, "k", &new.args));
    assert_eq!((got.attempt, got.max_attempts, got.crashes), (1, 4, 0));
    assert_eq!((got.timeout, got.tenant), (Duration::from_millis(77), Some(tenant)));
    assert_eq!((got.trace, got.request_id.as_deref()), (Some(trace), Some("req")));
    assert_eq!((got.worker, got.fence.0), (bench.presence.id, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_claimers_never_get_a_job_twice() {
    let bench = Bench::new().await;
    let jobs: Vec<_> = (0..2000).map(|n| job("k", Options::new().partition(n % 5))).collect();
    bench.enqueue(jobs).await;
    let claimers: Vec<_> = (0..8)
        .map(|n| {
            // Every second one has connections of its own, as another process would.
            let store =
                if n % 2 == 0 { bench.store.clone() } else { PgJobStore::new(&bench.test.db) };
            tokio::spawn(async move {
                let me = store.register(&info()).await.unwrap();
                let mut mine = Vec::new();
                let mut empty = 0;
                // Rows that another claim holds are stepped over, so one empty hand is no proof.
                // One that got more than there are need not go on: somebody has the same.
                while empty < 20 && mine.len() <= 2000 {
                    let got = claim_as(&store, me.id, 7, LONG, &[]).await;
                    empty = if got.is_empty() { empty + 1 } else { 0 };
                    mine.extend(got.iter().map(|j| j.id));
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    let different: HashSet<_> = all.iter().copied().collect();
    assert_eq!(all.len(), 2000);
    assert_eq!(different.len(), 2000);
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs where fence <> 1").await, 0);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_kind_that_the_worker_does_not_know_waits() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("unknown", Options::new()), job("k", Options::new())]).await;
    let claimed = bench.claim(9).await;
    assert_eq!(claimed.iter().map(|j| j.kind.as_str()).collect::<Vec<_>>(), ["k"]);
    assert!(bench.claim(9).await.is_empty());
}

#[tokio::test]
async fn nothing_is_claimed_from_a_paused_queue_and_its_new_lanes() {
    let bench = Bench::new().await;
    let lane = bench.enqueue(vec![job("k", Options::new())]).await[0].lane;
    jobs::pause(&bench.test.db, "q", true).await.unwrap();
    bench.enqueue(vec![job("k", Options::new().partition("born paused"))]).await;
    assert!(bench.store.active_lanes(&["q".into()]).await.unwrap().is_empty());
    // A claim that names the lane all the same, because a wake-up did, gets nothing either.
    let request = ClaimRequest {
        worker: bench.presence.id,
        kinds: &["k".into()],
        lanes: &[LaneTake::whole(lane, 5)],
        lease: LONG,
        dead: &[],
        alone: false,
    };
    assert!(bench.store.claim(&request).await.unwrap().jobs.is_empty());
    let summary = jobs::queues(&bench.test.db).await.unwrap().remove(0);
    assert!(summary.paused && summary.oldest_waiting.is_some());

    jobs::pause(&bench.test.db, "q", false).await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 2);
    let nowhere = jobs::pause(&bench.test.db, "nowhere", true).await;
    assert!(matches!(nowhere, Err(switchyard_store::StoreFault::NotFound)));
}

#[tokio::test]
async fn only_the_queues_that_a_worker_serves_are_active() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    assert!(bench.store.active_lanes(&["other".into()]).await.unwrap().is_empty());
    assert_eq!(bench.store.active_lanes(&["q".into()]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_scheduled_job_is_claimed_once_it_was_promoted() {
    let bench = Bench::new().await;
    let soon = Options::new().delay(Duration::from_millis(150));
    bench.enqueue(vec![job("k", soon), job("k", Options::new().delay(LONG))]).await;
    assert_eq!(maintenance::promote_due(&bench.test.db).await.unwrap(), 0);
    assert!(bench.claim(9).await.is_empty());
    let db = &bench.test.db;
    let promoted = until("the job is due", || async {
        Some(maintenance::promote_due(db).await.unwrap()).filter(|n| *n > 0)
    })
    .await;
    assert_eq!(promoted, 1);
    assert_eq!(bench.claim(9).await.len(), 1);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn promoting_goes_on_until_nothing_is_due() {
    let bench = Bench::new().await;
    let late = || Options::new().delay(LONG);
    bench.enqueue((0..2345).map(|_| job("k", late())).collect()).await;
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("update engine.jobs set run_at = now()").execute(&mut owner).await.unwrap();
    assert_eq!(maintenance::promote_due(&bench.test.db).await.unwrap(), 2345);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_partition_is_paused_by_itself_whatever_its_queue_does() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let of = |partition: &str| job("k", Options::new().partition(partition));
    bench.enqueue(vec![of("a"), of("b")]).await;
    jobs::pause_partition(db, "q", "a", true).await.unwrap();
    jobs::pause_partition(db, "q", "to come", true).await.unwrap();
    bench.enqueue(vec![of("to come")]).await;
    assert_eq!(jobs::queues(db).await.unwrap()[0].held, ["a", "to come"]);
    let b = bench.claim(9).await;
    assert_eq!(b.len(), 1, "only b is claimed from: {b:?}");

    // The queue goes and comes back; what was paused by itself stays so.
    jobs::pause(db, "q", true).await.unwrap();
    jobs::pause(db, "q", false).await.unwrap();
    assert!(bench.claim(9).await.is_empty());
    // Resumed while its queue is paused, it waits for the queue.
    jobs::pause(db, "q", true).await.unwrap();
    jobs::pause_partition(db, "q", "a", false).await.unwrap();
    assert!(bench.claim(9).await.is_empty());
    jobs::pause(db, "q", false).await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 1);
    jobs::pause_partition(db, "q", "to come", false).await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 1);
    let nowhere = jobs::pause_partition(db, "nowhere", "a", true).await;
    assert!(matches!(nowhere, Err(switchyard_store::StoreFault::NotFound)));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_job_that_took_its_worker_along_three_times_alone_is_quarantined() {
    let bench = Bench::new().await;
    let id = bench.enqueue(vec![job("k", Options::new())]).await[0].id;
    let worker = bench.presence.id;
    // Whoever claims next knows that the last holder is dead. In company nothing is proven.
    for crashes in 0..20 {
        let got = claim_as(&bench.store, worker, 1, LONG, &[worker]).await;
        assert_eq!(got[0].crashes, crashes);
    }
    let mut crashes = Vec::new();
    while let Some(got) = claim_alone(&bench.store, worker, &[worker]).await {
        crashes.push(got.crashes);
    }
    assert_eq!(crashes, [20, 21, 22]);
    let row = jobs::find(&bench.test.db, id).await.unwrap();
    assert_eq!(row.state.as_str(), "quarantined");
    let said = row.error.unwrap();
    assert!(said.contains("23 times") && said.contains("3 of them while it ran alone"), "{said}");
    audit(&mut bench.test.owner().await).await;

    let again = jobs::retry(&bench.test.db, id).await.unwrap();
    assert_eq!((again.state.as_str(), again.crashes), ("available", 0));
    assert_eq!(bench.claim(1).await.len(), 1);
}

#[tokio::test]
async fn a_cancelled_job_whose_worker_vanished_is_not_run_again() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new().unique_by(1)).await;
    jobs::cancel(&bench.test.db, mine.id).await.unwrap();
    let other = bench.store.register(&info()).await.unwrap();
    assert!(claim_as(&bench.store, other.id, 1, LONG, &[mine.worker]).await.is_empty());
    let row = jobs::find(&bench.test.db, mine.id).await.unwrap();
    assert_eq!(row.state.as_str(), "cancelled");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn connections_that_are_cut_are_made_anew() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    bench.enqueue((0..4).map(|_| job("k", Options::new())).collect()).await;
    let first = bench.claim(1).await.pop().unwrap();
    bench.store.renew(&[held(&first)], LONG).await.unwrap();
    assert!(bench.settle(&first, SettleAs::Completed).await);

    let cut = count(
        &mut owner,
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database()
           and application_name in ('switchyard claim', 'switchyard settle', 'switchyard renew')",
    )
    .await;
    assert_eq!(cut, 3);
    let store = &bench.store;
    until("lanes again", || async { store.active_lanes(&["q".into()]).await.ok() }).await;
    let second = bench.claim(1).await.pop().unwrap();
    until("leases again", || async { store.renew(&[held(&second)], LONG).await.ok() }).await;
    let result = [settlement(&second, SettleAs::Completed)];
    until("results again", || async { store.settle(&result).await.ok() }).await;
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_claim_that_its_caller_gave_up_leaves_the_connection_usable() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    let mut blocker = bench.test.owner().await;
    sqlx::raw_sql("begin; lock table engine.lanes in access exclusive mode")
        .execute(&mut blocker)
        .await
        .unwrap();
    let queues = ["q".to_owned()];
    let asked = bench.store.active_lanes(&queues);
    assert!(tokio::time::timeout(Duration::from_millis(100), asked).await.is_err());
    sqlx::raw_sql("rollback").execute(&mut blocker).await.unwrap();
    assert_eq!(bench.store.active_lanes(&queues).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_changes_no_index() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    bench.enqueue((0..100).map(|_| job("k", Options::new())).collect()).await;
    assert_eq!(bench.claim(100).await.len(), 100);
    let hot = "select pg_stat_get_tuples_hot_updated('engine.jobs'::regclass)";
    let mut seen = 0;
    for _ in 0..600 {
        // The claiming backend reports its statistics with a statement a second later.
        bench.store.active_lanes(&["q".into()]).await.unwrap();
        sqlx::raw_sql("select pg_stat_clear_snapshot()").execute(&mut owner).await.unwrap();
        seen = count(&mut owner, hot).await;
        if seen > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen, 100, "every claim must be HOT");
}

#[tokio::test]
async fn a_rolled_back_enqueue_leaves_its_lane_usable() {
    let bench = Bench::new().await;
    let mut tx = bench.test.db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job("k", Options::new().partition("new"))).await.unwrap();
    tx.rollback().await.unwrap();
    bench.enqueue(vec![job("k", Options::new().partition("new"))]).await;
    assert_eq!(bench.claim(1).await.len(), 1);
}
