//! The portals of the documentation and those that ship are files that work: they can be read, they
//! fit the JSON Schema as whole files, their samples come out, and what their senders sign is let in.
#![allow(clippy::unwrap_used, missing_docs)]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;
use std::path::{Path, PathBuf};
use switchyard::portal_file::{Document, PortalFile};
use switchyard_domain::Headers;
use switchyard_domain::mapping::Judgement;
use switchyard_domain::signature::{SignedRequest, SigningSecrets, verify};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let rest = page.split("```yaml\n").skip(1);
    rest.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

fn file(text: &str) -> PortalFile {
    PortalFile::parse(text, false, Path::new(""), false)
        .unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"))
}

/// The portal of the senders' page with this code.
fn sender(code: &str) -> PortalFile {
    let wanted = format!("code: {code}\n");
    let found = blocks("senders.md").into_iter().find(|text| text.starts_with(&wanted));
    file(&found.unwrap_or_else(|| panic!("the page has no {code}")))
}

fn misfits(document: &Value) -> Vec<String> {
    let text = std::fs::read(root().join("docs/portal.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_slice(&text).unwrap()).unwrap();
    schema.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn value(text: &str) -> Value {
    Document::parse(text, false).unwrap().value().clone()
}

#[test]
fn every_sender_of_the_page_is_a_whole_file_whose_samples_come_out() {
    let blocks = blocks("senders.md");
    assert!(blocks.len() >= 16, "{}", blocks.len());
    for text in blocks {
        let file = file(&text);
        assert_eq!(misfits(&value(&text)), [""; 0], "{}", file.code);
        let samples = file.check_samples().unwrap_or_else(|f| panic!("{}: {f:#?}", file.code));
        assert!(samples > 0, "{} has no sample", file.code);
        assert!(text.contains("secrets: {"), "{}: its secret has a place", file.code);
    }
}

/// What a page shows is what the schema takes, and what the reader refuses it does not.
#[test]
fn the_example_of_the_file_format_fits_the_schema_as_a_whole() {
    let example = value(&blocks("portal-files.md")[0]);
    for member in ["code", "name", "secrets", "samples", "duplicates"] {
        assert!(example.get(member).is_some(), "the example shows `{member}`");
    }
    assert_eq!(misfits(&example), [""; 0]);
    for (at, wrong) in [
        ("", json!({"colour": "red"})),
        ("", json!({"code": "Acme!"})),
        ("", json!({"active": "yes"})),
        ("/secrets", json!({"password": "x"})),
        ("/secrets", json!({"api_key": {"envv": "X"}})),
        ("/secrets", json!({"api_key": ["one-key", "two-key", "three-key"]})),
        ("/samples/0", json!({"bodies": []})),
        ("/samples/1", json!({"outcome": "lost"})),
        ("/duplicates", json!({"policy": "forget"})),
        ("/api_key", json!({"in": "cookie"})),
    ] {
        let mut broken = example.clone();
        let members = broken.pointer_mut(at).unwrap().as_object_mut().unwrap();
        members.extend(wrong.as_object().unwrap().clone());
        assert!(!misfits(&broken).is_empty(), "the schema takes {at} {wrong}");
        let read = PortalFile::parse(&broken.to_string(), true, Path::new(""), false);
        assert!(read.is_err(), "the reader takes {at} {wrong}");
    }
}

#[test]
fn the_files_that_ship_can_be_read_as_they_are() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("ops/seed/portals")).unwrap() {
        let path = entry.unwrap().path();
        let file = PortalFile::read(&path, false).unwrap_or_else(|f| panic!("{f:#?}"));
        assert_eq!(file.code, path.file_stem().unwrap().to_str().unwrap());
        assert_ne!(file.name, file.code, "a name is for people");
        // Nobody's secret is in the repository: each comes from where the portal is applied.
        let text = std::fs::read_to_string(&path).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        for (name, secret) in document["secrets"].as_object().into_iter().flatten() {
            assert!(secret["env"].is_string(), "{}: {name}", file.code);
        }
        count += 1;
    }
    assert!(count >= 15, "{count} files");
}

fn sha256(secret: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha1(secret: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signatures as the senders' pages describe them, computed here in the plainest way.
#[test]
fn what_the_senders_of_the_page_sign_is_let_in() {
    let (secret, body, ts) = ("a-secret-of-the-sender", r#"{"a":"ż"}"#, "1795359588");
    let url = "https://hooks.example.com/api/webhooks/square";
    let hex = |bytes: Vec<u8>| hex::encode(bytes);
    let base64 = |bytes: Vec<u8>| BASE64_STANDARD.encode(bytes);
    let dotted = hex(sha256(secret, &format!("{ts}.{body}")));
    let v0 = format!("v0={}", hex(sha256(secret, &format!("v0:{ts}:{body}"))));
    let plain = base64(sha256(secret, body));
    let paddle = hex(sha256(secret, &format!("{ts}:{body}")));
    let webflow = hex(sha256(secret, &format!("{ts}123:{body}")));
    let square = base64(sha256(secret, &format!("{url}{body}")));
    let millis = format!("{ts}123");
    let cases = [
        ("calendly", vec![("Calendly-Webhook-Signature", format!("t={ts},v1={dotted}"))]),
        (
            "slack",
            vec![("X-Slack-Signature", v0.clone()), ("X-Slack-Request-Timestamp", ts.into())],
        ),
        ("zoom", vec![("x-zm-signature", v0), ("x-zm-request-timestamp", ts.into())]),
        ("paddle", vec![("Paddle-Signature", format!("ts={ts};h1=00ff;h1={paddle}"))]),
        ("square", vec![("x-square-hmacsha256-signature", square)]),
        ("intercom", vec![("X-Hub-Signature", format!("sha1={}", hex(sha1(secret, body))))]),
        ("xero", vec![("x-xero-signature", plain.clone())]),
        ("webflow", vec![("x-webflow-signature", webflow), ("x-webflow-timestamp", millis)]),
        ("tally", vec![("Tally-Signature", plain.clone())]),
        ("tiktok", vec![("TikTok-Signature", format!("t={ts},s={dotted}"))]),
        ("shopify_customers", vec![("X-Shopify-Hmac-SHA256", plain)]),
    ];
    let in_the_body = ["mailgun", "mailgun_events"];
    let now = "2026-11-22T15:00:00Z".parse().unwrap();
    for (code, headers) in &cases {
        let scheme = sender(code).settings.signature.unwrap();
        let secrets = SigningSecrets::parse(&scheme, secret).unwrap();
        let headers: Headers = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let judged = |body: &str| {
            let request = SignedRequest::new(&headers, body.as_bytes()).sent_to("POST", url);
            verify(&scheme, &secrets, &request, now)
        };
        assert!(judged(body).is_ok(), "{code}: {:?}", judged(body));
        assert!(judged(r#"{"a":"z"}"#).is_err(), "{code}: another body is not signed");
    }
    let signed = blocks("senders.md").iter().filter(|b| b.contains("\nsignature:")).count();
    assert_eq!(signed, cases.len() + in_the_body.len(), "every signature of the page is tried");
}

/// Who signs in the body: the file, the body, and what is put in the signature's place.
fn signed_inside(secret: &str, ts: &str) -> Vec<(PortalFile, &'static str, String)> {
    let token = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0";
    let mailgun = hex::encode(sha256(secret, &format!("{ts}{token}")));
    let own = BASE64_STANDARD.encode(sha256(secret, &format!("{ts}:n-1:L-7")));
    let inside = file(blocks("portals.md").iter().find(|b| b.contains("signs_inside")).unwrap());
    let json = "application/json";
    vec![
        (
            sender("mailgun"),
            "application/x-www-form-urlencoded",
            format!("subject=x&timestamp={ts}&token={token}&signature={mailgun}"),
        ),
        (
            sender("mailgun_events"),
            json,
            json!({"signature": {"timestamp": ts, "token": token, "signature": mailgun}})
                .to_string(),
        ),
        (
            inside,
            json,
            json!({"lead": {"id": "L-7", "mail": "ann@example.com"},
            "auth": {"time": ts.parse::<u64>().unwrap(), "nonce": "n-1", "sign": own}})
            .to_string(),
        ),
    ]
}

#[test]
fn what_is_signed_in_the_body_is_let_in() {
    let (secret, ts) = ("a-secret-of-the-sender", "1795359588");
    let now = "2026-11-22T15:00:00Z".parse().unwrap();
    for (file, kind, body) in signed_inside(secret, ts) {
        let scheme = file.settings.signature.clone().unwrap();
        let secrets = SigningSecrets::parse(&scheme, secret).unwrap();
        let headers: Headers = [("content-type", kind)].into_iter().collect();
        let judged = |body: &str| {
            let parts = file.settings.parts(&headers, body.as_bytes(), 1 << 20).unwrap();
            assert!(parts.is_some(), "{}", file.code);
            let request = SignedRequest::new(&headers, body.as_bytes()).with_parts(parts.as_ref());
            verify(&scheme, &secrets, &request, now)
        };
        assert!(judged(&body).is_ok(), "{}: {:?}", file.code, judged(&body));
        for (old, new) in
            [(ts, "1795359589"), ("a8ce0edb", "b8ce0edb"), ("n-1", "n-2"), ("L-7", "L-8")]
        {
            let other = body.replace(old, new);
            assert_eq!(judged(&other).is_ok(), other == body, "{}: {old}", file.code);
        }
    }
}

/// The whole file on the page about the door.
#[test]
fn the_file_that_signs_inside_works_as_it_is() {
    let text = blocks("portals.md").into_iter().find(|b| b.contains("signs_inside")).unwrap();
    assert_eq!(misfits(&value(&text)), [""; 0]);
    assert!(file(&text).check_samples().unwrap_or_else(|f| panic!("{f:#?}")) > 0);
}

/// Slack's own example: <https://api.slack.com/docs/verifying-requests-from-slack>.
#[test]
fn slacks_own_example_is_let_in() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F\
        T1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121\
        .803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let scheme = sender("slack").settings.signature.unwrap();
    let secrets = SigningSecrets::parse(&scheme, "8f742231b10e8888abcd99yyyzzz85a5").unwrap();
    let headers = [("X-Slack-Signature", signature), ("X-Slack-Request-Timestamp", "1531420618")];
    let headers: Headers = headers.into_iter().collect();
    let request = SignedRequest::new(&headers, body.as_bytes());
    let now = "2018-07-12T18:37:00Z".parse().unwrap();
    assert!(verify(&scheme, &secrets, &request, now).is_ok());
}

/// Xero sends ids only: its contact comes from where `enrich` says.
#[test]
fn what_xero_is_asked_completes_its_lead() {
    let settings = sender("xero").settings;
    let event = json!({"events": [{"resourceId": "c-1", "tenantId": "t/1",
        "eventCategory": "CONTACT", "eventType": "CREATE"}]});
    let now = "2026-11-22T15:00:00Z".parse().unwrap();
    let Judgement::Leads(mut judged) = settings.judge(&event, &Headers::default(), None, now)
    else {
        panic!("the event is ignored")
    };
    let judged = judged.remove(0);
    let url = judged.fetch.unwrap().url;
    assert_eq!(url, "https://xero-relay.example.com/t%2F1/Contacts/c-1");
    let phone = |kind: &str, number: &str| {
        json!({"PhoneType": kind, "PhoneNumber": number, "PhoneAreaCode": "20",
               "PhoneCountryCode": "44"})
    };
    let contact = json!({"Contacts": [{"Name": "Acme Ltd", "FirstName": "Ann", "LastName": "Lee",
        "EmailAddress": "ann@example.com", "Phones": [phone("FAX", ""), phone("DEFAULT", "7946 0018")]}]});
    let lead = settings.enrich(judged.lead.unwrap(), &contact).unwrap();
    assert_eq!(lead.external_id.as_deref(), Some("c-1"));
    assert_eq!(
        (lead.company.as_deref(), lead.first_name.as_deref()),
        (Some("Acme Ltd"), Some("Ann"))
    );
    assert_eq!(lead.phone.as_deref(), Some("+442079460018"));
}
