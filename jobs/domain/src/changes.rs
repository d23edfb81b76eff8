//! What is different between two states of a lead, field by field.

use crate::StandardLead;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field; members of objects by name: `custom.floor`.
    pub field: String,
    /// As it is; null: absent.
    pub before: Value,
    /// As it would be; null: absent.
    pub after: Value,
}

/// What differs, in the order of the fields. Amounts are compared as numbers, instants as stored (to
/// the microsecond).
#[must_use]
pub fn differences(before: &StandardLead, after: &StandardLead) -> Vec<FieldChange> {
    let (before, after) = (members(before), members(after));
    let mut changes = Vec::new();
    for (name, was) in &before {
        let becomes = after.get(name).unwrap_or(&Value::Null);
        compare(name, was, becomes, &mut changes);
    }
    changes
}

fn compare(name: &str, was: &Value, becomes: &Value, changes: &mut Vec<FieldChange>) {
    let empty = Map::new();
    let (a, b) = match (was, becomes) {
        (Value::Object(a), Value::Object(b)) => (a, b),
        (Value::Object(a), Value::Null) => (a, &empty),
        (Value::Null, Value::Object(b)) => (&empty, b),
        _ => {
            if was != becomes {
                let (before, after) = (was.clone(), becomes.clone());
                changes.push(FieldChange { field: name.to_owned(), before, after });
            }
            return;
        }
    };
    let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
    for key in keys {
        let (was, becomes) =
            (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
        compare(&format!("{name}.{key}"), was, becomes, changes);
    }
}

/// Every field as JSON, in forms that are equal when the values are.
fn members(lead: &StandardLead) -> Map<String, Value> {
    let mut lead = lead.clone();
    lead.budget = lead.budget.map(|b| b.normalize());
    lead.submitted_at = lead
        .submitted_at
        .map(|at| chrono::DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at));
    match serde_json::to_value(&lead) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn lead(value: Value) -> StandardLead {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_differs_is_told_with_both_values() {
        let a = lead(json!({"email": "a@b.co", "budget": "1.50", "custom": {"x": "1", "y": "2"}}));
        let b = lead(
            json!({"email": "a@b.co", "budget": "1.5", "custom": {"y": "3"}, "city": "Kraków"}),
        );
        let told: Vec<_> =
            differences(&a, &b).into_iter().map(|c| (c.field, c.before, c.after)).collect();
        assert_eq!(
            told,
            [
                ("city".to_owned(), json!(null), json!("Kraków")),
                ("custom.x".to_owned(), json!("1"), json!(null)),
                ("custom.y".to_owned(), json!("2"), json!("3")),
            ]
        );
    }

    #[test]
    fn what_is_equal_in_another_writing_does_not_differ() {
        let a = lead(json!({"submitted_at": "2026-03-01T10:00:00.123456789Z", "budget": "100"}));
        let b = lead(json!({"submitted_at": "2026-03-01T10:00:00.123456Z", "budget": "100.00"}));
        assert_eq!(differences(&a, &b), []);
        let empty = lead(json!({"custom": {}}));
        assert_eq!(differences(&StandardLead::default(), &empty), []);
    }
}
