//! Endpoints over HTTP: agencies have their own, operators all.

use crate::api::support::{Front, Operator, config, json_of};
use axum::http::Method;
use serde_json::{Value, json};
use switchyard_api::ApiConfig;

fn new(url: &str) -> Value {
    json!({"url": url, "events": ["lead.*"], "description": " CRM "})
}

const ALL: &str = "/api/webhook-endpoints";

#[tokio::test]
async fn an_agency_manages_its_own_endpoints_and_no_others() {
    let front = Front::new().await;
    let (mine, me) = front.agency("me@nowak.example").await;
    let (theirs, _) = front.agency("they@other.example").await;
    let url = "https://crm.nowak.example/hooks?k=1";
    let made = json_of(front.post(ALL, &new(url)).bearer_auth(&mine), 201).await;
    let (endpoint, secret) = (&made["data"]["endpoint"], made["data"]["secret"].as_str().unwrap());
    assert!(secret.starts_with("whsec_"));
    assert_eq!(endpoint["agency_id"], me.to_string());
    assert_eq!((&endpoint["url"], &endpoint["description"]), (&json!(url), &json!("CRM")));
    assert_eq!((&endpoint["state"], &endpoint["ordered"]), (&json!("active"), &json!(false)));
    let one = format!("{ALL}/{}", endpoint["id"].as_str().unwrap());

    // Nobody else's, by any verb.
    let list = json_of(front.get(ALL).bearer_auth(&theirs), 200).await;
    assert_eq!(list["data"]["items"], json!([]));
    json_of(front.get(&one).bearer_auth(&theirs), 404).await;
    json_of(front.put(&one, &new(url)).bearer_auth(&theirs), 404).await;
    json_of(front.request(Method::DELETE, &one).bearer_auth(&theirs), 404).await;
    json_of(front.get(&format!("{one}/deliveries")).bearer_auth(&theirs), 404).await;
    for verb in ["pause", "resume", "rotate", "test"] {
        let path = format!("{one}/{verb}");
        json_of(front.request(Method::POST, &path).bearer_auth(&theirs), 404).await;
    }
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    json_of(front.post(&format!("{one}/resend"), &since).bearer_auth(&theirs), 404).await;
    let foreign = json!({"url": url, "events": ["*"], "agency_id": me});
    json_of(front.post(ALL, &foreign).bearer_auth(&theirs), 403).await;

    // The owner, by every verb.
    let changed = json!({"url": url, "events": ["message.failed", "lead.*", "lead.*"], "rate": 5});
    let changed = json_of(front.put(&one, &changed).bearer_auth(&mine), 200).await;
    assert_eq!(changed["data"]["events"], json!(["lead.*", "message.failed"]));
    let act = async |verb: &str, status: u16| {
        let path = format!("{one}/{verb}");
        json_of(front.request(Method::POST, &path).bearer_auth(&mine), status).await
    };
    assert_eq!(act("pause", 200).await["data"]["state"], "paused");
    assert_eq!(act("test", 409).await["error"]["code"], "endpoint_not_active");
    assert_eq!(act("resume", 200).await["data"]["state"], "active");
    assert_ne!(act("rotate", 200).await["data"]["secret"], *secret);
    let id = act("test", 202).await["data"]["id"].as_str().unwrap().to_owned();
    let told = json_of(front.get(&format!("{one}/deliveries")).bearer_auth(&mine), 200).await;
    assert_eq!(told["data"]["items"][0]["id"], *id);
    assert_eq!(told["data"]["items"][0]["why"], "It waits for a worker.");
    let detail = front.get(&format!("{one}/deliveries/{id}")).bearer_auth(&mine);
    assert_eq!(json_of(detail, 200).await["data"]["payload"]["type"], "webhook.test");
    assert_eq!(act(&format!("deliveries/{id}/resend"), 202).await["data"]["id"], *id);
    json_of(front.post(&format!("{one}/resend"), &since).bearer_auth(&mine), 202).await;
    json_of(front.get(&format!("{one}/deliveries/msg_1")).bearer_auth(&mine), 400).await;
    json_of(front.request(Method::DELETE, &one).bearer_auth(&mine), 200).await;
    json_of(front.get(&one).bearer_auth(&mine), 404).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_reason() {
    let front = Front::new().await;
    let (token, _) = front.agency("me@nowak.example").await;
    let url = "https://crm.nowak.example/";
    for (body, code) in [
        (json!({"url": "http://crm.nowak.example/", "events": ["*"]}), "invalid_url"),
        (json!({"url": "https://10.0.0.1/", "events": ["*"]}), "invalid_url"),
        (json!({"url": "https://[::ffff:127.0.0.1]/", "events": ["*"]}), "invalid_url"),
        (json!({"url": "https://crm.nowak.example:22/", "events": ["*"]}), "invalid_url"),
        (json!({"url": "https://u:p@crm.nowak.example/", "events": ["*"]}), "invalid_url"),
        (json!({"url": format!("{url}{}", "x".repeat(3_000)), "events": ["*"]}), "invalid_url"),
        (json!({"url": url, "events": []}), "invalid_events"),
        (json!({"url": url, "events": ["lead.sold"]}), "invalid_events"),
        (json!({"url": url, "events": ["*"], "rate": 0}), "invalid_rate"),
        (
            json!({"url": url, "events": ["*"], "description": "x".repeat(501)}),
            "invalid_description",
        ),
    ] {
        let refused = json_of(front.post(ALL, &body).bearer_auth(&token), 422).await;
        assert_eq!(refused["error"]["code"], code, "{body}");
    }
    let unknown = json!({"url": url, "events": ["*"], "order": true});
    assert!(
        front
            .post(ALL, &unknown)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap()
            .status()
            .is_client_error()
    );
    for _ in 0..20 {
        json_of(front.post(ALL, &new(url)).bearer_auth(&token), 201).await;
    }
    let refused = json_of(front.post(ALL, &new(url)).bearer_auth(&token), 409).await;
    assert_eq!(refused["error"]["code"], "too_many_endpoints");
}

#[tokio::test]
async fn operators_see_all_and_add_partners() {
    let here = ["127.0.0.0/8".parse().unwrap()];
    let policy = switchyard_catalog::outbound::GuardPolicy {
        allow_private: here.into(),
        ..Default::default()
    };
    let front = Front::with(ApiConfig { outbound: policy, ..config() }).await;
    let operator = Operator::of(&front).await;
    let (mine, me) = front.agency("me@nowak.example").await;
    json_of(front.post(ALL, &new("https://crm.nowak.example/")).bearer_auth(&mine), 201).await;
    let admin = "/api/admin/webhook-endpoints";
    let partner = json!({"url": "http://127.0.0.1:9/x", "events": ["*"], "ordered": true});
    let made = operator.post(admin, &partner, 201).await["data"]["endpoint"].clone();
    assert_eq!((&made["agency_id"], &made["ordered"]), (&Value::Null, &json!(true)));
    let count = async |query: &str| -> usize {
        let list = operator.get(&format!("{admin}{query}"), 200).await;
        list["data"]["items"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("?partners=true").await, 1);
    assert_eq!(count(&format!("?agency={me}")).await, 1);
    let list = json_of(front.get(ALL).bearer_auth(&mine), 200).await;
    assert_eq!(list["data"]["items"].as_array().unwrap().len(), 1, "no partner is shown");
    let path = format!("{ALL}/{}", made["id"].as_str().unwrap());
    json_of(front.get(&path).bearer_auth(&mine), 404).await;
}
