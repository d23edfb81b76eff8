//! A value on its way from the body to the lead.

use super::rule::Found;
use crate::normalise::{self, Unreadable};
use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Number, Value};
use std::str::FromStr;

/// Nested values are kept in `custom` down to this depth.
const DEEPEST: usize = 8;

/// A value between two steps. Text is clean (see [`normalise::text`]) and never empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val {
    /// Nothing: absent, null, or empty.
    Null,
    Text(String),
    Bool(bool),
    /// A number, and the currency that stood with it.
    Num(Decimal, Option<&'static str>),
    Time(DateTime<Utc>),
    /// An array or object with something in it.
    Json(Value),
}

impl Val {
    pub fn text(text: &str) -> Self {
        normalise::text(text).map_or(Self::Null, Self::Text)
    }
}

impl Found<'_> {
    /// Fails only for numbers that a JSON reader does not keep exactly.
    pub fn value(&self) -> Result<Val, Unreadable> {
        match self {
            Self::Text(text) => Ok(Val::text(text)),
            Self::Json(value) => from_json(value),
        }
    }
}

pub(super) fn from_json(value: &Value) -> Result<Val, Unreadable> {
    Ok(match value {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::String(text) => Val::text(text),
        Value::Number(n) => Val::Num(decimal(n)?, None),
        Value::Array(items) if items.is_empty() => Val::Null,
        Value::Object(members) if members.is_empty() => Val::Null,
        Value::Array(_) | Value::Object(_) => Val::Json(value.clone()),
    })
}

/// An id of 20 digits that lost its last ones on the way in must not be taken for another's.
fn decimal(n: &Number) -> Result<Decimal, Unreadable> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    let inexact = || {
        Unreadable::new(
            "inexact_number",
            "The number has more digits than JSON readers keep; the sender must send it as text.",
        )
    };
    if n.is_f64() && n.as_f64().is_none_or(|f| f.abs() >= EXACT) {
        return Err(inexact());
    }
    let text = n.to_string();
    Decimal::from_str(&text).or_else(|_| Decimal::from_scientific(&text)).map_err(|_| inexact())
}

/// A value as text: numbers with their digits, instants as RFC 3339, an array of scalars joined by
/// a comma and a blank. `Val::Null` is the empty text.
pub(super) fn text_of(value: &Val) -> Result<String, Unreadable> {
    Ok(match value {
        Val::Null => String::new(),
        Val::Text(text) => text.clone(),
        Val::Bool(b) => b.to_string(),
        Val::Num(n, _) => n.to_string(),
        Val::Time(t) => t.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Val::Json(Value::Array(items)) => joined(items, ", ")?,
        Val::Json(_) => {
            return Err(Unreadable::new(
                "not_text",
                "An object stands where text is expected; name one of its members in the path.",
            ));
        }
    })
}

/// The scalars of an array, the empty ones left out.
pub(super) fn joined(items: &[Value], separator: &str) -> Result<String, Unreadable> {
    let mut texts = Vec::new();
    for item in items {
        match from_json(item)? {
            Val::Null => {}
            Val::Json(_) => {
                return Err(Unreadable::new(
                    "not_text",
                    "A list of lists or objects stands where text is expected.",
                ));
            }
            scalar => texts.push(text_of(&scalar)?),
        }
    }
    Ok(texts.join(separator))
}

/// A nested value fit to be stored: texts and keys clean, nothing deeper than eight levels.
pub(super) fn clean_json(value: &Value) -> Result<Value, Unreadable> {
    clean_below(value, DEEPEST)
}

fn clean_below(value: &Value, depth: usize) -> Result<Value, Unreadable> {
    if depth == 0 {
        return Err(Unreadable::new("too_deep", "The value is nested more than eight levels."));
    }
    Ok(match value {
        Value::String(text) => normalise::text(text).map_or(Value::Null, Value::String),
        Value::Array(items) => Value::Array(
            items.iter().map(|item| clean_below(item, depth - 1)).collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => {
            let mut clean = Map::new();
            for (key, member) in members {
                if let Some(key) = normalise::line(key) {
                    clean.insert(key, clean_below(member, depth - 1)?);
                }
            }
            Value::Object(clean)
        }
        scalar => scalar.clone(),
    })
}
