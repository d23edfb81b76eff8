//! Bodies that are made so that they reach what they are for: NUL characters, bytes that are no text,
//! nesting, equal names, numbers that a double does not hold, compression and its abuse.
#![allow(clippy::unwrap_used)]

use super::tests::{CSV, FORM, JSON, MULTIPART, XML, multipart};
use super::tests_hostile::packed;
use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};

const NDJSON: &str = "application/x-ndjson";
const KINDS: [&str; 6] = [JSON, NDJSON, FORM, MULTIPART, XML, CSV];
const CODINGS: [&str; 4] = ["", "gzip", "deflate", "zstd"];
/// Bytes that inflated bodies may have here.
const LIMIT: usize = 200_000;

/// What is the matter with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Evil {
    Nothing,
    Nul,
    NoText,
    Deep,
    Twice,
    LongNumber,
    Bomb,
    CutOff,
}

const EVILS: [Evil; 8] = [
    Evil::Nothing,
    Evil::Nul,
    Evil::NoText,
    Evil::Deep,
    Evil::Twice,
    Evil::LongNumber,
    Evil::Bomb,
    Evil::CutOff,
];

#[derive(Clone, Debug)]
struct Made {
    kind: &'static str,
    coding: &'static str,
    evil: Evil,
    body: Vec<u8>,
}

/// A document of this kind with one field that has these names and values.
fn document(kind: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let joined = |one: &dyn Fn(&(&str, &str)) -> String, between: &str| {
        fields.iter().map(one).collect::<Vec<_>>().join(between)
    };
    let text = match kind {
        JSON => format!("{{{}}}", joined(&|(k, v)| format!("\"{k}\":\"{v}\""), ",")),
        NDJSON => joined(&|(k, v)| format!("{{\"{k}\":\"{v}\"}}"), "\n"),
        FORM => joined(&|(k, v)| format!("{k}={v}"), "&"),
        MULTIPART => {
            let part = |(k, v): &(&str, &str)| {
                format!("--b-1\nContent-Disposition: form-data; name=\"{k}\"\n\n{v}\n")
            };
            return multipart(&format!("{}--b-1--\n", joined(&part, "")));
        }
        XML => format!("<r>{}</r>", joined(&|(k, v)| format!("<{k}>{v}</{k}>"), "")),
        _ => {
            let row = |at: fn(&(&str, &str)) -> String| {
                fields.iter().map(at).collect::<Vec<_>>().join(",")
            };
            format!("{}\n{}\n", row(|f| f.0.to_owned()), row(|f| f.1.to_owned()))
        }
    };
    text.into_bytes()
}

fn nested(kind: &str, levels: usize) -> Vec<u8> {
    let around = |open: &str, inner: &str, close: &str| {
        [open.repeat(levels), inner.to_owned(), close.repeat(levels)].concat().into_bytes()
    };
    match kind {
        JSON if levels.is_multiple_of(2) => around("[", "", "]"),
        JSON | NDJSON => around("{\"a\":", "1", "}"),
        XML => around("<a>", "x", "</a>"),
        _ => document(kind, &[(&format!("a{}", "[b]".repeat(levels)), "x")]),
    }
}

fn compressed(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "" => plain.to_vec(),
        "zstd" => compress_to_vec(plain, CompressionLevel::Fastest),
        coding => packed(coding, plain),
    }
}

/// One body; `n` and `at` are what chance decides about it, `digits` a number.
fn make(
    evil: Evil,
    kind: &'static str,
    coding: &'static str,
    n: usize,
    at: f64,
    digits: &str,
) -> Made {
    let place = |len: usize| ((len as f64 * at) as usize).min(len);
    let plain = match evil {
        Evil::Nothing | Evil::CutOff => document(kind, &[("a", "x"), ("b", "y")]),
        Evil::Nul if kind == JSON && n.is_multiple_of(2) => br#"{"a\u0000":"x\u0000y"}"#.to_vec(),
        Evil::Nul if kind == FORM && n.is_multiple_of(2) => b"a%00=x%00y".to_vec(),
        Evil::Nul => {
            let mut body = document(kind, &[("a", "x"), ("b", "y")]);
            body.insert(place(body.len()), 0);
            body
        }
        Evil::NoText => {
            let mut body = document(kind, &[("a", "x"), ("b", "y")]);
            let wrong: [&[u8]; 4] = [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"];
            let at = place(body.len());
            drop(body.splice(at..at, wrong[n % 4].iter().copied()));
            body
        }
        Evil::Deep => nested(kind, n),
        Evil::Twice => document(kind, &[("a", "x"), ("b", "y"), ("a", "z")]),
        Evil::LongNumber if kind == JSON => format!("{{\"a\":{digits}}}").into_bytes(),
        Evil::LongNumber => document(kind, &[("a", digits)]),
        Evil::Bomb => vec![b' '; LIMIT / 2 + n * 400],
    };
    let mut body = compressed(coding, &plain);
    if evil == Evil::CutOff {
        body.truncate(place(body.len()));
    }
    Made { kind, coding, evil, body }
}

fn made() -> impl Strategy<Value = Made> {
    let digits = "-?[1-9][0-9]{16,40}";
    (
        prop::sample::select(EVILS.to_vec()),
        prop::sample::select(KINDS.to_vec()),
        prop::sample::select(CODINGS.to_vec()),
        0_usize..2_000,
        0.0..1.0_f64,
        digits,
    )
        .prop_map(|(evil, kind, coding, n, at, digits)| make(evil, kind, coding, n, at, &digits))
}

fn opened(made: &Made) -> Result<Value, BodyFault> {
    let headers =
        [("content-type", made.kind), ("content-encoding", made.coding)].into_iter().collect();
    open_plain(&BodySettings::default(), &headers, &made.body, LIMIT).map(|opened| opened.value)
}

fn depth(value: &Value) -> usize {
    let of = |members: &Map<String, Value>| members.values().map(depth).max().unwrap_or(0);
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + of(members),
        _ => 0,
    }
}

