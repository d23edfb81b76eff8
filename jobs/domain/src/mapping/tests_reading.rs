//! What a mapping may not say around its fields and within its sources, each fault at its place.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

/// Pointers and codes of what is wrong; every sentence says what to do.
fn faults(source: &Value) -> Vec<(String, String)> {
    let faults = Mapping::validate(source);
    assert!(faults.iter().all(|f| f.message.ends_with('.')), "{faults:?}");
    faults.into_iter().map(|f| (f.field, f.code)).collect()
}

fn one(at: &str, code: &str) -> Vec<(String, String)> {
    vec![(at.to_owned(), code.to_owned())]
}

#[test]
fn members_around_the_fields() {
    for (name, value, at, code) in [
        ("foreach", json!("a["), "/foreach", "invalid_path"),
        ("foreach", json!([]), "/foreach", "invalid_path"),
        ("foreach", json!([1]), "/foreach", "invalid_path"),
        ("foreach", json!("$x[*]"), "/foreach", "unknown_name"),
        ("where", json!({"path": "a"}), "/where", "invalid_condition"),
        ("where", json!("a"), "/where", "not_an_object"),
        ("where", json!({"path": "$x", "exists": true}), "/where/path", "unknown_name"),
        ("group_by", json!("a"), "/group_by", "unknown_member"),
        ("events", json!([]), "/events", "not_an_object"),
        ("events", json!({"drop": 1}), "/events/drop", "unknown_member"),
        ("events", json!({"honeypot": "a"}), "/events/honeypot", "not_a_list"),
        ("events", json!({"honeypot": ["a", 1]}), "/events/honeypot/1", "invalid_path"),
        ("events", json!({"ignore": [{}]}), "/events/ignore/0", "required"),
        (
            "events",
            json!({"accept": {"path": "a[", "exists": true}}),
            "/events/accept/path",
            "invalid_path",
        ),
        (
            "events",
            json!({"ignore": [{"when": {"path": "a", "exists": true}, "reason": 1}]}),
            "/events/ignore/0/reason",
            "invalid_text",
        ),
        ("let", json!([]), "/let", "not_an_object"),
        ("let", json!({"a-b": "c"}), "/let/a-b", "invalid_name"),
        ("let", json!({"a": "$b"}), "/let/a", "unknown_name"),
        ("let", json!({"a": "$a.b"}), "/let/a", "circular"),
        ("let", json!({"a": {"path": "x", "then": [{"add": "$a"}]}}), "/let/a", "circular"),
    ] {
        let source = json!({"fields": {"email": "e"}, name: value});
        assert_eq!(faults(&source), one(at, code), "{name}: {value}");
    }
    let circle = json!({"fields": {"email": "$a"}, "let": {
        "a": {"path": "x[k == $b].y"}, "b": {"template": "{$c}"}, "c": {"list": ["x", "$a"]}, "d": "e"}});
    let places: Vec<_> = faults(&circle).into_iter().map(|(at, _)| at).collect();
    assert_eq!(places, ["/let/a", "/let/b", "/let/c"]);
    let group = |pivot: Value| json!({"fields": {"email": "e"}, "foreach": "$[*]", "group_by": "a", "pivot": pivot});
    assert_eq!(faults(&group(json!({"key": "k"}))), one("/pivot", "invalid_step"));
    assert_eq!(faults(&group(json!({"key": "k[", "value": "v"}))), one("/pivot", "invalid_step"));
    let named = json!({"key": "k", "value": "v", "order_by": "$x"});
    assert_eq!(faults(&group(named)), one("/pivot", "unknown_name"));
    assert_eq!(faults(&group(json!({"key": "k", "value": "v"}))), []);
}

