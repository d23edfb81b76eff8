//! Schemes that must be refused at configuration, what holds of every scheme, and the reference
//! library of Standard Webhooks as an oracle.
#![allow(clippy::unwrap_used)]

use super::tests::{at, scheme};
use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};

fn faults(change: Value) -> Vec<(String, String)> {
    let mut written = json!({"scheme": "hmac", "header": "X-Sign"});
    written.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let scheme: SignatureScheme = serde_json::from_value(written).unwrap();
    let faults = scheme.faults("/signature");
    // A scheme with faults lets nothing through and takes no secret.
    if !faults.is_empty() {
        let refused = SigningSecrets::parse(&scheme, "a secret of some length").map(|_| ());
        assert_eq!(refused, Err(SecretFault::BadScheme));
    }
    faults.into_iter().map(|f| (f.field, f.code)).collect()
}

#[test]
fn schemes_that_would_prove_nothing_are_refused() {
    for (change, at, code) in [
        (json!({"header": "X Sign"}), "/header", "invalid_header_name"),
        (json!({"query": "sig"}), "/header", "required"),
        (json!({"header": null}), "/header", "required"),
        (json!({"header": null, "query": ""}), "/header", "required"),
        (json!({"string_to_sign": "{query:}{body}"}), "/string_to_sign", "invalid_template"),
        (
            json!({"timestamp": {"in": "query", "name": ""}, "string_to_sign": "{ts}{body}"}),
            "/timestamp/name",
            "required",
        ),
        (
            json!({"timestamp": {"in": "query", "name": "t"}}),
            "/string_to_sign",
            "timestamp_not_signed",
        ),
        (json!({"prefix": "\n"}), "/prefix", "invalid_prefix"),
        (json!({"separator": ""}), "/separator", "invalid_separator"),
        (json!({"key": "v1="}), "/key", "invalid_key"),
        (json!({"tolerance_seconds": 0}), "/tolerance_seconds", "out_of_range"),
        (json!({"tolerance_seconds": 86_401}), "/tolerance_seconds", "out_of_range"),
        (json!({"string_to_sign": "{nobody}"}), "/string_to_sign", "invalid_template"),
        (json!({"string_to_sign": "{body"}), "/string_to_sign", "invalid_template"),
        (json!({"string_to_sign": "body}"}), "/string_to_sign", "invalid_template"),
        (json!({"string_to_sign": "{header:a b}{body}"}), "/string_to_sign", "invalid_template"),
        (json!({"string_to_sign": "{url}"}), "/string_to_sign", "body_not_signed"),
        (json!({"string_to_sign": "{ts}{body}"}), "/string_to_sign", "timestamp_unknown"),
        (json!({"string_to_sign": "{id}{body}"}), "/string_to_sign", "id_unknown"),
        (
            json!({"timestamp": {"in": "header", "name": "X-Time"}}),
            "/string_to_sign",
            "timestamp_not_signed",
        ),
        (
            json!({"timestamp": {"in": "header", "name": ""}, "string_to_sign": "{ts}{body}"}),
            "/timestamp/name",
            "invalid_header_name",
        ),
        (
            json!({"timestamp": {"in": "signature", "key": ""}, "string_to_sign": "{ts}{body}"}),
            "/timestamp/key",
            "invalid_key",
        ),
    ] {
        let wanted = (format!("/signature{at}"), code.to_owned());
        assert_eq!(faults(change.clone()), [wanted], "{change}");
    }
    assert_eq!(faults(json!({"string_to_sign": "{{{body}}}"})), []);
    let signed_by_name = json!({"timestamp": {"in": "query", "name": "t"},
        "string_to_sign": "{query:t}{body}"});
    assert_eq!(faults(signed_by_name), []);
}

