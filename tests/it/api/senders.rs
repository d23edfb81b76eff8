//! Real senders through the real door: every delivery of the corpus is let in or refused as it
//! should be, and answered as its sender demands. What becomes of them is the mapping's business.

use super::support::Front;
use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::path::PathBuf;
use switchyard_domain::secrets::{PORTAL_SIGNING, hash_credential};
use switchyard_store::portals::NewPortal;
use switchyard_store::{Scope, portals};

pub(super) fn read(code: &str, file: &str) -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/portals");
    serde_json::from_slice(&std::fs::read(root.join(code).join(file)).unwrap()).unwrap()
}

/// What the sender's declaration of its authentication comes to in a portal's settings, and its
/// key and secret.
fn door(auth: &Value) -> (Value, Option<String>, Option<String>) {
    let text = |name: &str| auth[name].as_str().map(str::to_owned);
    let shared = |place: Value, key: &str| (json!({ "api_key": place }), text(key), None);
    match auth["type"].as_str().unwrap() {
        "header" => {
            let prefix = text("prefix").unwrap_or_default();
            let name = text("header");
            shared(json!({"in": "header", "name": name, "prefix": prefix}), "value")
        }
        "basic" => shared(json!({"in": "basic", "user": text("user")}), "password"),
        "url_token" => shared(json!({"in": "path"}), "token"),
        "body_field" => shared(json!({"in": "body", "name": text("path")}), "value"),
        "hmac" => {
            let mut scheme = json!({
                "scheme": "hmac", "header": text("header"), "algorithm": text("alg"),
                "encoding": text("encoding"), "string_to_sign": text("string_to_sign"),
                "prefix": text("format").unwrap().replace("{sig}", ""),
                "secret": {"encoding": text("secret_encoding").unwrap_or("utf8".to_owned()),
                    "prefix": text("secret_prefix").unwrap_or_default()},
            });
            for (from, to) in [
                ("id_header", "id_header"),
                ("list_separator", "separator"),
                ("timestamp", "timestamp"),
            ] {
                if !auth[from].is_null() {
                    scheme[to] = auth[from].clone();
                }
            }
            (json!({"api_key": {"in": "none"}, "signature": scheme}), None, text("secret"))
        }
        other => panic!("{other}"),
    }
}

/// The same by the name that the scheme has here, where it has one.
fn preset(code: &str) -> Option<&'static str> {
    Some(match code {
        "hubspot_contact_events" => "hubspot_v3",
        "meta_lead_retrieved" | "meta_leadgen_notification" => "meta",
        "shopify_order" => "shopify",
        "standard_webhooks" => "standard_webhooks",
        "twilio_sms" => "twilio",
        "typeform" => "typeform",
        _ => return None,
    })
}

