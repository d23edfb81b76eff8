//! Spellings that people use, and what must not be taken for something else.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

#[test]
fn text_is_composed_trimmed_and_free_of_control_characters() {
    assert_eq!(text("  Jose\u{301}\0 \u{202E}x\u{7}  ").unwrap(), "José x");
    assert_eq!(text("a\r\nb\rc\td\r").unwrap(), "a\r\nb\nc\td");
    assert_eq!(text("  inner  kept  ").unwrap(), "inner  kept");
    assert_eq!(text(" \u{a0}\u{feff}\0\n"), None);
    assert_eq!(line(" a \n\t b\u{a0}c ").unwrap(), "a b c");
}

#[test]
fn shortening_counts_characters_and_marks_the_cut() {
    assert_eq!(shorten("żółw", 4), "żółw");
    assert_eq!(shorten("żółwie", 4), "żół…");
    assert_eq!(shorten("ab cd", 4), "ab…");
}

#[test]
fn emails() {
    for (raw, wanted) in [
        (" MARTA.KOWALSKA@EXAMPLE.PL ", "marta.kowalska@example.pl"),
        ("niccolo+orti@example.it", "niccolo+orti@example.it"),
        ("mailto:a@b.co", "a@b.co"),
        ("o'neil@sub.example.co.uk", "o'neil@sub.example.co.uk"),
        ("żaneta@exämple.de", "żaneta@exämple.de"),
    ] {
        assert_eq!(email(raw).as_deref(), Ok(wanted));
    }
    let long = format!("{}@example.com", "a".repeat(65));
    for raw in [
        "",
        "a",
        "@",
        "a@",
        "@b.co",
        "a@b",
        "a b@c.de",
        "a@b..de",
        ".a@b.de",
        "a.@b.de",
        "a@-b.de",
        "a@b-.de",
        "a@b.d",
        "a@127.0.0.1",
        "a@b.de\nBcc: x@y.de",
        "a,b@c.de",
        "\"a\"@b.de",
        "a@b@c@",
        "<a@b.de>",
        &long,
    ] {
        assert_eq!(email(raw).unwrap_err().code, "invalid_email", "{raw}");
    }
}

#[test]
fn what_stands_behind_a_number_is_not_dialled() {
    let read = |text| phone(text, &["DE"]).map(|p| p.e164).map_err(|fault| fault.code);
    assert_eq!(read("030 / 90 18 20 (Büro)").as_deref(), Ok("+4930901820"));
    assert_eq!(read("+49 30 901820 ext. 12").as_deref(), Ok("+4930901820"));
    for text in ["030 / 90 18 20 Raum 12", "+49 30 901820 room 12"] {
        assert_eq!(read(text), Err("invalid_phone"), "{text}");
    }
    assert_eq!(phone("1-800-FLOWERS", &["US"]).unwrap().e164, "+18003569377");
}

#[test]
fn phones_of_the_default_country_and_of_others() {
    for (raw, country, wanted) in [
        ("22 694 00 00", "PL", "+48226940000"),
        ("601\u{a0}234\u{202f}567", "PL", "+48601234567"),
        ("0048 601-234-567", "PL", "+48601234567"),
        ("06 69820001", "IT", "+390669820001"),
        ("+39 06 6982 0001", "PL", "+390669820001"),
        ("347 0000102", "IT", "+393470000102"),
        ("612 000 104", "ES", "+34612000104"),
        ("030 901820", "DE", "+4930901820"),
        ("+49 (0) 30 901820", "PL", "+4930901820"),
        ("(415) 555-0132", "US", "+14155550132"),
        ("(514) 555-0147 x12", "CA", "+15145550147"),
        ("01 23 45 67 89", "FR", "+33123456789"),
        ("(11) 96123-4567", "BR", "+5511961234567"),
        ("03-1234-5678", "JP", "+81312345678"),
        ("tel:+353-1-679-0001", "IE", "+35316790001"),
        ("２２６９４００００", "PL", "+48226940000"),
        ("(0-22) 694 00 00", "PL", "+48226940000"),
        ("0347 0000102", "IT", "+393470000102"),
    ] {
        let found = phone(raw, &[country]).unwrap();
        assert_eq!((found.e164.as_str(), found.verified), (wanted, true), "{raw}");
        // What is normalised once stays what it is.
        assert_eq!(phone(&found.e164, &[]).unwrap(), found, "{raw}");
    }
}

