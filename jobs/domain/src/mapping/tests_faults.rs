//! Events that are no leads, and documents that are no mappings.
#![allow(clippy::unwrap_used)]

use super::tests::apply;
use super::*;
use proptest::prelude::*;
use serde_json::json;

/// Fields and codes of what keeps an event from being a lead.
fn refused(fields: Value, body: Value) -> Vec<(String, String)> {
    let faults = apply(fields, body).unwrap_err();
    for fault in &faults {
        assert!(fault.message.ends_with('.') && fault.message.contains('`'), "{fault:?}");
    }
    faults.into_iter().map(|f| (f.field, f.code)).collect()
}

fn pair(field: &str, code: &str) -> (String, String) {
    (field.to_owned(), code.to_owned())
}

#[test]
fn somebody_must_be_reachable() {
    let contact = || json!({"email": "e", "phone": "p"});
    assert_eq!(refused(contact(), json!({})), [pair("email", "contact_required")]);
    assert_eq!(
        refused(contact(), json!({"e": "", "p": null})),
        [pair("email", "contact_required")]
    );
    // What was sent but is wrong says so itself.
    assert_eq!(refused(contact(), json!({"e": "x"})), [pair("email", "invalid_email")]);
    assert_eq!(
        refused(contact(), json!({"e": "x", "p": "y"})),
        [pair("email", "invalid_email"), pair("phone", "invalid_phone")]
    );
    // One of the two is enough, the wrong one is noted.
    let lead = apply(contact(), json!({"e": "x", "p": "601234567"})).unwrap();
    assert_eq!((lead.email, lead.phone.unwrap()), (None, "+48601234567".to_owned()));
    assert_eq!(lead.warnings, ["email: invalid_email"]);
    let lead = apply(contact(), json!({"e": "a@b.co", "p": "x"})).unwrap();
    assert_eq!(lead.warnings, ["phone: invalid_phone"]);
    // A number outside the known ranges is kept and marked.
    let lead = apply(contact(), json!({"p": "+15551234567"})).unwrap();
    assert_eq!(lead.warnings, ["phone: unverified_phone"]);
}

#[test]
fn required_fields_and_strict_ones_refuse_the_event() {
    let required = || json!({"budget": {"from": ["a", "b"], "required": true}});
    assert_eq!(refused(required(), json!({})), [pair("budget", "required")]);
    assert_eq!(refused(required(), json!({"b": "much"})), [pair("budget", "invalid_number")]);
    assert!(apply(required(), json!({"a": "much", "b": 1})).is_ok());
    let strict = || json!({"budget": {"from": "a", "on_error": "reject"}});
    assert!(apply(strict(), json!({})).is_ok());
    assert_eq!(refused(strict(), json!({"a": "much"})), [pair("budget", "invalid_number")]);
    let email = json!({"email": {"from": "e", "on_error": "reject"}, "phone": "p"});
    assert_eq!(
        refused(email, json!({"e": "x", "p": "601234567"})),
        [pair("email", "invalid_email")]
    );
    // All faults at once.
    let many = json!({
        "email": {"from": "e", "required": true}, "phone": {"from": "p", "required": true},
        "external_id": {"from": "id", "required": true},
    });
    assert_eq!(refused(many, json!({"p": "x"})).len(), 3);
}

#[test]
fn a_fault_says_where_the_value_stood_but_not_what_it_was() {
    let faults = apply(json!({"email": "contact.mail"}), json!({"contact": {"mail": "se@cret"}}));
    let message = &faults.unwrap_err()[0].message;
    assert!(message.contains("`contact.mail`") && !message.contains("cret"), "{message}");
}

/// Pointers and codes of what is wrong with a mapping.
fn faults(source: &Value) -> Vec<(String, String)> {
    let faults = Mapping::validate(source);
    assert!(faults.iter().all(|f| f.message.ends_with('.')), "{faults:?}");
    faults.into_iter().map(|f| (f.field, f.code)).collect()
}

