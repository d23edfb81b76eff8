//! Who counts as the same person, and what a merge may touch.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn rule(more: serde_json::Value) -> DuplicateRule {
    let mut all = json!({ "policy": "reject" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn lead(email: Option<&str>, phone: Option<&str>, interest: &str) -> StandardLead {
    StandardLead {
        email: email.map(str::to_owned),
        phone: phone.map(str::to_owned),
        interest: Some(interest.to_owned()),
        ..StandardLead::default()
    }
}

/// Whether two leads share a person.
fn same(rule: &DuplicateRule, a: (PortalId, &StandardLead), b: (PortalId, &StandardLead)) -> bool {
    let other = rule.keys(b.0, b.1);
    rule.keys(a.0, a.1).iter().any(|k| other.contains(k))
}

#[test]
fn a_person_is_known_by_address_or_number_within_a_portal() {
    let (here, there) = (PortalId::new(), PortalId::new());
    let ada = lead(Some("ada@example.com"), Some("+48512345678"), "flat");
    let by_phone = lead(None, Some("+48512345678"), "house");
    let other = lead(Some("ada@example.org"), Some("+48512345679"), "flat");
    let all = rule(json!({}));
    assert!(same(&all, (here, &ada), (here, &by_phone)));
    assert!(!same(&all, (here, &ada), (here, &other)));
    assert!(!same(&all, (here, &ada), (there, &ada)));
    assert!(!same(&rule(json!({"by": ["email"]})), (here, &ada), (here, &by_phone)));
    assert!(same(&rule(json!({"per": "platform"})), (here, &ada), (there, &ada)));
}

#[test]
fn a_product_is_compared_without_case_and_blanks() {
    let (here, rule) = (PortalId::new(), rule(json!({"product": true})));
    let flat = lead(Some("a@b.co"), None, "Two-room  FLAT ");
    assert!(same(&rule, (here, &flat), (here, &lead(Some("a@b.co"), None, "two-room flat"))));
    assert!(!same(&rule, (here, &flat), (here, &lead(Some("a@b.co"), None, "house"))));
}

#[test]
fn a_test_lead_is_nobody() {
    let test = StandardLead { is_test: true, ..lead(Some("a@b.co"), None, "x") };
    assert!(rule(json!({})).keys(PortalId::new(), &test).is_empty());
}

#[test]
fn windows_are_written_for_people() {
    for (text, seconds) in [("12h", 12 * 3600), ("30d", 30 * DAY), ("2w", 14 * DAY)] {
        let rule = rule(json!({ "window": text }));
        assert_eq!(rule.window.as_secs(), seconds);
        let again: DuplicateRule =
            serde_json::from_value(serde_json::to_value(&rule).unwrap()).unwrap();
        assert_eq!(again, rule);
    }
    for bad in ["", "d", "0d", "30", "30m", "-1d", "367d", "99999999999999999999d", "3ö"] {
        let read: Result<DuplicateRule, _> =
            serde_json::from_value(json!({"window": bad, "policy": "link"}));
        assert!(read.is_err(), "{bad}");
    }
    assert!(serde_json::from_value::<DuplicateRule>(json!({"window": "30d"})).is_err());
    assert!(rule(json!({"by": []})).fault().is_some());
}

#[test]
fn a_merge_fills_what_is_absent_and_overwrites_nothing() {
    let mut standing = StandardLead {
        custom: Some(serde_json::from_value(json!({"floor": "2"})).unwrap()),
        external_id: Some("1".into()),
        currency: Some("EUR".into()),
        ..lead(Some("ada@example.com"), None, "flat")
    };
    let later = StandardLead {
        custom: Some(serde_json::from_value(json!({"floor": "3", "lift": "yes"})).unwrap()),
        external_id: Some("2".into()),
        budget: Some("100".parse().unwrap()),
        currency: Some("PLN".into()),
        ..lead(Some("other@example.com"), Some("+48512345678"), "house")
    };
    let filled = absorb(&mut standing, &later);
    assert_eq!(filled, ["budget", "phone", "custom.lift"]);
    assert_eq!(standing.email.as_deref(), Some("ada@example.com"));
    assert_eq!(standing.currency.as_deref(), Some("PLN"));
    assert_eq!(standing.external_id.as_deref(), Some("1"));
    assert_eq!(standing.custom.as_ref().unwrap()["floor"], "2");
    assert_eq!(absorb(&mut standing, &later), [""; 0], "merging again changes nothing");
}

#[test]
fn a_consent_is_taken_with_its_proof_and_never_beside_another_ones() {
    let asked = |consent: serde_json::Value, proof: serde_json::Value| -> StandardLead {
        serde_json::from_value(json!({"consent": consent, "consent_proof": proof})).unwrap()
    };
    let proof = |text: &str| json!({ "text": text });
    let mut standing = asked(
        json!({"privacy": true, "marketing": false}),
        json!({"privacy": proof("first"), "sms": proof("first, unanswered")}),
    );
    let later = asked(
        json!({"privacy": false, "marketing": true, "sms": true, "post": true}),
        json!({"privacy": proof("later"), "marketing": proof("later"), "sms": proof("later"), "calls": proof("later")}),
    );
    let filled = absorb(&mut standing, &later);
    assert_eq!(filled, ["consent.post", "consent.sms", "consent.calls"]);
    let told = serde_json::to_value(&standing).unwrap();
    assert_eq!(
        told["consent"],
        json!({"privacy": true, "marketing": false, "sms": true, "post": true})
    );
    let proofs = json!({"privacy": proof("first"), "sms": proof("later"), "calls": proof("later")});
    assert_eq!(told["consent_proof"], proofs, "no proof of a yes stands beside a no");
    assert_eq!(absorb(&mut standing, &later), [""; 0], "merging again changes nothing");

    let mut unasked = StandardLead::default();
    absorb(&mut unasked, &later);
    assert_eq!((&unasked.consent, &unasked.consent_proof), (&later.consent, &later.consent_proof));
    absorb(&mut unasked, &StandardLead::default());
    assert_eq!(unasked.consent_proof, later.consent_proof);
}

proptest! {
    #[test]
    fn different_texts_never_make_one_key(a in ".{0,12}", b in ".{0,12}", c in ".{0,12}", d in ".{0,12}") {
        let (here, rule) = (PortalId::new(), rule(json!({"product": true, "by": ["phone"]})));
        let of = |phone: &str, product: &str| rule.keys(here, &lead(None, Some(phone), product));
        let alike = a.trim() == c.trim() && folded(&b) == folded(&d);
        prop_assert_eq!(of(&a, &b) == of(&c, &d), alike);
    }
}
