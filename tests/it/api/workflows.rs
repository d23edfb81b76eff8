//! Workflows over HTTP: started once for each idempotency key, looked at, cancelled.

use super::support::{Front, count, json_of};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/admin/workflows";

fn node(name: &str, after: &[&str]) -> Value {
    json!({"node": name, "after": after, "job": {"kind": "nobody.knows", "queue": "elsewhere"}})
}

fn flow(jobs: &[Value]) -> Value {
    json!({"name": "onboard", "policy": "hold", "jobs": jobs})
}

#[tokio::test]
async fn a_workflow_is_started_once_looked_at_and_cancelled() {
    let front = Front::new().await;
    let token = front.admin().await;
    let new = flow(&[node("fetch", &[]), node("merge", &["fetch"])]);
    let start = || front.post(PATH, &new).bearer_auth(&token).header("idempotency-key", "one");
    let made = json_of(start(), 201).await;
    let again = json_of(start(), 200).await;
    assert_eq!(made["data"], again["data"]);
    let jobs = "select count(*) from engine.jobs where workflow is not null";
    assert_eq!(count(&mut front.owner().await, jobs).await, 2);

    let id = made["data"]["id"].as_str().unwrap();
    let shown = json_of(front.get(&format!("{PATH}/{id}")).bearer_auth(&token), 200).await;
    let data = &shown["data"];
    let head = (&data["workflow"]["state"], &data["workflow"]["policy"]);
    assert_eq!(head, (&json!("running"), &json!("hold")));
    let merge = &data["jobs"][1];
    assert_eq!((&merge["state"], &merge["after"]), (&json!("pending"), &json!(["fetch"])));
    let path = format!("/api/admin/jobs/{}", merge["job"].as_str().unwrap());
    let job = json_of(front.get(&path).bearer_auth(&token), 200).await;
    assert_eq!(job["data"]["job"]["workflow"], id);
    assert!(job["data"]["job"]["request_id"].is_string(), "the request's trail is kept");
    let path = format!("{path}/why");
    let why = json_of(front.get(&path).bearer_auth(&token), 200).await;
    assert_eq!(why["data"]["reasons"][0]["code"], "pending");

    let list = |state: &str| front.get(&format!("{PATH}?state={state}")).bearer_auth(&token);
    assert_eq!(json_of(list("running"), 200).await["data"]["items"][0]["id"], id);
    json_of(list("asleep"), 400).await;
    let cancel =
        |id: &str| front.request(Method::POST, &format!("{PATH}/{id}/cancel")).bearer_auth(&token);
    assert_eq!(json_of(cancel(id), 200).await["data"]["state"], "cancelled");
    assert_eq!(json_of(cancel(id), 409).await["error"]["code"], "wrong_state");
    json_of(cancel(&Uuid::nil().to_string()), 404).await;
    assert_eq!(json_of(list("running"), 200).await["data"]["items"], json!([]));
}

#[tokio::test]
async fn a_workflow_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let front = Front::new().await;
    let token = front.admin().await;
    let mut unknown = node("a", &[]);
    unknown["job"] = json!({"kind": "nobody.knows"});
    let mut misspelt = flow(&[node("a", &[])]);
    misspelt["polcy"] = json!("hold");
    for (wrong, code) in [
        (flow(&[]), "invalid_workflow"),
        (flow(&[node("a", &[]), node("a", &[])]), "invalid_workflow"),
        (flow(&[node("a", &["b"]), node("b", &["a"])]), "invalid_workflow"),
        (flow(&[unknown]), "invalid_job"),
        (misspelt, "invalid_body"),
    ] {
        let refused = json_of(front.post(PATH, &wrong).bearer_auth(&token), 422).await;
        assert_eq!(refused["error"]["code"], code, "{wrong}");
    }
    let mut unique = node("a", &[]);
    unique["job"]["unique_key"] = json!("one");
    json_of(front.post("/api/admin/jobs", &unique["job"]).bearer_auth(&token), 201).await;
    let held = json_of(front.post(PATH, &flow(&[unique])).bearer_auth(&token), 409).await;
    assert_eq!(held["error"]["code"], "unique_key_held");
    let left = "select (select count(*) from engine.workflows)
        + (select count(*) from engine.jobs where workflow is not null)";
    assert_eq!(count(&mut front.owner().await, left).await, 0);
}