#[test]
fn every_fault_of_a_mapping_has_its_place() {
    for (name, rule, at, code) in [
        ("emial", json!("a"), "/fields/emial", "unknown_field"),
        ("utm.color", json!("a"), "/fields/utm.color", "unknown_field"),
        ("custom.a/b", json!("a"), "/fields/custom.a~1b", "unknown_field"),
        ("custom.", json!("a"), "/fields/custom.", "unknown_field"),
        ("city", json!(7), "/fields/city", "not_an_object"),
        ("city", json!([]), "/fields/city", "not_an_object"),
        ("city", json!(["a", 7]), "/fields/city/1", "not_an_object"),
        ("city", json!("a["), "/fields/city", "invalid_path"),
        ("city", json!({"from": "a["}), "/fields/city/from", "invalid_path"),
        ("city", json!({"from": ["a", "b..c"]}), "/fields/city/from/1", "invalid_path"),
        ("city", json!({"from": [{"path": "a["}]}), "/fields/city/from/0/path", "invalid_path"),
        ("city", json!({"from": [{"header": "a b"}]}), "/fields/city/from/0", "no_source"),
        (
            "city",
            json!({"from": [{"path": "a", "header": "b"}]}),
            "/fields/city/from/0",
            "no_source",
        ),
        ("city", json!({}), "/fields/city", "no_source"),
        ("city", json!({"from": []}), "/fields/city", "no_source"),
        ("city", json!({"from": "a", "const": "b"}), "/fields/city", "no_source"),
        ("city", json!({"from": "a", "form": 1}), "/fields/city/form", "unknown_member"),
        ("city", json!({"from": "a", "then": ["trimm"]}), "/fields/city/then/0", "invalid_step"),
        ("city", json!({"from": "a", "then": "split_name"}), "/fields/city/then", "invalid_step"),
        (
            "city",
            json!({"from": "a", "then": [{"date": {"formats": ["dd.mm.yyyy"]}}]}),
            "/fields/city/then/0",
            "invalid_step",
        ),
        (
            "city",
            json!({"from": "a", "then": ["trim", {"number": {"locale": "xx"}}]}),
            "/fields/city/then/1",
            "invalid_step",
        ),
        (
            "city",
            json!({"from": "a", "then": [{"table": {"values": {}}}]}),
            "/fields/city/then/0",
            "invalid_step",
        ),
        (
            "city",
            json!({"from": "a", "then": [{"table": {"values": {"A": 1, "a": 2}}}]}),
            "/fields/city/then/0",
            "invalid_step",
        ),
        (
            "city",
            json!({"from": "a", "when": {"path": "b"}}),
            "/fields/city/when",
            "invalid_condition",
        ),
        (
            "city",
            json!({"from": "a", "when": {"all": [{"path": "b", "equals": null}]}}),
            "/fields/city/when/all/0",
            "invalid_condition",
        ),
        ("city", json!({"from": "a", "required": "yes"}), "/fields/city/required", "not_a_boolean"),
        (
            "city",
            json!({"from": "a", "on_error": "ignore"}),
            "/fields/city/on_error",
            "unknown_policy",
        ),
        ("country", json!({"const": "Atlantis"}), "/fields/country/const", "invalid_country"),
        (
            "budget",
            json!({"from": "a", "default": "much"}),
            "/fields/budget/default",
            "invalid_number",
        ),
        ("city", json!({"from": "a", "default": " "}), "/fields/city/default", "empty"),
    ] {
        let source = json!({"fields": {"email": "email", name: rule}});
        assert_eq!(faults(&source), [pair(at, code)], "{name}: {rule}");
    }
}

#[test]
fn a_mapping_must_be_an_object_of_fields_with_a_way_to_reach_somebody() {
    assert_eq!(faults(&json!(null)), [pair("", "not_an_object")]);
    assert_eq!(faults(&json!({})), [pair("/fields", "required")]);
    assert_eq!(faults(&json!({"fields": []})), [pair("/fields", "required")]);
    assert_eq!(faults(&json!({"fields": {"city": "a"}})), [pair("/fields", "contact_required")]);
    let extra = json!({"fields": {"phone": "a"}, "version": 2});
    assert_eq!(faults(&extra), [pair("/version", "unknown_member")]);
    let many: serde_json::Map<_, _> = (0..201)
        .map(|i| (format!("custom.f{i}"), json!("a")))
        .chain([("email".to_owned(), json!("e"))])
        .collect();
    assert_eq!(faults(&json!({ "fields": many })), [pair("/fields", "too_many")]);
    let steps = vec!["trim"; 21];
    let source = json!({"fields": {"email": {"from": "a", "then": steps}}});
    assert_eq!(faults(&source), [pair("/fields/email/then", "too_many")]);
}

#[test]
fn endless_conditions_are_refused() {
    let mut when = json!({"path": "a", "exists": true});
    for _ in 0..100 {
        when = json!({ "not": when });
    }
    let source = json!({"fields": {"email": {"from": "a", "when": when}}});
    assert_eq!(faults(&source).len(), 1);
}

/// PostgreSQL's jsonb does not keep the order of members: it must not matter.
#[test]
fn the_order_of_fields_does_not_matter() {
    let body = json!({"u": "?utm_source=a&utm_campaign=b", "c": "own", "z": "10115", "k": "DE", "p": "030 901820"});
    let rules = [
        ("utm", "u"),
        ("utm.campaign", "c"),
        ("postal_code", "z"),
        ("country", "k"),
        ("phone", "p"),
    ];
    let forward: serde_json::Map<_, _> =
        rules.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let backward = rules.iter().rev().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let lead = apply(Value::Object(forward), body.clone()).unwrap();
    assert_eq!(lead, apply(Value::Object(backward), body).unwrap());
    assert_eq!(lead.phone.unwrap(), "+4930901820");
    assert_eq!(lead.utm.unwrap()["campaign"], "own");
}

proptest! {
    /// Whatever is posted as a mapping is read or refused, and never both.
    #[test]
    fn no_document_makes_the_reader_panic(
        name in prop_oneof![Just("email".to_owned()), ".{0,12}"],
        text in ".{0,20}",
        step in prop_oneof!["[a-z_]{0,10}", Just("date".to_owned()), Just("table".to_owned())],
    ) {
        for rule in [
            json!(text), json!({"from": text, "then": [step]}), json!({"from": [text, {"path": text}]}),
            json!({"from": "a", "then": [{step.clone(): text}]}), json!({"from": "a", "when": {step.clone(): text}}),
            json!({"from": "a", "then": [{"date": {"formats": [text]}}]}), json!({text.clone(): text}),
        ] {
            let source = json!({"fields": {name.clone(): rule}});
            prop_assert_eq!(Mapping::parse(&source).is_ok(), Mapping::validate(&source).is_empty());
        }
    }
}
