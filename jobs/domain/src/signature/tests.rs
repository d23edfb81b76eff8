//! Vectors of the schemes' own documentation, and everything that must be refused.
#![allow(clippy::unwrap_used)]

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};

/// <https://docs.svix.com/receiving/verifying-payloads/how-manual>, also the test vector of the
/// Standard Webhooks reference libraries; the signature was recomputed with Python's `hmac`.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

pub(super) fn scheme(written: Value) -> SignatureScheme {
    let scheme: SignatureScheme = serde_json::from_value(written).unwrap();
    assert_eq!(scheme.faults(""), []);
    scheme
}

fn standard() -> SignatureScheme {
    scheme(json!({"scheme": "standard_webhooks"}))
}

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn signed(id: &str, time: &str, signature: &str) -> Headers {
    [("Webhook-Id", id), ("Webhook-Timestamp", time), ("Webhook-Signature", signature)]
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .collect()
}

fn judge(headers: &Headers, body: &[u8], now: i64) -> Result<(), SignatureFault> {
    let secrets = SigningSecrets::parse(&standard(), SECRET).unwrap();
    verify(&standard(), &secrets, &SignedRequest::new(headers, body), at(now))
}

#[test]
fn the_documented_vector_is_accepted() {
    let headers = signed(ID, &TIME.to_string(), SIGNATURE);
    assert_eq!(judge(&headers, BODY, TIME), Ok(()));
}

#[test]
fn any_matching_signature_of_the_list_is_enough_and_unknown_versions_are_skipped() {
    let list = format!("v1,AAAA v1a,{} v2,x junk {SIGNATURE}", &SIGNATURE[3..]);
    assert_eq!(judge(&signed(ID, &TIME.to_string(), &list), BODY, TIME), Ok(()));
    // The right bytes under another version are not a v1 signature.
    let other = format!("v1a,{}", &SIGNATURE[3..]);
    let fault = judge(&signed(ID, &TIME.to_string(), &other), BODY, TIME).unwrap_err();
    assert_eq!(fault.code(), "signature_malformed");
}

