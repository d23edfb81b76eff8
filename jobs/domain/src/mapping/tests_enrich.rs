//! Leads whose rest is fetched: the address, and what comes of what was fetched.
#![allow(clippy::unwrap_used)]

use crate::mapping::{Judgement, TokenPlace};
use crate::portal::PortalSettings;
use crate::{FieldFault, Headers};
use chrono::DateTime;
use serde_json::{Map, Value, json};

fn settings(enrich: Value) -> Result<PortalSettings, Vec<FieldFault>> {
    PortalSettings::parse(&json!({
        "defaults": {"country": "PL", "currency": "PLN"},
        "mapping": {
            "let": {"which": "id"},
            "fields": {"external_id": "id", "phone": "tel", "custom.a": "a", "custom.b": "b", "budget": "budget"},
        },
        "enrich": enrich,
    }))
}

fn enrich() -> Value {
    json!({
        "url": "https://api.example.com/v1/leads/{$which}[?page={page}]",
        "token": {"in": "query", "name": "access_token"},
        "when": {"path": "tel", "exists": false},
        "mapping": {"fields": {"external_id": "other", "email": "mail", "custom.b": "b", "budget": "price"}},
    })
}

/// The address, or the code of what keeps it from being one.
fn address(body: &Value) -> Option<Result<String, String>> {
    let settings = settings(enrich()).unwrap();
    let Judgement::Leads(mut judged) =
        settings.judge(body, &Headers::default(), None, DateTime::UNIX_EPOCH)
    else {
        panic!("ignored")
    };
    let judged = judged.remove(0);
    match (judged.lead, judged.fetch) {
        (Ok(_), fetch) => fetch.map(|f| Ok(f.url)),
        (Err(faults), _) => Some(Err(format!("{}: {}", faults[0].field, faults[0].code))),
    }
}

#[test]
fn values_are_encoded_and_cannot_leave_their_place() {
    let found = |body: Value| address(&body).unwrap();
    let base = "https://api.example.com/v1/leads/";
    assert_eq!(found(json!({"id": 7})), Ok(format!("{base}7")));
    assert_eq!(found(json!({"id": "a", "page": "x y"})), Ok(format!("{base}a?page=x%20y")));
    assert_eq!(
        found(json!({"id": "../?x=1#é@h.co/"})),
        Ok(format!("{base}..%2F%3Fx%3D1%23%C3%A9%40h.co%2F"))
    );
    for id in [json!(".."), json!("."), json!(null), json!("")] {
        assert_eq!(found(json!({ "id": id })), Err("enrich: required".to_owned()), "{id}");
    }
    assert_eq!(found(json!({"id": {"x": 1}})), Err("enrich: not_text".to_owned()));
    assert_eq!(found(json!({"id": "x".repeat(3_000)})), Err("enrich: too_long".to_owned()));
    // With a phone number nothing is fetched, and the lead is whole.
    assert_eq!(address(&json!({"id": 1, "tel": "601234567"})), None);
}

#[test]
fn what_is_fetched_wins_and_ids_stay() {
    let settings = settings(enrich()).unwrap();
    assert_eq!(
        settings.enrich.as_ref().unwrap().token,
        Some(TokenPlace::Query { name: "access_token".to_owned() })
    );
    let body = json!({"id": 7, "a": 1, "b": 2, "budget": 5});
    let Judgement::Leads(judged) =
        settings.judge(&body, &Headers::default(), None, DateTime::UNIX_EPOCH)
    else {
        panic!("ignored")
    };
    let lead = judged[0].lead.clone().unwrap();
    let fetched = json!({"other": 9, "mail": "a@b.co", "b": 3, "price": "100 €"});
    let whole = settings.enrich(lead.clone(), &fetched).unwrap();
    assert_eq!(whole.external_id.as_deref(), Some("7"));
    assert_eq!(whole.email.as_deref(), Some("a@b.co"));
    assert_eq!(Value::Object(whole.custom.unwrap()), json!({"a": "1", "b": "3"}));
    assert_eq!(
        (whole.budget.unwrap().to_string(), whole.currency.unwrap()),
        ("100".into(), "EUR".into())
    );
    let faults = settings.enrich(lead, &json!({"mail": "x"})).unwrap_err();
    assert_eq!(faults[0].code, "contact_required");
}

