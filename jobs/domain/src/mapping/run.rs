//! Running a mapping: every rule, then what the rules have in common.

use super::fill::fill;
use super::rule::{OnError, Rule, Source};
use super::target::Target;
use super::value::{Val, from_json};
use super::{MappingInput, steps};
use crate::normalise::{NumberLocale, Unreadable};
use crate::{FieldFault, StandardLead};
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// What steps and fields may look at beside the value.
pub(super) struct Cx<'a> {
    pub input: &'a MappingInput<'a>,
    /// The lead's country, once it is known.
    pub country: Option<String>,
    /// A country was sent but could not be read: it is another one than the portal's, more likely
    /// than not.
    pub country_unread: bool,
}

impl Cx<'_> {
    /// Whose national phone numbers the lead's may be: its own country's, else the portal's.
    pub fn countries(&self) -> Vec<&str> {
        let default = self.input.defaults.country.as_deref();
        let own = self.country.as_deref();
        own.into_iter().chain(default.filter(|d| Some(*d) != own)).collect()
    }

    /// The country whose postal codes the lead's is one of, if that is known.
    pub fn postal_country(&self) -> Option<&str> {
        self.countries().first().copied().filter(|_| !self.country_unread)
    }

    pub fn zone(&self) -> Option<Tz> {
        self.input.defaults.time_zone
    }

    pub fn locale(&self) -> Option<&NumberLocale> {
        self.input.defaults.number_locale.as_ref()
    }
}

/// An unusable value: where it stood, and why.
struct Unusable {
    target: Target,
    at: String,
    why: Unreadable,
}

impl Unusable {
    fn warning(&self) -> String {
        format!("{}: {}", self.target, self.why.code)
    }

    fn fault(&self) -> FieldFault {
        let message = format!("{} It came from {}.", self.why.message, self.at);
        FieldFault::new(self.target.to_string(), self.why.code, message)
    }
}

/// The lead, or everything that keeps the event from being one.
pub(super) fn lead(
    rules: &BTreeMap<Target, Rule>,
    input: &MappingInput<'_>,
) -> Result<StandardLead, Vec<FieldFault>> {
    let mut lead = StandardLead::default();
    let mut cx = Cx { input, country: None, country_unread: false };
    let mut dropped = Vec::new();
    let mut faults = Vec::new();
    for (target, rule) in rules {
        let outcome = run_rule(target, rule, &cx, &mut lead);
        if *target == Target::Country {
            cx.country.clone_from(&lead.country);
            cx.country_unread = lead.country.is_none() && !outcome.unusable.is_empty();
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
    if lead.email.is_none() && lead.phone.is_none() {
        faults.extend(no_contact(rules, &dropped, &faults));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    complete(&mut lead, &cx, &dropped);
    Ok(lead)
}

/// What became of one rule.
struct RuleOutcome {
    filled: bool,
    unusable: Vec<Unusable>,
}

fn run_rule(target: &Target, rule: &Rule, cx: &Cx<'_>, lead: &mut StandardLead) -> RuleOutcome {
    let mut outcome = RuleOutcome { filled: false, unusable: Vec::new() };
    let MappingInput { body, headers, .. } = cx.input;
    if rule.when.as_ref().is_some_and(|c| !c.holds(body, headers)) {
        return outcome;
    }
    for source in &rule.sources {
        match run_source(target, rule, source, cx, lead) {
            Ok(true) => {
                outcome.filled = true;
                return outcome;
            }
            Ok(false) => {}
            Err(why) => outcome.unusable.push(Unusable {
                target: target.clone(),
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

/// Fills the field from one source. `false`: nothing stands there.
fn run_source(
    target: &Target,
    rule: &Rule,
    source: &Source,
    cx: &Cx<'_>,
    lead: &mut StandardLead,
) -> Result<bool, Unreadable> {
    let MappingInput { body, headers, .. } = cx.input;
    if source.when.as_ref().is_some_and(|c| !c.holds(body, headers)) {
        return Ok(false);
    }
    let Some(found) = source.place.find(body, headers) else { return Ok(false) };
    let mut value = found.value()?;
    for step in source.then.iter().chain(&rule.then) {
        value = steps::run(step, value, cx)?;
    }
    match value {
        Val::Null => Ok(false),
        value => fill(lead, target, value, cx),
    }
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
    let contact = [Target::Email, Target::Phone];
    if known.iter().any(|f| f.field == "email" || f.field == "phone") {
        return Vec::new();
    }
    let wrong: Vec<_> =
        dropped.iter().filter(|d| contact.contains(&d.target)).map(Unusable::fault).collect();
    if !wrong.is_empty() {
        return wrong;
    }
    let looked: Vec<_> = contact.iter().filter_map(|t| rules.get(t)).map(places).collect();
    let message = format!(
        "There is neither an e-mail address nor a phone number; looked at {}.",
        looked.join(", ")
    );
    vec![FieldFault::new("email", "contact_required", message)]
}

/// What follows from several fields together.
fn complete(lead: &mut StandardLead, cx: &Cx<'_>, dropped: &[Unusable]) {
    let defaults = cx.input.defaults;
    if lead.budget.is_some() && lead.currency.is_none() {
        lead.currency.clone_from(&defaults.currency);
    }
    // A postal code means nothing without its country.
    if lead.postal_code.is_some() && lead.country.is_none() {
        lead.country = cx.postal_country().map(str::to_owned);
    }
    lead.warnings.extend(dropped.iter().map(Unusable::warning));
    lead.warnings.sort_unstable();
    lead.warnings.dedup();
}
