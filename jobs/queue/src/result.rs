//! What a job may hand on as its result.

use serde_json::Value;

/// Largest result, in bytes of compact JSON: 256 KiB. What is larger belongs into a store of its own,
/// and the result says where it is.
pub const LARGEST_RESULT: usize = 256 * 1024;
/// Deepest nesting. JSON is read back with a limit of 128.
const DEEPEST: usize = 100;

/// Whether a value can be kept as a job's result.
///
/// # Errors
/// A sentence for the job's author.
pub fn check_result(value: &Value) -> Result<(), String> {
    if !fits(value, DEEPEST) {
        return Err(format!(
            "the result cannot be kept: it is nested deeper than {DEEPEST}, or a text in it holds \
             a zero byte"
        ));
    }
    match value.to_string().len() {
        0..=LARGEST_RESULT => Ok(()),
        n => Err(format!(
            "the result has {n} bytes, and at most {LARGEST_RESULT} are kept: put it somewhere \
             else and hand on where it is"
        )),
    }
}

fn fits(value: &Value, depth: usize) -> bool {
    let plain = |text: &str| !text.contains('\0');
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => plain(text),
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(all) => all.iter().all(|v| fits(v, depth - 1)),
        Value::Object(all) => all.iter().all(|(k, v)| plain(k) && fits(v, depth - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_is_bounded_in_size_and_depth_and_holds_no_zero_byte() {
        assert_eq!(check_result(&json!({"rows": [1, "two", null]})), Ok(()));
        let text = |n: usize| json!("x".repeat(n));
        assert_eq!(check_result(&text(LARGEST_RESULT - 2)), Ok(()));
        assert!(check_result(&text(LARGEST_RESULT - 1)).is_err());
        assert!(check_result(&json!({"a": ["b\0"]})).is_err());
        assert!(check_result(&json!({"a\0": 1})).is_err());
        let deep = |n| (0..n).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(check_result(&deep(DEEPEST)), Ok(()));
        assert!(check_result(&deep(DEEPEST + 1)).is_err());
    }
}
