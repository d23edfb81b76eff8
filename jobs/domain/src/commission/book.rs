//! An agent's period while it is computed: totals, and the lines of one deal after the other.

use super::accumulator::standing;
use super::arithmetic::half_even;
use super::deal::State;
use super::plan::{Plan, Rules};
use super::price::{Place, Priced, WHOLE};
use super::shares::Shared;
use super::{
    CommissionEvent, Decision, Explanation, Factor, Label, Line, Measure, Mode, Note, Percent,
    PeriodKey, PlanFault, Split, Step,
};
use crate::CommissionEventId;
use crate::money::{Currency, Money};
use serde::{Deserialize, Serialize};

/// What the deals so far come to, in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purse {
    /// Of which currency.
    pub currency: Currency,
    /// What thresholds measure, in minor units; 0 if they count deals.
    pub total: i64,
    /// What percentages were of, in minor units.
    pub base: i64,
    /// The commission, in minor units, without overrides on top.
    pub commission: i64,
    /// The agent's part of the deals so far, in minor units, with what a percentage of the deal added to
    /// it. `None` in totals that were written before this was counted.
    #[serde(default)]
    pub agent: Option<i64>,
    /// What rounding leaves to the next line, in 1e-16 minor units. Retroactive plans only.
    #[serde(default)]
    pub(super) carry: i64,
}

/// Totals of an agent's period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Deals that did not go back as a whole, of all currencies.
    pub deals: i64,
    /// One a currency.
    pub purses: Vec<Purse>,
}

impl Purse {
    /// Without a deal.
    pub(super) fn empty(currency: Currency) -> Self {
        Self { currency, total: 0, base: 0, commission: 0, agent: Some(0), carry: 0 }
    }
}

impl Totals {
    /// The totals of a currency.
    #[must_use]
    pub fn of(&self, currency: Currency) -> Option<&Purse> {
        self.purses.iter().find(|p| p.currency == currency)
    }

    pub(super) fn purse(&mut self, currency: Currency) -> &mut Purse {
        let at = self.purses.iter().position(|p| p.currency == currency);
        let at = at.unwrap_or_else(|| {
            self.purses.push(Purse::empty(currency));
            self.purses.len() - 1
        });
        &mut self.purses[at]
    }

    /// Adds what a deal came to, without its commission.
    pub(super) fn add(&mut self, currency: Currency, state: &State<'_>) -> Option<()> {
        self.deals = self.deals.checked_add(i64::from(state.alive))?;
        let purse = self.purse(currency);
        purse.total = purse.total.checked_add(state.measure)?;
        purse.base = purse.base.checked_add(state.base)?;
        Some(())
    }

    /// What thresholds look at.
    pub(super) fn measured(&self, measure: Measure, currency: Currency) -> i64 {
        match measure {
            Measure::Count => self.deals,
            Measure::Volume | Measure::Revenue => self.of(currency).map_or(0, |p| p.total),
        }
    }
}

/// What a deal earns after one of its events.
struct Due {
    tier: Label,
    amount: i64,
    carry: i64,
    priced: Priced,
    shared: Shared,
}

/// An agent's period.
pub(super) struct Book<'a> {
    pub plan: &'a Plan,
    pub period: PeriodKey,
    pub totals: Totals,
    /// The whole period's, for retroactive plans.
    pub whole: Option<Totals>,
    pub decisions: &'a [Decision],
}

