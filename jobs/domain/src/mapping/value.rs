//! A value on its way from the body to the lead.

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
    /// Several values, none of them absent.
    List(Vec<Val>),
    /// An array or object with something in it.
    Json(Value),
}

impl Val {
    pub fn text(text: &str) -> Self {
        normalise::text(text).map_or(Self::Null, Self::Text)
    }

    /// Absent values are left out; one is no list.
    pub fn list(values: Vec<Self>) -> Self {
        let mut values: Vec<_> = values.into_iter().filter(|v| *v != Self::Null).collect();
        match values.len() {
            0 => Self::Null,
            1 => values.remove(0),
            _ => Self::List(values),
        }
    }

    /// Does it hold several values?
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Json(Value::Array(_)))
    }

    /// The values it holds, lists within lists dissolved; a single one holds itself.
    ///
    /// # Errors
    /// If one is a number that is not kept exactly.
    pub fn into_elements(self) -> Result<Vec<Self>, Unreadable> {
        let mut elements = Vec::new();
        match self {
            Self::Null => {}
            Self::List(values) => {
                for value in values {
                    elements.append(&mut value.into_elements()?);
                }
            }
            Self::Json(Value::Array(items)) => {
                for item in &items {
                    elements.append(&mut from_json(item)?.into_elements()?);
                }
            }
            one => elements.push(one),
        }
        Ok(elements)
    }

    /// The one value that a field of one value reads: a list's first, an XML element's text.
    pub fn into_scalar(self) -> Result<Self, Unreadable> {
        match self {
            Self::List(_) | Self::Json(Value::Array(_)) => {
                match self.into_elements()?.into_iter().next() {
                    Some(first) => first.into_scalar(),
                    None => Ok(Self::Null),
                }
            }
            Self::Json(Value::Object(members)) => match element_text(&members) {
                Some(text) => from_json(text),
                None if is_bare_element(&members) => Ok(Self::Null),
                None => Ok(Self::Json(Value::Object(members))),
            },
            one => Ok(one),
        }
    }

    /// As JSON, so that a path may lead into it: numbers as their digits.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Json(value) => value.clone(),
            Self::List(values) => Value::Array(values.iter().map(Self::to_json).collect()),
            Self::Text(text) => Value::String(text.clone()),
            scalar => text_of(scalar).map_or(Value::Null, Value::String),
        }
    }
}

/// What stands between an XML element's tags, if it has attributes or children too.
fn element_text(members: &Map<String, Value>) -> Option<&Value> {
    members.get("#text")
}

/// An XML element with attributes alone.
fn is_bare_element(members: &Map<String, Value>) -> bool {
    members.keys().all(|key| key.starts_with('@'))
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

/// A scalar as clean text, for comparisons; also an XML element's.
pub(super) fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => normalise::text(text),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::Object(members) => element_text(members).and_then(plain_text),
        Value::Null | Value::Array(_) => None,
    }
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

/// A value as text: numbers with their digits, instants as RFC 3339, a list of scalars joined by
/// a comma and a blank, an XML element's text. `Val::Null` is the empty text.
pub(super) fn text_of(value: &Val) -> Result<String, Unreadable> {
    Ok(match value {
        Val::Null => String::new(),
        Val::Text(text) => text.clone(),
        Val::Bool(b) => b.to_string(),
        Val::Num(n, _) => n.to_string(),
        Val::Time(t) => t.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Val::List(_) | Val::Json(Value::Array(_)) => joined(value.clone(), ", ")?,
        Val::Json(Value::Object(members)) if element_text(members).is_some() => {
            element_text(members)
                .map(from_json)
                .transpose()?
                .map_or(Ok(String::new()), |v| text_of(&v))?
        }
        Val::Json(Value::Object(members)) if is_bare_element(members) => String::new(),
        Val::Json(_) => {
            return Err(Unreadable::new(
                "not_text",
                "An object stands where text is expected; name one of its members in the path.",
            ));
        }
    })
}

/// The scalars of a list, the empty ones left out.
pub(super) fn joined(list: Val, separator: &str) -> Result<String, Unreadable> {
    let mut texts = Vec::new();
    for element in list.into_elements()? {
        let text = text_of(&element).map_err(|_| {
            Unreadable::new("not_text", "A list of objects stands where text is expected.")
        })?;
        if !text.is_empty() {
            texts.push(text);
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
