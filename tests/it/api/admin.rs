//! What operators see and do.

use super::support::{Front, Operator, count, json_of};
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_is_enqueued_looked_at_and_steered() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let unknown = admin.post("/api/admin/jobs", &json!({"kind": "no.such"}), 422).await;
    assert!(unknown["message"].as_str().unwrap().contains("lead.distribute"), "names the known");
    let wrong = json!({"kind": "lead.distribute", "args": {"lead": 7}});
    admin.post("/api/admin/jobs", &wrong, 422).await;
    let lead = uuid::Uuid::now_v7();
    let new = json!({"kind": "lead.distribute", "args": {"lead": lead}, "delay_seconds": 3600});
    let made = admin.post("/api/admin/jobs", &new, 201).await;
    let id = made["data"]["id"].as_str().unwrap();

    let shown = admin.get(&format!("/api/admin/jobs/{id}"), 200).await;
    assert_eq!(shown["data"]["job"]["state"], "scheduled");
    assert_eq!(shown["data"]["args"]["lead"], lead.to_string());
    assert!(shown["data"]["job"]["trace"].as_str().unwrap().starts_with("00-"));
    let request = shown["data"]["job"]["request_id"].as_str().unwrap();
    let caused = admin.get(&format!("/api/admin/jobs?request_id={request}"), 200).await;
    assert_eq!(caused["data"]["items"][0]["id"], id);
    let listed = admin.get("/api/admin/jobs?state=scheduled&kind=lead.distribute", 200).await;
    assert_eq!(listed["data"]["items"].as_array().unwrap().len(), 1);
    admin.get("/api/admin/jobs?state=sleeping", 400).await;

    let why = admin.get(&format!("/api/admin/jobs/{id}/why"), 200).await["data"].clone();
    assert_eq!((&why["state"], &why["verdict"]), (&json!("scheduled"), &json!("stuck")));
    assert_eq!(why["reasons"][0]["code"], "scheduled");
    assert_eq!(why["reasons"][2]["code"], "queue_unserved", "nobody works here");
    assert!(why["reasons"][2]["remedy"].as_str().unwrap().contains("switchyard work"));
    admin.get(&format!("/api/admin/jobs/{}/why", uuid::Uuid::nil()), 404).await;

    assert_eq!(admin.act(id, "retry", 200).await["data"]["state"], "available");
    assert_eq!(admin.act(id, "discard", 200).await["data"]["state"], "discarded");
    assert_eq!(admin.act(id, "discard", 409).await["error"]["code"], "wrong_state");
    assert_eq!(admin.act(id, "cancel", 200).await["data"]["state"], "cancelled");
    admin.act(id, "cancel", 409).await;
    admin.act(&uuid::Uuid::nil().to_string(), "retry", 404).await;
}

#[tokio::test]
async fn failures_are_grouped_and_their_dead_letters_steered() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    assert_eq!(admin.get("/api/admin/errors", 200).await["data"], json!([]));
    let group = front.test.fail_for_good("leads.rescan_unassigned", 2).await;
    let listed = admin.get("/api/admin/errors?kind=leads.rescan_unassigned", 200).await;
    let first = &listed["data"][0];
    assert_eq!((&first["fingerprint"], &first["failures"]), (&json!(group), &json!(2)));
    assert_eq!((&first["class"], &first["dead_letters"]), (&json!("error"), &json!(2)));
    assert_eq!(first["pattern"], "try <n> had no answer");
    admin.get("/api/admin/errors?limit=0", 400).await;

    let path = format!("/api/admin/errors/{group}");
    let acted = admin.post(&format!("{path}/retry"), &Value::Null, 200).await;
    assert_eq!(acted["data"], json!({"done": 2, "kept": 0}));
    assert_eq!(admin.get(&path, 200).await["data"]["dead_letters"], 0);
    assert_eq!(front.test.fail_for_good("leads.rescan_unassigned", 0).await, group);
    let acted = admin.post(&format!("{path}/cancel"), &Value::Null, 200).await;
    assert_eq!(acted["data"], json!({"done": 2, "kept": 0}));
    let cancelled = admin.get("/api/admin/jobs?state=cancelled", 200).await;
    assert_eq!(cancelled["data"]["items"].as_array().unwrap().len(), 2);
    admin.get("/api/admin/errors/none", 404).await;
    admin.post("/api/admin/errors/none/retry", &Value::Null, 404).await;
}

