//! What is a question, what is signed, and what is answered.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::signature::SignatureScheme;
use serde_json::json;

const UUID: &str = "890e4665-4dfe-4ab1-b689-ed553bceeed0";

fn handshake(settings: Value) -> Handshake {
    let handshake: Handshake = serde_json::from_value(settings).unwrap();
    assert_eq!(handshake.faults(true), []);
    handshake
}

fn secrets() -> SigningSecrets {
    let scheme: SignatureScheme = serde_json::from_value(json!({"scheme": "linkedin"})).unwrap();
    SigningSecrets::parse(&scheme, "li-client-secret").unwrap()
}

/// Asked by this method, with this query and these headers.
fn ask(handshake: &Handshake, method: &str, query: &str, headers: &[(&str, &str)]) -> Shaken {
    let headers = headers.iter().copied().collect();
    handshake.in_head(method, Some(query), &headers, Some(&secrets()), |_| false)
}

fn refused(shaken: &Shaken) -> Option<&'static str> {
    match shaken {
        Shaken::Refused(_, code, _) => Some(code),
        _ => None,
    }
}

fn body(shaken: Shaken) -> String {
    match shaken {
        Shaken::Answer { body, .. } => body,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_can_be_no_delivery_is_signed() {
    let linkedin = handshake(json!({"query": "challengeCode",
        "reply": {"challengeCode": "{value}", "challengeResponse": "{hmac}"}}));
    let asked = |value: &str| {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("challengeCode", value)
            .finish();
        ask(&linkedin, "GET", &query, &[])
    };
    // By Python's hmac.
    let proof = "313e20a5110164b82333ba6cb7cdad9e864a8e809bb93b22935d24b57f42823f";
    let wanted = json!({"challengeCode": UUID, "challengeResponse": proof});
    assert_eq!(serde_json::from_str::<Value>(&body(asked(UUID))).unwrap(), wanted);
    for forged in [
        r#"{"email":"x@y"}"#,
        r#"hmacsha256={"type":"LEAD_ACTION"}"#,
        "email=x",
        "<lead/>",
        "email\nx@y",
        "a b",
        "",
        &"x".repeat(257),
    ] {
        assert_eq!(refused(&asked(forged)), Some("handshake_invalid"), "{forged:?}");
    }
    // In a body, too: whoever may send once may not sign for ever.
    let zoom = handshake(json!({"body": "plainToken", "reply": {"encryptedToken": "{hmac}"}}));
    let asked = |value: &str| zoom.in_body("POST", &json!({"plainToken": value}), Some(&secrets()));
    assert!(refused(&asked("qgg8vlvZRS6UYooatFL8Aw")).is_none());
    assert_eq!(refused(&asked(r#"{"email":"x@y"}"#)), Some("handshake_invalid"));
    // What is given back unsigned may be any plain text.
    let meta = handshake(json!({"query": "hub.challenge"}));
    assert_eq!(body(ask(&meta, "GET", "hub.challenge=a%20%7Bb", &[])), "a {b");
}

#[test]
fn a_value_in_a_header_comes_back_in_a_header() {
    let smartsheet = handshake(json!({"header": "Smartsheet-Hook-Challenge",
        "reply_header": "Smartsheet-Hook-Response",
        "reply": {"smartsheetHookResponse": "{value}"}}));
    let asked = |method: &str, value: &str| {
        ask(&smartsheet, method, "", &[("smartsheet-hook-challenge", value)])
    };
    let Shaken::Answer { content_type, body, header } = asked("POST", UUID) else { panic!() };
    assert_eq!(content_type, "application/json");
    assert_eq!(body, json!({ "smartsheetHookResponse": UUID }).to_string());
    assert_eq!(header, Some(("Smartsheet-Hook-Response".to_owned(), UUID.to_owned())));
    assert_eq!(asked("GET", UUID), Shaken::NoQuestion);
    assert_eq!(ask(&smartsheet, "POST", "", &[]), Shaken::NoQuestion);
    for wrong in ["a b", "", "a\r\nSet-Cookie: x=1", "é", &"x".repeat(257)] {
        assert_eq!(refused(&asked("POST", wrong)), Some("handshake_invalid"), "{wrong:?}");
    }
    let asana = handshake(json!({"header": "X-Hook-Secret", "reply_header": "X-Hook-Secret"}));
    let told = ask(&asana, "POST", "", &[("X-Hook-Secret", "s3cret")]);
    let header = Some(("X-Hook-Secret".to_owned(), "s3cret".to_owned()));
    assert_eq!(told, Shaken::text("", header), "no body");
}

#[test]
fn a_ping_says_nothing_that_would_be_lost() {
    let mailchimp = handshake(json!({"ping": true}));
    assert_eq!(ask(&mailchimp, "GET", "a=1", &[]), Shaken::text("", None));
    assert_eq!(ask(&mailchimp, "POST", "", &[]), Shaken::NoQuestion);
    assert!(!mailchimp.may_be_ping("POST", 1), "a delivery");
    let by_query = handshake(json!({"ping": true, "methods": ["GET"], "when": {"mode": "test"}}));
    assert_eq!(ask(&by_query, "GET", "mode=test", &[]), Shaken::text("", None));
    assert_eq!(ask(&by_query, "GET", "mode=live", &[]), Shaken::NoQuestion);

    let woo = handshake(json!({"ping": true, "when": {"webhook_id": "*"}}));
    assert_eq!(ask(&woo, "GET", "webhook_id=7", &[]), Shaken::NoQuestion, "it is a POST");
    assert!(woo.may_be_ping("POST", 1024) && !woo.may_be_ping("POST", 1025));
    assert!(!woo.may_be_ping("PUT", 1));
    for ping in [json!({"webhook_id": "7"}), json!({"webhook_id": 7})] {
        assert!(woo.is_ping(&ping), "{ping}");
    }
    for delivery in [
        json!({"webhook_id": "7", "email": "a@b.co"}),
        json!({"webhook_id": ["7", "8"]}),
        json!({"email": "a@b.co"}),
        json!({}),
        json!([{"webhook_id": "7"}]),
    ] {
        assert!(!woo.is_ping(&delivery), "{delivery}");
    }
    let worded = handshake(json!({"ping": true, "when": {"event": "ping", "id": "*"}}));
    assert!(worded.is_ping(&json!({"event": "ping", "id": "1"})));
    assert!(!worded.is_ping(&json!({"event": "lead", "id": "1"})));
}

#[test]
fn every_fault_has_its_place() {
    for (settings, at) in [
        (json!({}), ""),
        (json!({"query": "a", "ping": true}), ""),
        (json!({"query": "a", "header": "X-A", "reply_header": "X-A"}), ""),
        (json!({"ping": true, "token": "t"}), "/token"),
        (json!({"ping": true, "reply": {"a": "b"}}), "/reply"),
        (json!({"ping": true, "methods": ["GET", "POST"]}), "/when"),
        (json!({"header": "X-A"}), "/reply_header"),
        (json!({"header": "X-A", "reply_header": "x y"}), "/reply_header"),
        (json!({"header": "X-A", "reply_header": "Set-Cookie"}), "/reply_header"),
        (json!({"header": "X-A", "reply_header": "content-type"}), "/reply_header"),
        (json!({"header": "X-A", "reply_header": "Access-Control-Allow-Origin"}), "/reply_header"),
        (json!({"query": "a", "reply_header": "X-A"}), "/reply_header"),
        (json!({"header": "Cookie", "reply_header": "X-A"}), "/header"),
        (json!({"header": "a b", "reply_header": "X-A"}), "/header"),
    ] {
        let handshake: Handshake = serde_json::from_value(settings.clone()).unwrap();
        let places: Vec<_> = handshake.faults(true).into_iter().map(|f| f.field).collect();
        assert_eq!(places, [format!("/handshake{at}")], "{settings}");
    }
}
