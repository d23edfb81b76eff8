//! Who may pass a portal's door, who asks there first, and what is kept of how somebody came in.

use super::support::{Front, Operator, checked, config, count, json_of};
use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard_api::ApiConfig;

fn settings(door: Value) -> Value {
    let mut settings = json!({"mapping": {"fields": {"email": "email"}}});
    settings.as_object_mut().unwrap().extend(door.as_object().unwrap().clone());
    settings
}

fn lead(n: u32) -> Value {
    json!({"id": n, "email": format!("a{n}@example.com")})
}

fn code_of(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap()
}

async fn newest(front: &Front) -> (Vec<u8>, Value, Option<String>, bool) {
    sqlx::query_as(
        "select body, headers, url, redacted from switchyard.webhook_events order by id desc limit 1",
    )
    .fetch_one(&mut front.owner().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn basic_authentication_asks_for_user_and_password() {
    let front = Front::new().await;
    let operator = Operator::of(&front).await;
    let change = json!({"name": "ADF", "api_key": "pa:ss",
        "settings": settings(json!({"api_key": {"in": "basic", "user": "adf"}}))});
    let made = operator.put("/api/admin/portals/adf", &change, 201).await;
    assert_eq!(made["data"]["has_api_key"], true);
    assert!(made["data"].get("api_key").is_none(), "a chosen password is not shown again");
    let send = |user: &str, password: &str| {
        front.post("/api/webhooks/adf", &lead(1)).basic_auth(user, Some(password))
    };
    json_of(send("adf", "pa:ss"), 202).await;
    for (user, password) in [("adf", "pa"), ("ad", "pa:ss"), ("adf", ""), ("", "pa:ss")] {
        let response = send(user, password).send().await.unwrap();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        assert_eq!(code_of(&checked(response, 401).await), "invalid_api_key");
    }
    let (_, headers, ..) = newest(&front).await;
    assert!(headers.get("authorization").is_none(), "{headers}");
    for short in ["four", " token", ""] {
        let change = json!({ "api_key": short });
        let refused = operator.put("/api/admin/portals/adf", &change, 422).await;
        assert_eq!(code_of(&refused), "invalid_api_key", "{short:?}");
    }
}

#[tokio::test]
async fn two_keys_are_live_during_a_rotation() {
    let front = Front::new().await;
    let operator = Operator::of(&front).await;
    let path = "/api/admin/portals/rotating";
    let make = json!({"name": "R", "settings": settings(json!({}))});
    let first =
        operator.put(path, &make, 201).await["data"]["api_key"].as_str().unwrap().to_owned();
    let rotate = json!({"new_api_key": true, "keep_former_api_key": true});
    let rotated = operator.put(path, &rotate, 200).await;
    assert_eq!(rotated["data"]["has_former_api_key"], true);
    let second = rotated["data"]["api_key"].as_str().unwrap().to_owned();
    let send =
        |key: &str, n| front.post("/api/webhooks/rotating", &lead(n)).header("x-api-key", key);
    json_of(send(&first, 1), 202).await;
    json_of(send(&second, 2), 202).await;
    let retired = operator.put(path, &json!({"keep_former_api_key": false}), 200).await;
    assert_eq!(retired["data"]["has_former_api_key"], false);
    json_of(send(&first, 3), 401).await;
    json_of(send(&second, 4), 202).await;
    // A new key without a word about the old one ends it at once.
    let third = operator.put(path, &json!({"new_api_key": true}), 200).await;
    json_of(send(&second, 5), 401).await;
    json_of(send(third["data"]["api_key"].as_str().unwrap(), 6), 202).await;
}

#[tokio::test]
async fn a_key_in_the_body_is_compared_and_masked() {
    let front = Front::new().await;
    let door = settings(json!({"api_key": {"in": "body", "name": "google_key"}}));
    front.portal("google", door, Some("test-google-key"), None).await;
    let text = r#"{"google_key": "test-google-key", "email": "a@example.com"}"#;
    let send = |kind: &str, body: &str| {
        let request = front.request(Method::POST, "/api/webhooks/google");
        request.header("content-type", kind).body(body.to_owned())
    };
    json_of(send("application/json", text), 202).await;
    let (body, .., redacted) = newest(&front).await;
    assert!(redacted);
    let masked = r#"{"google_key": "***************", "email": "a@example.com"}"#;
    assert_eq!(String::from_utf8(body).unwrap(), masked);
    json_of(send("application/x-www-form-urlencoded", "google_key=test-google-key&x=1"), 202).await;
    let (body, ..) = newest(&front).await;
    assert_eq!(String::from_utf8(body).unwrap(), "google_key=***************&x=1");
    json_of(send("text/xml", "<google_key>test-google-key</google_key>"), 202).await;
    let (body, .., redacted) = newest(&front).await;
    assert!(redacted);
    assert_eq!(String::from_utf8(body).unwrap(), "<google_key>***************</google_key>");
    json_of(send("text/xml", "<google_key>test-google-kez</google_key>"), 401).await;
    json_of(send("text/csv", "google_key,email\ntest-google-key,a@example.com\n"), 415).await;
    for wrong in [r#"{"google_key": "test-google-kez"}"#, r#"{"google_key": ["x"]}"#, "{}", "[]"] {
        let refused = json_of(send("application/json", wrong), 401).await;
        assert_eq!(code_of(&refused), "invalid_api_key", "{wrong}");
    }
    // The same delivery again is the same by what came, not by what was kept.
    assert_eq!(json_of(send("application/json", text), 200).await["data"]["duplicate"], true);
}

#[tokio::test]
async fn only_known_addresses_pass_where_they_are_listed() {
    let front = Front::with(ApiConfig { forwarded_hops: 1, ..config() }).await;
    let door = settings(json!({"api_key": {"in": "none"},
        "ip_allow": ["203.0.113.0/24", "2001:db8::7"]}));
    front.portal("listed", door, None, None).await;
    let send = |address: &str, n| {
        front.post("/api/webhooks/listed", &lead(n)).header("x-forwarded-for", address)
    };
    json_of(send("203.0.113.9", 1), 202).await;
    json_of(send("2001:db8::7", 2), 202).await;
    json_of(send("::ffff:203.0.113.9", 3), 202).await;
    for other in ["203.0.114.1", "2001:db8::8", "127.0.0.1"] {
        assert_eq!(code_of(&json_of(send(other, 4), 403).await), "address_not_allowed", "{other}");
    }
    // What the client writes left of the proxy's entry counts for nothing.
    json_of(send("203.0.113.9, 198.51.100.1", 5), 403).await;
}

#[tokio::test]
async fn the_address_is_kept_without_its_keys() {
    let front = Front::with(ApiConfig {
        public_url: Some("https://hooks.example.com/".to_owned()),
        ..config()
    })
    .await;
    let by_path = settings(json!({"api_key": {"in": "path"}}));
    front.portal("by_path", by_path, Some("tok_secret"), None).await;
    let path = "/api/webhooks/by_path/tok_secret/contact/x%2Fy?campaign=a%20b";
    json_of(front.post(path, &lead(1)), 202).await;
    let kept = newest(&front).await.2.unwrap();
    let wanted = "https://hooks.example.com/api/webhooks/by_path/***/contact/x%2Fy?campaign=a%20b";
    assert_eq!(kept, wanted);
    let by_query = settings(json!({"api_key": {"in": "query", "name": "the key"},
        "delivery_id": {"query": "d"}, "public_base_url": "https://in.example.org/q"}));
    front.portal("by_query", by_query, Some("tok_secret"), None).await;
    let path = "/api/webhooks/by_query/x?a=1&the%20key=tok_secret&d=7";
    json_of(front.post(path, &lead(2)), 202).await;
    assert_eq!(newest(&front).await.2.unwrap(), "https://in.example.org/q/x?a=1&the%20key=***&d=7");
    // The delivery's id stood in the query: another body is the same delivery.
    assert_eq!(json_of(front.post(path, &lead(3)), 200).await["data"]["duplicate"], true);
}

#[tokio::test]
async fn put_and_any_content_type_are_taken() {
    let front = Front::new().await;
    front.portal("open", settings(json!({})), Some("the-key"), None).await;
    for (kind, body, status) in [
        ("application/json; charset=utf-8", r#"{"email":"1@x.pl"}"#, 202),
        ("application/cloudevents+json", r#"{"email":"2@x.pl"}"#, 202),
        ("application/x-www-form-urlencoded", "email=3@x.pl", 202),
        ("text/xml", "<lead><email>4@x.pl</email></lead>", 202),
        ("text/csv", "email\n5@x.pl\n", 202),
        ("application/x-ndjson", "{\"email\":\"6@x.pl\"}\n{}\n", 202),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=email\r\n\r\n7@x.pl\r\n--b--\r\n",
            202,
        ),
        ("text/plain", "{}", 415),
        ("application/json; charset=klingon", "{}", 415),
    ] {
        let request =
            front.request(Method::PUT, "/api/webhooks/open").header("x-api-key", "the-key");
        let answer = json_of(request.header("content-type", kind).body(body), status).await;
        assert_eq!(answer["success"], status == 202, "{kind}");
    }
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 7);
}

async fn text_of(request: RequestBuilder, status: u16) -> (String, String) {
    let response: Response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), status);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    (kind, response.text().await.unwrap())
}

