//! Whether terms make sense together.

use super::{Accelerator, Amounts, Basis, Measure, Mode, Override, Terms, Threshold, Tier};
use crate::FieldFault;
use crate::commission::{Factor, Label};
use std::collections::HashSet;

/// More tiers, or accelerators, than anybody could explain.
const MOST_TIERS: usize = 50;
/// More overrides than one plan needs.
const MOST_OVERRIDES: usize = 500;
/// Ten years.
const LONGEST_CLAWBACK: u32 = 3650;
/// Of a name, in characters.
const LONGEST_NAME: usize = 64;

/// What is wrong, each with its JSON pointer.
pub(super) fn faults(terms: &Terms) -> Vec<FieldFault> {
    let mut found = Faults(Vec::new());
    found.head(terms);
    found.tiers(&terms.tiers, "/tiers");
    found.overrides(&terms.overrides);
    found.accelerators(&terms.accelerators);
    found.limits(terms);
    if let Some(message) = terms.split.fault() {
        found.push("/split", "invalid", message);
    }
    found.0
}

struct Faults(Vec<FieldFault>);

impl Faults {
    fn push(&mut self, at: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.0.push(FieldFault::new(at.into(), code, message.into()));
    }

    fn head(&mut self, terms: &Terms) {
        if terms.format != 1 {
            let message = format!(
                "A plan of format {} cannot be read; this program reads format 1.",
                terms.format
            );
            self.push("/format", "unknown_format", message);
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !self.named(&terms.name, "/name") && !terms.name.chars().all(plain) {
            let message = "A plan's name is made of a-z, 0-9, `-` and `_`, such as field-sales.";
            self.push("/name", "invalid", message);
        }
        if terms.version == 0 {
            self.push("/version", "out_of_range", "Versions count from 1.");
        }
        let mut seen = HashSet::new();
        for (i, currency) in terms.currencies.iter().enumerate() {
            if !seen.insert(currency) {
                let message = format!("{currency} is listed twice.");
                self.push(format!("/currencies/{i}"), "duplicate", message);
            }
        }
        let measured = match terms.measure {
            Measure::Volume => Some(Basis::Volume),
            Measure::Revenue => Some(Basis::Revenue),
            Measure::Count => None,
        };
        if terms.mode == Mode::Marginal && measured.is_some_and(|m| m != terms.basis) {
            let message = "A marginal plan pays each part of a deal at its own rate, so percentages \
                           are of what the tiers measure. Leave `basis` out, count deals, or choose \
                           `retroactive`.";
            self.push("/basis", "conflict", message);
        }
        if let (Some(from), Some(until)) = (terms.valid_from, terms.valid_until)
            && from >= until
        {
            let message = "A plan ends after it began; `valid_until` is the first day without it.";
            self.push("/valid_until", "out_of_range", message);
        }
    }

    /// Reports an empty or endless name.
    fn named(&mut self, name: &Label, at: impl Into<String>) -> bool {
        let wrong = name.trim().is_empty() || name.chars().count() > LONGEST_NAME;
        if wrong {
            let message = format!("A name has 1 to {LONGEST_NAME} characters.");
            self.push(at, "out_of_range", message);
        }
        wrong
    }

    fn tiers(&mut self, tiers: &[Tier], at: &str) {
        if tiers.is_empty() || tiers.len() > MOST_TIERS {
            self.push(at, "out_of_range", format!("There are 1 to {MOST_TIERS} tiers."));
        }
        let mut names = HashSet::new();
        for (i, tier) in tiers.iter().enumerate() {
            let here = format!("{at}/{i}");
            self.named(&tier.name, format!("{here}/name"));
            if !names.insert(&tier.name) {
                let message = format!("There are two tiers `{}`.", tier.name);
                self.push(format!("{here}/name"), "duplicate", message);
            }
            if tier.rate.is_none() && tier.flat.is_empty() {
                let message = "A tier pays a `rate` in percent, a `flat` amount for each deal, or \
                               both; for nothing write \"rate\": \"0\".";
                self.push(&here, "required", message);
            }
            match i.checked_sub(1).and_then(|before| tiers.get(before)) {
                None if !is_zero(&tier.from) => {
                    let message = "The first tier is from 0, so that every deal has one.";
                    self.push(format!("{here}/from"), "out_of_range", message);
                }
                Some(before) if !ascends(&before.from, &tier.from) => {
                    let message = format!(
                        "`{}` must begin above `{}`, in every currency.",
                        tier.name, before.name
                    );
                    self.push(format!("{here}/from"), "out_of_range", message);
                }
                _ => {}
            }
        }
    }

    fn overrides(&mut self, overrides: &[Override]) {
        if overrides.len() > MOST_OVERRIDES {
            let message = format!("There are at most {MOST_OVERRIDES} overrides.");
            self.push("/overrides", "out_of_range", message);
        }
        let mut seen = HashSet::new();
        for (i, special) in overrides.iter().enumerate() {
            let here = format!("/overrides/{i}");
            if special.product.is_none() && special.portal.is_none() {
                let message = "An override is for a `product`, a `portal` or both.";
                self.push(&here, "required", message);
            }
            if !seen.insert((&special.product, special.portal)) {
                let message = "There is another override for the same product and portal.";
                self.push(&here, "duplicate", message);
            }
            match (special.factor, special.tiers.is_empty()) {
                (None, true) | (Some(_), false) => {
                    let message = "An override has either a `factor` or `tiers` of its own.";
                    self.push(&here, "required", message);
                }
                (Some(_), true) => {}
                (None, false) => self.tiers(&special.tiers, &format!("{here}/tiers")),
            }
        }
    }

    fn accelerators(&mut self, accelerators: &[Accelerator]) {
        if accelerators.len() > MOST_TIERS {
            let message = format!("There are at most {MOST_TIERS} accelerators.");
            self.push("/accelerators", "out_of_range", message);
        }
        let mut names = HashSet::new();
        for (i, one) in accelerators.iter().enumerate() {
            let here = format!("/accelerators/{i}");
            self.named(&one.name, format!("{here}/name"));
            if !names.insert(&one.name) {
                let message = format!("There are two accelerators `{}`.", one.name);
                self.push(format!("{here}/name"), "duplicate", message);
            }
            if one.factor < Factor::NEUTRAL {
                let message = "An accelerator raises rates; its factor is 1 or more.";
                self.push(format!("{here}/factor"), "out_of_range", message);
            }
            if one.above.is_none() && one.from.is_none() && one.until.is_none() {
                let message = "Say when it holds: `above` a total, `from` or `until` a day.";
                self.push(&here, "required", message);
            }
            if let (Some(from), Some(until)) = (one.from, one.until)
                && from > until
            {
                let message = "It ends before it begins.";
                self.push(format!("{here}/until"), "out_of_range", message);
            }
        }
    }

    fn limits(&mut self, terms: &Terms) {
        let above = |least: &Amounts, most: &Amounts| {
            least.iter().any(|(c, least)| most.get(c).is_some_and(|most| most < least))
        };
        if above(&terms.floors.per_deal, &terms.caps.per_deal) {
            let message = "The floor of a deal is above its cap.";
            self.push("/floors/per_deal", "conflict", message);
        }
        if above(&terms.floors.per_deal, &terms.caps.per_period) {
            let message = "The floor of a deal is above the cap of the period.";
            self.push("/floors/per_deal", "conflict", message);
        }
        if terms.clawback_days.is_some_and(|days| days > LONGEST_CLAWBACK) {
            let message = format!("The clawback window is at most {LONGEST_CLAWBACK} days.");
            self.push("/clawback_days", "out_of_range", message);
        }
    }
}

fn is_zero(threshold: &Threshold) -> bool {
    match threshold {
        Threshold::Count(count) => *count == 0,
        Threshold::Amounts(amounts) => amounts.values().all(|minor| *minor == 0),
    }
}

fn ascends(before: &Threshold, after: &Threshold) -> bool {
    match (before, after) {
        (Threshold::Count(before), Threshold::Count(after)) => before < after,
        (Threshold::Amounts(before), Threshold::Amounts(after)) => {
            !after.is_empty() && after.iter().all(|(c, a)| before.get(c).is_none_or(|b| b < a))
        }
        _ => false,
    }
}
