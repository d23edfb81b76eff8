//! Draining, quieting, and what is shown of kinds and effects, over HTTP.

use super::support::{Front, Operator};
use crate::engine::support::{LONG, claim_as, info, job, kind, settlement};
use axum::http::Method;
use serde_json::{Value, json};
use switchyard_queue::{ClaimedJob, JobStore, Options, Presence, SettleAs, WorkerInfo};
use switchyard_store::effects::{self, EffectOutcome};
use switchyard_store::{PgJobStore, Scope};

/// A worker that is played by the test, and a job of partition `a` of queue `q` that it runs.
async fn running(front: &Front) -> (PgJobStore, Presence, ClaimedJob) {
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job("k", Options::new().partition("a"))).await.unwrap();
    tx.commit().await.unwrap();
    let store = PgJobStore::new(&front.test.db);
    let who = WorkerInfo { declares: vec![kind()], ..info() };
    let presence = store.register(&who).await.unwrap();
    let claimed = claim_as(&store, presence.id, 1, LONG, &[]).await.pop().unwrap();
    (store, presence, claimed)
}

#[tokio::test]
async fn a_drain_pauses_and_counts_what_still_runs() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let (store, _present, claimed) = running(&front).await;
    let paths = [
        ("/api/admin/queues/q/drain", 1),
        ("/api/admin/queues/q/partitions/a/drain", 1),
        ("/api/admin/queues/q/partitions/b/drain", 0),
        ("/api/admin/kinds/k/drain", 1),
    ];
    for (path, runs) in paths {
        let told = admin.post(path, &Value::Null, 200).await;
        assert_eq!(told["data"], json!({"paused": true, "running": runs}), "{path}");
    }
    let queue = admin.get("/api/admin/queues", 200).await["data"][0].clone();
    assert_eq!((&queue["paused"], &queue["paused_partitions"]), (&json!(true), &json!(["a", "b"])));
    let why = admin.get(&format!("/api/admin/jobs/{}", claimed.id), 200).await;
    assert_eq!(why["data"]["job"]["state"], "running", "it goes on");
    store.settle(&[settlement(&claimed, SettleAs::Completed)]).await.unwrap();
    for (path, _) in paths {
        let told = admin.post(path, &Value::Null, 200).await;
        assert_eq!(told["data"]["running"], 0, "{path}");
    }
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job("k", Options::new())).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.active_lanes(&["q".to_owned()]).await.unwrap().is_empty(), "it is paused");
    for path in ["/api/admin/queues/none/drain", "/api/admin/queues/none/partitions/a/drain"] {
        admin.post(path, &Value::Null, 404).await;
    }
    admin.post("/api/admin/kinds/no.such/drain", &Value::Null, 404).await;
    let (agency, _) = front.agency("biuro@nowak.example").await;
    let stranger = front.request(Method::POST, paths[0].0).bearer_auth(&agency);
    assert_eq!(stranger.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_worker_is_quieted_and_goes_on() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let (_, present, _) = running(&front).await;
    let path = format!("/api/admin/workers/{}", present.id.0);
    for quiet in [true, false] {
        let told = admin.put(&path, &json!({"quiet": quiet}), 200).await;
        assert_eq!(told["data"], json!({"quiet": quiet}));
        let listed = admin.get("/api/admin/workers", 200).await;
        assert_eq!(listed["data"][0]["quiet"], quiet);
    }
}

#[tokio::test]
async fn a_job_shows_its_effects() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let (store, present, claimed) = running(&front).await;
    let path = format!("/api/admin/jobs/{}", claimed.id);
    assert_eq!(admin.get(&path, 200).await["data"]["effects"], json!([]));
    for (key, outcome) in [
        ("mail 1", Some(EffectOutcome::Done(json!({"word": "xyzzy"})))),
        ("mail 2", None),
        ("mail 3", Some(EffectOutcome::Unknown("no answer".into()))),
    ] {
        let mut tx = front.test.db.begin_job(&claimed).await.unwrap();
        effects::begin(&mut tx, key).await.unwrap();
        if let Some(outcome) = outcome {
            effects::finish(&mut tx, key, outcome).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let states = async || {
        let shown = admin.get(&path, 200).await["data"]["effects"].clone();
        assert!(!shown.to_string().contains("xyzzy"), "results are not shown: {shown}");
        let all = shown.as_array().unwrap().iter();
        all.map(|e| format!("{}: {}", e["key"], e["state"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["mail 1: done", "mail 2: under_way", "mail 3: in_doubt"]);
    // It ends without a result for the second.
    store.settle(&[settlement(&claimed, SettleAs::Completed)]).await.unwrap();
    drop(present);
    assert_eq!(states().await, ["mail 1: done", "mail 2: in_doubt", "mail 3: in_doubt"]);
}
