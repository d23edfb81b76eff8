//! Every operator by example, and hostile bodies.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::StandardLead;
use proptest::prelude::*;
use serde_json::json;

/// Applies rules to a body under Polish defaults; an e-mail address is always there.
pub(super) fn apply(fields: Value, body: Value) -> Result<StandardLead, Vec<FieldFault>> {
    let mut source = json!({ "fields": fields });
    if source["fields"].get("email").is_none() {
        source["fields"]["email"] = json!({"const": "a@b.co"});
    }
    let defaults: Defaults = serde_json::from_value(json!({
        "country": "PL", "time_zone": "Europe/Warsaw", "currency": "PLN", "number_locale": "pl-PL",
    }))
    .unwrap();
    let headers = [("X-Campaign", "spring")].into_iter().collect();
    let input = MappingInput {
        body: &body,
        headers: &headers,
        url: Some("/in/shop-7/lead?campaign=a+b&key="),
        defaults: &defaults,
        received_at: Some("2026-11-22T15:00:00Z".parse().unwrap()),
    };
    match Mapping::parse(&source).unwrap().judge(&input, None) {
        Judgement::Leads(mut leads) if leads.len() == 1 => leads.remove(0).lead,
        other => panic!("{other:?}"),
    }
}

/// What a rule for a custom field gives: its value and the warnings.
pub(super) fn custom(rule: Value, body: Value) -> (Value, Vec<String>) {
    let lead = apply(json!({"custom.x": rule}), body).unwrap();
    let value = lead.custom.map_or(Value::Null, |c| c["x"].clone());
    (value, lead.warnings)
}

/// The value alone; there must be no warning.
pub(super) fn value(rule: Value, body: Value) -> Value {
    let (value, warnings) = custom(rule, body);
    assert_eq!(warnings, [""; 0], "{value}");
    value
}

#[test]
fn a_value_comes_from_a_path_a_header_or_the_mapping() {
    assert_eq!(value(json!("a.b[1]"), json!({"a": {"b": [1, "two"]}})), "two");
    assert_eq!(value(json!({"from": {"header": "x-campaign"}}), json!({})), "spring");
    assert_eq!(value(json!({"const": "fixed"}), json!({})), "fixed");
    assert_eq!(value(json!("missing"), json!({})), Value::Null);
}

#[test]
fn the_first_source_with_a_usable_value_wins() {
    let rule = json!({"from": ["a", {"path": "b", "then": ["upper"]}, {"const": "z"}]});
    assert_eq!(value(rule.clone(), json!({"a": "1", "b": "x"})), "1");
    assert_eq!(value(rule.clone(), json!({"a": " \u{a0}", "b": "x"})), "X");
    assert_eq!(value(rule.clone(), json!({"a": null, "b": []})), "z");
    // An unusable value is passed over, and noted.
    let rule = json!({"from": ["bad", "good"]});
    let lead = apply(json!({ "email": rule }), json!({"bad": "x@", "good": "G@h.co"})).unwrap();
    assert_eq!(lead.email.unwrap(), "g@h.co");
    assert_eq!(lead.warnings, ["email: invalid_email"]);
}

