//! Filling one lead: every rule, then what the rules have in common.

use super::eval::{self, Cx, Named};
use super::fill::fill;
use super::lines;
use super::plan::Fields;
use super::rule::{OnError, Rule, Source};
use super::steps;
use super::target::Target;
use super::value::{Val, from_json};
use crate::normalise::Unreadable;
use crate::{FieldFault, StandardLead};
use serde_json::Value;
use std::collections::BTreeMap;

/// An unusable value: where it stood, and why.
pub(super) struct Unusable {
    pub field: String,
    pub at: String,
    pub why: Unreadable,
}

impl Unusable {
    fn warning(&self) -> String {
        format!("{}: {}", self.field, self.why.code)
    }

    fn fault(&self) -> FieldFault {
        let message = format!("{} It came from {}.", self.why.message, self.at);
        FieldFault::new(self.field.clone(), self.why.code, message)
    }
}

/// The values that `let` names, each of which may look at those before it.
pub(super) fn named(sources: &[(String, Source)], cx: &Cx<'_>) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for (name, source) in sources {
        let value = eval::source(source, &Cx { named: &named, ..*cx });
        let json = value.as_ref().map_or(Value::Null, Val::to_json);
        named.push(Named { name: name.clone(), value, json });
    }
    named
}

/// The lead, or everything that keeps the event from being one. `contact`: must it have an e-mail
/// address or a phone number?
pub(super) fn lead(
    fields: &Fields,
    cx: &Cx<'_>,
    contact: bool,
) -> Result<StandardLead, Vec<FieldFault>> {
    let mut lead = StandardLead::default();
    let mut dropped = Vec::new();
    let mut faults = Vec::new();
    let mut country: Option<String> = None;
    let mut country_unread = false;
    for (target, rule) in &fields.rules {
        let cx = Cx { country: country.as_deref(), country_unread, ..*cx };
        let outcome = run_rule(target, rule, &cx, &mut lead);
        if *target == Target::Country {
            country_unread = lead.country.is_none() && !outcome.unusable.is_empty();
            country.clone_from(&lead.country);
        }
        if outcome.filled {
            dropped.extend(outcome.unusable);
            continue;
        }
        let refused = rule.on_error == OnError::Reject || rule.required;
        if refused && !outcome.unusable.is_empty() {
            faults.extend(outcome.unusable.iter().map(Unusable::fault));
        } else if rule.required {
            faults.push(missing(target, rule));
        } else {
            dropped.extend(outcome.unusable);
        }
    }
    if let Some(of) = &fields.lines {
        let filled = lines::fill(of, cx);
        faults.extend(filled.refused.iter().map(Unusable::fault));
        dropped.extend(filled.dropped);
        if filled.truncated {
            lead.warnings.push("line_items: truncated".to_owned());
        }
        lead.line_items = Some(filled.lines).filter(|lines| !lines.is_empty());
    }
    if contact && lead.email.is_none() && lead.phone.is_none() {
        faults.extend(no_contact(&fields.rules, &dropped, &faults));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    complete(&mut lead, &Cx { country: country.as_deref(), country_unread, ..*cx });
    lead.warnings.extend(dropped.iter().map(Unusable::warning));
    lead.warnings.sort_unstable();
    lead.warnings.dedup();
    Ok(lead)
}

/// What became of one rule.
struct RuleOutcome {
    filled: bool,
    unusable: Vec<Unusable>,
}

fn run_rule(target: &Target, rule: &Rule, cx: &Cx<'_>, lead: &mut StandardLead) -> RuleOutcome {
    let mut outcome = RuleOutcome { filled: false, unusable: Vec::new() };
    if !eval::counts(rule.when.as_ref(), cx) {
        return outcome;
    }
    for source in &rule.sources {
        let filled = eval::source(source, cx)
            .and_then(|v| steps::run_all(&rule.then, v, cx))
            .and_then(|v| fill(lead, target, v, cx));
        match filled {
            Ok(true) => {
                outcome.filled = true;
                return outcome;
            }
            Ok(false) => {}
            Err(why) => outcome.unusable.push(Unusable {
                field: target.to_string(),
                at: source.place.to_string(),
                why,
            }),
        }
    }
    if let Some(default) = &rule.default {
        // Checked when the mapping was read.
        outcome.filled =
            from_json(default).and_then(|v| fill(lead, target, v, cx)).unwrap_or(false);
    }
    outcome
}

fn missing(target: &Target, rule: &Rule) -> FieldFault {
    let message = if rule.when.is_some() {
        format!(
            "`{target}` is required; nothing was found at {}, or its condition did not hold.",
            places(rule)
        )
    } else {
        format!("`{target}` is required; nothing was found at {}.", places(rule))
    };
    FieldFault::new(target.to_string(), "required", message)
}

fn places(rule: &Rule) -> String {
    let places: Vec<_> = rule.sources.iter().map(|s| s.place.to_string()).collect();
    places.join(", ")
}

/// A lead that nobody can answer is none. An address that was sent but is wrong says so itself.
fn no_contact(
    rules: &BTreeMap<Target, Rule>,
    dropped: &[Unusable],
    known: &[FieldFault],
) -> Vec<FieldFault> {
    let contact = ["email", "phone"];
    if known.iter().any(|f| contact.contains(&f.field.as_str())) {
        return Vec::new();
    }
    let wrong: Vec<_> = dropped
        .iter()
        .filter(|d| contact.contains(&d.field.as_str()))
        .map(Unusable::fault)
        .collect();
    if !wrong.is_empty() {
        return wrong;
    }
    let looked = [Target::Email, Target::Phone];
    let looked: Vec<_> = looked.iter().filter_map(|t| rules.get(t)).map(places).collect();
    let message = format!(
        "There is neither an e-mail address nor a phone number; looked at {}.",
        looked.join(", ")
    );
    vec![FieldFault::new("email", "contact_required", message)]
}

/// What follows from several fields together.
pub(super) fn complete(lead: &mut StandardLead, cx: &Cx<'_>) {
    if lead.budget.is_some() && lead.currency.is_none() {
        lead.currency.clone_from(&cx.input().defaults.currency);
    }
    // A postal code means nothing without its country.
    if lead.postal_code.is_some() && lead.country.is_none() {
        lead.country = cx.postal_country().map(str::to_owned);
    }
}
