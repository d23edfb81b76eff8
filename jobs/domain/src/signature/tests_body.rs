//! Signatures that stand in the body, and strings to sign that are made of its members. The vectors are
//! made with OpenSSL, as the comments say, or are the senders' own.
#![allow(clippy::unwrap_used)]

use super::tests::{at, scheme};
use super::*;
use crate::body::{BodySettings, parts_of};
use proptest::prelude::*;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

struct Sent<'a> {
    scheme: Value,
    secret: &'a str,
    headers: &'a [(&'a str, &'a str)],
    url: &'a str,
    now: i64,
}

impl Sent<'_> {
    fn verdict(&self, content_type: &str, body: &[u8]) -> Result<(), &'static str> {
        let scheme = scheme(self.scheme.clone());
        let secrets = SigningSecrets::parse(&scheme, self.secret).unwrap();
        let kind = [("content-type", content_type)];
        let headers: Headers = self.headers.iter().copied().chain(kind).collect();
        let parts = parts_of(&BodySettings::default(), &headers, body, 1 << 20);
        let parts = parts.map_err(|fault| fault.code)?;
        let request = SignedRequest::new(&headers, body)
            .sent_to("POST", self.url)
            .with_parts(scheme.reads_parts().then_some(&parts));
        verify(&scheme, &secrets, &request, at(self.now)).map_err(|f| f.code())
    }
}

const MAILGUN_KEY: &str = "key-3ax6xnjp29jd6fds4gc373sgvjxteol0";
const TIME: i64 = 1_529_006_854;
const TOKEN: &str = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0";
/// `printf 1529006854a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0 |
/// openssl dgst -sha256 -hmac key-3ax6xnjp29jd6fds4gc373sgvjxteol0`
const MAILGUN: &str = "b63c0701c4f4b614f272106a1b367c5c3369bcdca664ae73ebd52787e45eef07";

fn mailgun(scheme: Value) -> Sent<'static> {
    Sent { scheme, secret: MAILGUN_KEY, headers: &[], url: "", now: TIME + 60 }
}

fn event(time: &str, token: &str, signature: &str) -> Vec<u8> {
    json!({"signature": {"timestamp": time, "token": token, "signature": signature},
           "event-data": {"id": "Ase7i2zsRYeDXztHGENqRA"}})
    .to_string()
    .into_bytes()
}

#[test]
fn mailgun_signs_in_the_body_be_it_json_or_a_form() {
    let by_name = json!({"scheme": "mailgun"});
    let by_hand = json!({"scheme": "hmac", "body": "signature.signature",
        "timestamp": {"in": "body", "path": "signature.timestamp"},
        "string_to_sign": "{ts}{body:signature.token}"});
    let pointers = json!({"scheme": "hmac", "body": "/signature/signature",
        "timestamp": {"in": "body", "name": "/signature/timestamp"},
        "string_to_sign": "{ts}{body:/signature/token}"});
    let time = TIME.to_string();
    for written in [by_name.clone(), by_hand, pointers] {
        let sent = mailgun(written);
        assert_eq!(sent.verdict(JSON, &event(&time, TOKEN, MAILGUN)), Ok(()));
        let upper = MAILGUN.to_uppercase();
        assert_eq!(sent.verdict(JSON, &event(&time, TOKEN, &upper)), Ok(()));
        let other = event(&time, "a8ce", MAILGUN);
        assert_eq!(sent.verdict(JSON, &other), Err("signature_mismatch"));
        let other = event("1529006855", TOKEN, MAILGUN);
        assert_eq!(sent.verdict(JSON, &other), Err("signature_mismatch"));
        let short = event(&time, TOKEN, &MAILGUN[..62]);
        assert_eq!(sent.verdict(JSON, &short), Err("signature_mismatch"));
        assert_eq!(sent.verdict(JSON, &event(&time, TOKEN, "zz")), Err("signature_malformed"));
        let late = Sent { now: TIME + 301, ..mailgun(sent.scheme.clone()) };
        let replayed = late.verdict(JSON, &event(&time, TOKEN, MAILGUN));
        assert_eq!(replayed, Err("signature_too_old"));
        for missing in ["", " "] {
            assert!(sent.verdict(JSON, &event(missing, TOKEN, MAILGUN)).is_err());
            assert!(sent.verdict(JSON, &event(&time, missing, MAILGUN)).is_err());
            assert!(sent.verdict(JSON, &event(&time, TOKEN, missing)).is_err());
        }
        assert_eq!(sent.verdict(JSON, b"{}"), Err("signature_missing"));
        assert_eq!(sent.verdict(JSON, b"[1]"), Err("signature_missing"));
        assert_eq!(sent.verdict(JSON, b"{\"signature\":"), Err("invalid_json"));
        assert_eq!(sent.verdict(JSON, b"{\"a\":1,\"a\":2}"), Err("duplicate_key"));
        assert_eq!(sent.verdict("text/csv", b"a\n1"), Err("unsupported_media_type"));
    }
    let sent = mailgun(by_name);
    let form = format!("timestamp={time}&token={TOKEN}&signature={MAILGUN}&subject=x");
    assert_eq!(sent.verdict(FORM, form.as_bytes()), Ok(()));
    let twice = format!("{form}&token={TOKEN}");
    assert_eq!(sent.verdict(FORM, twice.as_bytes()), Err("signature_missing"));
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = part("timestamp", &time) + &part("token", TOKEN);
    let whole = format!("{multipart}{}--b--\r\n", part("signature", MAILGUN));
    let kind = "multipart/form-data; boundary=b";
    assert_eq!(sent.verdict(kind, whole.as_bytes()), Ok(()));
    let wrong = format!("{multipart}{}--b--\r\n", part("signature", &"0".repeat(64)));
    assert_eq!(sent.verdict(kind, wrong.as_bytes()), Err("signature_mismatch"));
}

