//! Lines of changes.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use switchyard_backup::change::{Change, Relation, Value};
use switchyard_backup::format::lines::{parse, write};
use switchyard_backup::model::Lsn;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => Just(Value::Unchanged),
        4 => any::<String>().prop_map(Value::Text),
        2 => "[\"\\\\\n\r\t\u{0}-\u{1f}a]{0,12}".prop_map(Value::Text),
    ]
}

fn row() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), 0..12)
}

/// To the nanosecond, from the year 0 to 9999.
fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    let micros =
        (-62_167_219_200i64..253_402_300_799, 0u32..1_000_000).prop_map(|(s, m)| (s, m * 1000));
    let nanos = (-62_167_219_200i64..253_402_300_799, 0u32..1_000_000_000);
    prop_oneof![micros, nanos].prop_map(|(s, n)| DateTime::from_timestamp(s, n).unwrap())
}

fn relation() -> impl Strategy<Value = Change> {
    let columns = prop::collection::vec(any::<String>(), 1..6);
    (any::<u32>(), any::<String>(), any::<String>(), columns).prop_map(
        |(oid, schema, name, columns)| {
            let key = (0..columns.len()).step_by(2).collect();
            Change::Relation(Relation { oid, schema, name, columns, key })
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let oid = any::<u32>();
    prop_oneof![
        (any::<u32>(), any::<u64>(), moment()).prop_map(|(xid, lsn, at)| Change::Begin {
            xid,
            lsn: Lsn(lsn),
            at
        }),
        relation(),
        (oid, row()).prop_map(|(oid, row)| Change::Insert { oid, row }),
        (oid, prop::option::of(row()), row()).prop_map(|(oid, old_key, row)| Change::Update {
            oid,
            old_key,
            row
        }),
        (oid, row()).prop_map(|(oid, key)| Change::Delete { oid, key }),
        (prop::collection::vec(any::<u32>(), 0..4), any::<bool>(), any::<bool>())
            .prop_map(|(oids, cascade, restart)| Change::Truncate { oids, cascade, restart }),
        (any::<String>(), any::<String>())
            .prop_map(|(prefix, content)| Change::Message { prefix, content }),
        any::<u64>().prop_map(|end| Change::Commit { end: Lsn(end) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_change_is_read_as_it_was_written(change in change()) {
        let mut line = Vec::new();
        write(&change, &mut line);
        let text = std::str::from_utf8(&line).unwrap();
        prop_assert_eq!(text.matches('\n').count(), 1);
        let body = text.strip_suffix('\n').unwrap();
        // It is JSON for everybody else, too.
        prop_assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{}", body);
        prop_assert_eq!(parse(body), Ok(change));
    }

    #[test]
    fn a_line_that_is_cut_is_refused(change in change(), at in any::<prop::sample::Index>()) {
        let mut line = Vec::new();
        write(&change, &mut line);
        let text = std::str::from_utf8(&line).unwrap().trim_end();
        let cut: Vec<usize> = (0..text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let at = cut[at.index(cut.len())];
        prop_assert!(parse(&text[..at]).is_err());
    }

    #[test]
    fn nothing_that_is_read_panics(line in "\\{\"(i|u|d|t|m|begin|rel|commit)\":[\"\\[\\]{},:0-9a-f\\\\u é]{0,40}") {
        let _ = parse(&line);
    }

    #[test]
    fn a_changed_byte_never_panics(change in change(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = Vec::new();
        write(&change, &mut line);
        let at = at.index(line.len());
        line[at] = byte;
        if let Ok(text) = std::str::from_utf8(&line) {
            let _ = parse(text.trim_end_matches('\n'));
        }
    }
}

#[test]
fn the_lines_are_those_that_the_format_promises() {
    let mut lines = Vec::new();
    let text = |s: &str| Value::Text(s.to_owned());
    let changes = [
        Change::Begin {
            xid: 7,
            lsn: Lsn(0x16B_3748),
            at: "2026-11-23T05:15:00.123456Z".parse().unwrap(),
        },
        Change::Relation(Relation {
            oid: 1,
            schema: "s".into(),
            name: "t".into(),
            columns: vec!["a".into(), "b".into()],
            key: vec![0],
        }),
        Change::Insert { oid: 1, row: vec![text("text"), Value::Null] },
        Change::Update { oid: 1, old_key: Some(vec![text("1")]), row: vec![Value::Unchanged] },
        Change::Update { oid: 1, old_key: None, row: vec![] },
        Change::Delete { oid: 1, key: vec![text("\u{1f}\"\\\n")] },
        Change::Truncate { oids: vec![1, 2], cascade: true, restart: false },
        Change::Message { prefix: "prefix".into(), content: "content".into() },
        Change::Commit { end: Lsn(0x16_B374_D848) },
    ];
    for change in &changes {
        write(change, &mut lines);
    }
    let expected = r#"{"begin":{"xid":7,"lsn":"0/16B3748","at":"2026-11-23T05:15:00.123456Z"}}
{"rel":{"oid":1,"schema":"s","name":"t","columns":["a","b"],"key":[0]}}
{"i":1,"v":["text",null]}
{"u":1,"k":["1"],"v":[false]}
{"u":1,"v":[]}
{"d":1,"k":["\u001F\"\\\n"]}
{"t":[1,2],"cascade":true,"restart":false}
{"m":"prefix","c":"content"}
{"commit":"16/B374D848"}
"#;
    assert_eq!(String::from_utf8(lines).unwrap(), expected);
}

#[test]
fn a_key_column_that_there_is_not_is_refused() {
    let line = r#"{"rel":{"oid":1,"schema":"s","name":"t","columns":["a"],"key":[1]}}"#;
    assert_eq!(parse(line), Err("names a key column that there is not"));
}
