//! What senders send, and what is refused and where.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn settings(body: Value) -> BodySettings {
    let settings: BodySettings = serde_json::from_value(body).unwrap();
    assert_eq!(settings.faults(), []);
    settings
}

fn with(settings: &BodySettings, kind: &str, body: &[u8]) -> Result<Value, BodyFault> {
    let headers = [("Content-Type", kind)].into_iter().collect();
    open_plain(settings, &headers, body, LARGEST_BODY).map(|opened| opened.value)
}

pub(super) fn decoded(kind: &str, body: &[u8]) -> Result<Value, BodyFault> {
    with(&BodySettings::default(), kind, body)
}

pub(super) fn refused(kind: &str, body: &[u8]) -> (u16, &'static str, Value) {
    let fault = decoded(kind, body).unwrap_err();
    assert!(fault.message.len() > 20 && !fault.message.contains("s3cret"), "{fault}");
    (fault.status, fault.code, fault.place)
}

pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const XML: &str = "application/x-adf+xml; charset=utf-8";
pub(super) const CSV: &str = "text/csv";

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

pub(super) fn multipart(body: &str) -> Vec<u8> {
    body.replace('\n', "\r\n").into_bytes()
}

pub(super) const MULTIPART: &str = "multipart/form-data; boundary=\"b-1\"";

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
    for kind in ["text/plain", "application/+json", "application/jsonp", "image/svg", "json"] {
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
    assert_eq!(decoded("", b"{}").unwrap(), json!({}), "no content type");
    let text = [("content-type", "text/plain")].into_iter().collect();
    assert_eq!(check_headers(&BodySettings::default(), &text).unwrap_err().status, 415);
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
