//! One text for equal JSON, whoever wrote it, and a short name for that text.

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Integers up to here are the same as floating-point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The canonical text of a value: no blanks, object members in the order of their names (by code
/// points), and a number without a fraction as an integer, so that `1.0` and `1` are the same.
/// Arrays keep their order. The text is JSON and reads as an equal value.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// The SHA-256 of the canonical text, in hexadecimal digits.
#[must_use]
pub fn digest(value: &Value) -> String {
    let hash = Sha256::digest(canonical(value).as_bytes());
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (i, (name, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Number(number) => text.push_str(&plain(number)),
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn plain(number: &Number) -> String {
    match number.as_f64() {
        // In these bounds the conversion is exact.
        #[allow(clippy::cast_possible_truncation)]
        Some(x) if number.is_f64() && x.fract() == 0.0 && x.abs() <= EXACT => {
            (x as i64).to_string()
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Any JSON, with numbers that texts give back exactly.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000_000_i32..1_000_000).prop_map(|n| Value::from(f64::from(n) / 8.0)),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same value written by somebody else: members the other way round, integers as floats.
    fn otherwise(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let turned = members.iter().rev().map(|(k, v)| (k.clone(), otherwise(v)));
                Value::Object(turned.collect())
            }
            Value::Array(items) => items.iter().map(otherwise).collect(),
            Value::Number(n) => match n.as_i64().and_then(|n| i32::try_from(n).ok()) {
                Some(n) => Value::from(f64::from(n)),
                None => value.clone(),
            },
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_who_wrote_it(value in any_json()) {
            prop_assert_eq!(canonical(&otherwise(&value)), canonical(&value));
            prop_assert_eq!(digest(&otherwise(&value)), digest(&value));
        }

        #[test]
        fn the_text_reads_as_the_same_value(value in any_json()) {
            let read: Value = serde_json::from_str(&canonical(&value)).expect("JSON");
            prop_assert_eq!(canonical(&read), canonical(&value));
            // Floats without a fraction came back as integers; otherwise it is the value itself.
            prop_assert_eq!(otherwise(&otherwise(&read)), otherwise(&otherwise(&value)));
        }

        #[test]
        fn different_values_have_different_texts(a in any_json(), b in any_json()) {
            let same = otherwise(&otherwise(&a)) == otherwise(&otherwise(&b));
            prop_assert_eq!(canonical(&a) == canonical(&b), same || a == b);
        }
    }

    #[test]
    fn what_differs_only_in_writing_is_equal_and_nothing_else() {
        let text = r#"{"b":[1,2.5,null],"ä":"\"","a":{"y":-0.0,"x":1.0}}"#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(canonical(&value), r#"{"a":{"x":1,"y":0},"b":[1,2.5,null],"ä":"\""}"#);
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
        assert_ne!(canonical(&json!("1")), canonical(&json!(1)));
        assert_ne!(canonical(&json!({})), canonical(&json!({"a": null})));
        assert_ne!(canonical(&json!(u64::MAX)), canonical(&json!(u64::MAX - 1)));
        assert_eq!(digest(&json!({})).len(), 64);
    }
}
