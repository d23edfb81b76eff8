//! Searching and bulk operations over HTTP.

use super::support::{Front, json_of};
use axum::http::Method;
use serde_json::json;
use switchyard_store::jobs::bulk;

#[tokio::test]
async fn jobs_are_searched_over_pages() {
    let front = Front::new().await;
    let admin = front.admin().await;
    front.test.fail_for_good("search.me", 3).await;
    let ask = |query: &str| {
        let path = format!("/api/admin/jobs/search?{query}");
        front.request(Method::GET, &path).bearer_auth(&admin)
    };
    let one = json_of(ask("kind=search.me&error=HAD%20NO%20ANSWER&limit=2"), 200).await;
    assert_eq!(one["data"]["items"].as_array().unwrap().len(), 2, "{one}");
    let next = one["data"]["next"].as_str().unwrap();
    let two = json_of(ask(&format!("kind=search.me&limit=2&cursor={next}")), 200).await;
    assert_eq!(two["data"]["items"].as_array().unwrap().len(), 1, "{two}");
    assert_eq!(two["data"]["next"], json!(null));
    let none = json_of(ask("arg=lead%3Dx&arg=n%3D1"), 200).await;
    assert_eq!(none["data"]["items"], json!([]));
    assert_eq!(json_of(ask("stuck=true"), 200).await["data"]["items"], json!([]));
    for wrong in
        ["colour=red", "stuck=maybe", "state=asleep", "cursor=x", "limit=0", "created_from=soon"]
    {
        assert_eq!(json_of(ask(wrong), 400).await["error"]["code"], "invalid_query", "{wrong}");
    }
}

#[tokio::test]
async fn an_operation_is_counted_started_watched_and_undone() {
    let front = Front::new().await;
    let admin = front.admin().await;
    let group = front.test.fail_for_good("bulk.me", 3).await;
    let post = |path: &str| front.request(Method::POST, path).bearer_auth(&admin);
    let body = json!({"action": "cancel", "filter": {"fingerprint": group, "state": "discarded"}});
    let dry = json_of(post("/api/admin/bulk/dry-run").json(&body), 200).await;
    assert_eq!((&dry["data"]["count"], &dry["data"]["exact"]), (&json!(3), &json!(true)));
    assert_eq!(dry["data"]["sample"].as_array().unwrap().len(), 3);
    let op = json_of(post("/api/admin/bulk").json(&body), 202).await["data"].clone();
    assert_eq!(op["state"], "waiting");
    let path = format!("/api/admin/bulk/{}", op["id"].as_str().unwrap());
    bulk::work(&front.test.db).await.unwrap();
    let get = |path: &str| front.request(Method::GET, path).bearer_auth(&admin);
    let op = json_of(get(&path), 200).await["data"].clone();
    assert_eq!((&op["state"], &op["done"], &op["total"]), (&json!("done"), &json!(3), &json!(3)));
    assert_eq!(json_of(post(&format!("{path}/stop")), 409).await["error"]["code"], "wrong_state");
    let undo = json_of(post(&format!("{path}/undo")), 202).await["data"].clone();
    assert_eq!(undo["undo_of"], op["id"]);
    bulk::work(&front.test.db).await.unwrap();
    assert_eq!(json_of(get("/api/admin/bulk"), 200).await["data"][0]["done"], 3);
    json_of(post(&format!("{path}/undo")), 409).await;

    let stuck = json!({"action": "cancel", "filter": {"stuck": true}});
    let dry = json_of(post("/api/admin/bulk/dry-run").json(&stuck), 200).await;
    assert_eq!(dry["data"]["count"], 0);
    let unfit = json!({"action": "cancel", "filter": {}});
    assert_eq!(json_of(post("/api/admin/bulk").json(&unfit), 422).await["error"]["code"], "unfit");
    let unknown = json!({"action": "burn", "filter": {"kind": "k"}});
    json_of(post("/api/admin/bulk").json(&unknown), 422).await;
    let (agency, _) = front.agency("biuro@nowak.example").await;
    let theirs = front.request(Method::POST, "/api/admin/bulk").bearer_auth(&agency).json(&body);
    assert_eq!(json_of(theirs, 403).await["error"]["code"], "forbidden");
}
