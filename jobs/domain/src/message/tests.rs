//! What agents read, word for word, and what strangers cannot make of it.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn lead() -> StandardLead {
    StandardLead {
        first_name: Some("Marta".to_owned()),
        last_name: Some("KOWALSKA".to_owned()),
        email: Some("marta.kowalska@example.pl".to_owned()),
        phone: Some("+48226940000".to_owned()),
        country: Some("PL".to_owned()),
        postal_code: Some("00-950".to_owned()),
        city: Some("Warszawa".to_owned()),
        interest: Some("Okna PVC".to_owned()),
        message: Some("Proszę o kontakt.\nNajlepiej po 16.".to_owned()),
        budget: Some("12500.50".parse().unwrap()),
        currency: Some("PLN".to_owned()),
        ..StandardLead::default()
    }
}

fn notice(lead: &StandardLead) -> LeadNotice<'_> {
    LeadNotice {
        lead,
        agent: "Anna",
        agency: "Domy & Okna",
        link: "https://leads.example.test/l/42?a=1&b=2",
    }
}

#[test]
fn the_email_of_a_full_lead() {
    let lead = lead();
    let email = lead_email(&notice(&lead));
    insta::assert_snapshot!("full_subject", email.subject);
    insta::assert_snapshot!("full_text", email.text);
    insta::assert_snapshot!("full_html", email.html);
}

#[test]
fn the_email_of_a_bare_test_lead() {
    let lead = StandardLead {
        phone: Some("+48226940000".to_owned()),
        is_test: true,
        ..StandardLead::default()
    };
    let email = lead_email(&notice(&lead));
    insta::assert_snapshot!("test_subject", email.subject);
    insta::assert_snapshot!("test_text", email.text);
    assert!(email.html.contains("test lead"));
}

#[test]
fn the_whatsapp_message() {
    let mut lead = lead();
    insta::assert_snapshot!("whatsapp", lead_whatsapp(&notice(&lead)));
    lead.is_test = true;
    lead.message = None;
    insta::assert_snapshot!("whatsapp_test", lead_whatsapp(&notice(&lead)));
}

#[test]
fn strangers_can_neither_write_html_nor_headers() {
    let mut lead = lead();
    let hostile = "<script>alert('x')</script>\"&\r\nBcc: all@example.com";
    lead.first_name = Some(hostile.to_owned());
    lead.interest = Some(hostile.to_owned());
    lead.message = Some(hostile.to_owned());
    lead.email = Some("a@b.co\"><script>".to_owned());
    let email = lead_email(&notice(&lead));
    assert!(!email.html.contains("<script"), "{}", email.html);
    assert!(!email.subject.contains(['\r', '\n']), "{}", email.subject);
    // A forged row would stand at the start of a line.
    let rows = email.text.split("Message:").next().unwrap();
    assert!(!rows.contains("\nBcc"), "{rows}");
}

#[test]
fn a_long_message_is_cut_for_whatsapp_and_the_link_stays_whole() {
    let mut lead = lead();
    lead.message = Some("słowo 🏠 ".repeat(2_000));
    let text = lead_whatsapp(&notice(&lead));
    let units = text.encode_utf16().count();
    assert!(units <= WHATSAPP_LIMIT && units > WHATSAPP_LIMIT - 10, "{units}");
    assert!(text.contains('…') && text.ends_with(notice(&lead).link), "{text}");
    assert!(lead_email(&notice(&lead)).text.contains(&*"słowo 🏠 ".repeat(1_999)));
}

/// In plain text nothing marks where our words end, but the sign before each of theirs.
#[test]
fn a_message_cannot_pass_for_the_platforms_own_words() {
    let mut lead = lead();
    lead.message = Some("Hello\n\nAccept or decline: https://evil.example".to_owned());
    for text in [lead_email(&notice(&lead)).text, lead_whatsapp(&notice(&lead))] {
        let links: Vec<_> = text.lines().filter(|l| l.starts_with("Accept")).collect();
        assert_eq!(links, [format!("Accept or decline: {}", notice(&lead).link)], "{text}");
    }
}

proptest! {
    #[test]
    fn every_whatsapp_message_fits_and_ends_with_its_link(
        name in ".{0,600}", interest in ".{0,600}", message in ".{0,1500}", city in ".{0,600}",
    ) {
        let lead = StandardLead {
            first_name: Some(name.clone()),
            last_name: Some(name.clone()),
            company: Some(name.clone()),
            city: Some(city),
            interest: Some(interest),
            message: Some(message),
            email: Some(format!("{}@example.com", "a".repeat(240))),
            phone: Some("+48226940000".to_owned()),
            ..StandardLead::default()
        };
        let notice = notice(&lead);
        let text = lead_whatsapp(&notice);
        prop_assert!(text.encode_utf16().count() <= WHATSAPP_LIMIT);
        prop_assert!(text.ends_with(notice.link));
        prop_assert!(text.contains("+48226940000"));
        let email = lead_email(&notice);
        prop_assert!(email.subject.chars().count() <= 120);
        prop_assert!(!email.subject.contains('\n'));
    }
}
