//! How a later lead of a person completes the first one.

use crate::StandardLead;
use serde_json::{Map, Value};

/// Fills what `standing` lacks with what `later` has; gives the names of the fields that were filled.
///
/// What stands is never overwritten. Free fields are merged one by one. What belongs to one event
/// alone stays as it is: the sender's id, when it was sent, where it came from and its warnings.
pub fn absorb(standing: &mut StandardLead, later: &StandardLead) -> Vec<String> {
    let mut filled = Vec::new();
    macro_rules! fill {
        ($($field:ident),+) => {$(
            if standing.$field.is_none() && later.$field.is_some() {
                standing.$field.clone_from(&later.$field);
                filled.push(stringify!($field).to_owned());
            }
        )+};
    }
    // An amount means nothing without its currency: both or neither.
    if standing.budget.is_none() && later.budget.is_some() {
        standing.budget = later.budget;
        standing.currency.clone_from(&later.currency);
        filled.push("budget".to_owned());
    }
    fill!(first_name, last_name, company, email, phone, country, postal_code, city, interest);
    fill!(message, consent, line_items);
    let custom = standing.custom.get_or_insert_default();
    fill_map(custom, later.custom.as_ref(), &mut filled);
    if custom.is_empty() {
        standing.custom = None;
    }
    filled
}

fn fill_map(
    standing: &mut Map<String, Value>,
    later: Option<&Map<String, Value>>,
    filled: &mut Vec<String>,
) {
    for (name, value) in later.into_iter().flatten() {
        if standing.get(name).is_none_or(Value::is_null) && !value.is_null() {
            standing.insert(name.clone(), value.clone());
            filled.push(format!("custom.{name}"));
        }
    }
}
