//! JSON numbers without losing a digit.

use serde_json::{Number, Value};

/// The value of a number as it is written. What a 64-bit integer or a double would change becomes
/// text: an order's number must not end in other digits.
pub(super) fn value(text: &str) -> Value {
    let whole = !text.contains(['.', 'e', 'E']);
    if whole {
        if let Ok(n) = text.parse::<u64>() {
            return n.into();
        }
        if let Ok(n) = text.parse::<i64>() {
            return n.into();
        }
        return Value::String(text.to_owned());
    }
    // As it will be written again: of two shortest spellings of a double only one is the writer's.
    let same = |number: &Number| digits(&number.to_string()) == digits(text);
    let exact = text.parse().ok().and_then(Number::from_f64).filter(same);
    exact.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Sign, significant digits and the power of ten of the last one: equal for equal numbers.
fn digits(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_end_matches('0');
    let dropped = i64::try_from(all.len() - significant.len()).ok()?;
    let last = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?).saturating_add(dropped);
    let significant = significant.trim_start_matches('0').to_owned();
    // Zero is zero, whatever its exponent.
    let last = if significant.is_empty() { 0 } else { last };
    Some((negative && !significant.is_empty(), significant, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digits_are_kept_as_they_were_written() {
        for (text, wanted) in [
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("9007199254740993", json!(9_007_199_254_740_993_u64)),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775809", json!("-9223372036854775809")),
            ("1.50", json!(1.5)),
            ("412.5", json!(412.5)),
            ("1e3", json!(1000.0)),
            ("0.1", json!(0.1)),
            ("0.10000000000000000555", json!("0.10000000000000000555")),
            ("1234567890123456.789", json!("1234567890123456.789")),
            ("1e400", json!("1e400")),
            ("1e-400", json!("1e-400")),
            ("0.0e5", json!(0.0)),
            ("1166641986875761.2", json!(1_166_641_986_875_761.2)),
        ] {
            assert_eq!(value(text), wanted, "{text}");
        }
    }
}