#[test]
fn numbers_and_booleans_become_text_with_their_exact_digits() {
    assert_eq!(value(json!("n"), json!({"n": 98760001})), "98760001");
    assert_eq!(value(json!("n"), json!({"n": u64::MAX})), "18446744073709551615");
    assert_eq!(value(json!("n"), json!({"n": 12.5})), "12.5");
    assert_eq!(value(json!("n"), json!({"n": false})), "false");
    let body = serde_json::from_str(r#"{"n": 123456789012345678901}"#).unwrap();
    assert_eq!(
        custom(json!("n"), body),
        (Value::Null, vec!["custom.x: inexact_number".to_owned()])
    );
}

#[test]
fn text_is_cleaned_on_the_way() {
    assert_eq!(value(json!("t"), json!({"t": " Jose\u{301}\0 "})), "José");
    let nested = json!({"t": {"a\0": ["x\0", {"b": ""}]}});
    assert_eq!(value(json!("t"), nested), json!({"a": ["x", {"b": null}]}));
}

#[test]
fn text_steps() {
    let step =
        |step: Value, text: &str| value(json!({"from": "t", "then": step}), json!({"t": text}));
    assert_eq!(step(json!(["trim", "lower"]), " ŻÓŁW "), "żółw");
    assert_eq!(step(json!("upper"), "straße"), "STRASSE");
    assert_eq!(step(json!("collapse"), "a \n\t b"), "a b");
    assert_eq!(step(json!({"split_name": "first"}), "María José Carreño"), "María");
    assert_eq!(step(json!({"split_name": "rest"}), "María  José Carreño"), "José Carreño");
    assert_eq!(step(json!({"split_name": "rest"}), "Cher"), Value::Null);
    assert_eq!(step(json!({"query_param": "q"}), "/s?a=1&q=caf%C3%A9+au#q=2"), "café au");
    assert_eq!(step(json!({"query_param": "q"}), "https://x.co/?q=&q=2"), "2");
    assert_eq!(step(json!({"query_param": "q"}), "no query"), Value::Null);
}

#[test]
fn join_takes_scalars_and_leaves_out_what_is_empty() {
    let rule = json!({"from": "t", "then": [{"join": " / "}]});
    assert_eq!(value(rule.clone(), json!({"t": ["a", "", null, 2, true]})), "a / 2 / true");
    assert_eq!(value(rule.clone(), json!({"t": "alone"})), "alone");
    assert_eq!(value(rule.clone(), json!({"t": [null]})), Value::Null);
    assert_eq!(custom(rule, json!({"t": [{}, {"a": 1}]})).1, ["custom.x: not_text"]);
}

#[test]
fn tables_with_and_without_a_way_out() {
    let rule = |extra: Value| {
        let mut table = json!({"values": {"Kupno": "buy", "1": true, "n/a": null}});
        table.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"from": "t", "then": [{"table": table}]})
    };
    assert_eq!(value(rule(json!({})), json!({"t": "KUPNO"})), "buy");
    assert_eq!(value(rule(json!({})), json!({"t": 1})), "true");
    assert_eq!(value(rule(json!({})), json!({"t": "N/A"})), Value::Null);
    assert_eq!(custom(rule(json!({})), json!({"t": "rent"})).1, ["custom.x: not_in_table"]);
    assert_eq!(value(rule(json!({"else": "other"})), json!({"t": "rent"})), "other");
    assert_eq!(value(rule(json!({"else": null})), json!({"t": "rent"})), Value::Null);
    assert_eq!(value(rule(json!({"keep": true})), json!({"t": "rent"})), "rent");
}

#[test]
fn booleans_by_word_and_present_for_what_is_a_date() {
    let privacy = |rule: Value, v: Value| {
        let lead = apply(json!({"consent.privacy": rule}), json!({"v": v})).unwrap();
        (lead.consent.and_then(|c| c.privacy), lead.warnings.len())
    };
    for (sent, wanted) in [
        (json!("yes"), true),
        (json!("TAK"), true),
        (json!("Sì"), true),
        (json!(1), true),
        (json!("opt_in"), true),
        (json!("on"), true),
        (json!(true), true),
        (json!("no"), false),
        (json!("nie"), false),
        (json!("off"), false),
        (json!(0), false),
        (json!("opt-out"), false),
    ] {
        assert_eq!(privacy(json!("v"), sent.clone()), (Some(wanted), 0), "{sent}");
    }
    assert_eq!(privacy(json!("v"), json!("maybe")), (None, 1));
    assert_eq!(privacy(json!("v"), json!("")), (None, 0));
    let own = json!({"from": "v", "then": [{"boolean": {"true": ["maybe"], "false": ["x"]}}]});
    assert_eq!(privacy(own.clone(), json!("Maybe!")), (Some(true), 0));
    assert_eq!(privacy(own, json!("X")), (Some(false), 0));
    let present = json!({"from": "v", "then": "present"});
    assert_eq!(privacy(present.clone(), json!("2026-11-22")), (Some(true), 0));
    assert_eq!(privacy(present.clone(), json!(null)), (None, 0));
    // Something stands there, but it says no: consent must not come of it.
    assert_eq!(privacy(present.clone(), json!(false)), (Some(false), 0));
    assert_eq!(privacy(present, json!("no")), (Some(false), 0));
}