#[tokio::test]
async fn queues_kinds_and_workers_are_shown_and_queues_pause() {
    let front = Front::new().await;
    front.demo().await;
    let admin = Operator::of(&front).await;
    json_of(front.deliver(&json!({"id": "1"})), 202).await;
    let queues = admin.get("/api/admin/queues", 200).await;
    let webhooks = |queues: &Value| {
        let all = queues["data"].as_array().unwrap();
        all.iter().find(|q| q["queue"] == "webhooks").unwrap().clone()
    };
    let queue = webhooks(&queues);
    assert_eq!(queue["counts"]["available"], 1);
    assert_eq!((&queue["paused"], &queue["weight"]), (&json!(false), &json!(1)));
    assert!(queue["oldest_waiting_seconds"].is_number());
    admin.put("/api/admin/queues/webhooks", &json!({"paused": true}), 200).await;
    assert_eq!(webhooks(&admin.get("/api/admin/queues", 200).await)["paused"], true);
    let partition = "/api/admin/queues/webhooks/partitions/a-portal";
    admin.put(partition, &json!({"paused": true}), 200).await;
    let held = webhooks(&admin.get("/api/admin/queues", 200).await);
    assert_eq!(held["paused_partitions"], json!(["a-portal"]));
    admin.put(partition, &json!({"paused": false}), 200).await;
    admin.put("/api/admin/queues/no-such/partitions/a", &json!({"paused": true}), 404).await;
    admin.put("/api/admin/workers/12", &json!({"quiet": true}), 404).await;
    admin.put("/api/admin/queues/no-such", &json!({"paused": true}), 404).await;
    let kinds = admin.get("/api/admin/kinds", 200).await;
    assert!(kinds["data"].as_array().unwrap().iter().any(|k| k["kind"] == "webhook.process"));
    assert_eq!(admin.get("/api/admin/workers", 200).await["data"], json!([]));
}

#[tokio::test]
async fn a_mapping_is_mended_and_its_version_rises() {
    let front = Front::new().await;
    front.demo().await;
    let admin = Operator::of(&front).await;
    let path = "/api/admin/portals/demo";
    let wrong =
        json!({"settings": {"api_key": {"in": "sky"}, "mapping": {"fields": {"nope": "x"}}}});
    let refused = admin.put(path, &wrong, 422).await;
    assert_eq!(refused["error"]["code"], "invalid_settings");
    let faults = refused["error"]["details"]["faults"].as_array().unwrap();
    assert!(faults.len() >= 2, "all at once: {faults:?}");
    let mended = json!({"settings": {"mapping": {"fields": {"email": "mail"}}}});
    let changed = admin.put(path, &mended, 200).await;
    assert_eq!(changed["data"]["version"], 2);
    assert!(changed["data"]["api_key"].is_null(), "the key stands and is not shown");
    // Nothing changed, nothing rises.
    assert_eq!(admin.put(path, &mended, 200).await["data"]["version"], 2);
    json_of(front.deliver(&json!({"mail": "a@example.com"})), 202).await;
    let renewed = admin.put(path, &json!({"new_api_key": true}), 200).await;
    let key = renewed["data"]["api_key"].as_str().unwrap();
    json_of(front.deliver(&json!({"mail": "b@example.com"})), 401).await;
    let sent = front.post("/api/webhooks/demo", &json!({"mail": "b@example.com"}));
    json_of(sent.header("x-api-key", key), 202).await;
    admin.put(path, &json!({"active": false}), 200).await;
    json_of(front.deliver(&json!({"mail": "c@example.com"})), 404).await;
}