#[test]
fn whatever_was_signed_must_not_change() {
    let time = TIME.to_string();
    let moved = (TIME + 1).to_string();
    for (id, time, body) in [
        ("msg_other", time.as_str(), BODY),
        (ID, moved.as_str(), BODY),
        (ID, time.as_str(), br#"{"test": 2432232315}"#.as_slice()),
        (ID, time.as_str(), b"".as_slice()),
    ] {
        assert_eq!(judge(&signed(id, time, SIGNATURE), body, TIME), Err(SignatureFault::Mismatch));
    }
}

#[test]
fn the_window_is_open_to_the_second_both_ways() {
    let headers = signed(ID, &TIME.to_string(), SIGNATURE);
    assert_eq!(judge(&headers, BODY, TIME + 300), Ok(()));
    assert_eq!(judge(&headers, BODY, TIME - 300), Ok(()));
    assert_eq!(
        judge(&headers, BODY, TIME + 301),
        Err(SignatureFault::TooOld { late_seconds: 301, tolerance_seconds: 300 })
    );
    assert_eq!(
        judge(&headers, BODY, TIME - 301),
        Err(SignatureFault::TooNew { early_seconds: 301, tolerance_seconds: 300 })
    );
}

#[test]
fn missing_and_misshapen_headers_are_named() {
    let time = TIME.to_string();
    let code =
        |id, time, signature| judge(&signed(id, time, signature), BODY, TIME).unwrap_err().code();
    assert_eq!(code("", &time, SIGNATURE), "signature_missing");
    assert_eq!(code(ID, "", SIGNATURE), "signature_missing");
    assert_eq!(code(ID, &time, ""), "signature_missing");
    assert_eq!(code(ID, "soon", SIGNATURE), "signature_bad_timestamp");
    assert_eq!(code(ID, "-1", SIGNATURE), "signature_bad_timestamp");
    assert_eq!(code(ID, "99999999999999999999", SIGNATURE), "signature_bad_timestamp");
    assert_eq!(code(ID, "9223372036854775807", SIGNATURE), "signature_too_new");
    assert_eq!(code(ID, &time, "v1,%%%"), "signature_malformed");
    let fault = judge(&signed("", &time, SIGNATURE), BODY, TIME).unwrap_err();
    assert!(fault.to_string().contains("`webhook-id`"), "{fault}");
}

#[test]
fn both_secrets_are_live_during_a_rotation_and_the_old_one_dies_after_it() {
    let new = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3";
    let old = SigningSecrets::parse(&standard(), SECRET).unwrap();
    let both = old.rotated(&standard(), new).unwrap();
    assert_eq!(both.text().lines().collect::<Vec<_>>(), [new, SECRET]);
    let headers = signed(ID, &TIME.to_string(), SIGNATURE);
    let request = SignedRequest::new(&headers, BODY);
    let stored = SigningSecrets::parse(&standard(), both.text()).unwrap();
    assert_eq!(verify(&standard(), &stored, &request, at(TIME)), Ok(()));
    let newest = both.rotated(&standard(), "bmV3ZXN0bmV3ZXN0bmV3ZXN0bmV3ZXN0bmV3ZXN0").unwrap();
    assert_eq!(verify(&standard(), &newest, &request, at(TIME)), Err(SignatureFault::Mismatch));
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
#[test]
fn hmac_over_the_body_accepts_githubs_documented_vector() {
    let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let base64 = STANDARD.encode(hex::decode(hex).unwrap());
    let judge = |encoding, value: &str, body: &[u8]| {
        let scheme = scheme(json!({"scheme": "hmac_sha256", "header": "X-Hub-Signature-256",
            "encoding": encoding, "prefix": "sha256="}));
        let secrets = SigningSecrets::parse(&scheme, "It's a Secret to Everybody").unwrap();
        let headers = [("x-hub-signature-256", value)].into_iter().collect();
        verify(&scheme, &secrets, &SignedRequest::new(&headers, body), at(0)).map_err(|f| f.code())
    };
    let body = b"Hello, World!";
    assert_eq!(judge(Encoding::Hex, &format!("sha256={hex}"), body), Ok(()));
    assert_eq!(judge(Encoding::Hex, &format!("sha256={}", hex.to_uppercase()), body), Ok(()));
    assert_eq!(judge(Encoding::Base64, &format!("sha256={base64}"), body), Ok(()));
    assert_eq!(judge(Encoding::Hex, &format!("sha256={hex}"), b"x"), Err("signature_mismatch"));
    assert_eq!(judge(Encoding::Hex, hex, body), Err("signature_malformed"));
    assert_eq!(judge(Encoding::Hex, "sha256=zz", body), Err("signature_malformed"));
    // A truncated signature is no signature.
    assert_eq!(judge(Encoding::Hex, "sha256=", body), Err("signature_mismatch"));
    assert_eq!(judge(Encoding::Hex, "sha256=7571", body), Err("signature_mismatch"));
}

#[test]
fn weak_secrets_are_refused_and_none_is_printed() {
    let hmac = scheme(json!({"scheme": "hmac_sha256", "header": "X-Sign"}));
    let fault = |scheme: &SignatureScheme, text: &str| {
        SigningSecrets::parse(scheme, text).map(|_| ()).unwrap_err()
    };
    assert_eq!(fault(&hmac, ""), SecretFault::Empty);
    assert_eq!(fault(&hmac, " \n "), SecretFault::Empty);
    assert_eq!(fault(&hmac, "letters"), SecretFault::TooShort { got: 7, least: 8 });
    assert!(SigningSecrets::parse(&hmac, "letter 8").is_ok());
    let file = "x".repeat(1025);
    assert_eq!(fault(&hmac, &file), SecretFault::TooLong { got: 1025, most: 1024 });
    assert_eq!(fault(&hmac, "a\nb\nc"), SecretFault::TooMany);
    assert_eq!(fault(&standard(), "whsec_"), SecretFault::Empty);
    assert_eq!(fault(&standard(), "whsec_c2hvcnQ="), SecretFault::TooShort { got: 5, least: 8 });
    assert_eq!(fault(&standard(), "whsec_not base64"), SecretFault::NotBase64);
    // One weak secret beside a strong one is as bad.
    assert!(SigningSecrets::parse(&standard(), &format!("{SECRET}\nwhsec_c2hvcnQ=")).is_err());
    let secrets = SigningSecrets::parse(&standard(), SECRET).unwrap();
    assert_eq!(format!("{secrets:?}"), "SigningSecrets(1 live)");
}

#[test]
fn schemes_are_written_with_their_name_and_nothing_unknown() {
    let read = |text: &str| serde_json::from_str::<SignatureScheme>(text);
    assert_eq!(read(r#"{"scheme":"standard_webhooks"}"#).unwrap(), standard());
    assert!(read(r#"{"scheme":"standard_webhooks","tolerance":1}"#).is_err());
    assert!(read(r#"{"scheme":"hmac_sha256"}"#).is_err());
    assert!(read(r#"{"scheme":"md5"}"#).is_err());
    assert!(read(r#"{"scheme":"github","prefix":"x"}"#).is_err());
    let written =
        json!({"scheme": "hmac_sha256", "header": "X-A", "encoding": "hex", "prefix": ""});
    assert_eq!(serde_json::to_value(scheme(written.clone())).unwrap(), written);
}

proptest! {
    #[test]
    fn no_header_makes_it_panic_or_pass(
        id in ".*", time in ".*", signature in ".*", now in -1_000_000_000_000_i64..1_000_000_000_000,
    ) {
        let headers = signed(&id, &time, &signature);
        prop_assert!(judge(&headers, BODY, now).is_err());
    }

    #[test]
    fn what_is_signed_verifies_and_one_changed_bit_does_not(
        body in prop::collection::vec(any::<u8>(), 1..200),
        key in prop::collection::vec(any::<u8>(), 8..=64),
        bit in any::<prop::sample::Index>(),
    ) {
        let message = [b"id.1000.".as_slice(), &body].concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(&message);
        let value = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let secrets = SigningSecrets::parse(&standard(), &STANDARD.encode(&key)).unwrap();
        let headers = signed("id", "1000", &value);
        let judge = |body: &[u8]| {
            verify(&standard(), &secrets, &SignedRequest::new(&headers, body), at(1000) + TimeDelta::seconds(5))
        };
        prop_assert_eq!(judge(&body), Ok(()));
        let mut changed = body.clone();
        let bit = bit.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(judge(&changed), Err(SignatureFault::Mismatch));
    }
}
