//! Queues, their limits and weights, kinds, workers.

use super::Desk;
use serde_json::{Value, json};
use switchyard_queue::JobStore;
use switchyard_store::PgJobStore;

#[tokio::test]
async fn queues_are_paused_drained_and_resumed_and_workers_quieted() {
    let desk = Desk::new().await;
    desk.enqueue(&[]).await;
    let queue = desk.say(&["--json", "queues", "list"]).await.json()["queues"][0].clone();
    let name = queue["queue"].as_str().unwrap();
    assert_eq!((&queue["paused"], &queue["counts"]["available"]), (&json!(false), &json!(1)));
    let paused = desk.say(&["--json", "queues", "pause", name, "--partition", "a"]).await;
    assert_eq!(paused.json(), json!({"queue": name, "partition": "a", "paused": true}));
    let drained = desk.say(&["--json", "queues", "drain", name, "--wait", "5"]).await;
    assert_eq!(
        drained.json(),
        json!({"queue": name, "partition": null, "paused": true, "running": 0})
    );
    assert_eq!(desk.say(&["queues", "resume", name]).await.code, Some(0));
    let queue = desk.say(&["--json", "queues", "list"]).await.json()["queues"][0].clone();
    assert_eq!((&queue["paused"], &queue["held"]), (&json!(false), &json!(["a"])));

    let missing = desk.say(&["queues", "pause", "no-such"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("switchyard queues list"), "{missing:?}");
    assert_eq!(desk.say(&["--json", "workers", "list"]).await.json(), json!({"workers": []}));
    let missing = desk.say(&["workers", "quiet", "7"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("switchyard workers list"), "{missing:?}");
}

#[tokio::test]
async fn limits_are_set_listed_and_removed_and_queues_weighed() {
    let desk = Desk::new().await;
    let rate = ["limits", "set", "--queue", "maintenance", "--rate", "600/min", "--burst", "7"];
    let set = desk.say(&[&["--json"], &rate[..], &["--max-running", "3"]].concat()).await;
    assert_eq!(set.code, Some(0), "{set:?}");
    let rate = json!({"starts": 600, "period_seconds": 60.0, "burst": 7});
    let scope = json!({"scope": "queue", "queue": "maintenance"});
    assert_eq!(set.json(), json!({"limit": scope, "max_running": 3, "rate": rate}));
    let each =
        ["limits", "set", "--queue", "maintenance", "--each-partition", "--max-running", "1"];
    let said = desk.say(&each).await.out;
    assert!(said.starts_with("each partition of queue `maintenance`: at most 1"), "{said}");
    let key = ["limits", "set", "--key", "twilio", "--rate", "10/s"];
    assert_eq!(desk.say(&key).await.code, Some(0));
    desk.enqueue(&["--limit-key", "twilio"]).await;

    let listed = desk.say(&["--json", "limits", "list"]).await.json();
    assert_eq!(listed["limits"].as_array().unwrap().len(), 3);
    let queue =
        &listed["limits"].as_array().unwrap().iter().find(|l| l["scope"] == "queue").unwrap();
    assert_eq!((&queue["rate"], &queue["running"]), (&rate, &json!(0)));
    let people = desk.say(&["limits", "list"]).await.out;
    assert!(people.starts_with("LIMIT OF") && people.contains("600/min"), "{people}");

    let gone = desk.say(&["--json", "limits", "remove", "--key", "twilio"]).await;
    assert_eq!(gone.json(), json!({"removed": {"scope": "key", "key": "twilio"}}));
    let again = desk.say(&["limits", "remove", "--key", "twilio"]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("switchyard limits list"), "{again:?}");

    let weighed = desk.say(&["--json", "queues", "weight", "maintenance", "3"]).await;
    assert_eq!(weighed.json(), json!({"queue": "maintenance", "weight": 3}));
    let queue = desk.say(&["--json", "queues", "list"]).await.json()["queues"][0].clone();
    assert_eq!(queue["weight"], 3);
    let missing = desk.say(&["queues", "weight", "no-such", "3"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("switchyard queues list"), "{missing:?}");
}

#[tokio::test]
async fn kinds_are_listed_and_one_that_nobody_declared_cannot_be_paused() {
    let desk = Desk::new().await;
    let id = desk.enqueue(&[]).await;
    let kind = desk.say(&["--json", "kinds", "list"]).await.json()["kinds"][0].clone();
    assert_eq!((&kind["kind"], &kind["queue"]), (&json!("leads.rescan_unassigned"), &Value::Null));
    let refused = desk.say(&["kinds", "pause", "leads.rescan_unassigned"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("switchyard kinds list"), "{refused:?}");

    let registry = switchyard_catalog::registry();
    let declares = registry.kinds().copied().collect();
    let info = switchyard_queue::WorkerInfo { declares, ..crate::engine::support::info() };
    let _present = PgJobStore::new(&desk.test.db).register(&info).await.unwrap();
    let paused = desk.say(&["--json", "kinds", "pause", "leads.rescan_unassigned"]).await;
    assert_eq!(paused.json(), json!({"kind": "leads.rescan_unassigned", "paused": true}));
    let people = desk.say(&["kinds", "list"]).await.out;
    let line = people.lines().find(|l| l.starts_with("leads.rescan_unassigned")).unwrap();
    assert!(line.contains("maintenance") && line.contains("yes"), "{people}");
    assert!(desk.say(&["jobs", "why", &id]).await.out.contains("is paused"));
    assert_eq!(desk.say(&["kinds", "resume", "leads.rescan_unassigned"]).await.code, Some(0));
    let kinds = desk.say(&["--json", "kinds", "list"]).await.json();
    assert!(kinds["kinds"].as_array().unwrap().iter().all(|k| k["paused"] == false), "{kinds}");
}
