//! Compression, keys inside bodies, and that no bytes at all make anything panic.
#![allow(clippy::unwrap_used)]

use super::tests::{CSV, FORM, JSON, MULTIPART, XML, decoded, multipart, refused};
use super::*;
use crate::portal::PortalSettings;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::json;
use std::io::Write as _;

pub(super) fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    let level = Compression::best();
    match coding {
        "gzip" => {
            let mut out = GzEncoder::new(Vec::new(), level);
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        "deflate" => {
            let mut out = ZlibEncoder::new(Vec::new(), level);
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        _ => {
            let mut out = DeflateEncoder::new(Vec::new(), level);
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
    }
}

fn unpacked(coding: &str, body: &[u8], limit: usize) -> Result<Value, (u16, &'static str)> {
    let headers = [("content-type", JSON), ("content-encoding", coding)].into_iter().collect();
    open_plain(&BodySettings::default(), &headers, body, limit)
        .map(|opened| opened.value)
        .map_err(|f| (f.status, f.code))
}

#[test]
fn compressed_bodies_are_inflated_and_bombs_are_not() {
    let plain = br#"{"email":"jan@example.com"}"#;
    let value = json!({"email": "jan@example.com"});
    for (name, coding) in [
        ("gzip", "gzip"),
        ("X-GZIP", "gzip"),
        ("deflate", "deflate"),
        ("deflate", "raw"),
        ("identity", ""),
    ] {
        let body = if coding.is_empty() { plain.to_vec() } else { packed(coding, plain) };
        assert_eq!(unpacked(name, &body, 1_000), Ok(value.clone()), "{name} {coding}");
    }
    for name in ["br", "zstd, gzip", "gzip, gzip", "compress"] {
        assert_eq!(
            unpacked(name, plain, 1_000),
            Err((415, "unsupported_content_encoding")),
            "{name}"
        );
    }
    assert_eq!(unpacked("gzip", plain, 1_000), Err((400, "invalid_compression")));
    let whole = packed("gzip", plain);
    assert_eq!(
        unpacked("gzip", &whole[..whole.len() - 3], 1_000),
        Err((400, "invalid_compression"))
    );
    // 5 MB of blanks in 5 KB, and one that is not so extreme but too large.
    let bomb = packed("gzip", &vec![b' '; 5_000_000]);
    assert!(bomb.len() < 10_000);
    assert_eq!(unpacked("gzip", &bomb, LARGEST_BODY), Err((413, "compression_bomb")));
    let large = packed("gzip", &b"[0.123,4.567,8.901] ".repeat(60));
    assert_eq!(unpacked("gzip", &large, 1_000), Err((413, "compression_bomb")));
}

/// `printf '{"email":"zoe@example.com"}' | zstd`, version 1.5.4.
const ZSTD: &str =
    "28b52ffd0458d900007b22656d61696c223a227a6f65406578616d706c652e636f6d227d946c8c19";
/// 5,000,000 blanks by `zstd -19`, 174 bytes: what is before and behind 37 blocks that are alike.
const ZSTD_BOMB: [&str; 3] =
    ["28b52ffd04684c000008200100fcff391002", "02001020", "035a022013826ce3"];

#[test]
fn zstandard_is_read_frame_by_frame_and_no_bomb_goes_off() {
    let one = hex::decode(ZSTD).unwrap();
    let value = json!({"email": "zoe@example.com"});
    assert_eq!(unpacked("zstd", &one, 1_000), Ok(value.clone()));
    // A frame to be skipped before it, and blanks in a frame behind it.
    let skipped = [&hex::decode("502a4d1803000000616263").unwrap()[..], &one].concat();
    assert_eq!(unpacked("ZSTD", &skipped, 1_000), Ok(value));
    let twice = [&one[..], &one].concat();
    assert_eq!(unpacked("zstd", &twice, 1_000).unwrap_err().0, 400, "two objects are no JSON");
    let too_far = hex::decode("28b52ffd048821030038cd3c").unwrap();
    for broken in [&b""[..], b"x", &one[..one.len() - 9], &skipped[..9], &too_far] {
        assert_eq!(unpacked("zstd", broken, 1_000), Err((400, "invalid_compression")));
    }
    let [head, block, tail] = ZSTD_BOMB;
    let bomb = hex::decode(format!("{head}{}{tail}", block.repeat(37))).unwrap();
    assert_eq!(unpacked("zstd", &bomb, LARGEST_BODY), Err((413, "compression_bomb")));
    assert_eq!(unpacked("zstd", &one, 20), Err((413, "compression_bomb")));
}

fn portal(name: &str) -> PortalSettings {
    let settings = json!({"api_key": {"in": "body", "name": name},
        "mapping": {"fields": {"email": "email"}}});
    PortalSettings::parse(&settings).unwrap()
}

#[test]
fn a_key_in_the_body_is_taken_out_and_nothing_else_is_touched() {
    for (name, kind, body, stored, masked) in [
        (
            "google_key",
            JSON,
            r#"{ "google_key" : "s3-\u0063ret" , "b":"s3-cret"}"#.to_owned(),
            r#"{ "google_key" : "************" , "b":"s3-cret"}"#,
            json!({"google_key": "********", "b": "s3-cret"}),
        ),
        (
            "/auth/key",
            JSON,
            r#"{"key":"x","auth":{"key":"s3-cret"}}"#.to_owned(),
            r#"{"key":"x","auth":{"key":"*******"}}"#,
            json!({"key": "x", "auth": {"key": "********"}}),
        ),
        (
            "_token",
            FORM,
            "a=1&%5Ftoken=s3%2Dcret&b=2".to_owned(),
            "a=1&%5Ftoken=*********&b=2",
            json!({"a": "1", "_token": "********", "b": "2"}),
        ),
        (
            "/auth/key",
            FORM,
            "auth[key]=s3-cret&auth[x]=1".to_owned(),
            "auth[key]=*******&auth[x]=1",
            json!({"auth": {"key": "********", "x": "1"}}),
        ),
        (
            "t",
            MULTIPART,
            String::from_utf8(multipart(
                "--b-1\nContent-Disposition: form-data; name=t\n\ns3-cret\n--b-1--\n",
            ))
            .unwrap(),
            "--b-1\r\nContent-Disposition: form-data; name=t\r\n\r\n*******\r\n--b-1--\r\n",
            json!({"t": "********"}),
        ),
        (
            "/lead/key",
            XML,
            "\u{feff}<x:lead><x:key>s3-cret</x:key><b>s3-cret</b></x:lead>".to_owned(),
            "\u{feff}<x:lead><x:key>*******</x:key><b>s3-cret</b></x:lead>",
            json!({"lead": {"key": "********", "b": "s3-cret"}}),
        ),
        (
            "/lead/key",
            XML,
            "<lead><key><!-- s3 --><![CDATA[s3-]]>cret</key></lead>".to_owned(),
            "<lead><key><!-- s3 -->*******************</key></lead>",
            json!({"lead": {"key": "********"}}),
        ),
        (
            "/lead/@key",
            XML,
            "<lead a='s3-cret' key=\"s3-&#99;ret\"/>".to_owned(),
            "<lead a='s3-cret' key=\"***********\"/>",
            json!({"lead": {"@a": "s3-cret", "@key": "********"}}),
        ),
        (
            "/lead/key/#text",
            XML,
            "<lead><key a=\"1\"> s3&#45;cret <b/></key></lead>".to_owned(),
            "<lead><key a=\"1\">*************<b/></key></lead>",
            json!({"lead": {"key": {"@a": "1", "b": "", "#text": "********"}}}),
        ),
    ] {
        let settings = portal(name);
        let headers = [("content-type", kind)].into_iter().collect();
        let opened = settings.open(&headers, body.as_bytes(), 1_000).unwrap();
        assert_eq!(opened.credential.as_ref().map(|c| c.as_str()), Some("s3-cret"), "{kind}");
        assert_eq!(String::from_utf8(opened.stored.unwrap()).unwrap(), stored, "{kind}");
        assert_eq!(opened.value, masked, "{kind}");
        // What is stored reads the same as what came.
        assert_eq!(settings.decode(&headers, stored.as_bytes()).unwrap(), masked, "{kind}");
        assert_eq!(settings.decode(&headers, body.as_bytes()).unwrap(), masked, "{kind}");
    }
}

#[test]
fn keys_in_bodies_in_other_shapes() {
    let headers: Headers = [("content-type", JSON)].into_iter().collect();
    let number = portal("k").open(&headers, br#"{"k":123456}"#, 1_000).unwrap();
    assert_eq!(number.credential.unwrap().as_str(), "123456");
    assert_eq!(number.stored.unwrap(), br#"{"k":111111}"#);
    for body in
        [&br#"{"k":{"k":"x"}}"#[..], br#"{"k":null}"#, br#"["k"]"#, br#"{"k":["x"]}"#, b"{}"]
    {
        assert!(portal("k").open(&headers, body, 1_000).unwrap().credential.is_none());
    }
    // Compressed: what is stored is the inflated body without the key.
    let gzip: Headers =
        [("content-type", JSON), ("content-encoding", "gzip")].into_iter().collect();
    let opened = portal("k").open(&gzip, &packed("gzip", br#"{"k":"s3-cret"}"#), 1_000).unwrap();
    assert_eq!(opened.stored.unwrap(), br#"{"k":"*******"}"#);
    // Where the bytes cannot be found the body is refused rather than stored with the key.
    for (kind, body) in [(CSV, "k,a\ns3-cret,1\n"), ("application/x-ndjson", r#"{"k":"s3-cret"}"#)]
    {
        let rows: Headers = [("content-type", kind)].into_iter().collect();
        let fault = portal("k").open(&rows, body.as_bytes(), 1_000).unwrap_err();
        assert_eq!(fault.status, 415, "{kind}");
        assert!(fault.message.contains("JSON or XML"), "{}", fault.message);
    }
    let xml: Headers = [("content-type", XML)].into_iter().collect();
    for body in ["<a><k>s3-cret</k></a>", "<k a='1'>s3-cret</k>", "<k><b>s3-cret</b></k>"] {
        let opened = portal("k").open(&xml, body.as_bytes(), 1_000).unwrap();
        assert!(opened.credential.is_none(), "{body}");
    }
    let empty = portal("k").open(&xml, b"<k/>", 1_000).unwrap();
    assert_eq!(empty.credential.unwrap().as_str(), "");
    let wide: Headers =
        [("content-type", "application/json; charset=utf-16le")].into_iter().collect();
    let body: Vec<u8> = r#"{"k":"s3-cret"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(portal("k").open(&wide, &body, 1_000).unwrap_err().status, 415);
    let twice: Headers = [("content-type", FORM)].into_iter().collect();
    let opened = portal("k").open(&twice, b"k=first&k=other&k[]=third", 1_000).unwrap();
    assert_eq!(opened.credential.unwrap().as_str(), "first");
    assert_eq!(opened.stored.unwrap(), b"k=*****&k=*****&k[]=*****");
}

/// Pieces of which hostile bodies are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\\u",
        "\\ud800",
        "\\u0000",
        "1e999",
        "-",
        "0",
        ".",
        "tru",
        "<",
        ">",
        "</",
        "/>",
        "<a>",
        "</a>",
        "<a b='",
        "&",
        "&amp;",
        "&#0;",
        "&#x110000;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "<?",
        "?>",
        "<!DOCTYPE",
        "=",
        "&a[b]=",
        "[]",
        "%",
        "%F",
        "%00",
        "+",
        ";",
        "\"\"",
        "\r\n",
        "--b-1",
        "--b-1--",
        "Content-Disposition: form-data; name=\"k\"",
        "\r\n\r\n",
        "\0",
        "\u{feff}",
        "k",
    ]);
    prop_oneof![
        4 => known.prop_map(|s: &str| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

fn kinds() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        JSON,
        "application/x-ndjson",
        FORM,
        MULTIPART,
        XML,
        CSV,
        "text/xml; charset=utf-16",
        "application/json; charset=windows-1252",
        "text/csv; charset=shift_jis",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_any_decoder_panic(
        kind in kinds(),
        coding in prop::sample::select(vec!["", "gzip", "deflate", "zstd"]),
        pieces in prop::collection::vec(piece(), 0..60),
    ) {
        let body = pieces.concat();
        let headers = [("content-type", kind), ("content-encoding", coding)].into_iter().collect();
        for settings in [portal("k"), portal("/k/b")] {
            if let Ok(opened) = settings.open(&headers, &body, 100_000) {
                let stored = opened.stored.unwrap_or(body.clone());
                // What was taken is taken again, and what is stored never loses its shape.
                let plain: Headers = [("content-type", kind)].into_iter().collect();
                prop_assert_eq!(settings.decode(&plain, &stored).ok(), Some(opened.value));
            }
        }
    }

    #[test]
    fn json_reads_as_serde_does(text in "[\\[\\]{}\":,0-9a-e\\\\.\\- +tru]{0,40}") {
        // Numbers that a double does not hold are another test's.
        let mut digits = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        prop_assume!(digits.all(|run| run.len() < 15));
        let mut exponents = text.split('e').skip(1).map(|e| e.trim_start_matches(['+', '-']));
        prop_assume!(exponents.all(|e| !e.chars().take(3).all(|c| c.is_ascii_digit()) || e.len() < 3));
        if let Ok(wanted) = serde_json::from_str::<Value>(&text) {
            if let Ok(got) = decoded(JSON, text.as_bytes()) {
                let plain = |v: &Value| v.to_string().replace("-0.0", "0").replace(".0", "");
                prop_assert_eq!(plain(&got), plain(&wanted));
            } else {
                prop_assert_eq!(refused(JSON, text.as_bytes()).1, "duplicate_key");
            }
        } else {
            prop_assert!(decoded(JSON, text.as_bytes()).is_err(), "{}", text);
        }
    }

    #[test]
    fn what_serde_writes_we_read(
        names in prop::collection::btree_set("\\PC{1,8}", 0..6),
        texts in prop::collection::vec("[^\\x00]{0,20}", 6),
        number in any::<i64>(),
        real in any::<f64>().prop_filter("finite", |f| f.is_finite()),
    ) {
        let members = names.into_iter().zip(texts).map(|(k, v)| (k, Value::String(v)));
        let value = json!({"o": Value::Object(members.collect()), "n": number, "r": real});
        prop_assert_eq!(decoded(JSON, value.to_string().as_bytes()).unwrap(), value);
    }
}
