//! How a later lead of a person completes the first one.

use crate::StandardLead;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fills what `standing` lacks with what `later` has; gives the names of the fields that were filled.
///
/// What stands is never overwritten. Free fields are merged one by one, and so are consents, each
/// with its proof (`consent.<name>` stands for both). What belongs to one event alone stays as it is:
/// the sender's id, when it was sent, where it came from and its warnings.
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
    fill!(message, line_items);
    fill_consent(standing, later, &mut filled);
    let custom = standing.custom.get_or_insert_default();
    fill_map(custom, later.custom.as_ref(), &mut filled);
    if custom.is_empty() {
        standing.custom = None;
    }
    filled
}

/// Takes an answer together with its proof, where nothing was answered: an answer never stands beside
/// the proof of another one.
fn fill_consent(standing: &mut StandardLead, later: &StandardLead, filled: &mut Vec<String>) {
    let answers = |lead: &StandardLead| -> BTreeMap<String, bool> {
        let all = lead.consent.iter().flat_map(|c| c.answers());
        all.map(|(name, answer)| (name.to_owned(), answer)).collect()
    };
    let (stands, comes) = (answers(standing), answers(later));
    let mut proofs = standing.consent_proof.take().unwrap_or_default();
    let later_proofs = later.consent_proof.clone().unwrap_or_default();
    let lone = later_proofs.keys().filter(|name| !comes.contains_key(*name));
    for name in comes.keys().chain(lone) {
        let answer = comes.get(name).copied();
        if stands.contains_key(name) || (answer.is_none() && proofs.contains_key(name)) {
            continue;
        }
        if answer.is_some() {
            *standing.consent.get_or_insert_default().entry(name) = answer;
        }
        match later_proofs.get(name) {
            Some(proof) => proofs.insert(name.clone(), proof.clone()),
            None => proofs.remove(name),
        };
        filled.push(format!("consent.{name}"));
    }
    standing.consent_proof = (!proofs.is_empty()).then_some(proofs);
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