#[tokio::test]
async fn questions_in_the_query_are_answered_if_the_token_is_ours() {
    let front = Front::new().await;
    let operator = Operator::of(&front).await;
    let handshake = json!({"query": "hub.challenge", "token": "hub.verify_token",
        "when": {"hub.mode": "subscribe"}});
    let mut change = json!({"name": "Meta", "signing_secret": "the app's secret",
        "settings": settings(json!({"api_key": {"in": "none"},
            "signature": {"scheme": "meta"}, "handshake": handshake}))});
    let missing = operator.put("/api/admin/portals/meta", &change, 422).await;
    assert_eq!(code_of(&missing), "required");
    change["verify_token"] = json!("verify-me");
    let made = operator.put("/api/admin/portals/meta", &change, 201).await;
    assert_eq!(made["data"]["has_verify_token"], true);
    let ask = |query: &str| front.get(&format!("/api/webhooks/meta?{query}"));
    let right = "hub.mode=subscribe&hub.challenge=11%3C58&hub.verify_token=verify-me";
    let (kind, text) = text_of(ask(right), 200).await;
    assert_eq!((kind.as_str(), text.as_str()), ("text/plain; charset=utf-8", "11<58"));
    for wrong in ["WRONG", ""] {
        let query = format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token={wrong}");
        assert_eq!(code_of(&json_of(ask(&query), 403).await), "verify_token_invalid");
    }
    json_of(ask("hub.mode=subscribe&hub.challenge=1"), 403).await;
    // No question: another mode, or nothing to give back.
    json_of(ask("hub.mode=other&hub.challenge=1&hub.verify_token=verify-me"), 405).await;
    json_of(ask(""), 405).await;
    let long =
        format!("hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge={}", "x".repeat(1025));
    assert_eq!(code_of(&json_of(ask(&long), 400).await), "handshake_invalid");
    let head = front.request(Method::HEAD, "/api/webhooks/meta").send().await.unwrap();
    assert_eq!(head.status(), 200);
    json_of(front.get("/api/webhooks/nobody"), 404).await;
    // A delivery must be signed all the same.
    json_of(front.post("/api/webhooks/meta", &lead(1)), 401).await;
}