#[test]
fn the_likelier_country_comes_first_and_the_other_one_helps() {
    assert_eq!(phone("030 901820", &["DE", "PL"]).unwrap().e164, "+4930901820");
    assert_eq!(phone("601 234 567", &["IT", "PL"]).unwrap().e164, "+48601234567");
}

#[test]
fn numbers_outside_known_ranges_are_kept_and_marked_and_nonsense_is_refused() {
    let odd = phone("+1 555 123 4567", &["PL"]).unwrap();
    assert_eq!((odd.e164.as_str(), odd.verified), ("+15551234567", false));
    for raw in ["", "abc", "12", "call me at nine", "+", "+999999999999999999", "n/a 12345678"] {
        assert_eq!(phone(raw, &["PL"]).unwrap_err().code, "invalid_phone", "{raw}");
    }
    assert!(phone("601 234 567", &[]).unwrap_err().message.contains("default country"));
    assert_eq!(phone("0048 601 234 567", &[]).unwrap().e164, "+48601234567");
}

#[test]
fn countries_by_code_and_by_name_in_many_languages() {
    for (raw, wanted) in [
        ("pl", "PL"),
        ("POL", "PL"),
        ("Polska", "PL"),
        ("Poland", "PL"),
        (" ITALIA ", "IT"),
        ("Österreich", "AT"),
        ("osterreich", "AT"),
        ("Côte d’Ivoire", "CI"),
        ("U.K.", "GB"),
        ("United States of America", "US"),
        ("USA", "US"),
        ("Włochy", "IT"),
        ("wlochy", "IT"),
        ("España", "ES"),
        ("日本", "JP"),
        ("Ελλάδα", "GR"),
        ("Türkiye", "TR"),
        ("Holland", "NL"),
    ] {
        assert_eq!(country(raw), Some(wanted), "{raw}");
    }
    for raw in ["", "XX", "Atlantis", "P", "EU", "Warszawa"] {
        assert_eq!(country(raw), None, "{raw}");
    }
}

#[test]
fn postal_codes_meet_however_they_are_written() {
    for (raw, country, wanted) in [
        ("00-950", Some("PL"), "00-950"),
        (" 00950 ", Some("PL"), "00-950"),
        ("00950", Some("IT"), "00950"),
        ("00950", None, "00950"),
        ("sw1a1aa", Some("GB"), "SW1A 1AA"),
        ("m1 1ae", Some("GB"), "M1 1AE"),
        ("1234ab", Some("NL"), "1234 AB"),
        ("1000001", Some("PT"), "1000-001"),
        ("K1A0B1", Some("CA"), "K1A 0B1"),
        ("123", Some("PL"), "123"),
    ] {
        assert_eq!(postal_code(raw, country).as_deref(), Ok(wanted), "{raw}");
    }
    for raw in ["", "--", "00_950", "12345678901234567", "<b>"] {
        assert_eq!(postal_code(raw, None).unwrap_err().code, "invalid_postal_code", "{raw}");
    }
}