#[test]
fn every_fault_has_its_place() {
    let faults = |name: &str, value: Value| -> Vec<(String, String)> {
        let mut enrich = enrich();
        enrich[name] = value;
        let faults = settings(enrich).unwrap_err();
        faults.into_iter().map(|f| (f.field, f.code)).collect()
    };
    let url = |text: &str| faults("url", json!(text));
    let one = |at: &str, code: &str| vec![(at.to_owned(), code.to_owned())];
    for text in [
        "http://api.example.com/{id}",
        "https://{host}/x",
        "https://api.example.com",
        "https://api.example.com{id}/x",
        "https://user@api.example.com/{id}",
        "https:///x",
        "{url}",
    ] {
        assert_eq!(url(text), one("/enrich/url", "invalid_url"), "{text}");
    }
    assert_eq!(url("https://a.co/{a"), one("/enrich/url", "invalid_template"));
    assert_eq!(url("https://a.co/{$nothing}"), one("/enrich/url", "unknown_name"));
    assert_eq!(faults("url", json!(null)), one("/enrich/url", "required"));
    assert_eq!(faults("token", json!({"in": "body"})), one("/enrich/token", "invalid"));
    assert_eq!(
        faults("token", json!({"in": "header", "name": "a b"})),
        one("/enrich/token/name", "invalid_name")
    );
    assert_eq!(faults("when", json!({"path": "a"})), one("/enrich/when", "invalid_condition"));
    assert_eq!(
        faults("mapping", json!({"fields": {"city": "a"}})),
        one("/enrich/mapping/fields", "contact_required")
    );
    assert_eq!(
        faults("mapping", json!({"fields": {"email": "a"}, "foreach": "b"})),
        one("/enrich/mapping/foreach", "unknown_member")
    );
    for (headers, at, code) in [
        (json!("x"), "", "invalid"),
        (json!({"a b": "1"}), "/a b", "invalid_header_name"),
        (json!({"Api-Version": 202_606}), "/Api-Version", "invalid_value"),
        (json!({"Api-Version": ""}), "/Api-Version", "invalid_value"),
        (json!({"Api-Version": "a\r\nb: c"}), "/Api-Version", "invalid_value"),
        (json!({"Api-Version": "é"}), "/Api-Version", "invalid_value"),
        (json!({"authorization": "Bearer x"}), "/authorization", "header_refused"),
        (json!({"Host": "h"}), "/Host", "header_refused"),
        (json!({"Cookie": "a=b"}), "/Cookie", "header_refused"),
        (json!({"Content-Length": "1"}), "/Content-Length", "header_refused"),
        (json!({"Transfer-Encoding": "chunked"}), "/Transfer-Encoding", "header_refused"),
    ] {
        assert_eq!(faults("headers", headers), one(&format!("/enrich/headers{at}"), code), "{at}");
    }
    let many: Value = (0..11).map(|n| (format!("X-{n}"), json!("1"))).collect::<Map<_, _>>().into();
    assert_eq!(faults("headers", many), one("/enrich/headers", "too_many"));
    assert_eq!(faults("other", json!(1)), one("/enrich/other", "unknown_member"));
}

#[test]
fn fixed_headers_stand_beside_the_token() {
    let mut with = enrich();
    with["headers"] = json!({"LinkedIn-Version": "202606", "X-Restli-Protocol-Version": "2.0.0"});
    let read = settings(with.clone()).unwrap().enrich.unwrap().headers;
    let wanted = [("linkedin-version", "202606"), ("x-restli-protocol-version", "2.0.0")];
    assert!(read.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(wanted), "{read:?}");
    with["token"] = json!({"in": "header", "name": "linkedin-version"});
    let faults = settings(with).unwrap_err();
    assert_eq!(faults[0].field, "/enrich/headers/LinkedIn-Version", "the token's own header");
}

#[test]
fn settings_with_it_survive_storage() {
    let before = settings(enrich()).unwrap();
    let stored = serde_json::to_value(&before).unwrap();
    assert_eq!(stored["enrich"], enrich());
    assert_eq!(serde_json::from_value::<PortalSettings>(stored).unwrap(), before);
}