#[test]
fn sources_and_steps() {
    for (rule, at, code) in [
        (json!({"path": "$nobody.x"}), "/path", "unknown_name"),
        (json!({"path": "a[b == $nobody]"}), "/path", "unknown_name"),
        (json!({"path": "a", "where": {"path": "b", "exists": true}}), "/where", "unknown_member"),
        (json!({"from": "a", "get": "b"}), "/get", "unknown_member"),
        (json!({"each": "a[*]", "get": "b["}), "/get", "invalid_path"),
        (json!({"each": "a[*]", "where": {"path": "b"}}), "/where", "invalid_condition"),
        (json!({"list": []}), "", "no_source"),
        (json!({"list": ["a", {"path": "b["}]}), "/list/1/path", "invalid_path"),
        (json!({"path": "a", "header": "b"}), "", "no_source"),
        (json!({"query": ""}), "", "no_source"),
        (json!({"segment": "1"}), "", "no_source"),
        (json!({"received_at": 1}), "", "no_source"),
        (json!({"template": "{a"}), "/template", "invalid_template"),
        (json!({"template": "a}"}), "/template", "invalid_template"),
        (json!({"template": "[{a}"}), "/template", "invalid_template"),
        (json!({"template": "{a..b}"}), "/template", "invalid_template"),
        (json!({"template": "{$x}"}), "/template", "unknown_name"),
        (json!({"path": "a", "then": {"regex": "("}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"regex": "\\w{1000}{1000}"}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"regex": "x".repeat(1_001)}}), "/then", "invalid_step"),
        (
            json!({"path": "a", "then": {"regex": {"pattern": "a", "group": 1}}}),
            "/then",
            "invalid_step",
        ),
        (
            json!({"path": "a", "then": {"regex": {"pattern": "a", "group": "x"}}}),
            "/then",
            "invalid_step",
        ),
        (json!({"path": "a", "then": {"replace": {"pattern": "["}}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"replace": {"text": ""}}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"split": ""}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"range": "middle"}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"format_date": "qq"}}), "/then", "invalid_step"),
        (
            json!({"path": "a", "then": {"format_date": {"format": "yyyy", "zone": "Mars"}}}),
            "/then",
            "invalid_step",
        ),
        (json!({"path": "a", "then": {"date": {"zone": "Mars"}}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"get": "a["}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": {"get": "$x"}}), "/then", "unknown_name"),
        (json!({"path": "a", "then": {"phone": {"country": "Atlantis"}}}), "/then", "invalid_step"),
        (json!({"path": "a", "then": "multiply"}), "/then/multiply", "invalid_step"),
        (json!({"path": "a", "then": [{"multiply": "b["}]}), "/then/0/multiply", "invalid_path"),
        (
            json!({"path": "a", "then": [{"add": {"path": "b", "then": ["x"]}}]}),
            "/then/0/add/then/0",
            "invalid_step",
        ),
        (
            json!({"path": "a", "when": {"path": "b", "matches": "("}}),
            "/when/matches",
            "invalid_pattern",
        ),
        (
            json!({"path": "a", "when": {"path": "b", "equals": {"path": "c["}}}),
            "/when/equals/path",
            "invalid_path",
        ),
        (json!({"path": "a", "when": {"path": "b", "gt": []}}), "/when", "invalid_condition"),
    ] {
        let source = json!({"fields": {"email": "e", "city": rule}});
        assert_eq!(faults(&source), one(&format!("/fields/city{at}"), code), "{rule}");
    }
}

#[test]
fn lines_have_places_of_their_own() {
    for (lines, at, code) in [
        (json!("a"), "", "not_an_object"),
        (json!({"fields": {"a": "b"}}), "", "required"),
        (json!({"each": "a[*]"}), "/fields", "required"),
        (json!({"each": "a[*]", "fields": {}}), "/fields", "required"),
        (json!({"each": "a[*]", "fields": {"a b": "c"}}), "/fields/a b", "unknown_field"),
        (
            json!({"each": "a[*]", "fields": {"a": {"path": "c["}}}),
            "/fields/a/path",
            "invalid_path",
        ),
    ] {
        let source = json!({"fields": {"email": "e", "line_items": lines}});
        assert_eq!(faults(&source), one(&format!("/fields/line_items{at}"), code), "{lines}");
    }
}

#[test]
fn nothing_is_nested_or_repeated_without_end() {
    let mut deep = json!("a");
    for _ in 0..100 {
        deep = json!({ "from": [deep] });
    }
    assert_eq!(faults(&json!({"fields": {"email": deep}})).len(), 1);
    let mut operand = json!("a");
    for _ in 0..100 {
        operand = json!({"path": "a", "then": [{ "add": operand }]});
    }
    assert_eq!(faults(&json!({"fields": {"email": operand}})).len(), 1);
    let rule = |n: usize| json!({"path": "a", "then": [{"regex": format!("x{n}")}]});
    let fields = |count: usize| {
        let many = (0..count).map(|n| (format!("custom.f{n}"), rule(n)));
        let email = [("email".to_owned(), json!("e"))];
        json!({ "fields": email.into_iter().chain(many).collect::<serde_json::Map<_, _>>() })
    };
    assert_eq!(faults(&fields(64)), []);
    assert_eq!(faults(&fields(65)).len(), 1);
}