#[test]
fn budgets_with_their_currency() {
    let money = |fields: Value, body: Value| {
        let lead = apply(fields, body).unwrap();
        (lead.budget.map(|b| b.to_string()), lead.currency, lead.warnings)
    };
    let plain = || json!({"budget": "b", "currency": "c"});
    let got = |b: &str, c: &str| (Some(b.to_owned()), Some(c.to_owned()), Vec::new());
    assert_eq!(money(plain(), json!({"b": "12 500,50 zł"})), got("12500.50", "PLN"));
    assert_eq!(money(plain(), json!({"b": "100 €"})), got("100", "EUR"));
    assert_eq!(money(plain(), json!({"b": 8000, "c": "eur"})), got("8000", "EUR"));
    assert_eq!(money(plain(), json!({"b": "100 €", "c": "USD"})), got("100", "USD"));
    assert_eq!(money(plain(), json!({"b": 7})), got("7", "PLN"));
    assert_eq!(money(plain(), json!({})), (None, None, Vec::new()));
    let english = json!({"budget": {"from": "b", "then": [{"number": {"locale": "en-GB"}}]}});
    assert_eq!(money(english, json!({"b": "1,250.75"})), got("1250.75", "PLN"));
    let (none, _, warnings) = money(plain(), json!({"b": "a lot"}));
    assert_eq!((none, warnings), (None, vec!["budget: invalid_number".to_owned()]));
    // More than the column holds must not become a job that fails for ever.
    let (none, _, warnings) = money(plain(), json!({"b": "100000000000000"}));
    assert_eq!((none, warnings), (None, vec!["budget: invalid_number".to_owned()]));
}

#[test]
fn dates_by_pattern_zone_and_clock_change() {
    let date = |args: Value, sent: Value| {
        let rule = json!({"from": "d", "then": [{ "date": args }]});
        let lead = apply(json!({ "submitted_at": rule }), json!({ "d": sent })).unwrap();
        lead.submitted_at.map_or_else(|| lead.warnings.join(""), |t| t.to_rfc3339())
    };
    let pattern = |p: &str, sent: &str| date(json!({ "formats": [p] }), json!(sent));
    assert_eq!(pattern("dd.MM.yyyy HH:mm", "22.11.2026 15:31"), "2026-11-22T14:31:00+00:00");
    assert_eq!(pattern("d/M/yy", "1/2/26"), "2026-01-31T23:00:00+00:00");
    assert_eq!(pattern("MM/dd/yyyy hh:mm a", "07/04/2026 12:05 AM"), "2026-07-03T22:05:00+00:00");
    assert_eq!(
        pattern("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-01-02T03:04:05.678-0500"),
        "2026-01-02T08:04:05.678+00:00"
    );
    assert_eq!(pattern("dd.MM.yyyy", "1.2.2026"), "submitted_at: invalid_date");
    assert_eq!(pattern("dd.MM.yyyy", "30.02.2026"), "submitted_at: invalid_date");
    assert_eq!(pattern("dd.MM.yyyy", "01.02.2026 10:00"), "submitted_at: invalid_date");
    assert_eq!(pattern("dd.MM.yyyy", "01.02.0001"), "submitted_at: invalid_date");
    let two = json!({"formats": ["dd.MM.yyyy", "yyyy/MM/dd"], "zone": "UTC"});
    assert_eq!(date(two, json!("2026/02/01")), "2026-02-01T00:00:00+00:00");
    // 25 October 2026, 02:30 happens twice in Warsaw; 29 March 2026, 02:30 does not happen.
    for (dst, twice, never) in [
        ("earlier", "2026-10-25T00:30:00+00:00", "2026-03-29T01:30:00+00:00"),
        ("later", "2026-10-25T01:30:00+00:00", "2026-03-29T01:30:00+00:00"),
        ("reject", "submitted_at: invalid_date", "submitted_at: invalid_date"),
    ] {
        let args = || json!({"formats": ["dd.MM.yyyy HH:mm"], "dst": dst});
        assert_eq!(date(args(), json!("25.10.2026 02:30")), twice, "{dst}");
        assert_eq!(date(args(), json!("29.03.2026 02:30")), never, "{dst}");
    }
}

