//! Comparing a lead with what a sample says of it. What a sample does not name is not looked at.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use switchyard_domain::{FieldFault, StandardLead};

/// Every difference; `at` is the pointer of the expectation.
pub(super) fn differences(
    expected: &Map<String, Value>,
    lead: &StandardLead,
    at: &str,
) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    let Ok(Value::Object(actual)) = serde_json::to_value(lead) else { return faults };
    for (name, wanted) in expected {
        let place = format!("{at}/{name}");
        match actual.get(name) {
            Some(is) => compare(name, wanted, is, &place, &mut faults),
            None => {
                let known: Vec<&str> = actual.keys().map(String::as_str).collect();
                let message =
                    format!("`{name}` is no field of a lead; the fields are {}.", known.join(", "));
                faults.push(FieldFault::new(place, "unknown_field", message));
            }
        }
    }
    faults
}

/// `field` is the lead's field that the values belong to.
fn compare(field: &str, wanted: &Value, is: &Value, at: &str, faults: &mut Vec<FieldFault>) {
    match (wanted, is) {
        (Value::Object(wanted), Value::Object(is)) => {
            for (name, wanted) in wanted {
                let is = is.get(name).unwrap_or(&Value::Null);
                compare(field, wanted, is, &format!("{at}/{name}"), faults);
            }
        }
        (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => {
            for (n, (wanted, is)) in wanted.iter().zip(is).enumerate() {
                compare(field, wanted, is, &format!("{at}/{n}"), faults);
            }
        }
        _ if alike(field, wanted, is) => {}
        _ => {
            let message = format!("Expected {wanted}, the mapping gives {is}.");
            faults.push(FieldFault::new(at, "unexpected", message));
        }
    }
}

fn alike(field: &str, wanted: &Value, is: &Value) -> bool {
    if wanted == is {
        return true;
    }
    let (Some(a), Some(b)) = (text(wanted), text(is)) else { return false };
    match field {
        "submitted_at" => {
            let instant = |t: &str| t.parse::<DateTime<Utc>>().ok().map(|t| t.timestamp_millis());
            instant(&a).is_some() && instant(&a) == instant(&b)
        }
        "budget" | "line_items" => a == b || (number(&a).is_some() && number(&a) == number(&b)),
        _ => a == b,
    }
}

/// Numbers and booleans as they are written.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A decimal number without zeros that mean nothing: sign, whole digits, fraction.
fn number(text: &str) -> Option<(bool, String, String)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let good =
        !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    good.then(|| (text.starts_with('-'), whole.to_owned(), fraction.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn codes(expected: Value) -> Vec<String> {
        let lead: StandardLead = serde_json::from_value(json!({
            "email": "a@b.co", "budget": "1200.50", "is_test": true,
            "submitted_at": "2026-03-01T09:00:00Z",
            "custom": {"floor": "2", "lift": "yes"},
            "line_items": [{"product": "x", "quantity": 3}],
        }))
        .unwrap();
        let faults = differences(expected.as_object().unwrap(), &lead, "/e");
        faults.into_iter().map(|f| f.field).collect()
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        let same = json!({
            "email": "a@b.co", "budget": 1200.5, "phone": null, "is_test": true,
            "submitted_at": "2026-03-01T10:00:00+01:00", "custom": {"floor": 2},
            "line_items": [{"quantity": "3.0"}],
        });
        assert_eq!(codes(same), [""; 0]);
    }

    #[test]
    fn every_difference_is_told() {
        let other = json!({
            "email": null, "budget": 1200, "mail": "a@b.co", "custom": {"floor": "3", "door": "1"},
            "submitted_at": "2026-03-01T10:00:00Z", "line_items": [], "phone": "+48",
        });
        assert_eq!(
            codes(other),
            [
                "/e/email",
                "/e/budget",
                "/e/mail",
                "/e/custom/floor",
                "/e/custom/door",
                "/e/submitted_at",
                "/e/line_items",
                "/e/phone"
            ]
        );
    }
}
