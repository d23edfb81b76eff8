//! Deliveries: who may send, what is taken, what is answered.

use super::support::{Front, KEY, checked, count, json_of};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

fn lead(id: &str) -> Value {
    json!({"id": id, "first_name": "Jan", "email": "jan@example.com", "postal_code": "00-950"})
}

#[tokio::test]
async fn a_delivery_is_committed_with_its_job_before_the_202() {
    let front = Front::new().await;
    front.demo().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent =
        front.deliver(&lead("a-1")).header("traceparent", trace).header("x-request-id", "r-7");
    let response = sent.header("authorization", "Basic c2VjcmV0").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "r-7");
    let answer = checked(response, 202).await;
    assert_eq!(answer["data"]["duplicate"], false);
    let (id, request, headers, job_trace, job_request): (
        uuid::Uuid,
        String,
        Value,
        String,
        String,
    ) = sqlx::query_as(
        "select e.id, e.request_id, e.headers, j.trace, j.request_id
             from switchyard.webhook_events e
             join engine.jobs j on j.args->>'event' = e.id::text and j.kind = 'webhook.process'",
    )
    .fetch_one(&mut front.owner().await)
    .await
    .unwrap();
    assert_eq!(answer["data"]["event_id"], id.to_string());
    assert_eq!((request.as_str(), job_request.as_str()), ("r-7", "r-7"));
    assert!(job_trace.starts_with(&trace[..36]), "the job is in the sender's trace: {job_trace}");
    let headers = headers.to_string();
    assert!(headers.contains("content-type"), "{headers}");
    assert!(!headers.contains(KEY) && !headers.contains("c2VjcmV0"), "{headers}");
}

#[tokio::test]
async fn the_same_event_again_is_answered_200_with_the_first_events_id() {
    let front = Front::new().await;
    front.demo().await;
    let first = json_of(front.deliver(&lead("a-1")), 202).await;
    // The same sender's id counts, whatever else the body says.
    let mut other = lead("a-1");
    other["message"] = json!("again");
    let again = json_of(front.deliver(&other), 200).await;
    assert_eq!(again["data"]["event_id"], first["data"]["event_id"]);
    assert_eq!(again["data"]["duplicate"], true);
    // Without an id the body's hash counts.
    let anonymous = json!({"email": "x@example.com"});
    let one = json_of(front.deliver(&anonymous), 202).await;
    let two = json_of(front.deliver(&anonymous), 200).await;
    assert_eq!(one["data"]["event_id"], two["data"]["event_id"]);
    // A slash at the end of the address changes nothing.
    let slash = front.post("/api/webhooks/demo/", &anonymous).header("x-api-key", KEY);
    assert_eq!(json_of(slash, 200).await["data"]["event_id"], one["data"]["event_id"]);
    json_of(front.post("/api/webhooks/demo/", &anonymous), 401).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 2);
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 2);
}

#[tokio::test]
async fn unknown_and_inactive_portals_cannot_be_told_apart() {
    let front = Front::new().await;
    front.demo().await;
    sqlx::query("update switchyard.portals set active = false")
        .execute(&mut front.owner().await)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for code in ["demo", "nobody", "NOT-A-CODE", "%00"] {
        let path = format!("/api/webhooks/{code}");
        let sent = front.post(&path, &lead("a")).header("x-api-key", KEY);
        let mut answer = json_of(sent, 404).await;
        answer["timestamp"] = Value::Null;
        answers.push(answer);
    }
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_missing_and_a_wrong_key_are_401() {
    let front = Front::new().await;
    front.demo().await;
    let missing = json_of(front.post("/api/webhooks/demo", &lead("a")), 401).await;
    assert_eq!(missing["error"]["code"], "invalid_api_key");
    for wrong in ["", "sk_x", &KEY[..KEY.len() - 1], &format!("{KEY}x")] {
        let sent = front.post("/api/webhooks/demo", &lead("a")).header("x-api-key", wrong);
        json_of(sent, 401).await;
    }
    // In the query or the path it is not looked for.
    json_of(front.post(&format!("/api/webhooks/demo?x-api-key={KEY}"), &lead("a")), 401).await;
    json_of(front.post(&format!("/api/webhooks/demo/{KEY}"), &lead("a")), 401).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 0);
}

#[tokio::test]
async fn the_key_may_stand_in_the_path_or_the_query() {
    let front = Front::new().await;
    let indomio = switchyard_tests::seed::portal_settings("indomio_immobiliare");
    front.portal("indomio_immobiliare", indomio, Some("tok_x"), None).await;
    let body = json!({"leadUUID": "u-1", "name": "Mario Rossi", "email": "mario@example.it"});
    let path = "/api/webhooks/indomio_immobiliare/tok_x/contact";
    // This portal has a reply of its own, the same for a repeated delivery.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response = front.post(path, &body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        ids.push(response.headers()["switchyard-event-id"].clone());
        let own: Value = response.json().await.unwrap();
        assert_eq!(own, json!({"code": 2000, "message": "success"}));
    }
    assert_eq!(ids[0], ids[1]);
    json_of(front.post("/api/webhooks/indomio_immobiliare/tok_y/contact", &body), 401).await;
    json_of(front.post("/api/webhooks/indomio_immobiliare", &body), 401).await;

    let query = json!({"api_key": {"in": "query", "name": "token"},
        "mapping": {"fields": {"email": "email"}}});
    front.portal("by_query", query, Some("q&k"), None).await;
    json_of(front.post("/api/webhooks/by_query?token=q%26k", &lead("a")), 202).await;
    json_of(front.post("/api/webhooks/by_query?token=q", &lead("b")), 401).await;
}

