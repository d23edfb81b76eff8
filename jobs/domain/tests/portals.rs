//! Real senders' requests give exactly the leads expected of them, and their signatures are judged
//! as they should be. The rules of comparison are those of the corpus: null is not compared unless
//! the field is listed in `must_be_null`, numbers are compared as numbers, instants as instants,
//! `custom` and `campaign` may hold more than is listed.
#![allow(clippy::unwrap_used, missing_docs)]

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use switchyard_domain::mapping::Judgement;
use switchyard_domain::portal::{ApiKeyPlace, PortalSettings};
use switchyard_domain::signature::{SignedRequest, SigningSecrets, verify};
use switchyard_domain::{Headers, StandardLead, delivery};

#[path = "support/bodies.rs"]
mod bodies;
#[path = "support/expected.rs"]
mod expected;
#[path = "support/seeds.rs"]
mod seeds;

use bodies::{adf_body, body, form_body};
use seeds::settings;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(path: &str) -> Value {
    let path = PathBuf::from(ROOT).join(path);
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

/// One sender of the corpus.
struct Sender {
    code: &'static str,
    settings: PortalSettings,
    request: Value,
    expected: Value,
}

impl Sender {
    fn open(code: &'static str) -> Self {
        let file = |name| read(&format!("tests/fixtures/portals/{code}/{name}.json"));
        Self {
            code,
            settings: settings(code),
            request: file("request"),
            expected: file("expected"),
        }
    }

    /// Every delivery with what is expected of it.
    fn deliveries(&self) -> Vec<(&Value, &Value)> {
        match (self.request.get("sequence"), self.expected.get("sequence")) {
            (Some(Value::Array(requests)), Some(Value::Array(expected))) => {
                assert_eq!(requests.len(), expected.len());
                requests.iter().zip(expected).collect()
            }
            _ => vec![(&self.request, &self.expected)],
        }
    }

    fn clock(&self) -> DateTime<Utc> {
        self.request["clock"].as_str().unwrap().parse().unwrap()
    }

    /// Would this delivery be let in?
    fn is_authentic(&self, delivery: &Value) -> bool {
        let auth = &self.request["auth"];
        let headers = headers(delivery);
        if let Some(scheme) = &self.settings.signature {
            let secrets = SigningSecrets::parse(scheme, auth["secret"].as_str().unwrap()).unwrap();
            let body = body(delivery);
            return verify(scheme, &secrets, &SignedRequest::new(&headers, &body), self.clock())
                .is_ok();
        }
        // The corpus has the token before `/contact`; in the platform it follows the code.
        let url = url::Url::parse(delivery["url"].as_str().unwrap()).unwrap();
        let token = url.path_segments().unwrap().nth(1);
        let key = self.settings.api_key.presented(&headers, token, url.query());
        let wanted = auth.get("value").or_else(|| auth.get("token")).unwrap();
        key.as_deref() == wanted.as_str()
    }
}

fn headers(delivery: &Value) -> Headers {
    delivery["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
        .collect()
}

/// The one lead that a body stands for.
fn only_lead(settings: &PortalSettings, body: &[u8], headers: &Headers) -> StandardLead {
    let body = settings.decode(headers, body).unwrap();
    let Judgement::Leads(mut leads) = settings.judge(&body, headers, None, Utc::now()) else {
        panic!("the event is ignored");
    };
    assert_eq!(leads.len(), 1);
    leads.remove(0).lead.unwrap()
}

/// What differs, in words.
fn differences(lead: &StandardLead, wanted: &Value) -> Vec<String> {
    expected::differences(&serde_json::to_value(lead).unwrap(), wanted)
}

fn check(code: &'static str) {
    let sender = Sender::open(code);
    let mut leads = 0;
    for (at, (delivery, expected)) in sender.deliveries().into_iter().enumerate() {
        let authentic = sender.is_authentic(delivery);
        assert_eq!(json!(authentic), delivery["signature_valid"], "{code}, delivery {at}");
        let wanted = expected["leads"].as_array().unwrap();
        if !authentic {
            assert!(wanted.is_empty());
            continue;
        }
        let stored = headers(delivery).without(&sender.settings.credential_headers());
        let lead = only_lead(&sender.settings, &body(delivery), &stored);
        assert_eq!(wanted.len(), 1);
        assert_eq!(differences(&lead, &wanted[0]), [""; 0], "{code}, delivery {at}");
        assert_eq!(lead.warnings, [""; 0], "{code}, delivery {at}");
        leads += 1;
    }
    assert!(leads > 0, "{} expects a lead", sender.code);
}

/// The leads of every delivery that is let in, without asking who sent it. `decode`: what the body
/// stands for.
fn check_leads(code: &'static str, decode: impl Fn(&PortalSettings, &Value) -> Option<Value>) {
    let settings = settings(code);
    let file = |name| read(&format!("tests/fixtures/portals/{code}/{name}.json"));
    let (request, expected) = (file("request"), file("expected"));
    let sender = Sender { code, settings, request, expected };
    let received_at = sender.clock();
    let mut leads = 0;
    for (at, (delivery, expected)) in sender.deliveries().into_iter().enumerate() {
        let wanted = expected["leads"].as_array().unwrap();
        if delivery["signature_valid"] != true || delivery["method"] != "POST" {
            continue;
        }
        let Some(body) = decode(&sender.settings, delivery) else { continue };
        let url = delivery["url"].as_str();
        let judged = match sender.settings.judge(&body, &headers(delivery), url, received_at) {
            Judgement::Leads(judged) => judged,
            Judgement::Ignored { code: why, .. } => {
                assert!(wanted.is_empty(), "{code}, delivery {at}: {why}");
                continue;
            }
        };
        assert_eq!(judged.len(), wanted.len(), "{code}, delivery {at}");
        let pending = expected["outcome"] == "accepted_pending_enrichment";
        for (judged, wanted) in judged.iter().zip(wanted) {
            let lead = judged.lead.as_ref().unwrap_or_else(|f| panic!("{code}: {f:#?}"));
            assert_eq!(differences(lead, wanted), [""; 0], "{code}, delivery {at}");
            assert_eq!(judged.fetch.is_some(), pending);
            leads += 1;
        }
    }
    assert!(leads > 0, "{code} expects a lead");
}

fn json_body(settings: &PortalSettings, delivery: &Value) -> Option<Value> {
    Some(settings.decode(&headers(delivery), &body(delivery)).unwrap())
}

#[test]
fn senders_of_json() {
    for code in [
        "google_ads_lead_form",
        "meta_leadgen_notification",
        "meta_lead_retrieved",
        "typeform",
        "hubspot_contact_events",
        "shopify_order",
        "b2b_rfq",
        "graphql_nested",
        "zapier_flat",
        "standard_webhooks",
    ] {
        check_leads(code, json_body);
    }
}

#[test]
fn senders_of_forms() {
    check_leads("html_form", form_body);
    check_leads("twilio_sms", form_body);
}

#[test]
fn senders_of_xml() {
    check_leads("adf_xml", adf_body);
}

/// The notification names the lead, the answer of the sender's API completes it.
#[test]
fn a_lead_is_completed_by_what_is_fetched() {
    let settings = settings("meta_leadgen_notification");
    let request = read("tests/fixtures/portals/meta_leadgen_notification/request.json");
    let body = settings.decode(&headers(&request), &body(&request)).unwrap();
    let Judgement::Leads(judged) = settings.judge(&body, &Headers::default(), None, Utc::now())
    else {
        panic!("the event is ignored")
    };
    let fetch = judged[0].fetch.as_ref().unwrap();
    assert!(
        fetch.url.starts_with("https://graph.facebook.com/v25.0/1204857600000011?fields=id,"),
        "{}",
        fetch.url
    );
    let retrieved = read("tests/fixtures/portals/meta_lead_retrieved/request.json");
    let fetched = serde_json::from_str(retrieved["body"].as_str().unwrap()).unwrap();
    let lead = settings.enrich(judged[0].lead.clone().unwrap(), &fetched).unwrap();
    let wanted = read("tests/fixtures/portals/meta_lead_retrieved/expected.json");
    assert_eq!(differences(&lead, &wanted["lead"]), [""; 0]);
    assert_eq!(lead.campaign.unwrap()["page_id"], "104857600000001");
    // What was fetched must make the lead reachable.
    let faults = settings.enrich(judged[1].lead.clone().unwrap(), &json!({})).unwrap_err();
    assert_eq!(faults[0].code, "contact_required");
}

/// LinkedIn answers questions by their numbers; which of them is the e-mail address stands in the form.
#[test]
fn a_lead_of_linkedin_is_completed_by_what_its_form_says() {
    let settings = settings("linkedin_lead_sync");
    let judged = |body: &Value| settings.judge(body, &Headers::default(), None, Utc::now());
    let notice = json!({
        "type": "LEAD_ACTION", "leadAction": "CREATED", "leadType": "SPONSORED",
        "leadGenFormResponse": "urn:li:leadGenFormResponse:a9a29e52-c0a3-42e3-8af1-2fc83b697003-4",
        "leadGenForm": "urn:li:versionedLeadGenForm:(urn:li:leadGenForm:7234246,1)",
        "owner": {"sponsoredAccount": "urn:li:sponsoredAccount:11223344"},
        "occurredAt": 1_795_359_588_000_i64,
    });
    let Judgement::Leads(leads) = judged(&notice) else { panic!("the event is ignored") };
    let url = &leads[0].fetch.as_ref().unwrap().url;
    let wanted =
        "https://api.linkedin.com/rest/leadFormResponses/a9a29e52-c0a3-42e3-8af1-2fc83b697003-4";
    assert!(url.starts_with(&format!("{wanted}?fields=id,")), "{url}");
    assert!(url.ends_with(",form:(hiddenFields,name,id,content)"), "{url}");
    let answer = |id: i64, text: &str| json!({"questionId": id, "answerDetails": {"textQuestionAnswer": {"answer": text}}});
    let question = |id: i64, field: &str| json!({"questionId": id, "predefinedField": field});
    let mut fetched = json!({
        "id": "a9a29e52-c0a3-42e3-8af1-2fc83b697003-4", "submittedAt": 1_795_359_580_000_i64,
        "testLead": true,
        "formResponse": {
            "answers": [answer(3, "Ada@Example.com"), answer(1, "Ada"), answer(2, "Nowak")],
            "consentResponses": [{"consentId": 1, "accepted": true}, {"consentId": 2, "accepted": true}],
        },
        "form": {
            "name": "Spring", "hiddenFields": [{"name": "utm_campaign", "value": "spring"}],
            "content": {"questions": [
                question(1, "FIRST_NAME"), question(2, "LAST_NAME"), question(3, "EMAIL"),
                question(4, "PHONE_NUMBER"),
            ]},
        },
    });
    let whole = |fetched: &Value| settings.enrich(leads[0].lead.clone().unwrap(), fetched).unwrap();
    let expected = json!({
        "external_id": "a9a29e52-c0a3-42e3-8af1-2fc83b697003-4", "first_name": "Ada",
        "last_name": "Nowak", "email": "ada@example.com", "phone": null, "must_be_null": ["phone"],
        "is_test": true, "consent": {"form": true}, "submitted_at": "2026-11-22T14:59:40Z",
        "campaign": {"form_name": "Spring", "account": "urn:li:sponsoredAccount:11223344"},
        "source": "linkedin_lead_sync",
    });
    assert_eq!(differences(&whole(&fetched), &expected), [""; 0]);
    assert_eq!(whole(&fetched).utm.unwrap()["campaign"], "spring");
    // One box that was not ticked is no consent.
    fetched["formResponse"]["consentResponses"][0]["accepted"] = json!(false);
    assert_eq!(differences(&whole(&fetched), &json!({"consent": {"form": false}})), [""; 0]);
    for (name, value) in [("leadAction", "DELETED"), ("type", "OTHER")] {
        let mut other = notice.clone();
        other[name] = json!(value);
        assert!(matches!(judged(&other), Judgement::Ignored { .. }), "{other}");
    }
}

#[test]
fn zapier_flat() {
    check("zapier_flat");
}

#[test]
fn indomio_immobiliare() {
    check("indomio_immobiliare");
}

#[test]
fn standard_webhooks() {
    check("standard_webhooks");
}

/// The comparison itself must be able to fail.
#[test]
fn a_wrong_lead_is_noticed() {
    let sender = Sender::open("zapier_flat");
    let expected = &sender.expected["lead"];
    let count = |change: &dyn Fn(&mut StandardLead)| {
        let mut lead =
            only_lead(&sender.settings, &body(&sender.request), &headers(&sender.request));
        change(&mut lead);
        differences(&lead, expected).len()
    };
    assert_eq!(count(&|_| ()), 0);
    assert_eq!(count(&|l| l.budget = None), 1);
    assert_eq!(count(&|l| l.message = Some("x".to_owned())), 1);
    assert_eq!(count(&|l| l.submitted_at = Some(DateTime::UNIX_EPOCH)), 1);
    assert_eq!(count(&|l| l.consent = None), 1);
    assert_eq!(count(&|l| l.utm = None), 1);
    assert_eq!(count(&|l| l.is_test = true), 1);
}

#[test]
fn each_delivery_is_known_again_by_its_senders_id() {
    for (code, key) in [
        ("adf_xml", "id:ADF-1"),
        ("zapier_flat", "id:884213"),
        ("indomio_immobiliare", "id:0f6d2c1e-5a34-5d0b-9a77-3c1f00aa0001"),
        ("standard_webhooks", "id:msg_2abcTEST"),
    ] {
        let sender = Sender::open(code);
        let (headers, raw) = (headers(&sender.request), body(&sender.request));
        let decoded = sender.settings.decode(&headers, &raw).unwrap();
        let found = delivery::key(&sender.settings, &headers, &decoded, &raw);
        assert_eq!(found.to_string(), key);
        assert!(found.is_permanent());
    }
}

#[test]
fn replies_are_what_the_senders_demand() {
    let indomio = settings("indomio_immobiliare").reply;
    let wanted =
        &read("tests/fixtures/portals/indomio_immobiliare/expected.json")["response_body_json"];
    assert_eq!(indomio.status, 200);
    assert_eq!(&serde_json::from_str::<Value>(&indomio.body.unwrap()).unwrap(), wanted);
    assert_eq!(settings("zapier_flat").reply.status, 200);
    assert_eq!(settings("demo").reply.status, 202);
}

#[test]
fn the_demo_portal_takes_the_flat_standard_lead() {
    let demo = settings("demo");
    assert!(matches!(&demo.api_key, ApiKeyPlace::Header { name, .. } if name == "X-API-Key"));
    let body = json!({
        "id": "lead-1", "first_name": "Anna", "last_name": "Nowak", "email": "Anna@Example.com",
        "phone": "601 234 567", "postal_code": "00-950", "country": "PL", "product": "Windows",
        "message": "Please call",
    });
    let lead = only_lead(&demo, body.to_string().as_bytes(), &Headers::default());
    let wanted = json!({
        "external_id": "lead-1", "first_name": "Anna", "last_name": "Nowak",
        "email": "anna@example.com", "phone": "+48601234567", "postal_code": "00-950",
        "country": "PL", "interest": "Windows", "message": "Please call", "is_test": false,
    });
    assert_eq!(differences(&lead, &wanted), [""; 0]);
    assert_eq!(lead.warnings, [""; 0]);
}

/// What is stored is what was written, so that an operator finds the document again.
#[test]
fn settings_survive_storage() {
    for code in ["demo", "zapier_flat", "indomio_immobiliare", "standard_webhooks"] {
        let before = settings(code);
        let stored = serde_json::to_value(&before).unwrap();
        let after: PortalSettings = serde_json::from_value(stored).unwrap();
        assert_eq!(before, after, "{code}");
    }
}
