//! Whatever is sent, and whatever is written as a mapping: nothing panics, the same input gives the
//! same leads, what can be parsed survives storage.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::fs;
use std::sync::LazyLock;
use switchyard_domain::mapping::{Judgement, Mapping};
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{Headers, StandardLead};

#[path = "support/seeds.rs"]
mod seeds;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Every document that ships.
static SEEDS: LazyLock<Vec<PortalSettings>> = LazyLock::new(|| {
    let mut codes: Vec<_> = fs::read_dir(format!("{ROOT}/ops/seed/portals"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    codes.sort();
    codes.iter().map(|code| seeds::settings(code)).collect()
});

/// The JSON bodies of the corpus.
static BODIES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut bodies = Vec::new();
    for entry in fs::read_dir(format!("{ROOT}/tests/fixtures/portals")).unwrap() {
        let path = entry.unwrap().path().join("request.json");
        let request: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        bodies.extend(request["body"].as_str().and_then(|b| serde_json::from_str(b).ok()));
    }
    assert!(bodies.len() >= 10);
    bodies
});

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        // What the decoders make of numbers that a double does not hold.
        "-?[0-9]{16,40}(\\.[0-9]{1,20})?(e-?[0-9]{1,4})?".prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        "[a\\x00\u{fffd}\u{202e}\u{200b}\u{feff}@.+ ]{1,20}".prop_map(Value::from),
        "[0-9 .,+()€-]{0,20}".prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof!["[a-e]", "id|key|name|values|email|@type|#text", ".{0,5}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// As deep as the decoders let a body be.
fn deep_json() -> impl Strategy<Value = Value> {
    let step = prop::sample::select(vec!["", "a", "id", "values", "items", "@type"]);
    (prop::collection::vec(step, 1..127), scalar()).prop_map(|(steps, inner)| {
        let wrapped = |inner: Value, step: &str| match step {
            "" => json!([inner]),
            name => json!({ name: inner }),
        };
        steps.into_iter().fold(inner, wrapped)
    })
}

/// Puts a value at the place that the numbers lead to.
fn put(value: &mut Value, way: &[usize], new: &Value) {
    let Some((step, rest)) = way.split_first() else {
        *value = new.clone();
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = step % items.len();
            put(&mut items[at], rest, new);
        }
        Value::Object(members) if !members.is_empty() => {
            let at = step % members.len();
            put(members.values_mut().nth(at).unwrap(), rest, new);
        }
        other => *other = new.clone(),
    }
}

/// A body of the corpus of which parts are something else.
fn broken_body() -> impl Strategy<Value = Value> {
    let new = prop_oneof![4 => any_json(), 1 => deep_json()];
    let change = (prop::collection::vec(any::<usize>(), 1..7), new);
    (any::<prop::sample::Index>(), prop::collection::vec(change, 1..4)).prop_map(|(at, changes)| {
        let mut body = at.get(&BODIES).clone();
        for (way, new) in changes {
            put(&mut body, &way, &new);
        }
        body
    })
}

fn check(lead: &StandardLead) {
    let stored = serde_json::to_string(lead).unwrap();
    assert!(!stored.contains("\\u0000"), "a NUL that jsonb cannot hold: {stored}");
    let back: StandardLead = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), stored);
}

/// Words of the language among others.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "fields|let|events|foreach|where|group_by|pivot|having|accept|ignore|honeypot|reason",
        "email|phone|line_items|custom.a|consent.sms|consent_proof.a.at|utm|budget",
        "from|path|const|header|query|segment|list|each|get|template|when|then|default|received_at",
        "equals|in|not_in|exists|matches|lt|gte|all|any|not|key|value|order_by|required|on_error",
        "split|regex|replace|null_if|table|values|number|range|date|formats|phone|multiply|nth|join",
        "a|b.c|\\$\\.a|\\^\\.b|\\$name|a\\[\\*\\]|a\\[b=c\\]|\\{a\\}|name|min|sum|first|reject",
        ".{0,8}",
    ]
}

fn any_document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![scalar(), word().prop_map(Value::from), word().prop_map(Value::from)];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner.clone(), 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
            (word(), inner.clone(), inner).prop_map(|(name, rule, step)| {
                json!({"fields": {"email": "a", name: {"from": rule, "then": step}}})
            }),
        ]
    })
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A strategy that never makes what it is for would prove nothing.
#[test]
fn bodies_reach_what_mappings_are_tried_with() {
    let mut runner = TestRunner::deterministic();
    let strategy = prop_oneof![2 => any_json(), 4 => broken_body(), 1 => deep_json()];
    let (mut deepest, mut nul, mut long) = (0, false, false);
    for _ in 0..300 {
        let body = strategy.new_tree(&mut runner).unwrap().current();
        let text = body.to_string();
        deepest = deepest.max(depth(&body));
        nul |= text.contains("\\u0000");
        let digits = |c: char| !c.is_ascii_digit();
        long |= text.split(digits).any(|run| run.parse::<f64>().is_ok_and(|n| n > 2_f64.powi(53)));
    }
    assert!(deepest > 100 && nul && long, "{deepest} levels, NUL: {nul}, beyond 2^53: {long}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))] // the phone tables are slow unoptimised

    #[test]
    fn no_body_makes_any_portal_panic(
        body in prop_oneof![2 => any_json(), 4 => broken_body(), 1 => deep_json()],
    ) {
        let headers: Headers = [("X-Shopify-Topic", "orders/create")].into_iter().collect();
        let at = "2026-11-22T15:00:00Z".parse().unwrap();
        for seed in SEEDS.iter() {
            let judged = seed.judge(&body, &headers, Some("/in/x?campaign=%FF"), at);
            let Judgement::Leads(leads) = &judged else { continue };
            prop_assert!(!leads.is_empty() && leads.len() <= 1_000);
            for one in leads {
                if let Ok(lead) = &one.lead {
                    check(lead);
                    prop_assert!(one.fetch.is_some() || lead.email.is_some() || lead.phone.is_some());
                    if let Ok(whole) = seed.enrich(lead.clone(), &body) {
                        check(&whole);
                    }
                }
            }
            prop_assert_eq!(&judged, &seed.judge(&body, &headers, Some("/in/x?campaign=%FF"), at));
        }
    }

    #[test]
    fn no_document_makes_the_reader_panic(
        document in any_document(),
        body in prop_oneof![4 => any_json(), 1 => deep_json()],
    ) {
        let faults = Mapping::validate(&document);
        match Mapping::parse(&document) {
            Err(found) => prop_assert_eq!(found, faults),
            Ok(mapping) => {
                prop_assert!(faults.is_empty());
                let stored = serde_json::to_value(&mapping).unwrap();
                prop_assert_eq!(&stored, &document);
                prop_assert_eq!(&serde_json::from_value::<Mapping>(stored).unwrap(), &mapping);
                let settings = PortalSettings::parse(&json!({ "mapping": document })).unwrap();
                let at = "2026-11-22T15:00:00Z".parse().unwrap();
                let _ = settings.judge(&body, &Headers::default(), None, at);
            }
        }
    }
}