#[test]
fn dates_without_a_pattern() {
    let date = |sent: Value| {
        let lead = apply(json!({"submitted_at": "d"}), json!({ "d": sent })).unwrap();
        lead.submitted_at.map_or_else(|| lead.warnings.join(""), |t| t.to_rfc3339())
    };
    assert_eq!(date(json!("2026-11-22T14:59:00Z")), "2026-11-22T14:59:00+00:00");
    assert_eq!(date(json!("2026-11-22T15:59:00.5+01:00")), "2026-11-22T14:59:00.500+00:00");
    assert_eq!(date(json!("2026-07-18 16:11:04")), "2026-07-18T14:11:04+00:00");
    assert_eq!(date(json!("Sun, 22 Nov 2026 15:59:00 +0100")), "2026-11-22T14:59:00+00:00");
    assert_eq!(date(json!(1_795_359_540)), "2026-11-22T14:59:00+00:00");
    assert_eq!(date(json!("1795359540000")), "2026-11-22T14:59:00+00:00");
    assert_eq!(date(json!(1_795_359_540.25)), "2026-11-22T14:59:00.250+00:00");
    for sent in [json!("soon"), json!(1e15), json!(true), json!(["a"]), json!({"a": 1})] {
        assert!(date(sent.clone()).starts_with("submitted_at: "), "{sent}");
    }
}

#[test]
fn countries_help_to_read_phones_and_postal_codes() {
    let fields = || json!({"country": "c", "phone": "p", "postal_code": "z"});
    let read = |c: Value, p: &str, z: &str| {
        let lead = apply(fields(), json!({"c": c, "p": p, "z": z})).unwrap();
        (lead.country, lead.phone, lead.postal_code, lead.warnings)
    };
    let got = |c: &str, p: &str, z: &str| {
        (Some(c.to_owned()), Some(p.to_owned()), Some(z.to_owned()), Vec::new())
    };
    assert_eq!(read(json!("Polska"), "22 694 00 00", "00950"), got("PL", "+48226940000", "00-950"));
    assert_eq!(read(json!("Niemcy"), "030 901820", "10115"), got("DE", "+4930901820", "10115"));
    assert_eq!(read(json!(null), "22 694 00 00", "00950"), got("PL", "+48226940000", "00-950"));
    // A country we cannot read is not the portal's.
    let (country, _, code, warnings) = read(json!("Atlantis"), "22 694 00 00", "10115");
    assert_eq!((country, code), (None, Some("10115".to_owned())));
    assert_eq!(warnings, ["country: invalid_country"]);
    // Without a postal code no country is made up.
    assert_eq!(read(json!(null), "22 694 00 00", "").0, None);
    let own = json!({"country": {"from": "c", "then": [{"country": {"names": {"Wyspa": "MT"}}}]}});
    assert_eq!(apply(own, json!({"c": "wyspa"})).unwrap().country.unwrap(), "MT");
    let fixed = json!({"phone": {"from": "p", "then": [{"phone": {"country": "IT"}}]}});
    assert_eq!(apply(fixed, json!({"p": "06 69820001"})).unwrap().phone.unwrap(), "+390669820001");
}

#[test]
fn utm_from_a_url_and_from_single_fields() {
    let fields = || json!({"utm": "u", "utm.campaign": "c"});
    let utm = |body: Value| {
        let utm = apply(fields(), body).unwrap().utm;
        serde_json::to_value(utm).unwrap()
    };
    let url = "https://x.co/?utm_source=fb&utm_campaign=a%20b&utm_id=7&utm_source=second&utm_term=";
    assert_eq!(utm(json!({ "u": url })), json!({"source": "fb", "campaign": "a b"}));
    assert_eq!(utm(json!({"u": url, "c": "own"}))["campaign"], "own");
    assert_eq!(utm(json!({"u": url, "c": ""}))["campaign"], "a b");
    assert_eq!(
        utm(json!({"u": {"utm_source": "x", "medium": 1, "other": 2}})),
        json!({"source": "x", "medium": "1"})
    );
    assert_eq!(utm(json!({"u": "https://x.co/"})), Value::Null);
}