/// What a handshake may sign for a stranger, and what is signed as a delivery, have nothing in common.
#[test]
fn a_single_word_proves_nothing_beside_challenges() {
    let secret = "a signing secret";
    for (string_to_sign, body, signed) in [
        ("{body}", "601234567", "601234567"),
        ("{sorted_params}", "phone=601234567", "phone601234567"),
        ("{header:X-Time}.{body}", "601234567", "1700000000.601234567"),
        ("word={body}", "", "word="),
    ] {
        let scheme = scheme(json!({"scheme": "hmac", "header": "X-Sign",
            "string_to_sign": string_to_sign}));
        let secrets = SigningSecrets::parse(&scheme, secret).unwrap();
        // As the answer to a question says it.
        let answer = hex::encode(secrets.prove(signed.as_bytes()).unwrap());
        let headers: Headers =
            [("X-Sign", answer.as_str()), ("X-Time", "1700000000")].into_iter().collect();
        let request = SignedRequest::new(&headers, body.as_bytes());
        assert_eq!(verify(&scheme, &secrets, &request, at(0)), Ok(()), "{signed}");
        let request = request.beside_challenges(true);
        let fault = verify(&scheme, &secrets, &request, at(0)).unwrap_err();
        assert_eq!(fault.code(), "signature_proves_nothing", "{signed}");
    }
    let vector = scheme(json!({"scheme": "github"}));
    let secrets = SigningSecrets::parse(&vector, secret).unwrap();
    let signature = hex::encode(secrets.prove(br#"{"a":1}"#).unwrap());
    let headers: Headers =
        [("X-Hub-Signature-256", format!("sha256={signature}"))].into_iter().collect();
    let request = SignedRequest::new(&headers, br#"{"a":1}"#).beside_challenges(true);
    assert_eq!(verify(&vector, &secrets, &request, at(0)), Ok(()));
}

#[test]
fn braces_are_written_double() {
    let scheme =
        scheme(json!({"scheme": "hmac", "header": "X-Sign", "string_to_sign": "{{{body}}}"}));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"a secret").unwrap();
    mac.update(b"{body}");
    let value = hex::encode(mac.finalize().into_bytes());
    let headers = [("x-sign", value)].into_iter().collect();
    let secrets = SigningSecrets::parse(&scheme, "a secret").unwrap();
    assert_eq!(verify(&scheme, &secrets, &SignedRequest::new(&headers, b"body"), at(0)), Ok(()));
}

#[test]
fn public_keys_that_are_none_or_weak_are_refused() {
    let ed25519 = scheme(json!({"scheme": "hmac", "algorithm": "ed25519", "header": "X-Sign"}));
    let sendgrid = scheme(json!({"scheme": "sendgrid"}));
    let fault = |scheme, text: &str| SigningSecrets::parse(scheme, text).map(|_| ()).unwrap_err();
    // The neutral element: every signature of a certain shape passes under it.
    let weak = BASE64_STANDARD.encode([&[1][..], &[0; 31]].concat());
    for text in ["not a key at all", &"00".repeat(31), weak.as_str()] {
        assert_eq!(fault(&ed25519, text), SecretFault::NotPublicKey, "{text}");
        assert_eq!(fault(&sendgrid, text), SecretFault::NotPublicKey, "{text}");
    }
    assert_eq!(fault(&sendgrid, "-----BEGIN PUBLIC KEY-----\n"), SecretFault::Empty);
}

/// Every scheme, with a secret and the headers that it looks at.
fn schemes() -> Vec<(SignatureScheme, SigningSecrets, Vec<&'static str>)> {
    let p256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let plain = "a secret of 24 bytes or so";
    let whsec =
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhpk_yu94pzwV66Z4I9wezOmc+zEzLZJnJGPGYuPrXQ0EcX4=";
    [
        (
            json!({"scheme": "standard_webhooks"}),
            whsec,
            vec!["webhook-signature", "webhook-timestamp", "webhook-id"],
        ),
        (json!({"scheme": "stripe"}), plain, vec!["stripe-signature"]),
        (json!({"scheme": "github"}), plain, vec!["x-hub-signature-256"]),
        (json!({"scheme": "shopify"}), plain, vec!["x-shopify-hmac-sha256"]),
        (json!({"scheme": "typeform"}), plain, vec!["typeform-signature"]),
        (
            json!({"scheme": "hubspot_v3"}),
            plain,
            vec!["x-hubspot-signature-v3", "x-hubspot-request-timestamp"],
        ),
        (json!({"scheme": "twilio"}), plain, vec!["x-twilio-signature"]),
        (
            json!({"scheme": "sendgrid"}),
            p256,
            vec![
                "x-twilio-email-event-webhook-signature",
                "x-twilio-email-event-webhook-timestamp",
            ],
        ),
    ]
    .into_iter()
    .map(|(written, secret, headers)| {
        let scheme = scheme(written);
        let secrets = SigningSecrets::parse(&scheme, secret).unwrap();
        (scheme, secrets, headers)
    })
    .collect()
}

/// Header values, some of them near what schemes look for.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "(t=[0-9]{1,12},)?v1=[0-9a-f]{64}",
        "(v1|v1a),[A-Za-z0-9+/]{43}=",
        "sha256=[0-9a-f]{64}",
        "[A-Za-z0-9+/]{27}=",
        "[0-9]{1,40}",
        "-?17[0-9]{8}(\\.[0-9]{1,9})?",
        // Many candidates, and characters that no header should have.
        "((v1|v1a),[A-Za-z0-9+/]{43}= ){1,60}",
        "(t=17[0-9]{8},){0,3}(v1=[0-9a-f]{64},){0,60}",
        "[\\x00\u{feff}\u{202e},=; ]{1,20}(v1,|sha256=)?",
    ]
}

