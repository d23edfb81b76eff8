//! The JSON Schema of portal settings and the reader agree: on the documents that ship, on every
//! example of the page, and on documents that are wrong.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Value, json};
use std::fs;
use switchyard_domain::mapping::Mapping;
use switchyard_domain::portal::PortalSettings;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn schema() -> jsonschema::Validator {
    let text = fs::read(format!("{ROOT}/docs/portal.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_slice(&text).unwrap()).unwrap()
}

#[test]
fn the_documents_that_ship_fit() {
    let schema = schema();
    let mut count = 0;
    for entry in fs::read_dir(format!("{ROOT}/ops/seed/portals")).unwrap() {
        let path = entry.unwrap().path();
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let faults: Vec<_> =
            schema.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(faults, [""; 0], "{}", path.display());
        count += 1;
    }
    assert!(count >= 15, "{count} documents");
}

#[test]
fn the_examples_of_the_page_fit() {
    let schema = schema();
    let page = fs::read_to_string(format!("{ROOT}/docs/mapping.md")).unwrap();
    let mut count = 0;
    for (i, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with("{\"")) {
        let Ok(example) = serde_json::from_str::<Value>(line) else { continue };
        let rule = match (example.get("when"), example.get("then"), example.get("rule")) {
            (Some(when), ..) => json!({"const": 1, "when": when}),
            (_, Some(then), _) => json!({"path": "in", "then": then}),
            (_, _, rule) => rule.unwrap().clone(),
        };
        let document = json!({"mapping": {"fields": {"custom.out": rule}}});
        let faults: Vec<_> = schema.iter_errors(&document).map(|e| e.to_string()).collect();
        assert_eq!(faults, [""; 0], "line {}", i + 1);
        count += 1;
    }
    assert!(count > 150, "{count} lines");
}

/// Of the door and of what is fetched: whatever one takes or refuses, the other does.
#[test]
fn handshakes_and_fetches_are_read_alike() {
    let schema = schema();
    let fetch = |headers: Value| {
        let mapping = json!({"fields": {"email": "e"}});
        json!({"enrich": {"url": "https://h.co/{id}", "headers": headers, "mapping": mapping}})
    };
    let handshake = |settings: Value| json!({ "handshake": settings });
    for (settings, taken) in [
        (handshake(json!({"query": "a", "when": {"b": "*"}, "token": "t"})), true),
        (handshake(json!({"body": "/a/b", "methods": ["PUT"], "reply": {"a": "{value}"}})), true),
        (handshake(json!({"header": "X-A", "reply_header": "X-B"})), true),
        (handshake(json!({"header": "X-A", "reply": {"a": "{value}"}})), true),
        (handshake(json!({"ping": true, "when": {"a": "*"}})), true),
        (handshake(json!({})), false),
        (handshake(json!({"query": "a", "body": "b"})), false),
        (handshake(json!({"query": "a", "ping": true})), false),
        (handshake(json!({"ping": true, "reply": {"a": "b"}})), false),
        (handshake(json!({"header": "X-A"})), false),
        (handshake(json!({"query": "a", "reply_header": "X-A"})), false),
        (handshake(json!({"query": "a", "when": {"b": 1}})), false),
        (fetch(json!({"LinkedIn-Version": "202606", "X-A": "a b"})), true),
        (fetch(json!({})), true),
        (fetch(json!({"X-A": 1})), false),
        (fetch(json!({"X-A": ""})), false),
        (fetch(json!({"X-A": "a\nb"})), false),
        (fetch(json!({"X A": "a"})), false),
        (fetch(json!({"AUTHORIZATION": "Bearer x"})), false),
        (fetch(json!({"Host": "h"})), false),
        (fetch(json!(["X-A"])), false),
        (json!({"signature": {"scheme": "linkedin"}}), true),
        (json!({"signature": {"scheme": "linkedout"}}), false),
        (json!({"signature": {"scheme": "hmac", "query": "sig", "encoding": "base64url"}}), true),
        (json!({"signature": {"scheme": "hmac", "query": "sig", "header": "X-A"}}), false),
        (json!({"signature": {"scheme": "hmac"}}), false),
    ] {
        let mut whole = json!({"mapping": {"fields": {"email": "e"}}});
        whole.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let read = PortalSettings::parse(&whole);
        assert_eq!(read.is_ok(), taken, "the reader: {settings}: {read:?}");
        assert_eq!(schema.is_valid(&whole), taken, "the schema: {settings}");
    }
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let schema = schema();
    let field = |rule: Value| json!({"fields": {"email": "e", "city": rule}});
    for mapping in [
        json!(null),
        json!({}),
        json!({"fields": []}),
        json!({"fields": {"email": "e", "emial": "a"}}),
        json!({"fields": {"email": "e", "utm.color": "a"}}),
        json!({"fields": {"email": "e"}, "version": 2}),
        json!({"fields": {"email": "e"}, "group_by": "a"}),
        json!({"fields": {"email": "e"}, "foreach": "a[*]", "pivot": {"key": "k", "value": "v"}}),
        json!({"fields": {"email": "e"}, "events": {"ignore": [{"reason": "x"}]}}),
        json!({"fields": {"email": "e"}, "let": {"a b": "c"}}),
        json!({"fields": {"email": "e", "line_items": {"fields": {"a": "b"}}}}),
        json!({"fields": {"email": "e", "line_items": {"each": "a[*]", "fields": {}}}}),
        field(json!(7)),
        field(json!([])),
        field(json!({})),
        field(json!({"from": []})),
        field(json!({"from": "a", "const": "b"})),
        field(json!({"from": "a", "form": 1})),
        field(json!({"from": "a", "get": "b"})),
        field(json!({"from": [{"path": "a", "header": "b"}]})),
        field(json!({"from": "a", "required": "yes"})),
        field(json!({"from": "a", "on_error": "ignore"})),
        field(json!({"from": "a", "then": ["trimm"]})),
        field(json!({"from": "a", "then": "split_name"})),
        field(json!({"from": "a", "then": [{"split_name": "middle"}]})),
        field(json!({"from": "a", "then": [{"trim": {}, "upper": {}}]})),
        field(json!({"from": "a", "then": [{"table": {"values": {}}}]})),
        field(json!({"from": "a", "then": [{"replace": {"with": "x"}}]})),
        field(json!({"from": "a", "then": [{"multiply": true}]})),
        field(json!({"from": "a", "then": "multiply"})),
        field(json!({"from": "a", "when": {"path": "b"}})),
        field(json!({"from": "a", "when": {"path": "b", "equals": null}})),
        field(json!({"from": "a", "when": {"path": "b", "equals": 1, "exists": true}})),
        field(json!({"from": "a", "when": {"all": []}})),
        field(json!({"header": "a b"})),
        field(json!({"received_at": false})),
        field(json!({"segment": "first"})),
    ] {
        assert!(!Mapping::validate(&mapping).is_empty(), "the reader takes {mapping}");
        assert!(!schema.is_valid(&json!({ "mapping": mapping })), "the schema takes {mapping}");
    }
}
