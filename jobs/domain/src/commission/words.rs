//! A line in words: one sentence, and the arithmetic.

use super::price::WHOLE;
use super::{Cause, Change, Factor, KindWord, Line, Note, Party, Step};
use crate::money::{Currency, Money};
use serde::Serialize;
use std::fmt::Write as _;

/// A line with its words, as it is stored and shown.
#[derive(Clone, Debug, Serialize)]
pub struct Explained<'a> {
    /// What happened, as one sentence or a few.
    pub sentence: String,
    /// How the amount came about.
    pub arithmetic: String,
    /// The line.
    #[serde(flatten)]
    pub line: &'a Line,
}

impl Line {
    /// The line with its words.
    #[must_use]
    pub fn explained(&self) -> Explained<'_> {
        Explained { sentence: self.sentence(), arithmetic: self.arithmetic(), line: self }
    }

    /// What happened, in words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = &self.explanation;
        let plan = format!("plan {}, version {}", why.plan.name, why.plan.version);
        let change = match self.commission.minor {
            0 => "the commission stays as it was".to_owned(),
            n if n < 0 => format!("{} of commission is taken back", positive(self.commission)),
            _ => format!("{} of commission is added", self.commission),
        };
        let mut text = match self.kind {
            KindWord::Converted => format!(
                "A deal of {} earns {} in tier {} ({plan}, {}).",
                why.net, why.due, self.tier, self.period
            ),
            KindWord::Refunded => format!("The deal was refunded as a whole: {change}."),
            KindWord::RefundedPartly => {
                format!("{} of the deal was refunded: {change}.", positive(self.base))
            }
            KindWord::ChargedBack if why.net.is_zero() => {
                format!("The deal was charged back as a whole: {change}.")
            }
            KindWord::ChargedBack => {
                format!("{} of the deal was charged back: {change}.", positive(self.base))
            }
            KindWord::Cancelled => format!("The deal was called off: {change}."),
            KindWord::Corrected => {
                format!("The deal's value was corrected by {} to {}: {change}.", self.base, why.net)
            }
            KindWord::SplitChanged => "The shares of the deal were changed.".to_owned(),
            KindWord::TierChanged => "The agent's tier was changed.".to_owned(),
        };
        for note in &why.notes {
            text.push(' ');
            text.push_str(&said(note));
        }
        text
    }

    /// How the amount came about, such as `600,000.00 USD: 200,000.00 at 3 % = 6,000.00; ...`.
    #[must_use]
    pub fn arithmetic(&self) -> String {
        let why = &self.explanation;
        let mut text = format!("{}: ", why.net);
        if why.steps.is_empty() {
            text.push_str("nothing is left to earn on");
        }
        for (i, step) in why.steps.iter().enumerate() {
            text.push_str(if i > 0 { "; " } else { "" });
            text.push_str(&step.arithmetic());
        }
        let exact = why.steps.iter().filter_map(Step::exact).fold(0_i128, i128::saturating_add);
        let currency = why.net.currency;
        if exact != i128::from(why.due.minor).saturating_mul(WHOLE) {
            let _ = write!(text, "; {} becomes {}", fraction(exact, currency), bare(why.due));
        } else if why.steps.len() > 1 {
            let _ = write!(text, "; together {}", bare(why.due));
        }
        if self.kind != KindWord::Converted {
            let (due, before) = (bare(why.due), bare(why.before));
            let _ = write!(text, "; {due} instead of {before}: {}", bare(self.commission));
        }
        if !self.on_top.is_zero() {
            let _ = write!(text, "; on top {}", bare(self.on_top));
        }
        if self.shares.len() > 1 {
            let share = |s: &super::Share| format!("{} {}", role(s.party), bare(s.amount));
            let shares: Vec<_> = self.shares.iter().map(share).collect();
            let _ = write!(text, "; shared: {}", shares.join(", "));
        }
        text
    }

    /// Why a line that was booked before is booked again, with the difference: an event of another deal
    /// moved it to another place in its period, its own deal's events came in another order than they
    /// happened, or somebody decided about the agent.
    #[must_use]
    pub fn shifted(&self, change: &Change) -> String {
        let why = match change.cause {
            None => "It was computed again".to_owned(),
            Some(Cause { kind: KindWord::TierChanged, .. }) => {
                "The agent's tier was changed".to_owned()
            }
            Some(Cause { kind: KindWord::SplitChanged, deal: None, .. }) => {
                "The agent's shares were changed".to_owned()
            }
            Some(Cause { kind, deal: Some(deal), .. }) if deal == self.conversion => {
                format!("It was heard later that the deal was {}", happened(kind))
            }
            Some(Cause { kind, .. }) => {
                format!("Another deal of {} was {}", self.period, happened(kind))
            }
        };
        if change.before == change.after {
            return format!(
                "{why}: this one's shares change, it comes to {} as before. {}",
                change.after,
                self.arithmetic()
            );
        }
        format!(
            "{why}: this one now stands in tier {} and comes to {} instead of {}. {}",
            self.tier,
            change.after,
            change.before,
            self.arithmetic()
        )
    }
}

