//! Bodies as they come, decoded to the one form that mappings read: a JSON value.

use serde_json::{Value, json};

/// What is wrong with a body, for its sender. The sentences do not repeat the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyFault {
    /// The HTTP status that says it: 400, 413 or 415.
    pub status: u16,
    /// Stable word for programs.
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// The place, for programs: `{"line", "column"}`, `{"byte"}`, or null.
    pub place: Value,
}

impl BodyFault {
    fn malformed(code: &'static str, message: impl Into<String>, place: Value) -> Self {
        Self { status: 400, code, message: message.into(), place }
    }
}

/// The value that a body of this content type stands for.
///
/// # Errors
/// [`BodyFault`].
pub fn decode(_content_type: Option<&str>, body: &[u8]) -> Result<Value, BodyFault> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let offset = e.valid_up_to();
        let message = format!("the body is not UTF-8 (RFC 8259, 8.1): see byte {offset}");
        BodyFault::malformed("invalid_utf8", message, json!({ "byte": offset }))
    })?;
    serde_json::from_str(text).map_err(|e| {
        let (line, column, text) = (e.line(), e.column(), e.to_string());
        let what = text.split(" at line ").next().unwrap_or(&text);
        let (code, what) = if what.contains("recursion limit") {
            ("json_too_deep", "it is nested deeper than 127 levels")
        } else {
            ("invalid_json", what)
        };
        let message = format!(
            "the body is not JSON that we can read: {what}, at line {line}, column {column}"
        );
        BodyFault::malformed(code, message, json!({ "line": line, "column": column }))
    })
}
