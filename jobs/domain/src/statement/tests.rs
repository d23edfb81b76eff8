//! Statements: what is on them, in both forms.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::money::Currency;
use flate2::read::ZlibDecoder;
use std::io::Read;

fn eur(cents: i64) -> Money {
    Money::new(cents, Currency::of("EUR").unwrap())
}

fn statement(lines: usize) -> Statement {
    let hour = |n: usize| 1_772_000_000 + 3_600 * i64::try_from(n).unwrap();
    let line = |n: usize| StatementLine {
        at: DateTime::<Utc>::from_timestamp(hour(n), 0).unwrap(),
        subject: format!("Łucja Żółć {n}"),
        product: "Ωμέγα, Größe àè".into(),
        kind: "commission".into(),
        why: "gold: 10 % of 1,000.00 EUR".into(),
        base: Some(eur(100_000)),
        amount: eur(10_000),
    };
    let earned = 10_000 * i64::try_from(lines).unwrap();
    Statement {
        owner: "Zażółć Gęślą".into(),
        agency: "Nowak Nieruchomości".into(),
        period: "2026-03".into(),
        drawn_at: DateTime::<Utc>::from_timestamp(1_775_000_000, 0).unwrap(),
        closed: true,
        opening: eur(-5),
        closing: eur(earned - 5),
        lines: (0..lines).map(line).collect(),
        part: None,
    }
}

/// Everything that is written in the PDF's streams, inflated.
fn inflated(pdf: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = pdf;
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    while let Some(at) = find(rest, b"stream\n").or_else(|| find(rest, b"stream\r\n")) {
        let body = &rest[at + 7..];
        let end = find(body, b"endstream").unwrap();
        let mut text = Vec::new();
        if ZlibDecoder::new(&body[..end]).read_to_end(&mut text).is_ok() {
            found.push(String::from_utf8_lossy(&text).into_owned());
        }
        rest = &body[end + 9..];
    }
    found
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|w| *w == what).count()
}

#[test]
fn a_statement_adds_up_or_says_so() {
    assert!(statement(3).adds_up());
    let mut wrong = statement(3);
    wrong.closing = eur(30_000);
    assert!(!wrong.adds_up());
    wrong.lines[0].amount = Money::new(10_005, Currency::of("PLN").unwrap());
    assert!(!wrong.adds_up());
}

#[test]
fn a_pdf_has_its_pages_and_can_be_searched_for_every_letter() {
    let pdf = statement_pdf(&statement(60)).unwrap();
    assert!(pdf.starts_with(b"%PDF-1.") && pdf.trim_ascii_end().ends_with(b"%%EOF"));
    assert!(count(&pdf, b"/Count 3") == 1, "60 lines take three pages");
    let streams = inflated(&pdf);
    // The map from glyphs to characters: what a reader searches and copies by.
    let map = streams.iter().find(|s| s.contains("beginbfchar")).expect("a map of characters");
    for c in "ŁŻółćęśląΩμέγαößeàè0123€".chars().filter(|c| *c != '€') {
        let code = format!("<{:04X}>", u32::from(c));
        assert!(map.to_uppercase().contains(&code), "{c} is not in the map");
    }
    assert!(pdf.len() < 100_000, "the font is embedded in part: {} bytes", pdf.len());
}

#[test]
fn an_empty_month_has_a_statement_too() {
    let pdf = statement_pdf(&statement(0)).unwrap();
    assert_eq!(count(&pdf, b"/Count 1"), 1);
}

#[test]
fn the_csv_of_a_statement_leads_from_the_opening_to_the_closing_amount() {
    let mut made = statement(2);
    made.lines[1].subject = "=cmd()".into();
    let text = String::from_utf8(statement_csv(&made).unwrap()).unwrap();
    let rows: Vec<&str> = text.trim_end().split("\r\n").collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[1], ",opening,,,,-0.05,EUR,");
    assert!(rows[2].contains(",1000.00,100.00,EUR,\"gold: 10 % of 1,000.00 EUR\""), "{}", rows[2]);
    assert!(rows[3].contains(",'=cmd(),"), "{}", rows[3]);
    assert_eq!(rows[4], ",closing,,,,199.95,EUR,");
}

#[test]
fn a_part_says_which_lines_it_has_and_adds_up_with_the_others() {
    let mut made = statement(3);
    made.lines.drain(..1);
    assert!(!made.adds_up());
    made.part =
        Some(Part { number: 2, of: 2, skipped: 1, lines: 3, before: eur(10_000), after: eur(0) });
    assert!(made.adds_up());
    let text = String::from_utf8(statement_csv(&made).unwrap()).unwrap();
    let rows: Vec<&str> = text.trim_end().split("\r\n").collect();
    assert!(rows[2].starts_with(",parts before,,,,100.00,EUR,"), "{}", rows[2]);
    assert!(rows[2].contains("Part 2 of 2: lines 2 to 3 of 3."), "{}", rows[2]);
    assert!(rows[5].starts_with(",parts after,,,,0.00,EUR,"), "{}", rows[5]);
    assert_eq!(rows[6], ",closing,,,,299.95,EUR,");
    assert!(statement_pdf(&made).unwrap().starts_with(b"%PDF-1."));
}
