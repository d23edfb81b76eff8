//! What is wrong with a body.

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
    /// The place, for programs: `{"line", "column"}`, `{"byte"}`, `{"field"}`, or null.
    pub place: Value,
}

impl BodyFault {
    /// 400: it cannot be read.
    pub(super) fn malformed(code: &'static str, message: impl Into<String>, place: Value) -> Self {
        Self { status: 400, code, message: message.into(), place }
    }

    /// Settings that name no member for the key are refused when they are read.
    pub(crate) fn no_key() -> Self {
        Self::unsupported("unsupported_media_type", "this portal's settings name no key")
    }

    /// 413: there is too much of it.
    pub(super) fn too_large(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 413, code, message: message.into(), place: Value::Null }
    }

    /// 415: of a kind that is not read here.
    pub(super) fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 415, code, message: message.into(), place: Value::Null }
    }
}

/// Line and column (in bytes), both from 1, of a place in a text.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}

/// A fault at a place in a text: `the body is not {what} that we can read: {why}, at line ...`.
pub(super) fn at_place(
    code: &'static str,
    what: &str,
    why: &str,
    text: &str,
    at: usize,
) -> BodyFault {
    let (line, column) = line_and_column(text, at);
    let message =
        format!("the body is not {what} that we can read: {why}, at line {line}, column {column}");
    BodyFault::malformed(code, message, json!({ "line": line, "column": column }))
}