#[test]
fn conditions_on_other_fields() {
    let rule = |when: Value| json!({"from": "v", "when": when});
    let body = || json!({"v": "x", "type": "BUY", "n": 1, "empty": "", "list": []});
    for (when, holds) in [
        (json!({"path": "type", "equals": "BUY"}), true),
        (json!({"path": "type", "equals": "RENT"}), false),
        (json!({"path": "n", "equals": "1"}), true),
        (json!({"path": "missing", "equals": "1"}), false),
        (json!({"header": "X-Campaign", "equals": "spring"}), true),
        (json!({"path": "type", "in": ["RENT", "BUY"]}), true),
        (json!({"path": "type", "exists": true}), true),
        (json!({"path": "empty", "exists": true}), false),
        (json!({"path": "list", "exists": false}), true),
        (json!({"not": {"path": "type", "equals": "BUY"}}), false),
        (json!({"all": [{"path": "n", "exists": true}, {"path": "type", "equals": "BUY"}]}), true),
        (json!({"any": [{"path": "n", "equals": 2}, {"path": "type", "equals": "RENT"}]}), false),
    ] {
        let found = value(rule(when.clone()), body());
        assert_eq!(found == "x", holds, "{when}");
    }
    let source = json!({"from": [{"path": "v", "when": {"path": "n", "equals": 2}}, "type"]});
    assert_eq!(value(source, body()), "BUY");
}

#[test]
fn defaults_stand_in_for_nothing_and_for_the_unusable() {
    let rule = || json!({"from": "v", "then": ["number"], "default": 5});
    assert_eq!(value(rule(), json!({})), "5");
    assert_eq!(
        custom(rule(), json!({"v": "x"})),
        (json!("5"), vec!["custom.x: invalid_number".to_owned()])
    );
    assert_eq!(value(json!({"default": "always"}), json!({})), "always");
}

#[test]
fn long_texts_are_cut_and_marked() {
    let lead =
        apply(json!({"message": "m", "city": "m"}), json!({"m": "x".repeat(10_001)})).unwrap();
    assert_eq!(lead.message.unwrap().chars().count(), 10_000);
    assert_eq!(lead.city.unwrap().chars().count(), 500);
    assert_eq!(lead.warnings, ["city: truncated", "message: truncated"]);
    // An id is never cut: two would become one.
    let lead = apply(json!({"external_id": "m"}), json!({"m": "x".repeat(256)})).unwrap();
    assert_eq!((lead.external_id, lead.warnings), (None, vec!["external_id: too_long".to_owned()]));
}

/// Any JSON, with the names and texts that rules look for among the rest.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,40}",
        "[0-9 .,+()-]{0,20}",
        Just("2026-03-29T02:30:00".to_owned()),
        Just("a@b.co".to_owned()),
        Just("?utm_source=\u{0}%FF".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop_oneof!["[a-e]", ".{0,5}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))] // the phone tables are slow unoptimised

    #[test]
    fn no_body_makes_it_panic_and_every_lead_can_be_stored(body in any_json()) {
        let all = ["trim", "collapse", "lower", "upper", "present"];
        let fields = json!({
            "email": {"from": ["a", {"const": "a@b.co"}]},
            "phone": "a", "country": "b", "postal_code": "a[0]", "external_id": "c", "budget": "a",
            "currency": "d", "submitted_at": "a", "is_test": "e", "consent.privacy": "a",
            "consent.marketing": {"from": "b", "then": ["present"]}, "utm": "a", "utm.term": "b",
            "message": {"from": "$", "then": [{"join": ","}]}, "city": {"from": "a", "then": all},
            "custom.all": "$", "custom.first": "$[0]", "campaign.a": "a",
            "custom.query": {"from": "a", "then": [{"query_param": "utm_source"}]},
            "custom.name": {"from": "b", "then": [{"split_name": "rest"}]},
            "custom.date": {"from": "a", "then": [{"date": {"formats": ["yyyy-MM-dd'T'HH:mm:ss"]}}]},
            "custom.table": {"from": "a", "then": [{"table": {"values": {"x": 1}, "keep": true}}]},
        });
        let lead = apply(fields, body).unwrap();
        let stored = serde_json::to_string(&lead).unwrap();
        prop_assert!(!stored.contains("\\u0000"), "a NUL that jsonb cannot hold: {}", stored);
        prop_assert_eq!(lead.email.as_deref().map(|e| e.contains('@')), Some(true));
    }
}