#[tokio::test]
async fn proofs_that_we_know_the_secret_and_bare_echoes() {
    let front = Front::new().await;
    let secret = "a signing secret";
    let door = settings(json!({"api_key": {"in": "none"}, "signature": {"scheme": "github"},
        "handshake": {"query": "crc_token", "reply": {"response_token": "sha256={hmac}"},
            "encoding": "base64"}}));
    front.portal("crc", door, None, Some(secret)).await;
    let (kind, text) = text_of(front.get("/api/webhooks/crc?crc_token=challenge-1"), 200).await;
    assert_eq!(kind, "application/json");
    // By Python's hmac.
    let wanted = json!({"response_token": "sha256=VTXgsv2C1b1upDV5xXzwjkrYL7eB20sX0kh84Ebohic="});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);

    // What could be delivered is never signed: else anybody could have a delivery signed.
    let forged = [
        r#"{"email":"x@y"}"#.to_owned(),
        format!("hmacsha256={}", lead(1)),
        "email=x".to_owned(),
        "x".repeat(257),
    ];
    for forged in forged {
        let url = Url::parse_with_params(&front.url("/api/webhooks/crc"), [("crc_token", &forged)]);
        let ask = front.client.get(url.unwrap());
        let refused = json_of(ask, 400).await;
        assert_eq!(code_of(&refused), "handshake_invalid", "{forged}");
        assert!(!refused.to_string().contains("sha256="), "{refused}");
    }

    let door = settings(json!({"handshake": {"query": "validationToken", "methods": ["POST"]}}));
    front.portal("graph", door, Some("the-key"), None).await;
    let ask = front.request(Method::POST, "/api/webhooks/graph?validationToken=a%20b%3A1");
    assert_eq!(text_of(ask, 200).await.1, "a b:1");
    json_of(front.post("/api/webhooks/graph", &lead(1)), 401).await;
}

