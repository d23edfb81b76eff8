//! What is deleted when it is old: effects whose outcome is known, workers of long ago.

use super::support::{Bench, count, info, job, reads_when_alone};
use serde_json::json;
use sqlx::PgConnection;
use switchyard_queue::{ClaimedJob, JobStore, Options, SettleAs};
use switchyard_store::effects::{self, EffectOutcome};
use switchyard_store::{DbConfig, jobs, maintenance};

/// An effect of this job, and what became of it; `None`: nobody wrote it down.
async fn effect(bench: &Bench, job: &ClaimedJob, key: &str, outcome: Option<EffectOutcome>) {
    let mut tx = bench.test.db.begin_job(job).await.unwrap();
    effects::begin(&mut tx, key).await.unwrap();
    if let Some(outcome) = outcome {
        effects::finish(&mut tx, key, outcome).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn keys(owner: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("select key from engine.effects order by key")
        .fetch_all(owner)
        .await
        .unwrap()
}

#[tokio::test]
async fn old_effects_go_once_their_outcome_is_known_and_their_job_is_over() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    let over = bench.running(Options::new()).await;
    let done = || Some(EffectOutcome::Done(json!(1)));
    effect(&bench, &over, "done", done()).await;
    effect(&bench, &over, "failed", Some(EffectOutcome::Failed("no".into()))).await;
    effect(&bench, &over, "unknown", Some(EffectOutcome::Unknown("who knows".into()))).await;
    effect(&bench, &over, "intent", None).await;
    effect(&bench, &over, "reconciled late", done()).await;
    assert!(bench.settle(&over, SettleAs::Completed).await);
    let open = bench.running(Options::new()).await;
    effect(&bench, &open, "of an open job", done()).await;
    assert_eq!(maintenance::forget_effects(db, 400).await.unwrap(), 0, "none is old");

    sqlx::raw_sql(
        "update engine.effects set created_at = now() - interval '401 days',
           updated_at = case key when 'reconciled late' then now() else now() - interval '401 days' end",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    assert_eq!(maintenance::forget_effects(db, 402).await.unwrap(), 0, "so long they are kept");
    assert_eq!(maintenance::forget_effects(db, 400).await.unwrap(), 2);
    let left = ["intent", "of an open job", "reconciled late", "unknown"];
    assert_eq!(keys(&mut owner).await, left);
    assert!(bench.settle(&open, SettleAs::Completed).await);
    assert_eq!(maintenance::forget_effects(db, 400).await.unwrap(), 1);
    assert_eq!(maintenance::forget_effects(db, 400).await.unwrap(), 0);
}

#[tokio::test]
async fn forgetting_effects_goes_through_the_old_ones_in_batches_and_reads_no_others() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    // Old ones of one instant and of many, every tenth not to be forgotten, and many of today.
    sqlx::raw_sql(
        "insert into engine.effects (key, job_id, fence, state, created_at, updated_at)
         select 'old ' || n, gen_random_uuid(), 1, case n % 10 when 0 then 'unknown' else 'done' end, at, at
         from generate_series(1, 5000) n, lateral (select now() - interval '500 days'
           + greatest(n - 2500, 0) * interval '1 second' as at) t;
         insert into engine.effects (key, job_id, fence, state)
         select 'new ' || n, gen_random_uuid(), 1, 'done' from generate_series(1, 60000) n;
         analyze engine.effects",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let Bench { test, store, presence: _here } = bench;
    drop(store);
    test.db.close().await;
    let before = reads_when_alone(&mut owner, &["engine.effects"]).await;
    let db = test.reached_by(DbConfig::new(test.url.clone()));
    assert_eq!(maintenance::forget_effects(&db, 400).await.unwrap(), 4500);
    db.close().await;
    let read = reads_when_alone(&mut owner, &["engine.effects"]).await - before;
    assert!((4500..30_000).contains(&read), "{read} rows were read");
    let left = "select count(*) from engine.effects where key like 'old %'";
    assert_eq!(count(&mut owner, left).await, 500);
}

#[tokio::test]
async fn workers_go_when_no_history_can_name_them_any_more() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    let mine = bench.running(Options::new()).await;
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    sqlx::raw_sql(
        "insert into engine.workers (host, pid, version, kinds, queues, started_at, stopped_at, died_at)
         select h, 1, '0', '{}', '{}', now() - interval '900 days', now() - s, now() - d
         from (values ('stopped long ago', interval '440 days', null::interval),
           ('died long ago', null, interval '440 days'), ('stopped', interval '410 days', null),
           ('died', null, interval '410 days')) v(h, s, d)",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    assert_eq!(maintenance::forget_workers(db, 450).await.unwrap(), 0);
    assert_eq!(maintenance::forget_workers(db, 400).await.unwrap(), 2);
    let left: Vec<String> = jobs::workers(db).await.unwrap().into_iter().map(|w| w.host).collect();
    assert_eq!(left, ["died", "stopped", "test"], "the days, and a month for the slices");
    let next = bench.store.register(&info()).await.unwrap();
    assert!(next.id.0 > bench.presence.id.0 + 4, "numbers are not used again");
}

#[tokio::test]
async fn a_worker_is_told_once_what_to_stop_and_words_for_the_dead_are_forgotten() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let store = &bench.store;
    let me = Some(bench.presence.id);
    let other = store.register(&info()).await.unwrap();
    let stops = async |who| store.reap(who).await.unwrap().stop;
    let mine = bench.running(Options::new()).await;
    assert_eq!(stops(me).await, []);
    jobs::cancel(db, mine.id).await.unwrap();
    jobs::cancel(db, mine.id).await.unwrap();
    assert_eq!(stops(None).await, []);
    assert_eq!(stops(Some(other.id)).await, [], "it is another's");
    assert_eq!(stops(me).await, [mine.id]);
    assert_eq!(stops(me).await, []);
    // One that waits has nobody to be told.
    let waits = bench.enqueue(vec![job("k", Options::new())]).await[0].id;
    jobs::cancel(db, waits).await.unwrap();
    assert_eq!(stops(me).await, []);

    jobs::cancel(db, mine.id).await.unwrap();
    assert_eq!(maintenance::forget_lapsed(db).await.unwrap(), 0, "it may be read still");
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("update engine.stop_requests set asked_at = now() - interval '2 hours'")
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(maintenance::forget_lapsed(db).await.unwrap(), 1);
    assert_eq!(stops(me).await, []);
}
