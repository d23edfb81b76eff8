//! Who holds a job: nobody else gets it while the lease stands or its row is locked.

use super::support::{Bench, LONG, audit, claim_as, count, held, info, job, until};
use chrono::{DateTime, Utc};
use sqlx::Connection;
use std::time::Duration;
use switchyard_queue::{JobStore, Options, SettleAs};
use switchyard_store::jobs;

#[tokio::test]
async fn what_a_live_worker_holds_nobody_else_gets() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    assert_eq!(bench.claim(1).await.len(), 1);
    let other = bench.store.register(&info()).await.unwrap();
    // An earlier look at the table may have left the claim at the end of the lane.
    for _ in 0..3 {
        assert!(claim_as(&bench.store, other.id, 9, LONG, &[]).await.is_empty());
    }
}

/// An operator's request holds a row for a moment. Were claims to wait for it, all of them would go on at
/// the same instant with the same rows in mind.
#[tokio::test]
async fn a_claim_steps_over_a_row_that_somebody_has_locked() {
    let bench = Bench::new().await;
    let jobs = bench.enqueue(vec![job("k", Options::new()), job("k", Options::new())]).await;
    let mut operator = bench.test.owner().await;
    let mut request = operator.begin().await.unwrap();
    sqlx::query("select from engine.jobs where id = $1 for update")
        .bind(jobs[0].id.0)
        .execute(&mut *request)
        .await
        .unwrap();
    let claim = tokio::time::timeout(Duration::from_secs(5), bench.claim(9)).await.unwrap();
    assert_eq!(claim.iter().map(|j| j.id).collect::<Vec<_>>(), [jobs[1].id]);
    request.rollback().await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 1);
    audit(&mut operator).await;
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_stale_result_refused() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    let brief = Duration::from_millis(20);
    let first = claim_as(&bench.store, bench.presence.id, 1, brief, &[]).await.pop().unwrap();
    let other = bench.store.register(&info()).await.unwrap();
    let second = until("the lease runs out", || async {
        claim_as(&bench.store, other.id, 1, LONG, &[]).await.pop()
    })
    .await;
    assert_eq!(second.id, first.id);
    assert!(second.fence > first.fence);
    assert_eq!((second.crashes, second.attempt), (1, 1), "a crash uses up no attempt");

    for result in [SettleAs::Completed, SettleAs::Snooze(LONG), SettleAs::GiveBack] {
        assert!(!bench.settle(&first, result).await, "the first worker's results are stale");
    }
    let late = bench.test.db.begin_job(&first).await;
    assert!(matches!(late, Err(switchyard_store::StoreFault::LeaseLost)));
    assert!(bench.store.renew(&[held(&first)], LONG).await.unwrap().is_empty());

    assert!(bench.settle(&second, SettleAs::Completed).await);
    let detail = jobs::show(&bench.test.db, first.id).await.unwrap();
    let evidence: Vec<_> =
        detail.attempts.iter().map(|a| (a.outcome.as_str(), a.worker, a.fence)).collect();
    assert_eq!(evidence, [("crash", Some(bench.presence.id.0), first.fence.0)]);
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_renewed_lease_holds() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    let brief = Duration::from_millis(300);
    let mine = claim_as(&bench.store, bench.presence.id, 1, brief, &[]).await.pop().unwrap();
    let renewed = bench.store.renew(&[held(&mine)], LONG).await.unwrap();
    assert_eq!(
        renewed.iter().map(|r| (r.id, r.cancel_requested)).collect::<Vec<_>>(),
        [(mine.id, false)]
    );
    let mut owner = bench.test.owner().await;
    let left = "select extract(epoch from lease_until - now())::bigint from engine.jobs";
    assert!(count(&mut owner, left).await > 500);
}

#[tokio::test]
async fn a_long_transaction_of_one_job_does_not_hold_up_the_leases_of_others() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new()), job("k", Options::new())]).await;
    let jobs = bench.claim(2).await;
    let tx = bench.test.db.begin_job(&jobs[0]).await.unwrap();
    let all: Vec<_> = jobs.iter().map(held).collect();
    let renewing = bench.store.renew(&all, LONG);
    let renewed = tokio::time::timeout(Duration::from_secs(5), renewing).await.unwrap().unwrap();
    assert_eq!(renewed.len(), 2, "the locked one is answered for, too");
    tx.done().await.unwrap();
    assert_eq!(bench.store.renew(&all, LONG).await.unwrap().len(), 1);
}

/// Renewals step over a row that is locked, so the job's own transactions renew its lease.
#[tokio::test]
async fn a_lease_that_ran_low_is_renewed_by_the_jobs_own_transaction() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    for late in [true, false] {
        bench.enqueue(vec![job("k", Options::new())]).await;
        let brief = Duration::from_millis(60);
        let mine = claim_as(&bench.store, bench.presence.id, 1, brief, &[]).await.pop().unwrap();
        let mut now = async || -> DateTime<Utc> {
            sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut owner).await.unwrap()
        };
        // It begins when nothing is left of the lease, or takes longer than that.
        let (before, within) = if late { (brief, Duration::ZERO) } else { (Duration::ZERO, brief) };
        tokio::time::sleep(before).await;
        let begun = now().await;
        let tx = bench.test.db.begin_job(&mine).await.unwrap();
        tokio::time::sleep(within).await;
        let known = if late { begun } else { now().await };
        tx.commit().await.unwrap();
        let lease: DateTime<Utc> =
            sqlx::query_scalar("select lease_until from engine.jobs where id = $1")
                .bind(mine.id.0)
                .fetch_one(&mut owner)
                .await
                .unwrap();
        assert!(lease > known, "{lease}, {known}, begun late: {late}");
        assert!(bench.settle(&mine, SettleAs::Completed).await);
    }
}

#[tokio::test]
async fn a_job_in_its_own_transaction_is_not_taken_over_though_its_lease_ran_out() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    let brief = Duration::from_millis(1);
    let mine = claim_as(&bench.store, bench.presence.id, 1, brief, &[]).await.pop().unwrap();
    let tx = bench.test.db.begin_job(&mine).await.unwrap();
    let mut owner = bench.test.owner().await;
    let over = "select count(*) from engine.jobs where lease_until < now()";
    while count(&mut owner, over).await == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let other = bench.store.register(&info()).await.unwrap();
    assert!(claim_as(&bench.store, other.id, 1, LONG, &[mine.worker]).await.is_empty());
    tx.done().await.unwrap();
    audit(&mut owner).await;
}