#[tokio::test]
async fn questions_in_the_body_are_answered_once_they_are_authentic() {
    let front = Front::new().await;
    let secret = "a signing secret";
    let door = settings(json!({"api_key": {"in": "none"},
        "signature": {"scheme": "hmac", "header": "X-Sign", "encoding": "base64"},
        "handshake": {"body": "/payload/plainToken", "when": {"event": "endpoint.url_validation"},
            "reply": {"plainToken": "{value}", "encryptedToken": "{hmac}"}}}));
    front.portal("zoom", door, None, Some(secret)).await;
    let send = |body: &Value, signed: bool| {
        let body = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let request = front.request(Method::POST, "/api/webhooks/zoom");
        let request = request.header("content-type", "application/json").body(body);
        request.header("x-sign", if signed { signature } else { "AAAA".to_owned() })
    };
    let question =
        json!({"event": "endpoint.url_validation", "payload": {"plainToken": "challenge-1"}});
    let (_, text) = text_of(send(&question, true), 200).await;
    let wanted = json!({"plainToken": "challenge-1",
        "encryptedToken": "5535e0b2fd82d5bd6ea43579c57cf08e4ad82fb781db4b17d2487ce046e88627"});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
    json_of(send(&question, false), 401).await;
    let delivery = json!({"event": "meeting.ended", "payload": {"plainToken": "x"}});
    json_of(send(&delivery, true), 202).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 1);
}

#[tokio::test]
async fn settings_of_the_door_are_checked_before_they_are_kept() {
    let front = Front::new().await;
    let operator = Operator::of(&front).await;
    for (door, at) in [
        (json!({"ip_allow": ["300.1.1.1"]}), "/ip_allow/0"),
        (json!({"public_base_url": "ftp://x"}), "/public_base_url"),
        (json!({"limits": {"rate": "50"}}), "/limits"),
        (json!({"limits": {"burst": 5}}), "/limits/burst"),
        (json!({"handshake": {}}), "/handshake"),
        (json!({"handshake": {"query": "a", "methods": ["BREW"]}}), "/handshake/methods"),
        (json!({"handshake": {"query": "a", "reply": {"x": "{hmac}"}}}), "/handshake/reply"),
        (json!({"handshake": {"body": "a", "token": "t"}}), "/handshake/token"),
        (json!({"body": {"limits": {"bytes": 99_999_999}}}), "/body/limits/bytes"),
        (json!({"api_key": {"in": "basic", "user": "a:b"}}), "/api_key/user"),
        (json!({"api_key": {"in": "body", "name": ""}}), "/api_key/name"),
        (json!({"api_key": {"in": "none"}}), "/api_key"),
        (
            json!({"signature": {"scheme": "hmac", "header": "X", "string_to_sign": "{url}"}}),
            "/signature/string_to_sign",
        ),
    ] {
        let change = json!({"name": "x", "signing_secret": "a long enough secret",
            "settings": settings(door.clone())});
        let refused = operator.put("/api/admin/portals/x", &change, 422).await;
        let faults = refused["error"]["details"]["faults"].as_array().unwrap();
        let places: Vec<_> = faults.iter().map(|f| f["field"].as_str().unwrap()).collect();
        assert_eq!(places, [at], "{door}");
    }
}
