//! Limits, weights and paused kinds over HTTP.

use super::support::{Front, Operator, json_of};
use axum::http::Method;
use serde_json::{Value, json};
use switchyard_queue::JobStore;
use switchyard_store::PgJobStore;

const LIMITS: &str = "/api/admin/limits";

#[tokio::test]
async fn a_limit_is_set_listed_replaced_and_removed() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    assert_eq!(admin.get(LIMITS, 200).await["data"], json!([]));
    let rate = json!({"starts": 600, "period_seconds": 60, "burst": 3});
    let new = json!({"for": {"queue": "notifications"}, "max_running": 5, "rate": rate});
    let set = admin.put(LIMITS, &new, 200).await;
    assert_eq!(set["data"]["queue"], "notifications");
    let key = json!({"for": {"key": "twilio"}, "rate": {"starts": 10}});
    admin.put(LIMITS, &key, 200).await;
    let each = json!({"for": {"queue": "leads", "each_partition": true}, "max_running": 1});
    admin.put(LIMITS, &each, 200).await;

    let listed = admin.get(LIMITS, 200).await["data"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 3);
    let of = |name: &str, value: &str| {
        listed.iter().find(|l| l["for"][name] == value).unwrap_or_else(|| panic!("{listed:?}"))
    };
    let queue = of("queue", "notifications");
    assert_eq!((&queue["max_running"], &queue["running"]), (&json!(5), &json!(0)));
    let shown = json!({"starts": 600, "period_seconds": 60.0, "burst": 3});
    assert_eq!((&queue["rate"], &queue["next_start"]), (&shown, &Value::Null));
    let usual = json!({"starts": 10, "period_seconds": 1.0, "burst": 1});
    assert_eq!(of("key", "twilio")["rate"], usual);
    assert_eq!(of("queue", "leads")["for"]["each_partition"], true);

    let replaced = json!({"for": {"queue": "notifications"}, "max_running": 2});
    admin.put(LIMITS, &replaced, 200).await;
    admin.delete(&format!("{LIMITS}?key=twilio"), 200).await;
    admin.delete(&format!("{LIMITS}?queue=leads"), 404).await;
    admin.delete(&format!("{LIMITS}?queue=leads&each_partition=true"), 200).await;
    let left = admin.get(LIMITS, 200).await["data"].clone();
    assert_eq!((&left[0]["max_running"], &left[0]["rate"]), (&json!(2), &Value::Null));
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_limit_that_makes_no_sense_is_refused_with_the_reason() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    for (wrong, part) in [
        (json!({"for": {}, "max_running": 1}), "a queue, or a key"),
        (json!({"for": {"queue": "q", "key": "k"}, "max_running": 1}), "not for both"),
        (json!({"for": {"key": "k", "partition": "p"}, "max_running": 1}), "name it alone"),
        (json!({"for": {"queue": "No Queue"}, "max_running": 1}), "lower-case"),
        (json!({"for": {"queue": "q"}}), "a rate, or both"),
        (json!({"for": {"queue": "q"}, "max_running": 0}), "between 1 and"),
        (json!({"for": {"queue": "q"}, "rate": {"starts": 0}}), "between 1 and"),
        (json!({"for": {"queue": "q"}, "rate": {"starts": 1, "burst": 0}}), "between 1 and"),
        (json!({"for": {"queue": "q"}, "rate": {"starts": 1, "period_seconds": 0}}), "at least"),
        (json!({"for": {"queue": "q"}, "rate": {"starts": 1, "period_seconds": -1}}), "at least"),
        (json!({"for": {"queue": "q"}, "rate": {"starts": 1, "period_seconds": 1e9}}), "between"),
    ] {
        let refused = admin.put(LIMITS, &wrong, 422).await;
        assert_eq!(refused["error"]["code"], "invalid_limit", "{wrong}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(part), "{wrong}: {message}");
    }
    admin.put(LIMITS, &json!({"for": {"queue": "q"}, "most": 1}), 422).await;
    admin.delete(LIMITS, 400).await;
    admin.delete(&format!("{LIMITS}?queue=q&key=k"), 400).await;
    assert_eq!(admin.get(LIMITS, 200).await["data"], json!([]));
}

