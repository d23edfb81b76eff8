//! Which events and which of their items are leads, and how much one event may ask for.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

pub(super) fn judge(mapping: Value, body: &Value) -> Judgement {
    let defaults: Defaults = serde_json::from_value(json!({"country": "PL"})).unwrap();
    let headers = Headers::default();
    let input =
        MappingInput { body, headers: &headers, url: None, defaults: &defaults, received_at: None };
    Mapping::parse(&mapping).unwrap().judge(&input, None)
}

/// The external ids of the leads, or the code of what keeps an item from being one.
fn outcome(mapping: Value, body: &Value) -> Vec<String> {
    match judge(mapping, body) {
        Judgement::Ignored { code, message } => {
            assert!(message.ends_with('.'), "{message}");
            vec![format!("ignored: {code}")]
        }
        Judgement::Leads(judged) => judged
            .into_iter()
            .map(|j| match j.lead {
                Ok(lead) => lead.external_id.unwrap_or_default(),
                Err(faults) => format!("{}: {}", faults[0].field, faults[0].code),
            })
            .collect(),
    }
}

fn fields() -> Value {
    json!({"external_id": "id", "email": "mail"})
}

fn lead(id: u64) -> Value {
    json!({"id": id, "mail": format!("a{id}@b.co")})
}

#[test]
fn one_bad_item_does_not_keep_the_others_from_becoming_leads() {
    let mapping = json!({"foreach": "list[*]", "fields": fields()});
    let body = json!({"list": [lead(1), {"id": 2, "mail": "x"}, null, lead(3), 7]});
    let found = outcome(mapping, &body);
    assert_eq!(found, ["1", "email: invalid_email", "3", "email: contact_required"]);
}

#[test]
fn an_empty_list_is_no_lead_and_a_missing_one_is_a_fault() {
    let mapping = || json!({"foreach": "entry[*].changes[*]", "fields": fields()});
    for body in [json!({"entry": []}), json!({"entry": [{"changes": []}]}), json!({"entry": [{}]})]
    {
        assert_eq!(outcome(mapping(), &body), ["ignored: no_leads"], "{body}");
    }
    for body in [json!({}), json!(null), json!({"entries": [1]}), json!([1])] {
        assert_eq!(outcome(mapping(), &body), ["foreach: required"], "{body}");
    }
    // A single item is written without its list by XML and by some senders.
    let body = json!({"entry": {"changes": lead(4)}});
    assert_eq!(outcome(mapping(), &body), ["4"]);
    let parts = json!({"foreach": ["entry[*]", "changes[*]"], "fields": fields()});
    assert_eq!(outcome(parts, &body), ["4"]);
}

#[test]
fn items_that_do_not_count_are_left_out() {
    let mapping = |only: Value| json!({"foreach": "$[*]", "where": only, "fields": fields()});
    let body = json!([lead(1), lead(2), lead(3)]);
    assert_eq!(outcome(mapping(json!({"path": "id", "gt": 1})), &body), ["2", "3"]);
    let none = mapping(json!({"path": "$.test", "exists": true}));
    assert_eq!(outcome(none, &body), ["ignored: no_leads"]);
    let whole = json!({"where": {"path": "id", "equals": 5}, "fields": fields()});
    assert_eq!(outcome(whole.clone(), &lead(5)), ["5"]);
    assert_eq!(outcome(whole, &lead(6)), ["ignored: no_leads"]);
}

#[test]
fn an_event_has_at_most_a_thousand_leads() {
    let mapping = || json!({"foreach": "$[*]", "fields": fields()});
    let body: Value = (0..1_000).map(lead).collect();
    assert_eq!(outcome(mapping(), &body).len(), 1_000);
    let body: Value = (0..1_001).map(lead).collect();
    assert_eq!(outcome(mapping(), &body), ["foreach: too_many_leads"]);
    // Items that do not count are not counted.
    let only = json!({"foreach": "$[*]", "where": {"path": "id", "lt": 5}, "fields": fields()});
    assert_eq!(outcome(only, &body).len(), 5);
}

#[test]
fn a_body_that_makes_a_mapping_work_without_end_is_refused() {
    let body =
        json!({"list": (0..1_000).map(lead).collect::<Value>(), "text": "x".repeat(100_000)});
    let mapping = |rule: Value| json!({"foreach": "list[*]", "fields": {"email": "mail", "custom.all": rule}});
    for rule in [
        json!({"path": "$.list[*].id", "then": ["count"]}),
        json!({"path": "$", "then": ["parse_json"]}),
        json!({"path": "$.text", "then": ["upper", {"regex": "y"}]}),
        json!({"path": "$.list[mail != $.x && id > 5].id", "then": [{"join": ","}]}),
        json!({"each": "$.list[*]", "get": {"each": "$.list[*]", "get": "id"}, "then": ["sum"]}),
        json!({"template": "{$.text}{$.text}", "then": ["lower"]}),
        json!({"path": "$.list", "then": [{"pivot": {"key": "id", "value": "mail"}}]}),
    ] {
        assert_eq!(outcome(mapping(rule.clone()), &body), ["body: too_much_work"], "{rule}");
    }
}

