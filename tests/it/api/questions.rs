//! What senders ask before they send, beside a value in the query or the body: pings, and challenges in
//! headers. Nobody signs these, so nothing of them is stored.

use super::support::{Front, Operator, count, json_of};
use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard_tests::seed::portal_settings;

const SECRET: &str = "li-client-secret";

fn settings(door: &Value) -> Value {
    let mut settings = json!({"mapping": {"fields": {"email": "email"}}});
    settings.as_object_mut().unwrap().extend(door.as_object().unwrap().clone());
    settings
}

fn signature(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

async fn answered(request: RequestBuilder) -> Response {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn events(front: &Front) -> i64 {
    count(&mut front.owner().await, "select count(*) from switchyard.webhook_events").await
}

#[tokio::test]
async fn linkedin_asks_and_sends_as_its_seed_says() {
    let front = Front::new().await;
    front.portal("li", portal_settings("linkedin_lead_sync"), None, Some(SECRET)).await;
    let code = "890e4665-4dfe-4ab1-b689-ed553bceeed0";
    let asked = front.get(&format!("/api/webhooks/li?challengeCode={code}"));
    let answer: Value = answered(asked).await.json().await.unwrap();
    // By Python's hmac.
    let proof = "313e20a5110164b82333ba6cb7cdad9e864a8e809bb93b22935d24b57f42823f";
    assert_eq!(answer, json!({"challengeCode": code, "challengeResponse": proof}));

    let body = json!({"type": "LEAD_ACTION", "leadAction": "CREATED",
        "leadGenFormResponse": "urn:li:leadGenFormResponse:a9a29e52-4"})
    .to_string();
    let signed = [("challengeCode", format!("hmacsha256={body}"))];
    let forged = Url::parse_with_params(&front.url("/api/webhooks/li"), signed).unwrap();
    json_of(front.client.get(forged), 400).await;
    let send = |signature: String| {
        let request = front.request(Method::POST, "/api/webhooks/li");
        let request = request.header("content-type", "application/json").body(body.clone());
        request.header("x-li-signature", signature)
    };
    json_of(send(signature(&body)), 401).await;
    json_of(send(signature(&format!("hmacsha256={body}"))), 200).await;
    // The one delivery whose string is a word that is signed for anybody.
    let word = answered(front.get("/api/webhooks/li?challengeCode=hmacsha256%3D")).await;
    let word = word.json::<Value>().await.unwrap()["challengeResponse"].clone();
    let empty = front.request(Method::POST, "/api/webhooks/li");
    let empty = empty.header("x-li-signature", word.as_str().unwrap());
    let refused = json_of(empty.header("content-type", "application/json"), 401).await;
    assert_eq!(refused["error"]["code"], "signature_proves_nothing");
    assert_eq!(events(&front).await, 1);
}

#[tokio::test]
async fn a_key_in_the_address_is_shown_with_a_question_too() {
    let front = Front::new().await;
    let ping = json!({"ping": true});
    let door = settings(&json!({"api_key": {"in": "path"}, "handshake": ping}));
    front.portal("by_path", door, Some("the-key"), None).await;
    let door = settings(&json!({"api_key": {"in": "query", "name": "key"}, "handshake": ping}));
    front.portal("by_query", door, Some("the-key"), None).await;
    answered(front.get("/api/webhooks/by_path/the-key")).await;
    answered(front.get("/api/webhooks/by_query?key=the-key")).await;
    for wrong in ["by_path", "by_path/other", "by_query", "by_query?key=other"] {
        let refused = json_of(front.get(&format!("/api/webhooks/{wrong}")), 401).await;
        assert_eq!(refused["error"]["code"], "invalid_api_key", "{wrong}");
    }
}

#[tokio::test]
async fn pings_are_answered_200_unsigned_and_not_kept() {
    let front = Front::new().await;
    let signed = json!({"api_key": {"in": "none"}, "signature": {"scheme": "hmac_sha256",
        "header": "X-WC-Webhook-Signature"}});
    let mut door = settings(&signed);
    door["handshake"] = json!({"ping": true, "when": {"webhook_id": "*"}});
    front.portal("woo", door, None, Some(SECRET)).await;
    let send = |kind: &str, body: &str| {
        let request = front.request(Method::POST, "/api/webhooks/woo");
        request.header("content-type", kind).body(body.to_owned())
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let ping = answered(send(FORM, "webhook_id=17")).await;
    assert_eq!(ping.text().await.unwrap(), "");
    answered(send("application/json", r#"{"webhook_id": 17}"#)).await;
    let long = format!("webhook_id={}", "1".repeat(2_000));
    for unsigned in ["webhook_id=17&email=a%40b.co", "email=a%40b.co", "", long.as_str()] {
        let refused = json_of(send(FORM, unsigned), 401).await;
        assert_eq!(refused["error"]["code"], "signature_missing", "{unsigned}");
    }
    json_of(front.get("/api/webhooks/woo"), 405).await;
    assert_eq!(events(&front).await, 0);
    let lead = r#"{"webhook_id": "17", "email": "a@b.co"}"#;
    let request = send("application/json", lead).header("X-WC-Webhook-Signature", signature(lead));
    json_of(request, 202).await;
    assert_eq!(events(&front).await, 1);
}

#[tokio::test]
async fn one_address_asks_only_so_often_and_uses_nobodys_limits_up() {
    let front = Front::new().await;
    let door = settings(&json!({"handshake": {"ping": true}, "limits": {"rate": "1/hour"}}));
    front.portal("pinged", door, Some("the-key"), None).await;
    for _ in 0..60 {
        answered(front.get("/api/webhooks/pinged")).await;
    }
    let refused = json_of(front.get("/api/webhooks/pinged"), 429).await;
    assert_eq!(refused["error"]["code"], "too_many_requests");
    let lead = front.post("/api/webhooks/pinged", &json!({"email": "a@b.co"}));
    json_of(lead.header("x-api-key", "the-key"), 202).await;
}

#[tokio::test]
async fn a_challenge_in_a_header_comes_back_in_a_header_and_is_not_kept() {
    let front = Front::new().await;
    let signed = json!({"api_key": {"in": "none"},
        "signature": {"scheme": "hmac", "header": "X-Hook-Signature"}});
    let mut door = settings(&signed);
    door["handshake"] = json!({"header": "X-Hook-Secret", "reply_header": "X-Hook-Secret"});
    front.portal("asana", door.clone(), None, Some(SECRET)).await;
    door["handshake"] = json!({"header": "Smartsheet-Hook-Challenge",
        "reply_header": "Smartsheet-Hook-Response", "reply": {"smartsheetHookResponse": "{value}"}});
    front.portal("smartsheet", door, None, Some(SECRET)).await;

    let ask = |code: &str, name: &str, value: &str| {
        let request = front.request(Method::POST, &format!("/api/webhooks/{code}"));
        request.header("content-type", "application/json").header(name, value).body("{}")
    };
    let secret = "b537207f20cbfa02357cf448134da559";
    let answer = answered(ask("asana", "x-hook-secret", secret)).await;
    assert_eq!(answer.headers()["x-hook-secret"], secret);
    assert_eq!(answer.text().await.unwrap(), "");
    let answer = answered(ask("smartsheet", "Smartsheet-Hook-Challenge", "a-1")).await;
    assert_eq!(answer.headers()["smartsheet-hook-response"], "a-1");
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"smartsheetHookResponse": "a-1"}));

    let long = "x".repeat(257);
    for wrong in ["two words", "", long.as_str()] {
        let refused = json_of(ask("asana", "x-hook-secret", wrong), 400).await;
        assert_eq!(refused["error"]["code"], "handshake_invalid", "{wrong}");
    }
    // Deliveries are signed as ever, and the challenge's header is kept with none of them.
    json_of(ask("asana", "x-other", "1"), 401).await;
    let lead = json!({"email": "a@b.co"}).to_string();
    let request = front.request(Method::POST, "/api/webhooks/smartsheet");
    let request = request.header("content-type", "application/json").body(lead.clone());
    json_of(request.header("x-hook-signature", signature(&lead)), 202).await;
    assert_eq!(events(&front).await, 1);
    let test = front.stopped().await;
    let mut owner = test.owner().await;
    let refused = "select count(*) from switchyard.refused_requests";
    assert_eq!(count(&mut owner, refused).await, 4);
    let kept = "select count(*) from switchyard.refused_requests where headers ? 'x-hook-secret'";
    assert_eq!(count(&mut owner, kept).await, 0);
}

#[tokio::test]
async fn what_cannot_be_a_question_is_refused_with_the_settings() {
    let front = Front::new().await;
    let operator = Operator::of(&front).await;
    for (handshake, at) in [
        (json!({"ping": true, "query": "a"}), "/handshake"),
        (json!({"ping": true, "methods": ["POST"]}), "/handshake/when"),
        (json!({"header": "X-Hook-Secret"}), "/handshake/reply_header"),
        (json!({"header": "X-A", "reply_header": "Set-Cookie"}), "/handshake/reply_header"),
    ] {
        let change = json!({"name": "x", "settings": settings(&json!({"handshake": handshake}))});
        let refused = operator.put("/api/admin/portals/x", &change, 422).await;
        let faults = refused["error"]["details"]["faults"].as_array().unwrap();
        let places: Vec<_> = faults.iter().map(|f| f["field"].as_str().unwrap()).collect();
        assert_eq!(places, [at], "{handshake}");
    }
}

#[tokio::test]
async fn a_signature_in_the_address_lets_in() {
    let front = Front::new().await;
    let door = settings(&json!({"api_key": {"in": "none"}, "signature": {"scheme": "hmac",
        "query": "sig", "encoding": "base64url", "string_to_sign": "{query:form}.{body}"}}));
    front.portal("linked", door, None, Some(SECRET)).await;
    let lead = json!({"email": "a@b.co"}).to_string();
    let tag = hex::decode(signature(&format!("spring 1.{lead}"))).unwrap();
    let tag = BASE64_URL_SAFE_NO_PAD.encode(tag);
    let send = |query: String| {
        let request = front.request(Method::POST, &format!("/api/webhooks/linked?{query}"));
        request.header("content-type", "application/json").body(lead.clone())
    };
    json_of(send(format!("form=spring+1&sig={tag}")), 202).await;
    for (query, code) in [
        (format!("form=spring+2&sig={tag}"), "signature_mismatch"),
        ("form=spring+1".to_owned(), "signature_missing"),
    ] {
        let refused = json_of(send(query), 401).await;
        assert_eq!(refused["error"]["code"], code);
    }
}
