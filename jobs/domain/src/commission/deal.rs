//! What became of a deal: its value after each of its events.

use super::plan::{Basis, Measure, Of, Plan, Split};
use super::{CommissionEvent, EventKind, Note, Reason};
use crate::CommissionEventId;
use crate::money::{Currency, Money};

/// A deal after one of its events.
#[derive(Clone, Debug)]
pub(super) struct State<'a> {
    pub event: &'a CommissionEvent,
    /// What percentages are of, in minor units.
    pub base: i64,
    /// What it adds to the total of its currency, in minor units.
    pub measure: i64,
    /// The deal's value, which overrides on top are a percentage of.
    pub value: i64,
    /// It did not go back as a whole.
    pub alive: bool,
    /// Its own split, and the decision.
    pub split: Option<(Option<&'a Split>, CommissionEventId)>,
    pub note: Option<Note>,
}

/// An amount of which parts go back.
#[derive(Clone, Copy, Debug)]
struct Part {
    gross: i64,
    back: i64,
}

impl Part {
    fn of(money: Option<Money>) -> Option<Self> {
        money.map(|money| Self { gross: money.minor, back: 0 })
    }

    fn left(self) -> i64 {
        // Both are zero or more.
        (self.gross - self.back).max(0)
    }

    /// Takes back what is left of an amount.
    fn take(&mut self, amount: i64) {
        self.back += amount.min(self.left());
    }
}

/// A deal on its way through its events.
pub(super) struct Deal<'a> {
    plan: &'a Plan,
    conversion: &'a CommissionEvent,
    pub currency: Currency,
    amount: Option<Part>,
    fee: Option<Part>,
    reversed: bool,
    split: Option<(Option<&'a Split>, CommissionEventId)>,
}

impl<'a> Deal<'a> {
    /// A deal as it converted.
    pub fn begin(plan: &'a Plan, conversion: &'a CommissionEvent) -> Result<Self, Reason> {
        let money = conversion.amount.or(conversion.fee).ok_or(Reason::AmountMissing)?;
        let currency = money.currency;
        plausible(conversion, currency)?;
        plan.rules(currency).ok_or(Reason::CurrencyNotInPlan)?;
        let (amount, fee) = (Part::of(conversion.amount), Part::of(conversion.fee));
        let deal = Self { plan, conversion, currency, amount, fee, reversed: false, split: None };
        let terms = plan.terms();
        let on_top = terms.split.0.iter().any(|s| s.of == Of::Deal);
        let by_amount = terms.basis == Basis::Volume || terms.measure == Measure::Volume || on_top;
        let by_fee = terms.basis == Basis::Revenue || terms.measure == Measure::Revenue;
        let missing = (by_amount && amount.is_none()) || (by_fee && fee.is_none());
        if missing { Err(Reason::AmountMissing) } else { Ok(deal) }
    }

    /// Where it stands after an event.
    pub fn state(&self, event: &'a CommissionEvent, note: Option<Note>) -> State<'a> {
        let terms = self.plan.terms();
        let basis = match terms.basis {
            Basis::Volume => self.amount,
            Basis::Revenue => self.fee,
        };
        let all_back = basis.is_some_and(|part| part.back > 0 && part.left() == 0);
        let alive = !self.reversed && !all_back;
        let left = |part: Option<Part>| part.filter(|_| alive).map_or(0, Part::left);
        let measure = match terms.measure {
            Measure::Volume => left(self.amount),
            Measure::Revenue => left(self.fee),
            Measure::Count => 0,
        };
        let (base, value) = (left(basis), left(self.amount));
        State { event, base, measure, value, alive, split: self.split, note }
    }

    /// Applies an event of the deal; gives what is to be said about it.
    pub fn apply(&mut self, event: &'a CommissionEvent) -> Result<Option<Note>, Reason> {
        plausible(event, self.currency)?;
        if let EventKind::SplitChanged { split } = &event.kind {
            if split.as_ref().is_some_and(|s| s.fault().is_some()) {
                return Err(Reason::SplitWrong);
            }
            self.split = Some((split.as_deref(), event.id));
            return Ok(None);
        }
        let needs_amount = matches!(event.kind, EventKind::RefundedPartly | EventKind::Corrected);
        if needs_amount && event.amount.is_none() && event.fee.is_none() {
            return Err(Reason::AmountMissing);
        }
        if self.reversed {
            return Ok(Some(Note::NothingLeft));
        }
        match event.kind {
            EventKind::Refunded => self.reversed = true,
            EventKind::ChargedBack if event.amount.is_none() && event.fee.is_none() => {
                self.reversed = true;
            }
            EventKind::Cancelled => {
                let ends = self.plan.clawback_ends(self.conversion.occurred_at);
                if let Some(ended) = ends.filter(|ends| *ends < event.occurred_at) {
                    return Ok(Some(Note::WindowPassed { ended }));
                }
                self.reversed = true;
            }
            EventKind::RefundedPartly | EventKind::ChargedBack => return self.take_back(event),
            EventKind::Corrected => {
                correct(&mut self.amount, event.amount);
                correct(&mut self.fee, event.fee);
            }
            EventKind::Converted
            | EventKind::TierChanged { .. }
            | EventKind::SplitChanged { .. } => {}
        }
        Ok(None)
    }

    fn take_back(&mut self, event: &CommissionEvent) -> Result<Option<Note>, Reason> {
        let before = self.amount.map_or(0, Part::left);
        let in_proportion = |fee: i64, back: i64| match before {
            0 => 0,
            _ => {
                let exact = i128::from(fee) * i128::from(back.min(before));
                let part = super::arithmetic::half_even(exact, i128::from(before));
                i64::try_from(part).unwrap_or(fee)
            }
        };
        let fee_left = self.fee.map_or(0, Part::left);
        let fee_back = event.fee.map(|fee| fee.minor).or_else(|| {
            self.amount.and(event.amount).map(|back| in_proportion(fee_left, back.minor))
        });
        let (asked, left) = match self.plan.terms().basis {
            Basis::Volume => (event.amount.map(|a| a.minor), before),
            Basis::Revenue => (fee_back, fee_left),
        };
        let asked = asked.ok_or(Reason::AmountMissing)?;
        if let (Some(part), Some(back)) = (&mut self.amount, event.amount) {
            part.take(back.minor);
        }
        if let (Some(part), Some(back)) = (&mut self.fee, fee_back) {
            part.take(back);
        }
        let asked = Money::new(asked, self.currency);
        Ok((asked.minor > left).then_some(Note::MoreThanLeft { asked }))
    }
}

/// A true value stands in for the one before; what went back stays gone.
fn correct(part: &mut Option<Part>, to: Option<Money>) {
    match (part, to) {
        (Some(part), Some(to)) => part.gross = to.minor,
        (part @ None, Some(_)) => *part = Part::of(to),
        (_, None) => {}
    }
}

/// Amounts are of the deal's currency and not negative.
fn plausible(event: &CommissionEvent, currency: Currency) -> Result<(), Reason> {
    for money in event.amount.iter().chain(&event.fee) {
        if money.currency != currency {
            return Err(Reason::CurrencyDiffers);
        }
        if money.minor < 0 {
            return Err(Reason::AmountNegative);
        }
    }
    Ok(())
}