/// <https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures>: the page's own example.
/// What is absent counts as empty, and there is no time stamp.
#[test]
fn members_that_may_be_absent_count_as_empty() {
    let item = "notificationItems[0].NotificationRequestItem";
    let names = [
        "pspReference",
        "originalReference?",
        "merchantAccountCode",
        "merchantReference",
        "amount.value",
        "amount.currency",
        "eventCode",
        "success",
    ];
    let places = names.map(|name| format!("{{body:{item}.{name}}}"));
    let sent = Sent {
        scheme: json!({"scheme": "hmac", "body": format!("{item}.additionalData.hmacSignature"),
            "encoding": "base64", "secret": {"encoding": "hex"},
            "string_to_sign": places.join(":")}),
        secret: "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        headers: &[],
        url: "",
        now: 0,
    };
    let body = |value: u32, original: Value| {
        json!({"live": "false", "notificationItems": [{"NotificationRequestItem": {
            "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
            "amount": {"value": value, "currency": "EUR"}, "pspReference": "7914073381342284",
            "originalReference": original, "eventCode": "AUTHORISATION",
            "merchantAccountCode": "TestMerchant", "success": "true",
            "merchantReference": "TestPayment-1407325143704"}}]})
        .to_string()
    };
    assert_eq!(sent.verdict(JSON, body(1130, Value::Null).as_bytes()), Ok(()));
    let more = sent.verdict(JSON, body(1131, Value::Null).as_bytes());
    assert_eq!(more, Err("signature_mismatch"));
    let other = sent.verdict(JSON, body(1130, json!("x")).as_bytes());
    assert_eq!(other, Err("signature_mismatch"));
    let without = body(1130, Value::Null).replace("eventCode", "code");
    assert_eq!(sent.verdict(JSON, without.as_bytes()), Err("signature_missing"));
}

/// `printf 'amount=1 250,50&email=ann+x@example.com&name=Żółw' | openssl dgst -sha1 -hmac a-shared-secret`
#[test]
fn a_forms_sorted_fields_are_signed_without_the_signature_itself() {
    let sent = Sent {
        scheme: json!({"scheme": "hmac", "body": "hash", "algorithm": "sha1",
            "string_to_sign": "{sorted_pairs}"}),
        secret: "a-shared-secret",
        headers: &[],
        url: "",
        now: 0,
    };
    let hash = "4de47412a48c4d29b4ac2a95facc837fa10063d8";
    let form = format!(
        "name=%C5%BB%C3%B3%C5%82w&hash={hash}&email=ann%2Bx%40example.com&amount=1+250%2C50"
    );
    assert_eq!(sent.verdict(FORM, form.as_bytes()), Ok(()));
    for changed in [form.replace("ann", "bob"), format!("{form}&more=1"), form.replace("name", "n")]
    {
        assert_eq!(sent.verdict(FORM, changed.as_bytes()), Err("signature_mismatch"), "{changed}");
    }
}