/// Bodies, some of them forms with what no form should have: some schemes sign the fields.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "a",
        "=",
        "&",
        "%00",
        "%FF",
        "%",
        "+",
        "\0",
        "\u{feff}",
        "[",
        "]",
        "9007199254740993",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes()),
        (0_usize..3_000).prop_map(|n| "a=1&".repeat(n).into_bytes()),
        (0_usize..3_000).prop_map(|n| "[".repeat(n).into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_request_makes_any_scheme_panic_or_pass(
        which in 0_usize..8,
        values in prop::collection::vec(value(), 3),
        body in body(),
        url in prop_oneof![".*", "https://h/in\\?[a=&%0-9F]{0,40}", "/\\?(bodySHA256=[0-9a-f]{64}&?){0,3}"],
        now in -1_000_000_000_000_i64..1_000_000_000_000,
    ) {
        let (scheme, secrets, names) = schemes().swap_remove(which);
        let headers = names.into_iter().zip(values).collect();
        let request = SignedRequest::new(&headers, &body).sent_to("POST", &url);
        prop_assert!(verify(&scheme, &secrets, &request, at(now)).is_err());
    }

    #[test]
    fn any_flipped_bit_of_the_signature_fails(
        body in prop::collection::vec(any::<u8>(), 0..100),
        bit in 0_usize..256,
    ) {
        let scheme = scheme(json!({"scheme": "hmac", "header": "X-Sign", "encoding": "base64"}));
        let secrets = SigningSecrets::parse(&scheme, "a secret").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"a secret").unwrap();
        mac.update(&body);
        let mut tag = mac.finalize().into_bytes().to_vec();
        let judge = |tag: &[u8]| {
            let headers = [("X-Sign", BASE64_STANDARD.encode(tag))].into_iter().collect();
            verify(&scheme, &secrets, &SignedRequest::new(&headers, &body), at(0))
        };
        prop_assert_eq!(judge(&tag), Ok(()));
        tag[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(judge(&tag), Err(SignatureFault::Mismatch));
    }

    /// What the reference library signs, we accept; what we refuse, it refuses.
    #[test]
    fn the_reference_library_agrees(
        key in prop::collection::vec(any::<u8>(), 24..=64),
        id in "[a-zA-Z0-9_]{1,40}",
        body in "\\PC{0,200}",
        flip in any::<bool>(),
    ) {
        let secret = BASE64_STANDARD.encode(&key);
        let oracle = standardwebhooks::Webhook::new(&secret).unwrap();
        let signature = oracle.sign(&id, 1_700_000_000, body.as_bytes()).unwrap();
        let sent = if flip { format!("{body}!") } else { body };
        let headers: Headers = [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", "1700000000"),
            ("webhook-signature", signature.as_str()),
        ]
        .into_iter()
        .collect();
        let scheme = scheme(json!({"scheme": "standard_webhooks"}));
        let secrets = SigningSecrets::parse(&scheme, &secret).unwrap();
        let request = SignedRequest::new(&headers, sent.as_bytes());
        prop_assert_eq!(verify(&scheme, &secrets, &request, at(1_700_000_000)).is_ok(), !flip);
    }
}
