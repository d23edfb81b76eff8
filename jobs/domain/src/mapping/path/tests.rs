//! Paths by example, and whatever else may be written for one.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn find(path: &str, body: &Value) -> Option<Value> {
    path.parse::<Path>().unwrap().find(body).cloned()
}

#[test]
fn finds_keys_quoted_keys_and_elements() {
    let body = json!({
        "Lead ID": 1, "1.3": 2, "a": {"b": [10, {"c": 20}]}, "it's \"x\"": 3, "E-mail": 4,
        "Budget (€)": 5,
    });
    assert_eq!(find("Lead ID", &body), Some(json!(1)));
    assert_eq!(find("$.\"1.3\"", &body), Some(json!(2)));
    assert_eq!(find("a.b[1].c", &body), Some(json!(20)));
    assert_eq!(find("a['b'][-1].c", &body), Some(json!(20)));
    assert_eq!(find("a.b[-2]", &body), Some(json!(10)));
    assert_eq!(find("'it''s \"x\"'", &body), Some(json!(3)));
    assert_eq!(find("E-mail", &body), Some(json!(4)));
    assert_eq!(find("'Budget (€)'", &body), Some(json!(5)));
    assert_eq!(find("$", &body), Some(body.clone()));
    assert_eq!(find("$[0]", &json!([7])), Some(json!(7)));
}

/// Every value there.
fn all(path: &str, item: &Value, above: &[&Value], body: &Value) -> Vec<Value> {
    let path = path.parse::<Path>().unwrap();
    let fuel = Fuel::full();
    let env = Env { body, item, above, named: &|_| None, fuel: &fuel };
    path.nodes(&env).iter().map(|node| node.value.clone()).collect()
}

fn every(path: &str, body: &Value) -> Value {
    Value::Array(all(path, body, &[], body))
}

#[test]
fn a_single_value_counts_as_a_list_of_one() {
    let body = json!({"one": {"id": 1}, "many": [{"id": 1}, {"id": 2}], "t": "x"});
    assert_eq!(every("one[*].id", &body), json!([1]));
    assert_eq!(every("one[0].id", &body), json!([1]));
    assert_eq!(every("one[-1].id", &body), json!([1]));
    assert_eq!(every("one[id=1].id", &body), json!([1]));
    assert_eq!(every("many[*].id", &body), json!([1, 2]));
    assert_eq!(every("t[0]", &body), json!(["x"]));
}

#[test]
fn filters_take_the_elements_that_pass() {
    let body = json!({"want": "b", "list": [
        {"k": "a", "n": 1, "deep": {"x": [5, 6]}, "first name": "A"},
        {"k": "b", "n": 2.5, "on": true, "@type": "voice"},
        {"k": "c d", "n": "10", "on": false, "empty": ""}, "b", 7, null,
    ]});
    let n = |filter: &str| every(&format!("list[{filter}].n"), &body);
    for (filter, wanted) in [
        ("k == \"a\"", json!([1])),
        ("k=a", json!([1])),
        ("k = 'c d'", json!(["10"])),
        ("k=c d", json!(["10"])),
        ("k != a", json!([2.5, "10"])),
        ("n > 1", json!([2.5, "10"])),
        ("n>=2.5 && n<10", json!([2.5])),
        ("n <= 1 || k == \"c d\"", json!([1, "10"])),
        ("on", json!([2.5, "10"])),
        ("!on", json!([1])),
        ("empty", json!([])),
        ("on == true", json!([2.5])),
        ("!on == true", json!([1, "10"])),
        ("deep.x[*] = 6", json!([1])),
        ("deep.x[0] = 6", json!([])),
        ("\"first name\" = A", json!([1])),
        ("@type=voice", json!([2.5])),
        ("k == $.want", json!([2.5])),
        ("k == $.missing", json!([])),
        ("n > x", json!([])),
    ] {
        assert_eq!(n(filter), wanted, "{filter}");
    }
    assert_eq!(every("list[. == b]", &body), json!(["b"]));
    assert_eq!(every("list[. > 5]", &body), json!([7]));
}