/// `printf '{"id": 7, "price": 1.10}' | openssl dgst -sha512 -hmac a-shared-secret`
#[test]
fn an_object_in_the_body_is_signed_as_it_is_written() {
    let tag = "5a079925d0ee04f4bc88049b7fbe4a3bbcfecbc7a1dba2f48b07a4f0fc6101b0476986c149a4f401727d8cf5\
        d8a7e23a1c640906bbd06711134877215240bce2";
    let sent = Sent {
        scheme: json!({"scheme": "hmac", "body": "sig", "prefix": "v1=", "algorithm": "sha512",
            "string_to_sign": "{body:payload}",
            "timestamp": {"in": "header", "name": "X-Time"}}),
        secret: "a-shared-secret",
        headers: &[("X-Time", "1000")],
        url: "",
        now: 1000,
    };
    let fault = serde_json::from_value::<SignatureScheme>(sent.scheme.clone()).unwrap();
    assert_eq!(fault.faults("")[0].code, "timestamp_not_signed");
    let mut scheme = sent.scheme.clone();
    scheme.as_object_mut().unwrap().remove("timestamp");
    let sent = Sent { scheme, ..sent };
    let body = |payload: &str| format!(r#"{{"sig": "v1={tag}", "payload" : {payload} }}"#);
    assert_eq!(sent.verdict(JSON, body(r#"{"id": 7, "price": 1.10}"#).as_bytes()), Ok(()));
    let text = json!({"sig": format!("v1={tag}"), "payload": r#"{"id": 7, "price": 1.10}"#});
    assert_eq!(sent.verdict(JSON, text.to_string().as_bytes()), Ok(()), "a text of JSON");
    for other in [r#"{"id":7,"price":1.10}"#, r#"{"id": 7, "price": 1.1}"#] {
        let verdict = sent.verdict(JSON, body(other).as_bytes());
        assert_eq!(verdict, Err("signature_mismatch"), "{other}");
    }
}

/// `printf 'POST\nhooks.example.com\n/in/x\na=1&b=%%20\n015abd7f...f862' |
/// openssl dgst -sha256 -hmac a-shared-secret`, the digest by `printf '{"a":1}' | sha256sum`.
#[test]
fn a_canonical_request_is_signed_by_its_pieces() {
    let sent = Sent {
        scheme: json!({"scheme": "hmac", "header": "X-Sig",
            "string_to_sign": "{method}\n{host}\n{path}\n{query}\n{body_sha256}"}),
        secret: "a-shared-secret",
        headers: &[("X-Sig", "5ca7d4c28202a65afdd2b43e17a0f97bfd73c4235316ca4a1ef2d940a22bcf5f")],
        url: "https://hooks.example.com/in/x?a=1&b=%20",
        now: 0,
    };
    assert_eq!(sent.verdict(JSON, br#"{"a":1}"#), Ok(()));
    assert_eq!(sent.verdict(JSON, br#"{"a":2}"#), Err("signature_mismatch"));
    let elsewhere = Sent { url: "https://hooks.example.com/in/x?a=2", ..sent };
    assert_eq!(elsewhere.verdict(JSON, br#"{"a":1}"#), Err("signature_mismatch"));
}

/// `printf '2026-11-22T15:00:00Z|lead-1' | openssl dgst -sha256 -hmac a-shared-secret`
#[test]
fn a_header_may_sign_members_and_a_time_of_the_body() {
    let sent = Sent {
        scheme: json!({"scheme": "hmac", "header": "X-Sig", "string_to_sign": "{ts}|{body:lead.id}",
            "timestamp": {"in": "body", "path": "sent_at", "unit": "rfc3339"}}),
        secret: "a-shared-secret",
        headers: &[("X-Sig", "8a0267914031d7b44fc6fab8d06df7883f2b2fee5598e42ffcf88c5101c238bd")],
        url: "",
        now: 1_795_359_600,
    };
    let body = |id: &str| format!(r#"{{"sent_at":"2026-11-22T15:00:00Z","lead":{{"id":"{id}"}}}}"#);
    assert_eq!(sent.verdict(JSON, body("lead-1").as_bytes()), Ok(()));
    assert_eq!(sent.verdict(JSON, body("lead-2").as_bytes()), Err("signature_mismatch"));
    let early = Sent { now: 1_795_359_600 - 301, ..sent };
    assert_eq!(early.verdict(JSON, body("lead-1").as_bytes()), Err("signature_too_new"));
}

#[test]
fn what_cannot_prove_anything_is_refused_when_it_is_written() {
    let code = |written: Value| {
        let scheme: SignatureScheme = serde_json::from_value(written).unwrap();
        scheme.faults("").first().map(|fault| (fault.field.clone(), fault.code.clone()))
    };
    let is = |written: Value, at: &str, wanted: &str| {
        assert_eq!(code(written.clone()), Some((at.into(), wanted.into())), "{written}");
    };
    is(json!({"scheme": "hmac", "body": "s"}), "/string_to_sign", "signs_itself");
    is(json!({"scheme": "hmac", "body": "s", "header": "X-S"}), "/header", "required");
    is(
        json!({"scheme": "hmac", "body": "a[*]", "string_to_sign": "{body:b}"}),
        "/body",
        "invalid_path",
    );
    is(
        json!({"scheme": "hmac", "body": "s", "string_to_sign": "{body:b[*]}"}),
        "/string_to_sign",
        "invalid_template",
    );
    let many = "{body:a}".repeat(17);
    is(
        json!({"scheme": "hmac", "body": "s", "string_to_sign": many}),
        "/string_to_sign",
        "invalid_template",
    );
    is(
        json!({"scheme": "hmac", "body": "s", "string_to_sign": "{body:b}",
            "timestamp": {"in": "body", "path": "t"}}),
        "/string_to_sign",
        "timestamp_not_signed",
    );
    // A time stamp that may be left out is no proof of when.
    is(
        json!({"scheme": "hmac", "body": "s", "string_to_sign": "{body:t?}{body:b}",
            "timestamp": {"in": "body", "path": "t"}}),
        "/string_to_sign",
        "timestamp_not_signed",
    );
    let signed = json!({"scheme": "hmac", "body": "s", "string_to_sign": "{body:t}{body:b}",
        "timestamp": {"in": "body", "path": "t"}});
    assert_eq!(code(signed), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is sent, nothing breaks, and nothing passes that was not signed with the secret.
    #[test]
    fn no_body_makes_it_panic_or_pass(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\",:0-9a-z\\\\ ]{0,80}".prop_map(String::into_bytes),
            "(signature=[0-9a-f]{64}&?|token=[a-z%]{0,8}&?|timestamp=[0-9]{1,20}&?){0,5}"
                .prop_map(String::into_bytes),
            ("[0-9]{0,12}", ".{0,20}", "[0-9a-f]{64}").prop_map(|(t, k, s)| event(&t, &k, &s)),
        ],
        kind in prop::sample::select(vec![JSON, FORM, "text/xml", "multipart/form-data; boundary=b"]),
        cut in any::<prop::sample::Index>(),
    ) {
        let sent = mailgun(json!({"scheme": "mailgun"}));
        prop_assert!(sent.verdict(kind, &body).is_err());
        let cut = cut.index(body.len() + 1);
        prop_assert!(sent.verdict(kind, &body[..cut]).is_err());
    }

    /// Of what is signed no bit may change.
    #[test]
    fn no_flipped_bit_of_what_is_signed_is_let_in(bit in any::<prop::sample::Index>()) {
        let sent = mailgun(json!({"scheme": "mailgun"}));
        let signed = format!("timestamp={TIME}&token={TOKEN}&signature={MAILGUN}");
        let mut body = signed.clone().into_bytes();
        let bit = bit.index(body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
        // Hexadecimal digits have two cases.
        let same = String::from_utf8(body.clone()).is_ok_and(|b| b.eq_ignore_ascii_case(&signed));
        let in_signature = bit / 8 >= signed.len() - MAILGUN.len();
        prop_assert_eq!(sent.verdict(FORM, &body).is_ok(), same && in_signature);
    }
}