#[tokio::test]
async fn a_signature_is_checked_over_the_raw_body() {
    let front = Front::new().await;
    let settings = json!({"api_key": {"in": "none"},
        "signature": {"scheme": "hmac_sha256", "header": "X-Signature", "prefix": "sha256="},
        "mapping": {"fields": {"email": "email"}}});
    let secret = "a secret of at least 16 bytes";
    front.portal("signed", settings, None, Some(secret)).await;
    let body = br#"{"email":  "jan@example.com" }"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let send = |body: Vec<u8>, signature: Option<&str>| {
        let request = front.request(axum::http::Method::POST, "/api/webhooks/signed");
        let request = request.header("content-type", "application/json").body(body);
        match signature {
            Some(s) => request.header("x-signature", s),
            None => request,
        }
    };
    json_of(send(body.to_vec(), Some(&signature)), 202).await;
    let missing = json_of(send(body.to_vec(), None), 401).await;
    assert_eq!(missing["error"]["code"], "signature_missing");
    // The same JSON written otherwise is another body.
    let other = br#"{"email":"jan@example.com"}"#.to_vec();
    let changed = json_of(send(other, Some(&signature)), 401).await;
    assert_eq!(changed["error"]["code"], "signature_mismatch");
    let stored: Vec<u8> = sqlx::query_scalar("select body from switchyard.webhook_events")
        .fetch_one(&mut front.owner().await)
        .await
        .unwrap();
    assert_eq!(stored, body, "stored exactly as it came");
}

#[tokio::test]
async fn what_cannot_be_read_is_400_and_says_where() {
    let front = Front::new().await;
    front.demo().await;
    let send = |body: Vec<u8>| {
        let sent = front.request(axum::http::Method::POST, "/api/webhooks/demo");
        sent.header("content-type", "application/json").header("x-api-key", KEY).body(body)
    };
    let broken = json_of(send(b"{\"a\":\n tru}".to_vec()), 400).await;
    assert_eq!(broken["error"]["code"], "invalid_json");
    assert_eq!(broken["error"]["details"]["line"], 2);
    json_of(send(Vec::new()), 400).await;
    json_of(send(b"{} {}".to_vec()), 400).await;
    let utf8 = json_of(send(b"{\"a\":\"\xff\"}".to_vec()), 400).await;
    assert_eq!(utf8["error"]["code"], "invalid_utf8");
    assert_eq!(utf8["error"]["details"]["byte"], 6);
    let bomb = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(json_of(send(bomb), 400).await["error"]["code"], "json_too_deep");
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let front = Front::new().await;
    front.demo().await;
    let fits = json!({"id": "big", "message": "x".repeat((1 << 20) - 28)});
    assert!(fits.to_string().len() <= 1 << 20 && fits.to_string().len() > (1 << 20) - 100);
    json_of(front.deliver(&fits), 202).await;
    let large = json!({"id": "large", "message": "x".repeat(1 << 20)});
    let refused = json_of(front.deliver(&large), 413).await;
    assert_eq!(refused["error"]["code"], "payload_too_large");

    let head = format!(
        "POST /api/webhooks/demo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\n"
    );
    // In chunks, without a length.
    let chunk = [b"10000\r\n".to_vec(), vec![b'1'; 0x10000], b"\r\n".to_vec()].concat();
    let mut parts: Vec<&[u8]> = vec![head.as_bytes(), b"transfer-encoding: chunked\r\n\r\n"];
    parts.extend(std::iter::repeat_n(chunk.as_slice(), 20));
    parts.push(b"0\r\n\r\n");
    let answer = front.raw(&parts).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("payload_too_large"), "{answer}");
    // A length that promises too much and sends nothing; the sender asks first.
    let promise = b"content-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    let answer = front.raw(&[head.as_bytes(), promise]).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // A length that is too short: what follows is not part of the body.
    let short = b"content-length: 2\r\n\r\n{}aaaaaaaaaaaaaaaaaaaaaaa";
    let answer = front.raw(&[head.as_bytes(), short]).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_the_operators_fault_not_the_senders() {
    let front = Front::new().await;
    front.demo().await;
    sqlx::query("update switchyard.portals set settings = '{\"format\": 9}'")
        .execute(&mut front.owner().await)
        .await
        .unwrap();
    let answer = json_of(front.deliver(&lead("a")), 503).await;
    assert_eq!(answer["error"]["code"], "portal_misconfigured");
}
