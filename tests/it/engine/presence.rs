//! Who is alive, and how soon a dead worker's jobs run again.

use super::support::{Bench, LONG, audit, claim_as, count, info, job, until};
use std::time::Duration;
use switchyard_queue::{JobStore, Options, WorkerId};
use switchyard_store::{PgJobStore, jobs, maintenance};

/// Kills the connection that holds a worker's lock, as the end of its process would.
pub async fn kill(bench: &Bench, worker: WorkerId) {
    let mut owner = bench.test.owner().await;
    let killed: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid) from pg_locks
         where locktype = 'advisory' and objsubid = 2 and objid = $1::int::oid
           and database = (select oid from pg_database where datname = current_database())",
    )
    .bind(i32::try_from(worker.0).unwrap())
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(killed, [true]);
}

#[tokio::test]
async fn a_dead_workers_jobs_are_claimed_at_once() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    let other_store = PgJobStore::new(&bench.test.db);
    let victim = other_store.register(&info()).await.unwrap();
    let taken = claim_as(&other_store, victim.id, 1, LONG, &[]).await.pop().unwrap();
    assert!(!bench.store.reap(None).await.unwrap().gone.contains(&victim.id), "it lives");

    kill(&bench, victim.id).await;
    let store = &bench.store;
    let dead = until("its death is noticed", || async {
        Some(store.reap(None).await.unwrap().gone).filter(|dead| dead.contains(&victim.id))
    })
    .await;
    assert!(!dead.contains(&bench.presence.id));
    let again = claim_as(store, bench.presence.id, 1, LONG, &dead).await.pop().unwrap();
    assert_eq!((again.id, again.crashes), (taken.id, 1));

    tokio::time::timeout(Duration::from_secs(5), victim.lost.cancelled()).await.unwrap();
    assert!(!bench.presence.lost.is_cancelled());
    let row = jobs::workers(&bench.test.db).await.unwrap();
    let row = row.iter().find(|w| w.id == victim.id.0).unwrap();
    assert!(row.died_at.is_some() && !row.is_live());
    assert!(
        store.reap(None).await.unwrap().gone.contains(&victim.id),
        "it is remembered for two leases"
    );
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_dropped_presence_frees_its_lock() {
    let bench = Bench::new().await;
    let other = bench.store.register(&info()).await.unwrap();
    assert_ne!(other.id, bench.presence.id);
    let (id, lost) = (other.id, other.lost.clone());
    drop(other);
    let store = &bench.store;
    until("the lock is free", || async {
        store.reap(None).await.unwrap().gone.contains(&id).then_some(())
    })
    .await;
    assert!(!lost.is_cancelled(), "it was given up, not lost");
}

#[tokio::test]
async fn a_worker_that_left_in_good_order_did_not_die() {
    let bench = Bench::new().await;
    let other = bench.store.register(&info()).await.unwrap();
    let id = other.id;
    bench.store.deregister(id).await.unwrap();
    drop(other);
    for _ in 0..20 {
        assert!(bench.store.reap(None).await.unwrap().gone.contains(&id), "its claims are void");
    }
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(died_at) from engine.workers").await, 0);
    assert_eq!(count(&mut owner, "select count(stopped_at) from engine.workers").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probing_never_takes_a_live_worker_for_dead() {
    let bench = Bench::new().await;
    let probers: Vec<_> = (0..6)
        .map(|_| {
            let store = PgJobStore::new(&bench.test.db);
            tokio::spawn(async move {
                // Workers come while others look: a row must never be seen without its lock.
                for _ in 0..15 {
                    let mine = store.register(&info()).await.unwrap();
                    for _ in 0..3 {
                        let dead = store.reap(None).await.unwrap().gone;
                        assert!(!dead.contains(&mine.id));
                    }
                    store.deregister(mine.id).await.unwrap();
                }
            })
        })
        .collect();
    for prober in probers {
        prober.await.unwrap();
    }
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(died_at) from engine.workers").await, 0);
}

#[tokio::test]
async fn a_scheduler_finds_the_dead_as_well() {
    let bench = Bench::new().await;
    let victim = bench.store.register(&info()).await.unwrap();
    assert_eq!(maintenance::rescue_hint(&bench.test.db).await.unwrap(), 0);
    kill(&bench, victim.id).await;
    let db = &bench.test.db;
    until("it is found", || async {
        (maintenance::rescue_hint(db).await.unwrap() == 1).then_some(())
    })
    .await;
    assert_eq!(maintenance::rescue_hint(db).await.unwrap(), 0, "once");
}