impl<'a> Book<'a> {
    /// The lines of a deal, of its conversion and of each event after it. `states` begins with the
    /// conversion's.
    pub fn lines(
        &mut self,
        conversion: &CommissionEvent,
        currency: Currency,
        states: &[State<'_>],
        out: &mut Vec<Line>,
    ) -> Result<(), PlanFault> {
        let overflow = PlanFault::Overflow { event: conversion.id };
        let Some(rules) = self.plan.rules(currency) else { return Ok(()) };
        let mut before: Option<(Due, i64)> = None;
        for state in states {
            let due = self.due(rules, conversion, currency, state).ok_or(overflow)?;
            let line = self.line(conversion, currency, state, &due, before.as_ref());
            out.push(line);
            before = Some((due, state.base));
        }
        let (Some((due, _)), Some(state)) = (before, states.last()) else { return Ok(()) };
        self.totals.add(currency, state).ok_or(overflow)?;
        let purse = self.totals.purse(currency);
        purse.commission = purse.commission.checked_add(due.amount).ok_or(overflow)?;
        if let Some(sum) = purse.agent {
            purse.agent = Some(sum.checked_add(due.shared.agents()).ok_or(overflow)?);
        }
        purse.carry = due.carry;
        Ok(())
    }

    fn due(
        &mut self,
        rules: &Rules,
        conversion: &CommissionEvent,
        currency: Currency,
        state: &State<'_>,
    ) -> Option<Due> {
        let terms = self.plan.terms();
        let seen = self.whole.as_ref().unwrap_or(&self.totals);
        let place = Place {
            rules,
            mode: terms.mode,
            by_count: terms.measure == Measure::Count,
            total: seen.measured(terms.measure, currency),
            manual: self.manual_tier(conversion),
        };
        let mut priced = place.price(conversion, state.base, currency)?;
        let tier = priced.steps.last()?.tier.clone();
        let purse = self.totals.purse(currency);
        let (amount, carry) = match state.alive {
            true => settle(rules, terms.mode, purse, &mut priced, currency)?,
            false => {
                priced.steps.clear();
                priced.notes.clear();
                (0, purse.carry)
            }
        };
        let by_hand = match state.split {
            Some((split, by)) => Some((split, by)),
            None => self.manual_split(conversion),
        };
        if let (Some((_, by)), true) = (by_hand, state.alive) {
            priced.notes.push(Note::ManualSplit { by });
        }
        let split = by_hand.and_then(|(split, _)| split).unwrap_or(&terms.split);
        let shared = Shared::of(split, amount, state.value, conversion)?;
        if shared.no_manager && amount != 0 {
            priced.notes.push(Note::NoManager);
        }
        priced.notes.extend(state.note.clone());
        Some(Due { tier, amount, carry, priced, shared })
    }

    fn line(
        &self,
        conversion: &CommissionEvent,
        currency: Currency,
        state: &State<'_>,
        due: &Due,
        before: Option<&(Due, i64)>,
    ) -> Line {
        let money = |minor| Money::new(minor, currency);
        let nothing = Shared::default();
        let (was, was_base, was_shared) =
            before.map_or((0, 0, &nothing), |(due, base)| (due.amount, *base, &due.shared));
        Line {
            event: state.event.id,
            kind: state.event.kind.word(),
            conversion: conversion.id,
            lead: conversion.lead,
            agent: conversion.agent,
            agency: conversion.agency,
            period: self.period,
            occurred_at: state.event.occurred_at,
            tier: due.tier.clone(),
            // What is zero or more has a difference.
            base: money(state.base - was_base),
            rate: single_rate(&due.priced),
            commission: money(due.amount - was),
            on_top: money(due.shared.on_top - was_shared.on_top),
            shares: due.shared.since(was_shared, currency),
            explanation: Explanation {
                plan: self.plan.reference().clone(),
                net: money(state.base),
                steps: due.priced.steps.clone(),
                due: money(due.amount),
                before: money(was),
                notes: due.priced.notes.clone(),
            },
        }
    }

    fn manual_tier(&self, conversion: &CommissionEvent) -> Option<(&'a Label, CommissionEventId)> {
        let standing = standing(self.decisions, conversion.occurred_at, |d| {
            d.tier.as_ref().map(|t| (t, d.id))
        });
        standing.and_then(|(tier, by)| Some((tier.as_ref()?, by)))
    }

    fn manual_split(
        &self,
        conversion: &CommissionEvent,
    ) -> Option<(Option<&'a Split>, CommissionEventId)> {
        let found = standing(self.decisions, conversion.occurred_at, |d| {
            d.split.as_ref().map(|s| (s, d.id))
        });
        found.and_then(|(split, by)| Some((Some(split.as_ref()?), by)))
    }
}

/// Rounds what the tiers gave, once, and applies floors and caps. Gives the amount and what rounding
/// leaves to the next line.
fn settle(
    rules: &Rules,
    mode: Mode,
    purse: &Purse,
    priced: &mut Priced,
    currency: Currency,
) -> Option<(i64, i64)> {
    let money = |minor| Money::new(minor, currency);
    let at_most =
        |cap: i64| i128::from(cap).checked_mul(WHOLE).is_some_and(|cap| priced.exact > cap);
    let at_least =
        |least: i64| i128::from(least).checked_mul(WHOLE).is_none_or(|least| priced.exact < least);
    let mut carry = purse.carry;
    let mut amount;
    if let Some(least) = rules.floor.filter(|least| at_least(*least)) {
        amount = least;
        priced.notes.push(Note::Floor { least: money(least) });
    } else if let Some(most) = rules.deal_cap.filter(|most| at_most(*most)) {
        amount = most;
        priced.notes.push(Note::DealCap { most: money(most) });
    } else {
        let (rounded, left) = match mode {
            Mode::Marginal => (i64::try_from(half_even(priced.exact, WHOLE)).ok()?, carry),
            Mode::Retroactive => rounded_as_one(priced.exact, carry)?,
        };
        if i128::from(rounded) != half_even(priced.exact, WHOLE) {
            priced.notes.push(Note::RoundedWithPeriod);
        }
        (amount, carry) = (rounded, left);
    }
    if let Some(most) = rules.period_cap
        && purse.commission.checked_add(amount)? > most
    {
        amount = (most - purse.commission).max(0);
        priced.notes.push(Note::PeriodCap { most: money(most) });
    }
    Some((amount, carry))
}

/// What the rounded sum of a period grows by when `exact` is added to its exact sum, and the carry
/// after it. The carry is the exact sum less the greatest even number that its rounding reaches: an
/// even number, because halves go to the even one.
fn rounded_as_one(exact: i128, carry: i64) -> Option<(i64, i64)> {
    let before = i128::from(carry);
    let after = before.checked_add(exact)?;
    let reached = half_even(after, WHOLE);
    let grown = i64::try_from(reached - half_even(before, WHOLE)).ok()?;
    let left = after - (reached - reached.rem_euclid(2)) * WHOLE;
    Some((grown, i64::try_from(left).ok()?))
}

/// The one rate that gives the commission, if there is one.
fn single_rate(priced: &Priced) -> Option<Percent> {
    let [Step { rate, factors: [special, boost], flat, .. }] = &priced.steps[..] else {
        return None;
    };
    let changed = priced.notes.iter().any(|note| {
        matches!(note, Note::Floor { .. } | Note::DealCap { .. } | Note::PeriodCap { .. })
    });
    if changed || !flat.is_zero() {
        return None;
    }
    let one = i128::from(Factor::ONE);
    let product =
        i128::from(rate.steps()) * i128::from(special.steps()) * i128::from(boost.steps());
    let exact = product % (one * one) == 0;
    exact.then(|| i64::try_from(product / (one * one)).ok().map(Percent::from_steps)).flatten()
}
