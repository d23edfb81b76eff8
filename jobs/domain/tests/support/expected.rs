//! Comparing a lead, as JSON, with the one that the corpus expects. The rules are the corpus's: null
//! is not compared unless the field is listed in `must_be_null`, numbers are compared as numbers,
//! instants as instants to the millisecond, `custom`, `campaign` and `consent` may hold more than is
//! listed.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// What differs, in words.
pub fn differences(lead: &Value, wanted: &Value) -> Vec<String> {
    let listed = wanted["must_be_null"].as_array();
    let must_be_null = |name: &str| listed.is_some_and(|l| l.iter().any(|n| n == name));
    let fields = wanted.as_object().unwrap().iter().filter(|(name, _)| *name != "must_be_null");
    let differs = |name: &str, wanted: &Value| match wanted {
        Value::Null => must_be_null(name) && !lead[name].is_null(),
        wanted => !same(name, &lead[name], wanted),
    };
    fields
        .filter(|(name, wanted)| differs(name, wanted))
        .map(|(name, wanted)| format!("{name}: expected {wanted}, got {}", lead[name]))
        .collect()
}

fn same(field: &str, is: &Value, wanted: &Value) -> bool {
    match (field, wanted) {
        ("line_items", Value::Array(lines)) => {
            let is = is.as_array().map_or(&[][..], Vec::as_slice);
            is.len() == lines.len() && is.iter().zip(lines).all(|(is, line)| holds(is, line))
        }
        ("custom" | "campaign" | "consent", Value::Object(_)) => holds(is, wanted),
        ("budget", wanted) => same_number(is, wanted),
        ("submitted_at", wanted) => instant(is).is_some() && instant(is) == instant(wanted),
        (_, wanted) => is == wanted,
    }
}

/// Every member that is wanted is there; numbers are compared as numbers.
fn holds(is: &Value, wanted: &Value) -> bool {
    let same = |is: &Value, wanted: &Value| {
        wanted.is_null() || text(is) == text(wanted) || same_number(is, wanted)
    };
    wanted.as_object().unwrap().iter().all(|(name, wanted)| same(&is[name], wanted))
}

/// As exact as they are written: `412.50` is `412.5`, and 2^53 + 1 is no other number.
fn same_number(is: &Value, wanted: &Value) -> bool {
    let number = |value: &Value| text(value).parse::<rust_decimal::Decimal>().ok();
    number(is).is_some() && number(is) == number(wanted)
}

fn instant(value: &Value) -> Option<i64> {
    let at: Option<DateTime<Utc>> = value.as_str().and_then(|text| text.parse().ok());
    at.map(|at| at.timestamp_millis())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