#[tokio::test]
async fn only_an_administrator_sees_and_changes_what_may_run() {
    let front = Front::new().await;
    let (agency, _) = front.agency("biuro@nowak.example").await;
    for (method, path) in [
        (Method::GET, LIMITS),
        (Method::PUT, LIMITS),
        (Method::DELETE, LIMITS),
        (Method::PUT, "/api/admin/queues/leads/weight"),
        (Method::POST, "/api/admin/kinds/lead.distribute/pause"),
        (Method::POST, "/api/admin/kinds/lead.distribute/resume"),
    ] {
        let request = || front.request(method.clone(), path);
        json_of(request(), 401).await;
        json_of(request().bearer_auth(&agency), 403).await;
    }
}

#[tokio::test]
async fn a_queue_is_weighed() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let path = "/api/admin/queues/maintenance/weight";
    admin.put(path, &json!({"weight": 3}), 404).await;
    admin.post("/api/admin/jobs", &json!({"kind": "leads.rescan_unassigned"}), 201).await;
    admin.put(path, &json!({"weight": 3}), 200).await;
    for wrong in [0, 1001] {
        let refused = admin.put(path, &json!({ "weight": wrong }), 422).await;
        assert_eq!(refused["error"]["code"], "invalid_weight");
    }
    assert_eq!(admin.get("/api/admin/queues", 200).await["data"][0]["weight"], 3);
}

#[tokio::test]
async fn a_kind_is_paused_and_goes_on() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let path = "/api/admin/kinds/leads.rescan_unassigned";
    admin.post(&format!("{path}/pause"), &Value::Null, 404).await;
    let worker = switchyard_queue::WorkerInfo {
        declares: front.api.registry.kinds(),
        ..crate::engine::support::info()
    };
    let _present = PgJobStore::new(&front.test.db).register(&worker).await.unwrap();
    let new = admin.post("/api/admin/jobs", &json!({"kind": "leads.rescan_unassigned"}), 201).await;
    let kind = async || {
        let all = admin.get("/api/admin/kinds", 200).await["data"].as_array().unwrap().clone();
        all.into_iter().find(|k| k["kind"] == "leads.rescan_unassigned").unwrap()
    };
    assert_eq!(kind().await["paused"], false);
    let paused = admin.post(&format!("{path}/pause"), &Value::Null, 200).await;
    assert_eq!(paused["data"], json!({"kind": "leads.rescan_unassigned", "paused": true}));
    let shown = kind().await;
    assert_eq!((&shown["paused"], &shown["counts"]["available"]), (&json!(true), &json!(1)));
    let id = new["data"]["id"].as_str().unwrap();
    let why = admin.get(&format!("/api/admin/jobs/{id}/why"), 200).await;
    let reasons = why["data"]["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|r| r["code"] == "kind_paused"), "{reasons:?}");
    admin.post(&format!("{path}/resume"), &Value::Null, 200).await;
    assert_eq!(kind().await["paused"], false);
}

#[tokio::test]
async fn a_job_is_enqueued_under_a_limit_key() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let job = json!({"kind": "leads.rescan_unassigned", "limit_key": "twilio"});
    admin.post("/api/admin/jobs", &job, 201).await;
    let keys: Vec<String> = sqlx::query_scalar(
        "select l.limit_key from engine.jobs j join engine.lanes l on l.id = j.lane",
    )
    .fetch_all(&mut front.owner().await)
    .await
    .unwrap();
    assert_eq!(keys, ["twilio"]);
    let long = json!({"kind": "leads.rescan_unassigned", "limit_key": "x".repeat(1001)});
    admin.post("/api/admin/jobs", &long, 422).await;
}