#[test]
fn members_by_the_beginning_of_their_key_and_by_a_key_that_stands_elsewhere() {
    let body = json!({"5.1": "a", "5.2": "b", "51": "c", "5": {"x": 1, "y": 2}, "type": "email",
        "email": "e", "t": ["type"]});
    assert_eq!(every("\"5.\"*", &body), json!(["a", "b"]));
    assert_eq!(every("5*", &body), json!(["a", "b", "c", {"x": 1, "y": 2}]));
    assert_eq!(every("5.*", &body), json!([1, 2]));
    assert_eq!(every("$.(type)", &body), json!(["e"]));
    assert_eq!(every("$.(t[0])", &body), json!(["email"]));
}

#[test]
fn up_and_down_from_an_item() {
    let body = json!({"a": {"list": [{"x": {"y": 1}}], "z": 2}, "z": 3});
    let item = &body["a"]["list"][0]["x"];
    let above = [&body, &body["a"], &body["a"]["list"][0]];
    let from = |path: &str| all(path, item, &above, &body);
    assert_eq!(from("y"), [json!(1)]);
    assert_eq!(from("."), [json!({"y": 1})]);
    assert_eq!(from("^"), [json!({"x": {"y": 1}})]);
    assert_eq!(from("^^.z"), [json!(2)]);
    assert_eq!(from("^^^.z"), [json!(3)]);
    assert_eq!(from("^^^^.z"), [json!(3)]);
    assert_eq!(from("$.z"), [json!(3)]);
    let node = "a.list[*].x".parse::<Path>().unwrap();
    let fuel = Fuel::full();
    let env = Env { body: &body, item: &body, above: &[], named: &|_| None, fuel: &fuel };
    assert_eq!(node.nodes(&env)[0].above, above);
}

#[test]
fn work_is_bounded() {
    let fuel = Fuel::full();
    fuel.spend(u64::MAX);
    let body = json!([1, 2, 3]);
    let path = "$[*]".parse::<Path>().unwrap();
    let env = Env { body: &body, item: &body, above: &[], named: &|_| None, fuel: &fuel };
    assert!(path.nodes(&env).is_empty() && fuel.is_empty());
}

#[test]
fn what_is_not_there_is_not_found() {
    let body = json!({"a": [1], "b": "text", "n": null});
    for path in [
        "c",
        "a.b",
        "a[1]",
        "a[-2]",
        "b[1]",
        "b.c.d",
        "n[0]",
        "n[*]",
        "a[-2147483648]",
        "b.(c)",
        "x*",
        "$name",
    ] {
        assert_eq!(find(path, &body), None, "{path}");
    }
}

#[test]
fn faults_say_what_to_do() {
    for (path, part) in [
        ("", "empty"),
        ("a..b", "empty"),
        ("a.", "empty"),
        ("a[0", "not closed"),
        ("\"a", "not closed"),
        ("a[]", "empty"),
        ("a[--1]", "no index"),
        ("a[b ==]", "cannot be read"),
        ("a[b c]", "cannot be read"),
        ("a[b == $.c[*]]", "one value"),
        ("a[b[c=d] == 1]", "only keys"),
        ("a.(b", "not closed"),
        ("a.(b*)", "only keys"),
        ("a*b", "quotes"),
        ("$a-b", "no name"),
        ("^a", "before `a`"),
        ("a \"b\"", "quotes"),
    ] {
        let fault = path.parse::<Path>().unwrap_err();
        assert!(fault.contains(part), "{path}: {fault}");
    }
    assert!(["a"; 33].join(".").parse::<Path>().is_err());
}

proptest! {
    #[test]
    fn never_panics(path in prop_oneof![".*", "[a-b.$^\\[\\]()*=!&|<>\"' 0-9-]{0,20}"]) {
        if let Ok(path) = path.parse::<Path>() {
            let _ = path.find(&json!({"a": [1, {"b": null}]}));
        }
    }

    #[test]
    fn any_key_can_be_quoted(key in ".*") {
        let path = format!("\"{}\"", key.replace('"', "\"\""));
        let mut members = serde_json::Map::new();
        members.insert(key, json!(1));
        prop_assert_eq!(find(&path, &Value::Object(members)), Some(json!(1)));
    }
}