fn read(raw: &str, locale: &str) -> Result<(String, Option<&'static str>), &'static str> {
    let locale: Option<NumberLocale> = (!locale.is_empty()).then(|| locale.parse().unwrap());
    number(raw, locale.as_ref(), None)
        .map(|(n, currency)| (n.to_string(), currency))
        .map_err(|e| e.code)
}

#[test]
fn numbers_of_a_locale_with_signs_and_blanks_of_every_width() {
    for (raw, locale, wanted, currency) in [
        ("12 500,50 zł", "pl-PL", "12500.50", Some("PLN")),
        ("12\u{a0}500,50\u{a0}zł", "pl-PL", "12500.50", Some("PLN")),
        ("12\u{202f}500,50 PLN", "pl-PL", "12500.50", Some("PLN")),
        ("€ 1.250.000,5", "it-IT", "1250000.5", Some("EUR")),
        ("1,250.75", "en-GB", "1250.75", None),
        ("$1,250", "en-US", "1250", Some("USD")),
        ("CHF 1'250.–", "de-CH", "1250", Some("CHF")),
        ("500,- Kč", "cs-CZ", "500", Some("CZK")),
        ("12,34,567", "en-IN", "1234567", None),
        ("-5", "", "-5", None),
        ("−5,5 €", "de-DE", "-5.5", Some("EUR")),
        ("310000", "it-IT", "310000", None),
        ("0,10", "fr-FR", "0.10", None),
        ("1 000", "", "1000", None),
    ] {
        assert_eq!(read(raw, locale), Ok((wanted.to_owned(), currency)), "{raw} {locale}");
    }
}

#[test]
fn a_number_that_could_mean_something_else_is_refused() {
    for (raw, locale) in [
        ("12.50", "it-IT"),
        ("1,5", ""),
        ("1,250.5", "pl-PL"),
        ("1.250,5", "en-US"),
        ("1.25.000", "it-IT"),
        ("1.250 000", "it-IT"),
        ("1,,000", "en-US"),
        ("12 to 15", "en-US"),
        ("about 500", "en-US"),
        ("500 apples", "en-US"),
        ("5%", "en-US"),
        ("", "en-US"),
        ("zł", "pl-PL"),
        ("1e5", "en-US"),
    ] {
        assert_eq!(read(raw, locale), Err("invalid_number"), "{raw} {locale}");
    }
    assert!("klingon".parse::<NumberLocale>().is_err());
}

#[test]
fn a_shared_sign_means_the_default_currency_if_that_uses_it() {
    assert_eq!(currency_sign("$", Some("CAD")), Some(Some("CAD")));
    assert_eq!(currency_sign("$", Some("PLN")), Some(Some("USD")));
    assert_eq!(currency_sign("kr.", Some("NOK")), Some(Some("NOK")));
    assert_eq!(currency_sign("kr", None), Some(None));
    assert_eq!(currency_sign("eur", None), Some(Some("EUR")));
    assert_eq!(currency_sign("xyz", None), None);
    assert_eq!(currency("usd"), Some("USD"));
    assert_eq!(currency("US "), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))] // the phone tables are slow unoptimised

    #[test]
    fn nothing_panics_and_what_is_normal_stays_so(raw in "\\PC*|.{0,60}") {
        if let Some(clean) = text(&raw) {
            prop_assert_eq!(text(&clean), Some(clean.clone()));
            prop_assert!(!clean.contains('\0'));
        }
        if let Ok(address) = email(&raw) {
            prop_assert_eq!(email(&address).unwrap(), address);
        }
        for place in [None, Some("PL"), Some("GB"), Some("NL")] {
            if let Ok(code) = postal_code(&raw, place) {
                prop_assert_eq!(postal_code(&code, place).unwrap(), code);
            }
        }
        let _ = (country(&raw), number(&raw, None, None), shorten(&raw, 3), phone(&raw, &["IT"]));
    }

    #[test]
    fn phones_made_of_phone_characters_never_panic(
        raw in "[0-9+()./ x#*;=-]{0,45}|(tel:)?[0-9+-]{4,20};phone-context=[+0-9a-z.]{0,9}",
        country in prop::sample::select(vec!["DE", "IT", "BR", "US", "AR", "GB"]),
    ) {
        if let Ok(found) = phone(&raw, &[country]) {
            prop_assert!(found.e164.starts_with('+') && found.e164.len() <= 16);
            prop_assert!(found.e164[1..].bytes().all(|b| b.is_ascii_digit()));
        }
    }

    #[test]
    fn a_number_written_in_a_locale_is_read_back(n in 0_u64..10_000_000_000, cents in 0_u8..100) {
        let mut groups = Vec::new();
        let mut rest = n;
        loop {
            groups.push(if rest >= 1000 { format!("{:03}", rest % 1000) } else { rest.to_string() });
            if rest < 1000 { break }
            rest /= 1000;
        }
        groups.reverse();
        for (group, decimal, locale) in [(".", ",", "it-IT"), (",", ".", "en-GB"), ("\u{202f}", ",", "fr-FR")] {
            let written = format!("{}{decimal}{cents:02}", groups.join(group));
            prop_assert_eq!(read(&written, locale).unwrap().0, format!("{n}.{cents:02}"));
        }
    }
}
