//! Every example of `docs/commission-plans.md` is run, and fits the JSON Schema: the page, the
//! schema and the program say the same.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Map, Value, json};
use std::fs;
use switchyard_domain::commission::{CommissionEvent, EventKind, Line, Party, Plan, evaluate};

#[path = "support/deals.rs"]
mod deals;
use deals::{event, id, money};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn examples() -> Vec<Value> {
    let page = fs::read_to_string(format!("{ROOT}/docs/commission-plans.md")).unwrap();
    let blocks = page.split("```json\n").skip(1).map(|b| b.split("```").next().unwrap().to_owned());
    blocks
        .map(|text| serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
        .collect()
}

fn schema() -> jsonschema::Validator {
    let text = fs::read(format!("{ROOT}/docs/commission-plan.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_slice(&text).unwrap()).unwrap()
}

/// An event of the page; its kind's own members are read as the program reads them.
fn read(example: &Value) -> CommissionEvent {
    let mut kind = Map::new();
    for name in ["kind", "tier", "split"] {
        kind.extend(example.get(name).map(|v| (name.to_owned(), v.clone())));
    }
    for (word, name) in [("tier_changed", "tier"), ("split_changed", "split")] {
        if example["kind"] == word {
            kind.entry(name).or_insert(Value::Null);
        }
    }
    let kind: EventKind = serde_json::from_value(Value::Object(kind)).unwrap();
    let text = |name: &str| example.get(name).map(|v| v.as_str().unwrap());
    CommissionEvent {
        of: example.get("of").map(|n| id(n.as_u64().unwrap().into())),
        amount: text("amount").map(money),
        fee: text("fee").map(money),
        product: text("product").map(Into::into),
        ..event(example["id"].as_u64().unwrap().into(), kind, text("at").unwrap())
    }
}

/// The members of a line that the page names.
fn shown(line: &Line, expected: &Value) -> Value {
    let role = |party| match party {
        Party::Agent(_) => "agent",
        Party::Manager(_) => "manager",
        Party::Agency(_) => "agency",
        Party::Platform => "platform",
    };
    let shares: Map<_, _> =
        line.shares.iter().map(|s| (role(s.party).to_owned(), json!(s.amount.units()))).collect();
    let whole = json!({
        "event": u64::try_from(line.event.0.as_u128()).unwrap(),
        "tier": line.tier,
        "commission": line.commission.units(),
        "on_top": line.on_top.units(),
        "arithmetic": line.arithmetic(),
        "shares": shares,
    });
    let named = expected.as_object().unwrap().keys();
    Value::Object(named.map(|name| (name.clone(), whole[name].clone())).collect())
}

#[test]
fn every_example_comes_out_as_it_says() {
    let mut count = 0;
    for example in examples().iter().filter(|e| e.get("lines").is_some()) {
        let plan = Plan::parse(&example["plan"]).unwrap_or_else(|f| panic!("{f:#?}\n{example}"));
        let events: Vec<_> = example["events"].as_array().unwrap().iter().map(read).collect();
        let found = evaluate(&plan, &events).unwrap();
        let expected = example["lines"].as_array().unwrap();
        let lines: Vec<_> = found.lines.iter().zip(expected).map(|(l, e)| shown(l, e)).collect();
        assert_eq!(&lines, expected);
        assert_eq!(found.lines.len(), expected.len(), "{example}");
        let refused: Map<_, _> = found
            .refusals
            .iter()
            .map(|r| (r.event.0.as_u128().to_string(), json!(r.reason)))
            .collect();
        assert_eq!(json!(refused), example.get("refused").cloned().unwrap_or(json!({})));
        count += 1;
    }
    assert!(count >= 9, "{count} examples");
}

#[test]
fn the_standard_plan_is_the_one_on_the_page() {
    let page = examples().into_iter().find(|e| e.get("standard").is_some()).unwrap();
    assert_eq!(page["standard"], Plan::standard());
    let plan = Plan::parse(&Plan::standard()).unwrap();
    let events: Vec<_> = (1..=11)
        .map(|n| deals::deal(n, "2026-11-03", if n % 2 == 0 { "100 EUR" } else { "100 JPY" }))
        .collect();
    let tiers: Vec<_> =
        evaluate(&plan, &events).unwrap().lines.iter().map(|l| l.tier.to_string()).collect();
    assert_eq!(tiers[9..], ["bronze", "silver"]);
}

#[test]
fn faults_are_named_at_once() {
    let page = examples().into_iter().find(|e| e.get("faults").is_some()).unwrap();
    let of = |plan: &Value| {
        let faults = Plan::parse(plan).unwrap_err();
        assert!(faults.iter().all(|f| f.message.ends_with('.')), "{faults:#?}");
        let mut fields: Vec<_> = faults.into_iter().map(|f| f.field).collect();
        fields.sort();
        json!(fields)
    };
    assert_eq!(of(&page["plan"]), page["faults"]);
    let mut readable = page["plan"].clone();
    readable.as_object_mut().unwrap().remove("bonus");
    readable["currencies"] = json!(["EUR"]);
    readable["tiers"][1]["rate"] = json!("10");
    assert_eq!(of(&readable), page["then"]);
    let schema = schema();
    assert!(!schema.is_valid(&page["plan"]));
}

#[test]
fn the_schema_and_the_reader_agree() {
    let schema = schema();
    let good: Vec<Value> = examples()
        .into_iter()
        .filter(|e| e.get("faults").is_none())
        .map(|e| e.get("plan").or(e.get("standard")).unwrap().clone())
        .collect();
    for plan in &good {
        let wrong: Vec<_> =
            schema.iter_errors(plan).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(wrong, [""; 0], "{plan}");
        // What is stored is read again as the same plan, and fits as well.
        let read = Plan::parse(plan).unwrap();
        let stored = serde_json::to_value(&read).unwrap();
        assert!(schema.is_valid(&stored), "{stored}");
        assert_eq!(serde_json::from_value::<Plan>(stored).unwrap(), read);
    }
    let base = &good[0];
    for (member, value) in [
        ("tiers", json!([])),
        ("tiers", json!([{"name": "a", "from": "0"}])),
        ("tiers", json!([{"name": "a", "from": "0", "rate": "-1"}])),
        ("tiers", json!([{"name": "a", "from": "0", "rate": "1", "extra": 1}])),
        ("overrides", json!([{"factor": "2"}])),
        ("overrides", json!([{"product": "a"}])),
        ("overrides", json!([{"product": "a", "factor": "2", "tiers": base["tiers"]}])),
        ("accelerators", json!([{"name": "a", "factor": "2"}])),
        ("split", json!([{"to": "nobody", "percent": "100"}])),
        ("caps", json!({"per_year": "1"})),
        ("window", json!("week")),
        ("clawback_days", json!(-1)),
        ("version", json!(0)),
        ("format", json!(2)),
        ("valid_from", json!("tomorrow")),
    ] {
        let mut plan = base.clone();
        plan[member] = value;
        assert!(!schema.is_valid(&plan), "{plan}");
        assert!(Plan::parse(&plan).is_err(), "{plan}");
    }
}
