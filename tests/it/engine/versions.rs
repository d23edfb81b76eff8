//! Old and new programs on one queue: a version that a worker does not know is left to one that does.

use super::support::{Bench, LONG, count, info, kind, lanes_of};
use serde_json::json;
use std::time::Duration;
use switchyard_queue::{
    ClaimRequest, ClaimedJob, JobStore, KindInfo, NewJob, Options, Presence, WorkerInfo,
};
use switchyard_store::jobs;

/// A worker that runs kind `k` up to this version.
async fn worker(bench: &Bench, version: u16) -> (Presence, Vec<String>) {
    let declared = KindInfo { version, ..kind() };
    let kinds: Vec<String> = declared.runs().map(String::from).collect();
    let who = WorkerInfo { kinds: kinds.clone(), declares: vec![declared], ..info() };
    (bench.store.register(&who).await.unwrap(), kinds)
}

async fn claim(bench: &Bench, (who, kinds): &(Presence, Vec<String>)) -> Vec<ClaimedJob> {
    let lanes = lanes_of(&bench.store, 10).await;
    let request =
        ClaimRequest { worker: who.id, kinds, lanes: &lanes, lease: LONG, dead: &[], alone: false };
    bench.store.claim(&request).await.unwrap().jobs
}

fn of(kind: &'static str) -> NewJob {
    NewJob::raw(kind, "q", Duration::from_secs(30), json!({"n": 1}), Options::new())
}

#[tokio::test]
async fn each_worker_takes_the_versions_that_it_knows() {
    let bench = Bench::new().await;
    let (old, new) = (worker(&bench, 1).await, worker(&bench, 3).await);
    let jobs: Vec<_> = bench.enqueue(vec![of("k"), of("k@3"), of("k@4")]).await;
    let ids = |claimed: Vec<ClaimedJob>| claimed.into_iter().map(|j| j.id).collect::<Vec<_>>();
    assert_eq!(ids(claim(&bench, &old).await), [jobs[0].id]);
    assert_eq!(ids(claim(&bench, &new).await), [jobs[1].id]);
    assert!(claim(&bench, &new).await.is_empty(), "nobody knows version 4");
    let why = jobs::why(&bench.test.db, jobs[2].id).await.unwrap();
    assert!(why.reasons.iter().any(|r| r.code() == "kind_unknown"), "{why:?}");
    let why = jobs::why(&bench.test.db, jobs[1].id).await.unwrap();
    assert!(why.reasons.iter().all(|r| r.code() != "kind_unknown"), "{why:?}");
}

#[tokio::test]
async fn a_kind_is_one_in_counts_and_for_sql_whatever_its_versions() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let new = worker(&bench, 2).await;
    bench.enqueue(vec![of("k"), of("k@2")]).await;
    let all = jobs::kinds(&bench.test.db).await.unwrap();
    let k = all.iter().find(|k| k.kind == "k").unwrap();
    assert_eq!(k.versions, [2]);
    assert_eq!(k.counts.values().sum::<i64>(), 2);
    assert!(all.iter().all(|k| !k.kind.contains('@')), "{all:?}");
    // From SQL as well, with the rules and the keys of the kind.
    let call = "select * from engine.enqueue('old.k@2', unique_key => 'one')";
    sqlx::raw_sql(call).execute(&mut owner).await.unwrap();
    let stored = "select count(*) from engine.jobs where kind = 'k@2' and unique_key = 'k \"one\"'";
    assert_eq!(count(&mut owner, stored).await, 1);
    assert_eq!(claim(&bench, &new).await.len(), 3);
}
