//! One vector for each scheme: the provider's own where one is published, else made with Python's `hmac`
//! or with OpenSSL 3.0 (`openssl pkeyutl -sign -rawin`), never with the code under test. Every
//! vector is also sent with one thing changed.
#![allow(clippy::unwrap_used)]

use super::tests::{at, scheme};
use super::*;
use serde_json::{Value, json};

/// A signed request and everything around it.
struct Vector {
    scheme: Value,
    secret: &'static str,
    headers: &'static [(&'static str, &'static str)],
    method: &'static str,
    url: &'static str,
    body: &'static [u8],
    now: i64,
}

const BASE: Vector = Vector {
    scheme: Value::Null,
    secret: "",
    headers: &[],
    method: "POST",
    url: "https://hooks.example.com/api/webhooks/x",
    body: b"",
    now: 0,
};

fn verdict(
    v: &Vector,
    headers: &[(&str, &str)],
    url: &str,
    body: &[u8],
) -> Result<(), &'static str> {
    let scheme = scheme(v.scheme.clone());
    let secrets = SigningSecrets::parse(&scheme, v.secret).unwrap();
    let headers = headers.iter().copied().collect();
    let request = SignedRequest::new(&headers, body).sent_to(v.method, url);
    verify(&scheme, &secrets, &request, at(v.now)).map_err(|f| f.code())
}

/// The vector passes; without its signature, or with another body, it does not.
fn holds(v: &Vector) {
    let signature = scheme(v.scheme.clone()).headers()[0].to_owned();
    assert_eq!(verdict(v, v.headers, v.url, v.body), Ok(()), "{}", v.scheme);
    let unsigned: Vec<_> =
        v.headers.iter().copied().filter(|(n, _)| !n.eq_ignore_ascii_case(&signature)).collect();
    assert_eq!(verdict(v, &unsigned, v.url, v.body), Err("signature_missing"), "{}", v.scheme);
    let mut other = v.body.to_vec();
    other.push(b'x');
    assert_eq!(verdict(v, v.headers, v.url, &other), Err("signature_mismatch"), "{}", v.scheme);
    for (n, (name, value)) in v.headers.iter().enumerate() {
        // The last character that is not padding; where it stands for few bits, the change may make
        // it unreadable instead of wrong.
        let mut changed = v.headers.to_vec();
        let at = value.trim_end_matches('=').len() - 1;
        let new = if &value[at..=at] == "0" { "1" } else { "0" };
        let text = format!("{}{new}{}", &value[..at], &value[at + 1..]);
        changed[n].1 = Box::leak(text.into_boxed_str());
        assert!(verdict(v, &changed, v.url, v.body).is_err(), "{} {name}", v.scheme);
    }
}