#[test]
fn groups_begin_in_their_order_and_the_last_by_time_wins() {
    let mapping = |extra: Value| {
        let mut mapping = json!({"foreach": "$[*]", "group_by": "who",
            "pivot": {"key": "k", "value": "v", "order_by": "at"},
            "fields": {"external_id": "key", "email": "values.mail"}});
        mapping.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        mapping
    };
    let body = json!([
        {"who": 2, "k": "mail", "v": "late@b.co", "at": 9}, {"who": 1, "k": "mail", "v": "a@b.co", "at": 1},
        {"who": 2, "k": "mail", "v": "early@b.co", "at": 10.5}, {"k": "mail", "v": "nobody@b.co", "at": 1},
        {"who": 2, "k": "mail", "v": "first@b.co"}, {"who": 3, "k": null, "v": 1, "at": 1},
    ]);
    assert_eq!(outcome(mapping(json!({})), &body), ["2", "1", "email: contact_required"]);
    let having = json!({"having": {"path": "values.mail", "exists": true}});
    assert_eq!(outcome(mapping(having.clone()), &body), ["2", "1"]);
    let Judgement::Leads(leads) = judge(mapping(having), &body) else { panic!("ignored") };
    assert_eq!(leads[0].lead.as_ref().unwrap().email.as_deref(), Some("early@b.co"));
    assert_eq!(outcome(mapping(json!({})), &json!([{"k": 1}])), ["ignored: no_leads"]);
}

#[test]
fn events_are_accepted_and_ignored_before_anything_is_read() {
    let events = |events: Value| json!({"events": events, "fields": fields()});
    let accept = || events(json!({"accept": {"path": "type", "in": ["a", "b"]}}));
    let body = |kind: &str| json!({"type": kind, "id": 1, "mail": "a@b.co", "trap": kind});
    assert_eq!(outcome(accept(), &body("a")), ["1"]);
    assert_eq!(outcome(accept(), &body("c")), ["ignored: event_ignored"]);
    assert_eq!(outcome(accept(), &json!("nothing")), ["ignored: event_ignored"]);
    let trap = || events(json!({"honeypot": ["a.b", "trap"]}));
    assert_eq!(outcome(trap(), &body("spam")), ["ignored: honeypot"]);
    assert_eq!(outcome(trap(), &body(" ")), ["1"]);
    assert_eq!(outcome(trap(), &json!({"id": 1, "mail": "a@b.co"})), ["1"]);
    let ignore = events(json!({"ignore": [
        {"when": {"path": "type", "equals": "x"}},
        {"when": {"path": "type", "equals": "ping"}, "reason": "Only a ping."},
    ]}));
    let Judgement::Ignored { code, message } = judge(ignore, &body("ping")) else { panic!("lead") };
    assert_eq!((code.as_str(), message.as_str()), ("event_ignored", "Only a ping."));
}

#[test]
fn names_may_need_each_other_in_any_order() {
    let mapping = json!({
        "let": {"a": {"path": "$b.list[k=$.want].v"}, "b": {"path": "$c", "then": ["parse_json"]}, "c": "text",
                "bad": {"path": "no", "then": ["number"]}},
        "fields": {"email": "$a", "external_id": {"template": "{$b.id}-{$b.list[0].k}"}, "custom.bad": "$bad"},
    });
    let body = json!({"want": "m", "no": "x",
        "text": r#"{"id": 7, "list": [{"k": "x", "v": 1}, {"k": "m", "v": "A@b.co"}]}"#});
    let Judgement::Leads(leads) = judge(mapping, &body) else { panic!("ignored") };
    let lead = leads[0].lead.as_ref().unwrap();
    assert_eq!(lead.email.as_deref(), Some("a@b.co"));
    assert_eq!(lead.external_id.as_deref(), Some("7-x"));
    assert_eq!(lead.warnings, ["custom.bad: invalid_number"]);
}

/// What was stored before there were other names is still read, and the names lie side by side.
#[test]
fn consents_are_one_flat_object() {
    use crate::Consent;
    let old: Consent = serde_json::from_value(json!({"privacy": true, "marketing": null})).unwrap();
    assert_eq!((old.privacy, old.marketing, old.other.len()), (Some(true), None, 0));
    let mapping = json!({"fields": {"email": "mail", "consent.sms": "sms", "consent.privacy": "p",
        "consent.third_party": "t"}});
    let body = json!({"mail": "a@b.co", "sms": "no", "p": "yes", "t": ""});
    let Judgement::Leads(leads) = judge(mapping, &body) else { panic!("ignored") };
    let consent = leads[0].lead.as_ref().unwrap().consent.clone().unwrap();
    let stored = serde_json::to_value(&consent).unwrap();
    assert_eq!(stored, json!({"privacy": true, "marketing": null, "sms": false}));
    assert_eq!(serde_json::from_value::<Consent>(stored).unwrap(), consent);
}