#[tokio::test]
async fn a_portal_is_made_with_a_key_or_a_secret() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let settings = json!({"mapping": {"fields": {"email": "email"}}});
    admin.put("/api/admin/portals/new", &json!({"settings": settings}), 422).await;
    admin.put("/api/admin/portals/NEW", &json!({"name": "N", "settings": settings}), 422).await;
    let body = json!({"name": "New", "settings": settings});
    let made = admin.put("/api/admin/portals/new", &body, 201).await;
    let key = made["data"]["api_key"].as_str().unwrap();
    let sent = front.post("/api/webhooks/new", &json!({"email": "a@example.com"}));
    json_of(sent.header("x-api-key", key), 202).await;

    let mut signed = json!({"name": "Signed", "settings": {"api_key": {"in": "none"},
        "signature": {"scheme": "hmac_sha256", "header": "X-Signature"},
        "mapping": {"fields": {"email": "email"}}}});
    let path = "/api/admin/portals/signed";
    assert_eq!(admin.put(path, &signed, 422).await["error"]["code"], "required");
    signed["signing_secret"] = json!("short");
    let short = admin.put(path, &signed, 422).await;
    assert_eq!(short["error"]["code"], "invalid_signing_secret");
    signed["signing_secret"] = json!("a secret of at least 16 bytes");
    let made = admin.put(path, &signed, 201).await;
    assert_eq!(made["data"]["has_signing_secret"], true);
    assert!(!made.to_string().contains("16 bytes"), "the secret is not shown");
    // It was stored for another scheme.
    let other = json!({"settings": {"api_key": {"in": "none"}, "signature": {"scheme": "sendgrid"},
        "mapping": {"fields": {"email": "email"}}}});
    assert_eq!(admin.put(path, &other, 422).await["error"]["code"], "secret_unfit");
    let listed = admin.get("/api/admin/portals", 200).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_rejected_event_is_seen_with_its_reasons_and_run_again() {
    let front = Front::new().await;
    front.demo().await;
    let admin = Operator::of(&front).await;
    let sent = json_of(front.deliver(&json!({"id": "1", "email": "broken"})), 202).await;
    let id = sent["data"]["event_id"].as_str().unwrap();
    let rerun = format!("/api/admin/events/{id}/rerun");
    let early = admin.post(&rerun, &Value::Null, 409).await;
    assert_eq!(early["error"]["code"], "not_rejected");
    sqlx::query(
        "update switchyard.webhook_events set state = 'rejected', reasons =
           '[{\"field\": \"email\", \"code\": \"invalid_email\", \"message\": \"It has no @.\"}]'",
    )
    .execute(&mut front.owner().await)
    .await
    .unwrap();
    let listed = admin.get("/api/admin/events?state=rejected&portal=demo", 200).await;
    assert_eq!(listed["data"]["items"][0]["reasons"][0]["code"], "invalid_email");
    let shown = admin.get(&format!("/api/admin/events/{id}"), 200).await;
    assert_eq!(shown["data"]["body"]["email"], "broken");
    assert!(shown["data"]["headers"]["x-api-key"].is_null());
    admin.get("/api/admin/events?portal=nobody", 404).await;
    assert_eq!(admin.post(&rerun, &Value::Null, 202).await["data"]["state"], "received");
    let jobs = "select count(*) from engine.jobs where kind = 'webhook.process'";
    assert_eq!(count(&mut front.owner().await, jobs).await, 2);
    assert_eq!(admin.get("/api/admin/leads", 200).await["data"]["items"], json!([]));
    assert_eq!(
        admin.get("/api/admin/messages?state=failed", 200).await["data"]["items"],
        json!([])
    );
}

#[tokio::test]
async fn an_agencys_subscription_is_set() {
    let front = Front::new().await;
    let admin = Operator::of(&front).await;
    let (_, id) = front.agency("me@nowak.example").await;
    let path = format!("/api/admin/agencies/{id}");
    let standing =
        json!({"active": true, "subscribed_until": "2030-01-01T00:00:00Z", "catch_all": true});
    let set = admin.put(&path, &standing, 200).await;
    assert_eq!(set["data"]["subscribed_until"], "2030-01-01T00:00:00Z");
    let listed = admin.get("/api/admin/agencies", 200).await;
    assert_eq!(listed["data"]["items"][0]["catch_all"], true);
    let nobody = format!("/api/admin/agencies/{}", uuid::Uuid::nil());
    admin.put(&nobody, &standing, 404).await;
}