/// What came of each evil, over a fixed run: a strategy that never gets there would prove nothing.
#[test]
fn the_bodies_that_are_made_reach_every_fault_they_are_for() {
    let (mut runner, strategy) = (TestRunner::deterministic(), made());
    let mut came: BTreeMap<Evil, BTreeSet<&'static str>> = BTreeMap::new();
    for _ in 0..1_500 {
        let made = strategy.new_tree(&mut runner).unwrap().current();
        let code = opened(&made).map_or_else(|fault| fault.code, |_| "read");
        came.entry(made.evil).or_default().insert(code);
    }
    for (evil, codes) in [
        (Evil::Nothing, &["read"][..]),
        (Evil::Nul, &["read"]),
        (Evil::NoText, &["invalid_utf8"]),
        (Evil::Deep, &["read", "json_too_deep", "xml_too_deep"]),
        (Evil::Twice, &["read", "duplicate_key"]),
        (Evil::LongNumber, &["read"]),
        (Evil::Bomb, &["compression_bomb"]),
        (
            Evil::CutOff,
            &["invalid_compression", "invalid_json", "invalid_xml", "invalid_multipart"],
        ),
    ] {
        let missing: Vec<_> = codes.iter().filter(|code| !came[&evil].contains(**code)).collect();
        assert!(missing.is_empty(), "{evil:?} never came to {missing:?}: {:?}", came[&evil]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_made_is_read_or_refused_with_a_sentence(made in made()) {
        match opened(&made) {
            Ok(value) => {
                prop_assert!(!value.to_string().contains("\\u0000"), "a NUL that jsonb cannot hold");
                // Lines of JSON stand in an array.
                prop_assert!(depth(&value) <= 128, "{} levels", depth(&value));
                // What stands before and behind the parts of a form is nobody's.
                prop_assert!(made.evil != Evil::NoText || made.kind == MULTIPART, "{made:?}");
                prop_assert!(made.evil != Evil::Bomb || made.coding.is_empty(), "{made:?}");
            }
            Err(fault) => {
                prop_assert!(matches!(fault.status, 400 | 413 | 415), "{fault:?}");
                prop_assert!(fault.message.len() > 20 && !fault.message.contains('\0'), "{fault}");
                prop_assert!(made.evil != Evil::Nothing, "{fault:?}: {made:?}");
            }
        }
    }

    #[test]
    fn no_digit_of_a_number_is_lost(
        digits in "-?[1-9][0-9]{0,40}",
        kind in prop::sample::select(vec![JSON, FORM, XML, CSV, MULTIPART]),
        coding in prop::sample::select(CODINGS.to_vec()),
    ) {
        let value = opened(&make(Evil::LongNumber, kind, coding, 0, 0.0, &digits)).unwrap();
        let row = value.get(0).unwrap_or(&value);
        let found = row.get("a").or_else(|| row.pointer("/r/a")).unwrap();
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        prop_assert_eq!(text, digits);
    }

    #[test]
    fn nesting_is_read_to_its_bound_and_no_further(
        levels in 1_usize..3_000,
        kind in prop::sample::select(vec![JSON, NDJSON, XML]),
        coding in prop::sample::select(vec!["", "gzip"]),
    ) {
        let result = opened(&make(Evil::Deep, kind, coding, levels, 0.0, ""));
        match result {
            Ok(_) => prop_assert!(levels <= 127, "{levels} levels were read"),
            Err(fault) => {
                prop_assert!(levels > 127, "{levels} levels: {fault}");
                let too_deep = ["json_too_deep", "xml_too_deep", "compression_bomb"];
                prop_assert!(too_deep.contains(&fault.code), "{fault:?}");
            }
        }
    }

    #[test]
    fn equal_names_are_refused_however_deep_they_stand(
        levels in 0_usize..120,
        name in "[a-z]{1,5}",
        spelled in any::<bool>(),
    ) {
        // The same name may be spelled with an escape.
        let other: String = match spelled {
            true => name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
            false => name.clone(),
        };
        let object = format!("{{\"{name}\":1,\"{other}\":2}}");
        let body = ["[".repeat(levels), object, "]".repeat(levels)].concat().into_bytes();
        let made = Made { kind: JSON, coding: "", evil: Evil::Twice, body };
        prop_assert_eq!(opened(&made).unwrap_err().code, "duplicate_key");
    }

    #[test]
    fn nothing_inflates_beyond_the_limit(
        coding in prop::sample::select(vec!["gzip", "deflate", "raw", "zstd"]),
        bytes in 1_usize..600_000,
        byte in any::<u8>(),
        limit in 1_usize..300_000,
    ) {
        let body = match coding {
            "raw" => packed("raw", &vec![byte; bytes]),
            coding => compressed(coding, &vec![byte; bytes]),
        };
        let name = if coding == "raw" { "deflate" } else { coding };
        match inflate::inflate(Some(name), &body, limit) {
            Ok(plain) => prop_assert!(plain.len() == bytes && bytes <= limit),
            Err(fault) => prop_assert!(bytes > limit || fault.code == "compression_bomb", "{fault}"),
        }
    }
}
