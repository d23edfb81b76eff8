//! Replays, pauses and versions over the API.

use super::support::{Front, Operator, json_of};
use serde_json::{Value, json};
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, JobFilter};

#[tokio::test]
async fn a_portal_is_paused_resumed_and_put_back() {
    let front = Front::new().await;
    front.demo().await;
    let admin = Operator::of(&front).await;
    let at = |what: &str| format!("/api/admin/portals/demo/{what}");
    let paused = admin.post(&at("pause"), &Value::Null, 200).await;
    assert!(paused["data"]["paused_at"].is_string(), "{paused}");
    json_of(front.deliver(&json!({"id": "1", "email": "a@b.co"})), 202).await;
    assert!(admin.get("/api/admin/portals", 200).await["data"][0]["paused_at"].is_string());
    let resumed = admin.post(&at("resume"), &Value::Null, 200).await;
    assert_eq!(resumed["message"], "resumed");
    let again = admin.post(&at("resume"), &Value::Null, 200).await;
    assert_eq!(
        (&again["message"], &again["data"]["paused_at"]),
        (&json!("was not paused"), &Value::Null)
    );
    let filter =
        JobFilter { kind: Some("portal.release_held".into()), limit: 10, ..JobFilter::default() };
    let jobs = jobs::list(&front.test.db, &filter).await.unwrap();
    assert_eq!(jobs.len(), 2, "each resume sees to it: an earlier release may have been given up");
    assert_eq!(jobs[0].state, JobState::Available);

    let mut settings = admin.get("/api/admin/portals", 200).await["data"][0]["settings"].clone();
    let first = settings.clone();
    settings["reply"] = json!({"status": 200});
    admin.put("/api/admin/portals/demo", &json!({ "settings": settings }), 200).await;
    let all = admin.get(&at("versions"), 200).await["data"].clone();
    assert_eq!((all[0]["version"].clone(), all[1]["settings"].clone()), (json!(2), first.clone()));
    assert!(all[0]["changed_by"].as_str().unwrap().starts_with("admin:"), "{all}");
    let back = admin.post(&at("rollback"), &json!({"version": 1}), 200).await;
    assert_eq!(back["data"], json!({"code": "demo", "version": 3, "changed": true}));
    assert_eq!(admin.get("/api/admin/portals", 200).await["data"][0]["settings"], first);
    admin.post(&at("rollback"), &json!({"version": 9}), 404).await;
    for verb in ["pause", "resume"] {
        admin.post(&format!("/api/admin/portals/nobody/{verb}"), &Value::Null, 404).await;
    }
}

#[tokio::test]
async fn events_are_replayed_one_by_one_or_as_a_job() {
    let front = Front::new().await;
    front.demo().await;
    let admin = Operator::of(&front).await;
    let sent = json_of(front.deliver(&json!({"id": "1", "email": "a@b.co"})), 202).await;
    let event = sent["data"]["event_id"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned();
    let path = "/api/admin/events/replay";
    let one = admin.post(path, &json!({"event": event, "dry_run": true}), 200).await;
    assert_eq!(one["data"]["counts"], json!({"events": 1, "events_left": 1}), "its job has it");
    let range = admin.post(path, &json!({"portal": "demo", "state": "received"}), 202).await;
    let id = range["data"]["id"].as_str().unwrap();
    assert_eq!((&range["data"]["total"], &range["data"]["finished_at"]), (&json!(1), &Value::Null));
    let shown = admin.get(&format!("/api/admin/replays/{id}"), 200).await;
    assert_eq!(shown["data"]["id"], json!(id));
    admin.post(path, &json!({}), 422).await;
    admin.post(path, &json!({"event": event, "portal": "demo"}), 422).await;
    admin.post(path, &json!({"portal": "nobody"}), 404).await;
    admin.post(path, &json!({"event": uuid::Uuid::nil()}), 404).await;
    admin.get(&format!("/api/admin/replays/{}", uuid::Uuid::nil()), 404).await;
}

#[tokio::test]
async fn of_two_keys_both_open_until_the_old_ones_time_is_over() {
    let front = Front::new().await;
    front.demo().await;
    let fresh = "sk_the-second-key-of-the-demo-portal";
    let hash = switchyard_domain::secrets::hash_api_key(fresh);
    let mut tx = front.test.db.begin(switchyard_store::Scope::Platform).await.unwrap();
    let portal = switchyard_store::portals::by_code(&mut tx, "demo").await.unwrap().unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    switchyard_store::portals::rotate_key(&mut tx, portal.id, &hash, day).await.unwrap();
    tx.commit().await.unwrap();
    let send = |id: &str, key: &str| {
        front
            .post("/api/webhooks/demo", &json!({"id": id, "email": "a@b.co"}))
            .header("X-API-Key", key)
    };
    json_of(send("1", super::support::KEY), 202).await;
    json_of(send("2", fresh), 202).await;
    json_of(send("3", "sk_neither"), 401).await;
    sqlx::query("update switchyard.portals set former_key_until = now()")
        .execute(&mut front.owner().await)
        .await
        .unwrap();
    super::support::until("the old key to be refused", || async {
        send("4", super::support::KEY).send().await.unwrap().status() == 401
    })
    .await;
    json_of(send("5", fresh), 202).await;
}
