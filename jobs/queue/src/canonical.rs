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
