//! What senders send, what is refused and where, and that no bytes at all make anything panic.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::portal::PortalSettings;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::json;
use std::io::Write as _;

fn settings(body: Value) -> BodySettings {
    let settings: BodySettings = serde_json::from_value(body).unwrap();
    assert_eq!(settings.faults(), []);
    settings
}

fn with(settings: &BodySettings, kind: &str, body: &[u8]) -> Result<Value, BodyFault> {
    let headers = [("Content-Type", kind)].into_iter().collect();
    open_plain(settings, &headers, body, LARGEST_BODY).map(|opened| opened.value)
}

fn decoded(kind: &str, body: &[u8]) -> Result<Value, BodyFault> {
    with(&BodySettings::default(), kind, body)
}

fn refused(kind: &str, body: &[u8]) -> (u16, &'static str, Value) {
    let fault = decoded(kind, body).unwrap_err();
    assert!(fault.message.len() > 20 && !fault.message.contains("s3cret"), "{fault}");
    (fault.status, fault.code, fault.place)
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "application/x-adf+xml; charset=utf-8";
const CSV: &str = "text/csv";

#[test]
fn json_is_what_it_is() {
    for text in [
        r#"{"a":[1,-2,0.5,1e3,true,false,null,"x"],"b":{}, "c" : [ ] }"#,
        "  [1]\r\n",
        r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#,
        "7",
    ] {
        let wanted: Value = serde_json::from_str(text).unwrap();
        assert_eq!(decoded(JSON, text.as_bytes()).unwrap(), wanted, "{text}");
    }
    assert_eq!(decoded(JSON, b"\xef\xbb\xbf{}").unwrap(), json!({}));
    let latin = b"{\"a\":\"\xe9\"}";
    assert_eq!(decoded("application/json; charset=iso-8859-1", latin).unwrap(), json!({"a": "é"}));
}

#[test]
fn long_numbers_keep_their_digits_and_odd_characters_do_not_lose_the_lead() {
    let body = br#"{"id":820982911946154508,"n":123456789012345678901234567890,
        "p":1234567890123456.789,"q":12.50,"s":"a\u0000b\ud800c\udc00\ud83dd","k\u0000":1}"#;
    let value = decoded(JSON, body).unwrap();
    assert_eq!(value["id"], json!(820_982_911_946_154_508_u64));
    assert_eq!(value["n"], json!("123456789012345678901234567890"));
    assert_eq!(value["p"], json!("1234567890123456.789"));
    assert_eq!(value["q"], json!(12.5));
    assert_eq!(value["s"], json!("ab\u{fffd}c\u{fffd}\u{fffd}d"));
    assert_eq!(value["k"], json!(1));
    // Pasted control characters, a NUL among them.
    assert_eq!(decoded(JSON, b"\"a\nb\0c\"").unwrap(), json!("a\nbc"));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (body, code, line, column) in [
        (&b""[..], "invalid_json", 1, 1),
        (b"{", "invalid_json", 1, 2),
        (b"{\"s3cret\"}", "invalid_json", 1, 10),
        (b"{\"a\":1,}", "invalid_json", 1, 8),
        (b"[1,\n 2", "invalid_json", 2, 3),
        (b"[1 2]", "invalid_json", 1, 4),
        (b"01", "invalid_json", 1, 1),
        (b"1.", "invalid_json", 1, 1),
        (b"-", "invalid_json", 1, 1),
        (b"NaN", "invalid_json", 1, 1),
        (b"truth", "invalid_json", 1, 1),
        (b"'a'", "invalid_json", 1, 1),
        (b"\"a", "invalid_json", 1, 3),
        (b"\"\\x\"", "invalid_json", 1, 3),
        (b"\"\\u12\"", "invalid_json", 1, 3),
        (b"{} {}", "invalid_json", 1, 4),
        (b"{\"a\":1,\n\"a\":2}", "duplicate_key", 2, 1),
    ] {
        let wanted = (400, code, json!({"line": line, "column": column}));
        assert_eq!(refused(JSON, body), wanted, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(refused(JSON, b"\"a\xff\""), (400, "invalid_utf8", json!({"byte": 2})));
    assert_eq!(refused(JSON, &b"[".repeat(2_000)).1, "json_too_deep");
    assert_eq!(refused(JSON, &b"{\"a\":".repeat(2_000)).1, "json_too_deep");
    let deep = [b"[".repeat(127), b"]".repeat(127)].concat();
    assert!(decoded(JSON, &deep).is_ok(), "127 levels are allowed");
}

#[test]
fn how_much_is_read_is_bounded() {
    let small = settings(json!({"limits": {"depth": 2, "nodes": 6, "fields": 2}}));
    let code = |kind, body: &[u8]| with(&small, kind, body).map_err(|f| (f.status, f.code));
    assert!(code(JSON, b"[[1],[2]]").is_ok());
    assert_eq!(code(JSON, b"[[[]]]"), Err((400, "json_too_deep")));
    assert_eq!(code(JSON, b"[1,2,3,4,5,6]"), Err((413, "too_many_values")));
    assert_eq!(code(JSON, br#"{"a":1,"b":2,"c":3}"#), Err((413, "too_many_fields")));
    assert_eq!(code("application/x-ndjson", b"[1,2]\n[1,2,3]"), Err((413, "too_many_values")));
    assert_eq!(code(FORM, b"a=1&b=2&c=3"), Err((413, "too_many_fields")));
    assert_eq!(code(XML, b"<a><b><c/></b></a>"), Err((400, "xml_too_deep")));
    assert_eq!(code(XML, b"<a><b/><b/><b/><b/><b/><b/></a>"), Err((413, "too_many_values")));
    assert_eq!(code(XML, b"<a x='1' y='2' z='3'/>"), Err((413, "too_many_fields")));
    assert_eq!(code(CSV, b"a,b,c\n1,2,3\n"), Err((413, "too_many_fields")));
    assert_eq!(code(CSV, b"a,b\n1,2\n1,2\n1,2\n1,2\n"), Err((413, "too_many_values")));
}

#[test]
fn lines_of_json_are_an_array() {
    let kind = "application/x-ndjson";
    let wanted = json!([{"a": 1}, {"a": 2}]);
    assert_eq!(decoded(kind, b"{\"a\":1}\r\n\n{\"a\":2}\n").unwrap(), wanted);
    assert_eq!(
        refused(kind, b"{}\n\n{\"a\"}"),
        (400, "invalid_json", json!({"line": 3, "column": 5}))
    );
    assert_eq!(decoded(kind, b"").unwrap(), json!([]));
}

#[test]
fn forms_become_objects() {
    let form = "name=J%C3%B3zef+K.&plus=a%2Bb&empty=&flag&a=1&a=2&b%5B%5D=x&c[d]=1&c[e][]=2\
                &l[0][n]=p&l[1][n]=q&m[][k]=1&m[][k]=2&&bad[x=1&[y]=2&z=%zz";
    let wanted = json!({
        "name": "Józef K.", "plus": "a+b", "empty": "", "flag": "", "a": ["1", "2"], "b": ["x"],
        "c": {"d": "1", "e": ["2"]}, "l": [{"n": "p"}, {"n": "q"}], "m": [{"k": "1"}, {"k": "2"}],
        "bad[x": "1", "[y]": "2", "z": "%zz",
    });
    assert_eq!(decoded(FORM, form.as_bytes()).unwrap(), wanted);
    // Names that contradict each other lose nothing.
    let wanted = json!({"a": "1", "a[b]": "2", "c": {"d": "1"}, "c[d][e]": "3"});
    assert_eq!(decoded(FORM, b"a=1&a[b]=2&c[d]=1&c[d][e]=3").unwrap(), wanted);
    let latin = decoded("application/x-www-form-urlencoded; charset=windows-1252", b"n=%80+%e9");
    assert_eq!(latin.unwrap(), json!({"n": "€ é"}));
    assert_eq!(refused(FORM, b"a=1&b=%FF"), (400, "invalid_utf8", json!({"field": 2})));
    assert_eq!(decoded(FORM, b"a=x%00y").unwrap(), json!({"a": "xy"}));
    let many = format!("a{}=1", "[b]".repeat(1_000));
    assert_eq!(
        decoded(FORM, many.as_bytes()).unwrap(),
        json!({ many.split('=').next().unwrap(): "1" })
    );
}

fn multipart(body: &str) -> Vec<u8> {
    body.replace('\n', "\r\n").into_bytes()
}

const MULTIPART: &str = "multipart/form-data; boundary=\"b-1\"";

#[test]
fn multipart_fields_are_texts_and_files_are_described() {
    let body = multipart(
        "--b-1\nContent-Disposition: form-data; name=\"name\"\n\nJózef\n\
         --b-1\nContent-Disposition: form-data; name=\"tags[]\"\n\na\nb\n\
         --b-1\nContent-Disposition: form-data; name=\"cv\"; filename=\"cv.pdf\"\n\
         Content-Type: application/pdf\n\n%PDF-\n--b-1--\n",
    );
    let wanted = json!({"name": "Józef", "tags": ["a\r\nb"],
        "cv": {"filename": "cv.pdf", "content_type": "application/pdf", "size": 5}});
    assert_eq!(decoded(MULTIPART, &body).unwrap(), wanted);
    let latin = [
        &b"--b-1\r\nContent-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=latin1\r\n\r\n"[..],
        b"\xe9\r\n--b-1--\r\n",
    ]
    .concat();
    assert_eq!(decoded(MULTIPART, &latin).unwrap(), json!({"a": "é"}));
    for cut in [1, 10, body.len() / 2, body.len() - 10] {
        assert_eq!(refused(MULTIPART, &body[..cut]).1, "invalid_multipart", "cut at {cut}");
    }
    assert_eq!(refused("multipart/form-data", &body).1, "multipart_no_boundary");
    assert_eq!(refused("multipart/form-data; boundary=other", &body).1, "invalid_multipart");
}

#[test]
fn xml_becomes_objects() {
    let body = br#"<?xml version="1.0"?><?ADF VERSION="1.0"?>
        <a:adf xmlns:a="urn:x"><!-- no -->
          <phone type="voice" a:time="day">+353 1</phone><phone>2</phone>
          <name><![CDATA[A & B <c>]]></name><note>x &amp; &#233;&#x1F600;</note>
          <empty/><mixed>one <b>two</b> three</mixed>
        </a:adf>"#;
    let wanted = json!({"adf": {
        "phone": [{"@type": "voice", "@time": "day", "#text": "+353 1"}, "2"],
        "name": "A & B <c>", "note": "x & é😀", "empty": "",
        "mixed": {"b": "two", "#text": "one  three"},
    }});
    assert_eq!(decoded(XML, body).unwrap(), wanted);
    let lists = settings(json!({"xml": {"lists": ["b"]}}));
    assert_eq!(with(&lists, XML, b"<a><b>1</b></a>").unwrap(), json!({"a": {"b": ["1"]}}));
    let latin = b"<?xml version='1.0' encoding='ISO-8859-2'?><a>\xb1</a>";
    assert_eq!(decoded("text/xml", latin).unwrap(), json!({"a": "ą"}));
    let wide: Vec<u8> = "\u{feff}<a>é</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(decoded("text/xml", &wide).unwrap(), json!({"a": "é"}));
}

#[test]
fn xml_that_could_harm_or_is_none_is_refused() {
    let external =
        br#"<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"#;
    assert_eq!(
        refused(XML, external),
        (400, "xml_dtd_forbidden", json!({"line": 1, "column": 22}))
    );
    assert_eq!(refused(XML, b"<!DOCTYPE html><a/>").1, "xml_dtd_forbidden");
    assert_eq!(refused(XML, b"<a>&s3cret;</a>").1, "xml_unknown_entity");
    assert_eq!(refused(XML, b"<a b='&x;'/>").1, "xml_unknown_entity");
    for body in [
        "",
        "text",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>text",
        "<a",
        "<a b=1 b=2/>",
        "<a>&#xFFFFFFFF;</a>",
    ] {
        assert_eq!(refused(XML, body.as_bytes()).1, "invalid_xml", "{body}");
    }
    assert_eq!(refused(XML, "<a>".repeat(2_000).as_bytes()).1, "xml_too_deep");
}

#[test]
fn tables_become_arrays_of_objects() {
    let body = "\u{feff}Name;E-mail ;Uwagi\r\n\"Nowak; Anna\";a@x.pl;\"dwie\nlinie\"\r\n;;\r\nJan;b@x.pl\r\n";
    let wanted = json!([
        {"Name": "Nowak; Anna", "E-mail": "a@x.pl", "Uwagi": "dwie\nlinie"},
        {"Name": "Jan", "E-mail": "b@x.pl"},
    ]);
    assert_eq!(decoded(CSV, body.as_bytes()).unwrap(), wanted);
    let latin = decoded("text/csv; charset=windows-1250", b"a,b\n\xb3,\xf3\n").unwrap();
    assert_eq!(latin, json!([{"a": "ł", "b": "ó"}]));
    assert_eq!(
        decoded("text/tab-separated-values", b"a\tb,c\n1\t2\n").unwrap(),
        json!([{"a": "1", "b,c": "2"}])
    );
    let bare = settings(json!({"csv": {"header": false, "delimiter": "|"}}));
    assert_eq!(with(&bare, CSV, b"1|2\n").unwrap(), json!([{"1": "1", "2": "2"}]));
    let named = settings(json!({"csv": {"header": false, "columns": ["x", "y"]}}));
    assert_eq!(with(&named, CSV, b"1,2\n").unwrap(), json!([{"x": "1", "y": "2"}]));
    assert_eq!(refused(CSV, b"a,b\n1,2,3\n"), (400, "csv_ragged_row", json!({"line": 2})));
    assert_eq!(refused(CSV, b"a,a\n1,2\n").1, "duplicate_key");
    assert_eq!(refused(CSV, b"").1, "empty_csv");
}

#[test]
fn what_it_is_is_said_by_the_content_type_or_by_the_portal() {
    for kind in ["text/plain", "application/+json", "application/jsonp", "image/svg", "", "json"] {
        assert_eq!(refused(kind, b"{}"), (415, "unsupported_media_type", Value::Null), "{kind}");
    }
    for kind in
        ["Application/JSON; charset=\"UTF-8\"", "application/vnd.portal.lead+json", "text/json"]
    {
        assert_eq!(decoded(kind, b"{}").unwrap(), json!({}), "{kind}");
    }
    let forced = settings(json!({"type": "json", "charset": "windows-1252"}));
    assert_eq!(with(&forced, "text/plain; charset=utf-8", b"\"\xe9\"").unwrap(), json!("é"));
    assert_eq!(refused("application/json; charset=klingon", b"{}").1, "unsupported_charset");
    // It would turn into anything.
    assert_eq!(refused("application/json; charset=utf-7", b"{}").1, "unsupported_charset");
    assert_eq!(
        check_headers(&BodySettings::default(), &Headers::default()).unwrap_err().status,
        415
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (body, at) in [
        (json!({"charset": "klingon"}), "/body/charset"),
        (json!({"csv": {"delimiter": "\""}}), "/body/csv/delimiter"),
        (json!({"csv": {"delimiter": "ż"}}), "/body/csv/delimiter"),
        (json!({"limits": {"bytes": LARGEST_BODY + 1}}), "/body/limits/bytes"),
        (json!({"limits": {"depth": 128}}), "/body/limits/depth"),
        (json!({"limits": {"nodes": 0}}), "/body/limits/nodes"),
        (json!({"limits": {"fields": 50_001}}), "/body/limits/fields"),
    ] {
        let settings: BodySettings = serde_json::from_value(body.clone()).unwrap();
        let places: Vec<_> = settings.faults().into_iter().map(|f| f.field).collect();
        assert_eq!(places, [at], "{body}");
    }
}

fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
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
    for name in ["br", "zstd", "gzip, gzip", "compress"] {
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
    for body in [&br#"{"k":{"k":"x"}}"#[..], br#"{"k":null}"#, br#"["k"]"#, b"{}"] {
        assert!(portal("k").open(&headers, body, 1_000).unwrap().credential.is_none());
    }
    // Compressed: what is stored is the inflated body without the key.
    let gzip: Headers =
        [("content-type", JSON), ("content-encoding", "gzip")].into_iter().collect();
    let opened = portal("k").open(&gzip, &packed("gzip", br#"{"k":"s3-cret"}"#), 1_000).unwrap();
    assert_eq!(opened.stored.unwrap(), br#"{"k":"*******"}"#);
    // Where the bytes cannot be found the body is refused rather than stored with the key.
    let xml: Headers = [("content-type", XML)].into_iter().collect();
    assert_eq!(portal("k").open(&xml, b"<k>s3-cret</k>", 1_000).unwrap_err().status, 415);
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
        coding in prop::sample::select(vec!["", "gzip", "deflate"]),
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