#[test]
fn github_and_meta() {
    // <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
    for name in ["github", "meta"] {
        holds(&Vector {
            scheme: json!({ "scheme": name }),
            secret: "It's a Secret to Everybody",
            headers: &[(
                "X-Hub-Signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            body: b"Hello, World!",
            ..BASE
        });
    }
}

const STRIPE: &str = "88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a";

fn stripe() -> Vector {
    Vector {
        scheme: json!({"scheme": "stripe"}),
        secret: "whsec_test_secret",
        headers: &[(
            "Stripe-Signature",
            "t=1492774577,v1=88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a",
        )],
        body: br#"{"id":"evt_test_webhook","object":"event"}"#,
        now: 1_492_774_577,
        ..BASE
    }
}

#[test]
fn stripe_with_other_versions_and_several_candidates() {
    let v = stripe();
    holds(&v);
    let with = |value: String| verdict(&v, &[("Stripe-Signature", &value)], v.url, v.body);
    let list = format!("t=1492774577,v1={},v1={STRIPE},v0=6ffbb59b", "0".repeat(64));
    assert_eq!(with(list), Ok(()));
    assert_eq!(with(format!("v1={STRIPE}, t=1492774577")), Ok(()));
    assert_eq!(with(format!("t=1492774577,v0={STRIPE}")), Err("signature_malformed"));
    assert_eq!(with(format!("v1={STRIPE}")), Err("signature_malformed"));
    assert_eq!(with(format!("t=1492774578,v1={STRIPE}")), Err("signature_mismatch"));
    let late = Vector { now: 1_492_774_577 + 301, ..stripe() };
    assert_eq!(verdict(&late, v.headers, v.url, v.body), Err("signature_too_old"));
    // Many candidates do not buy endless work: the seventeenth is not looked at.
    let many = format!("t=1492774577{},v1={STRIPE}", format!(",v1={}", "0".repeat(64)).repeat(16));
    assert_eq!(with(many), Err("signature_mismatch"));
}

#[test]
fn linkedin() {
    // By Python's `hmac`; the word before the body is signed and not sent.
    let v = Vector {
        scheme: json!({"scheme": "linkedin"}),
        secret: "li-client-secret",
        headers: &[(
            "X-LI-Signature",
            "0f8398c8c55189b681a1806624381d3dd7f6945aadf11675a1f9114c9e30823a",
        )],
        body: br#"{"type":"LEAD_ACTION","leadGenFormResponse":"urn:li:leadGenFormResponse:a9a29e52-c0a3-42e3-8af1-2fc83b697003-4"}"#,
        ..BASE
    };
    holds(&v);
}

#[test]
fn shopify() {
    // The vector of SQLPage's documentation of `sqlpage.hmac` for Shopify; recomputed.
    holds(&Vector {
        scheme: json!({"scheme": "shopify"}),
        secret: "test-webhook-secret",
        headers: &[("X-Shopify-Hmac-Sha256", "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=")],
        body: br#"{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}"#,
        ..BASE
    });
}

#[test]
fn typeform() {
    holds(&Vector {
        scheme: json!({"scheme": "typeform"}),
        secret: "typeform-secret-1",
        headers: &[("Typeform-Signature", "sha256=lAnM3qtbfsF8/n91gm3Vx8nSPfYop/t8kNFF3i2OIJ4=")],
        body: br#"{"event_id":"01H","event_type":"form_response"}"#,
        ..BASE
    });
}

#[test]
fn hubspot_signs_method_address_and_milliseconds() {
    let v = Vector {
        scheme: json!({"scheme": "hubspot_v3"}),
        secret: "test-secret-hubspot",
        headers: &[
            ("X-HubSpot-Signature-v3", "STu/rOOKFcGJzzyMM1sdGN8IyMK17CmQWOxBgu6Hcjw="),
            ("X-HubSpot-Request-Timestamp", "1700000000123"),
        ],
        // HubSpot undoes %3A before it signs, and leaves %20 alone.
        url: "https://hooks.example.com/api/webhooks/hs?q=a%3Ab%20c",
        body: br#"[{"objectId":1}]"#,
        now: 1_700_000_000,
        ..BASE
    };
    holds(&v);
    let elsewhere = "https://hooks.example.org/api/webhooks/hs?q=a%3Ab%20c";
    assert_eq!(verdict(&v, v.headers, elsewhere, v.body), Err("signature_mismatch"));
    let put = Vector { method: "PUT", scheme: v.scheme.clone(), ..v };
    assert_eq!(verdict(&put, put.headers, put.url, put.body), Err("signature_mismatch"));
    let late = Vector { now: 1_700_000_301, method: "POST", ..put };
    assert_eq!(verdict(&late, late.headers, late.url, late.body), Err("signature_too_old"));
}

/// <https://www.twilio.com/docs/usage/security#validating-requests> and the tests of its libraries,
/// whose secret is too short for a portal.
#[test]
fn twilio_signs_the_address_and_the_sorted_fields() {
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const FORM: &[u8] = b"CallSid=CA1234567890ABCDE&From=%2B12349013030&To=%2B18005551212&\
                          Caller=%2B12349013030&Digits=1234";
    const JSON: &[u8] = br#"{"property": "value", "boolean": true}"#;
    const DIGEST: &str = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let scheme = scheme(json!({"scheme": "twilio"}));
    assert!(SigningSecrets::parse(&scheme, "12345").is_err());
    let secrets = SigningSecrets::unchecked(b"12345");
    let judge = |url: &str, signature: &str, body: &[u8]| {
        let headers = [("X-Twilio-Signature", signature)].into_iter().collect();
        let request = SignedRequest::new(&headers, body).sent_to("POST", url);
        verify(&scheme, &secrets, &request, at(0)).map_err(|f| f.code())
    };
    let form = "0/KCTR6DLpKmkAf8muzZqo1nDgQ=";
    assert_eq!(judge(URL, form, FORM), Ok(()));
    // The order in which fields come does not count, and one that is repeated counts once.
    let reordered = [b"Digits=1234&Digits=1234&", &FORM[..FORM.len() - 12]].concat();
    assert_eq!(judge(URL, form, &reordered), Ok(()));
    let changed = [FORM, b"5"].concat();
    assert_eq!(judge(URL, form, &changed), Err("signature_mismatch"));
    assert_eq!(judge(&URL[..URL.len() - 1], form, FORM), Err("signature_mismatch"));

    let (json, url) = ("a9nBmqA0ju/hNViExpshrM61xv4=", format!("{URL}&bodySHA256={DIGEST}"));
    assert_eq!(judge(&url, json, JSON), Ok(()));
    assert_eq!(judge(&url, json, b"{}"), Err("signature_mismatch"));
    // Without the digest the address alone would be signed: the body then counts as a form.
    assert_eq!(judge(URL, json, JSON), Err("signature_mismatch"));
}

/// <https://github.com/sendgrid/sendgrid-python/blob/main/test/unit/test_eventwebhook.py>
#[test]
fn sendgrid_signs_with_ecdsa() {
    let v = Vector {
        scheme: json!({"scheme": "sendgrid"}),
        secret: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
        headers: &[
            (
                "X-Twilio-Email-Event-Webhook-Signature",
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
            ),
            ("X-Twilio-Email-Event-Webhook-Timestamp", "1600112502"),
        ],
        body: b"[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n",
        now: 1_600_112_502,
        ..BASE
    };
    holds(&v);
    // The tests of its Ruby library: another key, another signature of the same payload.
    let other = Vector {
        secret: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA==",
        scheme: v.scheme.clone(),
        ..v
    };
    assert_eq!(verdict(&other, v.headers, v.url, v.body), Err("signature_mismatch"));
}

/// Made with OpenSSL, as are the next ones.
const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAyu94pzwV66Z4I9wezOmc+zEzLZJnJGPGYuPrXQ0EcX4=\n-----END PUBLIC KEY-----\n";

#[test]
fn standard_webhooks_with_a_public_key() {
    const V1A: &str = "v1a,DyMSetPoNahTaU2IihaHshUueCOR/diMDhtVg3ZY8mFp7QbN90wTNW6S1t5dQ4V2TN5KhaCRtSdAyNKv7Pe4AA==";
    let v = Vector {
        scheme: json!({"scheme": "standard_webhooks"}),
        secret: "whpk_yu94pzwV66Z4I9wezOmc+zEzLZJnJGPGYuPrXQ0EcX4=",
        headers: &[
            ("webhook-signature", V1A),
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
        ],
        body: br#"{"test": 2432232314}"#,
        now: 1_614_265_330,
        ..BASE
    };
    holds(&v);
    // Old shared secret and new public key at once; each has its own version in the list.
    let both = Vector {
        secret: "whpk_yu94pzwV66Z4I9wezOmc+zEzLZJnJGPGYuPrXQ0EcX4=\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        scheme: v.scheme.clone(),
        ..v
    };
    assert_eq!(verdict(&both, v.headers, v.url, v.body), Ok(()));
    let mut symmetric = v.headers.to_vec();
    symmetric[0].1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(verdict(&both, &symmetric, v.url, v.body), Ok(()));
    // The right bytes under the other version are worth nothing.
    symmetric[0].1 = "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(verdict(&both, &symmetric, v.url, v.body), Err("signature_mismatch"));
}

#[test]
fn ed25519_in_hexadecimal_with_its_key_in_three_spellings() {
    for secret in [
        "caef78a73c15eba67823dc1ecce99cfb31332d92672463c662e3eb5d0d04717e",
        "yu94pzwV66Z4I9wezOmc+zEzLZJnJGPGYuPrXQ0EcX4=",
        ED25519_PEM,
    ] {
        holds(&Vector {
            scheme: json!({"scheme": "hmac", "algorithm": "ed25519",
                "header": "X-Signature-Ed25519", "string_to_sign": "{ts}{body}",
                "timestamp": {"in": "header", "name": "X-Signature-Timestamp"}}),
            secret,
            headers: &[
                (
                    "X-Signature-Ed25519",
                    "d237b9a58ac8a4ab307d013c47018fa9b0c7c84b90f31086529d36d7d5df5ac29d2f049c2a985b6bfb1d06872555edd73dcaf48d4d91a833f3c2bc2b83f1890c",
                ),
                ("X-Signature-Timestamp", "1700000000"),
            ],
            body: br#"{"type":1}"#,
            now: 1_700_000_000,
            ..BASE
        });
    }
}

#[test]
fn a_signature_in_the_address() {
    // By Python's `hmac`, over `1700000000.form 10.{"email":"a@b.co"}`.
    const SIGNED: &str = "oLxn_-YTyl7nbmChoEeqxhN7lVlucPEq2lM_8MvPHDc";
    let v = Vector {
        scheme: json!({"scheme": "hmac", "query": "sig", "encoding": "base64url",
            "timestamp": {"in": "query", "name": "t"},
            "string_to_sign": "{ts}.{query:form name}.{body}"}),
        secret: "a signing secret",
        body: br#"{"email":"a@b.co"}"#,
        now: 1_700_000_000,
        ..BASE
    };
    let asked = |query: &str, body: &[u8]| verdict(&v, &[], &format!("{}?{query}", v.url), body);
    let right = format!("t=1700000000&form%20name=form+10&sig={SIGNED}");
    assert_eq!(asked(&right, v.body), Ok(()));
    assert_eq!(asked(&format!("{right}="), v.body), Ok(()), "padded");
    assert_eq!(asked(&right, b"{}"), Err("signature_mismatch"));
    for (query, code) in [
        (right.replace("+10", "+11"), "signature_mismatch"),
        (right.replace("1700000000", "1700000001"), "signature_mismatch"),
        (right.replace("1700000000", "1699990000"), "signature_too_old"),
        (right.replace("1700000000", "now"), "signature_bad_timestamp"),
        (right.replace("&sig=", "&gis="), "signature_missing"),
        (right.replace(SIGNED, ""), "signature_missing"),
        (right.replace("form%20name", "name"), "signature_missing"),
        (right.replace("t=1", "x=1"), "signature_missing"),
        (right.replace('_', "/"), "signature_malformed"),
    ] {
        assert_eq!(asked(&query, v.body), Err(code), "{query}");
    }
    assert!(scheme(v.scheme.clone()).headers().is_empty());
}

#[test]
fn a_scheme_of_ones_own_with_every_kind_of_place() {
    let v = Vector {
        scheme: json!({"scheme": "custom", "header": "X-Sign", "prefix": "sha512:",
            "separator": ";", "algorithm": "sha512", "id_header": "X-Request",
            "string_to_sign": "{method} {path}\n{id}\n{header:Date-Sent}\n{body}",
            "timestamp": {"in": "header", "name": "date-sent", "unit": "rfc3339"},
            "secret": {"encoding": "hex", "prefix": "hex:"}}),
        secret: "hex:00112233445566778899aabbccddeeff",
        headers: &[
            (
                "X-Sign",
                "junk; sha512:30cca2391f4bb4d645d014f8c1c126685103dd59a5c0e54877d777d8a00f2b97446d3108fad577e4e46f2cc890d9da928f3b637254be62dba07c656a3a606342",
            ),
            ("X-Request", "req-7"),
            ("Date-Sent", "2026-01-31T12:00:00Z"),
        ],
        method: "PUT",
        url: "https://hooks.example.com/api/webhooks/x?page=2",
        body: br#"{"a":1}"#,
        now: 1_769_860_800,
    };
    holds(&v);
    let elsewhere = "https://hooks.example.com/api/webhooks/y?page=2";
    assert_eq!(verdict(&v, v.headers, elsewhere, v.body), Err("signature_mismatch"));
}

#[test]
fn we_can_prove_that_we_know_the_secret() {
    let scheme = scheme(json!({"scheme": "github"}));
    let secrets = SigningSecrets::parse(&scheme, "a signing secret\nthe former secret").unwrap();
    let proof = hex::encode(secrets.prove(b"challenge-1").unwrap());
    assert_eq!(proof, "5535e0b2fd82d5bd6ea43579c57cf08e4ad82fb781db4b17d2487ce046e88627");
}