impl Step {
    /// What it gives, in fractions of a minor unit.
    fn exact(&self) -> Option<i128> {
        let [special, boost] = self.factors;
        i128::from(self.base.minor)
            .checked_mul(i128::from(self.rate.steps()))?
            .checked_mul(i128::from(special.steps()))?
            .checked_mul(i128::from(boost.steps()))?
            .checked_add(i128::from(self.flat.minor).checked_mul(WHOLE)?)
    }

    fn arithmetic(&self) -> String {
        let mut text = format!("{} at {} %", bare(self.base), self.rate);
        for factor in self.factors.iter().filter(|f| **f != Factor::NEUTRAL) {
            let _ = write!(text, " x {factor}");
        }
        if !self.flat.is_zero() {
            let _ = write!(text, " + {}", bare(self.flat));
        }
        if let Some(exact) = self.exact() {
            let _ = write!(text, " = {}", fraction(exact, self.base.currency));
        }
        text
    }
}

/// What a note adds to the sentence.
fn said(note: &Note) -> String {
    match note {
        Note::Override { product: Some(product), portal: true } => {
            format!("The plan has rates of their own for {product} from this portal.")
        }
        Note::Override { product: Some(product), .. } => {
            format!("The plan has rates of their own for {product}.")
        }
        Note::Override { product: None, .. } => {
            "The plan has rates of their own for this portal.".to_owned()
        }
        Note::Accelerator { name } => format!("The accelerator {name} raises the rate."),
        Note::ManualTier { .. } => "The agent's tier was set by hand.".to_owned(),
        Note::ManualSplit { .. } => "The shares were set by hand.".to_owned(),
        Note::RoundedWithPeriod => {
            "The period is rounded as one sum; this line takes over what earlier ones left."
                .to_owned()
        }
        Note::Floor { least } => format!("It is raised to the least for a deal, {least}."),
        Note::DealCap { most } => format!("It is cut at the most for a deal, {most}."),
        Note::PeriodCap { most } => format!("It is cut at the most for a period, {most}."),
        Note::NoManager => "There is no manager, so the agency gets that share.".to_owned(),
        Note::WindowPassed { ended } => format!(
            "The clawback window ended at {}, so nothing is taken back.",
            ended.format("%Y-%m-%d %H:%M UTC")
        ),
        Note::NothingLeft => "The deal had gone back as a whole before.".to_owned(),
        Note::MoreThanLeft { asked } => {
            format!("{asked} was to go back, more than was left of the deal.")
        }
    }
}

fn happened(cause: KindWord) -> &'static str {
    match cause {
        KindWord::Converted => "added",
        KindWord::Refunded => "refunded",
        KindWord::RefundedPartly => "refunded in part",
        KindWord::ChargedBack => "charged back",
        KindWord::Cancelled => "called off",
        KindWord::Corrected => "corrected",
        KindWord::TierChanged | KindWord::SplitChanged => "decided about",
    }
}

fn role(party: Party) -> &'static str {
    match party {
        Party::Agent(_) => "agent",
        Party::Manager(_) => "manager",
        Party::Agency(_) => "agency",
        Party::Platform => "platform",
    }
}

fn positive(money: Money) -> Money {
    Money::new(money.minor.saturating_abs(), money.currency)
}

/// Without the currency.
fn bare(money: Money) -> String {
    let text = money.to_string();
    text.rsplit_once(' ').map_or(text.clone(), |(amount, _)| amount.to_owned())
}

/// A fraction of minor units in full: `12.345`, with at least the places of the currency.
fn fraction(exact: i128, currency: Currency) -> String {
    let whole = i64::try_from(exact / WHOLE).unwrap_or(i64::MAX);
    let mut text = bare(Money::new(whole, currency));
    let rest = exact.rem_euclid(WHOLE);
    if rest > 0 {
        // WHOLE is 10 to the 16th.
        let digits = format!("{rest:016}");
        if currency.exponent() == 0 {
            text.push('.');
        }
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}
