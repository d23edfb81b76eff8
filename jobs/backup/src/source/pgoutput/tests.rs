//! The log's messages: known ones are read, no bytes make the reader panic.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn relation(identity: u8, columns: &[(&str, bool)]) -> Vec<u8> {
    let mut out = vec![b'R', 0, 0, 0, 7];
    text(&mut out, "shop");
    text(&mut out, "leads");
    out.push(identity);
    out.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
    for (name, key) in columns {
        out.push(u8::from(*key));
        text(&mut out, name);
        out.extend([0; 8]);
    }
    out
}

fn row(values: &[Value]) -> Vec<u8> {
    let mut out = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Value::Null => out.push(b'n'),
            Value::Unchanged => out.push(b'u'),
            Value::Text(t) => {
                out.push(b't');
                out.extend(u32::try_from(t.len()).unwrap().to_be_bytes());
                out.extend(t.as_bytes());
            }
        }
    }
    out
}

fn message(kind: u8, parts: &[(u8, &[Value])]) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, 7];
    for (tag, values) in parts {
        out.push(*tag);
        out.extend(row(values));
    }
    out
}

fn t(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn decoder() -> Decoder {
    let mut decoder = Decoder::default();
    let columns = [("id", true), ("name", false), ("large", false)];
    decoder.decode(&relation(b'd', &columns)).unwrap();
    decoder
}

#[test]
fn a_relation_tells_its_columns_and_key() {
    let columns = [("id", true), ("name", false)];
    let change = Decoder::default().decode(&relation(b'd', &columns)).unwrap();
    let columns = vec!["id".to_owned(), "name".to_owned()];
    let (schema, name) = ("shop".to_owned(), "leads".to_owned());
    let key = vec![0];
    assert_eq!(change, Some(Change::Relation(Relation { oid: 7, schema, name, columns, key })));
}

#[test]
fn rows_are_read_with_null_and_untouched_values() {
    let mut decoder = decoder();
    let values = [t("1"), Value::Null, Value::Unchanged];
    let change = decoder.decode(&message(b'U', &[(b'N', &values)])).unwrap();
    assert_eq!(change, Some(Change::Update { oid: 7, old_key: None, row: values.to_vec() }));
    let change = decoder.decode(&message(b'D', &[(b'K', &[t("1"), Value::Null, Value::Null])]));
    assert_eq!(change, Ok(Some(Change::Delete { oid: 7, key: vec![t("1")] })));
}

#[test]
fn a_changed_key_is_told_and_an_unchanged_one_is_not() {
    let mut decoder = decoder();
    let new = [t("2"), t("a"), Value::Unchanged];
    let mut update = |old: &str| {
        let old = [t(old), Value::Null, Value::Null];
        decoder.decode(&message(b'U', &[(b'K', &old), (b'N', &new)])).unwrap()
    };
    let told = |old_key| Some(Change::Update { oid: 7, old_key, row: new.to_vec() });
    assert_eq!(update("1"), told(Some(vec![t("1")])));
    assert_eq!(update("2"), told(None));
}

#[test]
fn whole_old_rows_fill_in_what_was_not_touched_and_the_primary_key_tells_rows_apart() {
    let keys = [(("shop".to_owned(), "leads".to_owned()), vec!["id".to_owned()])];
    let mut decoder = Decoder::new(keys.into_iter().collect());
    let columns = [("id", true), ("name", true), ("large", true)];
    decoder.decode(&relation(b'f', &columns)).unwrap();
    let (old, new) = ([t("1"), t("a"), t("long")], [t("1"), t("b"), Value::Unchanged]);
    let change = decoder.decode(&message(b'U', &[(b'O', &old), (b'N', &new)])).unwrap();
    let row = vec![t("1"), t("b"), t("long")];
    assert_eq!(change, Some(Change::Update { oid: 7, old_key: None, row }));
    let change = decoder.decode(&message(b'D', &[(b'O', &old)])).unwrap();
    assert_eq!(change, Some(Change::Delete { oid: 7, key: vec![t("1")] }));
}

#[test]
fn a_key_that_was_large_and_not_touched_comes_from_the_old_key() {
    let mut decoder = decoder();
    let (old, new) =
        ([t("long"), Value::Null, Value::Null], [Value::Unchanged, t("b"), Value::Null]);
    let change = decoder.decode(&message(b'U', &[(b'K', &old), (b'N', &new)])).unwrap();
    let row = vec![t("long"), t("b"), Value::Null];
    assert_eq!(change, Some(Change::Update { oid: 7, old_key: None, row }));
}

#[test]
fn messages_of_no_transaction_are_left_out() {
    let said = |flags: u8| {
        let mut out = vec![b'M', flags, 0, 0, 0, 0, 0, 0, 0, 0];
        text(&mut out, "p");
        out.extend([0, 0, 0, 1, b'c']);
        Decoder::default().decode(&out).unwrap()
    };
    assert_eq!(said(0), None);
    let (prefix, content) = ("p".to_owned(), "c".to_owned());
    assert_eq!(said(1), Some(Change::Message { prefix, content }));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let mut decoder = decoder();
    assert!(decoder.decode(b"").is_err() && decoder.decode(b"?").is_err());
    let two = [t("1"), t("2")];
    assert!(decoder.decode(&message(b'I', &[(b'N', &two)])).is_err());
    let mut long = message(b'I', &[(b'N', &[t("1"), t("2"), t("3")])]);
    assert!(decoder.decode(&long).is_ok());
    long.push(0);
    assert!(decoder.decode(&long).is_err());
    let mut unknown = message(b'I', &[(b'N', &two)]);
    unknown[4] = 8;
    assert!(decoder.decode(&unknown).is_err());
    // The largest time there is, and a count that no message could hold.
    let begin = [&[b'B'][..], &[0; 8], &[0x7F; 8], &[0; 4]].concat();
    assert!(decoder.decode(&begin).is_err());
    assert!(decoder.decode(&[b'T', 0xFF, 0xFF, 0xFF, 0xFF, 0]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6),
    ) {
        let mut decoder = decoder();
        for message in messages {
            let _ = decoder.decode(&message);
        }
    }

    #[test]
    fn no_damage_to_a_message_makes_it_panic(
        kind in prop::sample::select(vec![b'R', b'I', b'U', b'D', b'T', b'M', b'B', b'C']),
        at in 0usize..60, byte: u8, cut in 0usize..80,
    ) {
        let mut decoder = decoder();
        let values = [t("1"), Value::Null, t("a longer text")];
        let mut bytes = match kind {
            b'R' => relation(b'd', &[("id", true), ("x", false)]),
            b'U' => message(b'U', &[(b'K', &values), (b'N', &values)]),
            b'D' => message(b'D', &[(b'K', &values)]),
            kind => message(kind, &[(b'N', &values)]),
        };
        if let Some(there) = bytes.get_mut(at) {
            *there = byte;
        }
        bytes.truncate(cut);
        let _ = decoder.decode(&bytes);
        let _ = decoder.decode(&message(b'U', &[(b'K', &values), (b'N', &values)]));
    }
}