async fn make(front: &Front, code: &str, request: &Value, named: Option<&str>) {
    let (mut settings, key, secret) = door(&request["auth"]);
    if let Some(name) = named {
        settings["signature"] = json!({ "scheme": name });
    }
    settings["mapping"] = json!({"fields": {"email": "email"}});
    settings["public_base_url"] = json!(format!("https://ingest.example.test/in/{code}"));
    let config = &request["config"];
    let reply = &config["reply"];
    settings["reply"] = match (&reply["json"], &reply["body"]) {
        (Value::Null, Value::Null) => match code {
            "google_ads_lead_form" => {
                json!({"status": 200, "content_type": "application/json", "body": "{}"})
            }
            _ => json!({"status": 200}),
        },
        (Value::Null, body) => {
            json!({"status": reply["status"], "content_type": reply["content_type"], "body": body})
        }
        (body, _) => json!({"status": reply["status"], "content_type": "application/json",
            "body": body.to_string()}),
    };
    let token = config["verify_token"].as_str();
    if token.is_some() {
        settings["handshake"] = json!({"query": "hub.challenge", "token": "hub.verify_token",
            "when": {"hub.mode": "subscribe"}});
    }
    let hash = |text: &str| hash_credential(&front.keys, text).unwrap();
    let new = NewPortal {
        code: code.to_owned(),
        name: code.to_owned(),
        active: true,
        settings,
        api_key_hash: key.as_deref().map(hash),
        signing_secret: secret.map(|s| front.keys.seal(PORTAL_SIGNING, s.as_bytes())),
    };
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    let portal = portals::upsert(&mut tx, &new).await.unwrap();
    if let Some(token) = token {
        portals::set_verify_token(&mut tx, portal.id, Some(&hash(token))).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn body(delivery: &Value) -> Vec<u8> {
    match (&delivery["body"], &delivery["body_base64"]) {
        (Value::String(text), _) => text.as_bytes().to_vec(),
        (_, Value::String(text)) => BASE64_STANDARD.decode(text).unwrap(),
        _ => {
            let made = &delivery["body_gen"];
            let text = |name: &str| made[name].as_str().unwrap();
            let fill = text("fill").repeat(made["count"].as_u64().unwrap() as usize);
            format!("{}{fill}{}", text("prefix"), text("suffix")).into_bytes()
        }
    }
}

/// The corpus has `/in/<sender>`, and for one sender a token in that place.
fn path(code: &str, url: &str) -> String {
    let rest = url.strip_prefix("https://ingest.example.test/in/").unwrap();
    match rest.strip_prefix(code) {
        Some(after) => format!("/api/webhooks/{code}{after}"),
        None => format!("/api/webhooks/{code}/{rest}"),
    }
}

/// Sends a delivery and compares the answer; gives the id of its event, if it became one, and the code
/// of its refusal, if it was refused.
pub(super) async fn send(
    front: &Front,
    code: &str,
    delivery: &Value,
    wanted: &Value,
    at: &str,
) -> (Option<String>, Option<String>) {
    let method: Method = delivery["method"].as_str().unwrap().parse().unwrap();
    let mut request = front.request(method, &path(code, delivery["url"].as_str().unwrap()));
    for (name, value) in delivery["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    let response = request.body(body(delivery)).send().await.unwrap();
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").cloned();
    let event = response.headers().get("switchyard-event-id");
    let event = event.map(|id| id.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    let allowed: Vec<u64> = match wanted["status_any_of"].as_array() {
        Some(any) => any.iter().filter_map(Value::as_u64).collect(),
        None => vec![wanted["status"].as_u64().unwrap()],
    };
    let exact = wanted["exact_status"] == true;
    let fits =
        |w: &u64| u64::from(status) == *w || (!exact && *w == 200 && (200..300).contains(&status));
    assert!(allowed.iter().any(fits), "{at}: {status} instead of {allowed:?}: {text}");
    // The door's own verdict, whatever else may be wrong with the delivery.
    if delivery["signature_valid"] == false {
        assert!(matches!(status, 401 | 403), "{at}: {status} {text}");
    }
    if let Some(body) = wanted["response_body"].as_str() {
        assert_eq!(text, body, "{at}");
    }
    if !wanted["response_body_json"].is_null() {
        let got: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(got, wanted["response_body_json"], "{at}");
    }
    if let Some(kind) = wanted["response_content_type"].as_str() {
        assert!(content_type.unwrap().to_str().unwrap().starts_with(kind), "{at}");
    }
    let refusal = serde_json::from_str::<Value>(&text).ok();
    (event, refusal.and_then(|answer| answer["error"]["code"].as_str().map(str::to_owned)))
}

/// The senders of the corpus.
pub(super) fn senders() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/portals");
    let names = std::fs::read_dir(root).unwrap();
    let mut codes: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    codes.sort();
    assert!(codes.len() >= 14, "{codes:?}");
    codes
}

/// Every delivery of a sender, in order, with what is expected of it.
pub(super) fn deliveries<'a>(
    request: &'a Value,
    expected: &'a Value,
) -> Vec<(&'a Value, &'a Value)> {
    match (&request["sequence"], &expected["sequence"]) {
        (Value::Array(requests), Value::Array(wanted)) => {
            assert_eq!(requests.len(), wanted.len(), "{}", request["portal"]);
            requests.iter().zip(wanted).collect()
        }
        _ => vec![(request, expected)],
    }
}

#[tokio::test]
async fn every_sender_of_the_corpus_is_judged_and_answered_as_it_should_be() {
    let mut sent = 0;
    for code in &senders() {
        let (request, expected) = (read(code, "request.json"), read(code, "expected.json"));
        let deliveries = deliveries(&request, &expected);
        let clock: DateTime<Utc> = request["clock"].as_str().unwrap().parse().unwrap();
        for named in [None, preset(code)].iter().take(1 + usize::from(preset(code).is_some())) {
            let front = Front::new().await;
            front.clock.set(clock);
            make(&front, code, &request, *named).await;
            for (n, (delivery, wanted)) in deliveries.iter().enumerate() {
                send(&front, code, delivery, wanted, &format!("{code}#{n} {named:?}")).await;
                sent += 1;
            }
            no_key_is_kept(&front, &request["auth"]).await;
        }
    }
    assert!(sent > 25, "{sent}");
}

/// A key, password or token stands nowhere in what was stored.
pub(super) async fn no_key_is_kept(front: &Front, auth: &Value) {
    let key = ["value", "password", "token"].iter().find_map(|name| auth[*name].as_str());
    let Some(key) = key else { return };
    let rows: Vec<(Vec<u8>, String, String)> = sqlx::query_as(
        "select body, headers::text, coalesce(url, '') from switchyard.webhook_events",
    )
    .fetch_all(&mut front.owner().await)
    .await
    .unwrap();
    assert!(!rows.is_empty());
    for (body, headers, url) in rows {
        let body = String::from_utf8_lossy(&body).into_owned();
        for text in [body, headers, url] {
            assert!(!text.contains(key), "the key is kept: {text}");
        }
    }
}
