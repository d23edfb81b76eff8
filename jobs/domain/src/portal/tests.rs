//! Settings that must be refused, each with its place and a sentence, and what keys are taken from.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn with(change: impl Fn(&mut Value)) -> Value {
    let mut settings = json!({
        "api_key": {"in": "header", "name": "X-API-Key"},
        "mapping": {"fields": {"email": "email"}},
    });
    change(&mut settings);
    settings
}

fn faults(settings: &Value) -> Vec<(String, String)> {
    let faults = PortalSettings::parse(settings).unwrap_err();
    for fault in &faults {
        assert!(fault.message.ends_with('.') && fault.message.len() > 15, "{fault:?}");
    }
    faults.into_iter().map(|f| (f.field, f.code)).collect()
}

#[test]
fn the_least_there_can_be() {
    let settings = PortalSettings::parse(&json!({"mapping": {"fields": {"phone": "p"}}})).unwrap();
    assert_eq!(settings.api_key, ApiKeyPlace::default());
    assert_eq!(settings.reply, Reply { status: 202, content_type: None, body: None });
    assert_eq!(settings.format, 1);
    assert_eq!(settings.validate(), []);
}

#[test]
fn a_portal_that_anybody_could_write_to_is_refused() {
    let open = with(|s| s["api_key"] = json!({"in": "none"}));
    assert_eq!(faults(&open), [("/api_key".to_owned(), "unauthenticated".to_owned())]);
    let signed = with(|s| {
        s["api_key"] = json!({"in": "none"});
        s["signature"] = json!({"scheme": "standard_webhooks"});
    });
    assert!(PortalSettings::parse(&signed).is_ok());
}

#[test]
fn a_key_in_a_body_of_rows_is_refused() {
    let of = |kind: Value| {
        with(|s| {
            s["api_key"] = json!({"in": "body", "name": "key"});
            s["body"] = json!({"type": kind});
        })
    };
    for kind in ["csv", "ndjson"] {
        let refused = faults(&of(json!(kind)));
        assert_eq!(refused, [("/api_key/in".to_owned(), "no_place_for_key".to_owned())]);
    }
    for kind in [json!("xml"), json!("json"), json!("form"), json!("multipart"), Value::Null] {
        assert!(PortalSettings::parse(&of(kind.clone())).is_ok(), "{kind}");
    }
}

#[test]
fn every_fault_has_its_place() {
    for (name, value, at, code) in [
        ("apikey", json!({}), "/apikey", "unknown_setting"),
        ("format", json!(2), "/format", "unknown_format"),
        (
            "api_key",
            json!({"in": "header", "name": "X Key"}),
            "/api_key/name",
            "invalid_header_name",
        ),
        ("api_key", json!({"in": "body"}), "/api_key", "invalid"),
        ("api_key", json!({"in": "query", "name": ""}), "/api_key/name", "required"),
        ("signature", json!({"scheme": "rot13"}), "/signature", "invalid"),
        (
            "signature",
            json!({"scheme": "standard_webhooks", "tolerance_seconds": 0}),
            "/signature/tolerance_seconds",
            "out_of_range",
        ),
        (
            "signature",
            json!({"scheme": "hmac_sha256", "header": ""}),
            "/signature/header",
            "invalid_header_name",
        ),
        (
            "signature",
            json!({"scheme": "hmac_sha256", "header": "a", "prefix": "\n"}),
            "/signature/prefix",
            "invalid_prefix",
        ),
        ("delivery_id", json!({"header": "ä"}), "/delivery_id/header", "invalid_header_name"),
        ("delivery_id", json!({"path": "a..b"}), "/delivery_id", "invalid"),
        ("defaults", json!({"country": "Atlantis"}), "/defaults", "invalid"),
        ("defaults", json!({"time_zone": "Mars/Olympus"}), "/defaults", "invalid"),
        ("defaults", json!({"currency": "zloty"}), "/defaults", "invalid"),
        ("defaults", json!({"number_locale": "xx"}), "/defaults", "invalid"),
        ("defaults", json!({"zone": "UTC"}), "/defaults", "invalid"),
        ("reply", json!({"status": 302}), "/reply/status", "out_of_range"),
        ("reply", json!({"body": "ok"}), "/reply/content_type", "required"),
        ("reply", json!({"content_type": "a\nb/c"}), "/reply/content_type", "invalid_type"),
        (
            "reply",
            json!({"status": 204, "content_type": "text/plain", "body": "x"}),
            "/reply/body",
            "body_not_allowed",
        ),
        ("mapping", json!({"fields": {"email": "a..b"}}), "/mapping/fields/email", "invalid_path"),
    ] {
        let found = faults(&with(|s| s[name] = value.clone()));
        assert_eq!(found, [(at.to_owned(), code.to_owned())], "{name}: {value}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let wrong = with(|s| {
        s["format"] = json!(9);
        s["reply"] = json!({"status": 500});
        s["typo"] = json!(1);
    });
    assert_eq!(faults(&wrong).len(), 3);
    let text = serde_json::from_value::<PortalSettings>(wrong).unwrap_err().to_string();
    assert!(text.contains("/typo") && text.contains("/reply/status"), "{text}");
}

#[test]
fn defaults_are_brought_to_their_codes() {
    let settings = with(|s| {
        s["defaults"] =
            json!({"country": "Polska", "currency": "pln", "time_zone": "Europe/Warsaw"});
    });
    let stored = serde_json::to_value(PortalSettings::parse(&settings).unwrap()).unwrap();
    let wanted = json!({"country": "PL", "currency": "PLN", "time_zone": "Europe/Warsaw"});
    assert_eq!(stored["defaults"], wanted);
}

#[test]
fn keys_are_taken_from_their_place_alone() {
    let headers: Headers = [("X-Key", "h"), ("Authorization", "Bearer b")].into_iter().collect();
    let (path, query) = (Some("p"), Some("a=1&key=q%2B1&key=second"));
    let place = |value| serde_json::from_value::<ApiKeyPlace>(value).unwrap();
    for (value, wanted) in [
        (json!({"in": "header", "name": "x-key"}), Some("h")),
        (json!({"in": "header", "name": "authorization", "prefix": "Bearer "}), Some("b")),
        (json!({"in": "header", "name": "authorization", "prefix": "Basic "}), None),
        (json!({"in": "header", "name": "other"}), None),
        (json!({"in": "path"}), Some("p")),
        (json!({"in": "query", "name": "key"}), Some("q+1")),
        (json!({"in": "query", "name": "other"}), None),
        (json!({"in": "none"}), None),
    ] {
        let found = place(value.clone()).presented(&headers, path, query);
        assert_eq!(found.as_deref(), wanted, "{value}");
    }
    assert_eq!(ApiKeyPlace::Path.presented(&headers, None, None), None);
    assert_eq!(ApiKeyPlace::Path.presented(&headers, Some(""), None), None);
}

#[test]
fn credentials_are_named_so_that_they_are_not_stored() {
    let settings = with(|s| {
        s["api_key"]["name"] = json!("X-Secret");
        s["signature"] = json!({"scheme": "hmac_sha256", "header": "X-Sign"});
    });
    let settings = PortalSettings::parse(&settings).unwrap();
    assert_eq!(settings.credential_headers(), ["X-Sign", "X-Secret"]);
}
