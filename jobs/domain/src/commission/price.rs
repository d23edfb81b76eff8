//! What the tiers give for one deal, exactly.

use super::plan::{Boost, Level, Rules};
use super::{CommissionEvent, Factor, Label, Mode, Note, Percent, Step};
use crate::CommissionEventId;
use crate::money::{Currency, Money};
use chrono::{DateTime, Utc};

/// Exact results are counted in this fraction of a minor unit: percent in millionths, multiplied
/// by two factors in ten-thousandths.
pub(super) const WHOLE: i128 =
    100 * Percent::ONE as i128 * Factor::ONE as i128 * Factor::ONE as i128;

/// Where a deal stands in its period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub rules: &'a Rules,
    pub mode: Mode,
    /// Totals are counted in deals, not in money.
    pub by_count: bool,
    /// Marginal: the total of the deals before it. Retroactive: of the whole period.
    pub total: i64,
    /// A tier that was set by hand, and the decision.
    pub manual: Option<(&'a Label, CommissionEventId)>,
}

/// What the tiers give, before rounding, floors and caps.
#[derive(Clone, Debug)]
pub(super) struct Priced {
    /// In fractions of a minor unit: see [`WHOLE`].
    pub exact: i128,
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
}

/// The rates of a product and portal.
struct Rates<'a> {
    levels: &'a [Level],
    factor: Factor,
    note: Option<Note>,
}

impl Place<'_> {
    /// Prices a base of zero or more minor units; `None` beyond what can be counted.
    pub fn price(&self, deal: &CommissionEvent, base: i64, currency: Currency) -> Option<Priced> {
        let rates = self.rates(deal);
        let by_hand = self
            .manual
            .and_then(|(tier, by)| Some((rates.levels.iter().position(|l| l.name == *tier)?, by)));
        let mut priced = Priced { exact: 0, steps: Vec::with_capacity(1), notes: Vec::new() };
        priced.notes.extend(rates.note.clone());
        priced.notes.extend(by_hand.map(|(_, by)| Note::ManualTier { by }));
        let (mut at, end) = (self.total, self.total.checked_add(base)?);
        loop {
            let level = by_hand.map_or_else(|| level_at(rates.levels, at), |(level, _)| level);
            let stop = self.stop(deal, &rates, level, by_hand.is_some(), (at, end));
            let part = if self.one_rate() { base } else { stop - at };
            let reached = self.boosts(deal.occurred_at).filter(|b| b.above <= at);
            // Of equal factors the first one of the plan.
            let boost = reached.reduce(|a, b| if b.factor > a.factor { b } else { a });
            priced.add(rates.levels.get(level)?, part, rates.factor, boost, currency)?;
            at = stop;
            if at >= end {
                return Some(priced);
            }
        }
    }

    /// The whole deal has the rate of one place.
    fn one_rate(&self) -> bool {
        self.by_count || self.mode == Mode::Retroactive
    }

    /// Where the rate may change next: at the next tier, at a quota, or not before the deal's end.
    fn stop(
        &self,
        deal: &CommissionEvent,
        rates: &Rates<'_>,
        level: usize,
        by_hand: bool,
        (at, end): (i64, i64),
    ) -> i64 {
        if self.one_rate() {
            return end;
        }
        let next = rates.levels.get(level + 1).filter(|_| !by_hand).map(|l| l.from);
        let quotas = self.boosts(deal.occurred_at).map(|b| b.above).filter(|above| *above > at);
        next.into_iter().chain(quotas).fold(end, i64::min)
    }

    fn rates(&self, deal: &CommissionEvent) -> Rates<'_> {
        let product = deal.product.as_deref();
        let fits = self.rules.overrides.iter().find(|o| {
            o.product.as_ref().is_none_or(|p| Some(&**p) == product)
                && o.portal.is_none_or(|p| Some(p) == deal.portal)
        });
        match fits {
            None => Rates { levels: &self.rules.levels, factor: Factor::NEUTRAL, note: None },
            Some(special) => Rates {
                levels: special.levels.as_ref().unwrap_or(&self.rules.levels),
                factor: special.factor,
                note: Some(Note::Override {
                    product: special.product.clone(),
                    portal: special.portal.is_some(),
                }),
            },
        }
    }

    fn boosts(&self, at: DateTime<Utc>) -> impl Iterator<Item = &Boost> {
        self.rules.boosts.iter().filter(move |b| {
            b.from.is_none_or(|from| from <= at) && b.ends.is_none_or(|ends| at < ends)
        })
    }
}

impl Priced {
    fn add(
        &mut self,
        level: &Level,
        part: i64,
        factor: Factor,
        boost: Option<&Boost>,
        currency: Currency,
    ) -> Option<()> {
        let raised = boost.map_or(Factor::NEUTRAL, |b| b.factor);
        if let Some(boost) = boost {
            let note = Note::Accelerator { name: boost.name.clone() };
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        // The flat amount is the one of the tier that the deal begins in.
        let flat = if self.steps.is_empty() { level.flat } else { 0 };
        let percent = i128::from(part)
            .checked_mul(i128::from(level.rate.steps()))?
            .checked_mul(i128::from(factor.steps()))?
            .checked_mul(i128::from(raised.steps()))?;
        let flats = i128::from(flat).checked_mul(WHOLE)?;
        self.exact = self.exact.checked_add(percent)?.checked_add(flats)?;
        self.steps.push(Step {
            tier: level.name.clone(),
            base: Money::new(part, currency),
            rate: level.rate,
            factors: [factor, raised],
            flat: Money::new(flat, currency),
        });
        Some(())
    }
}

/// The tier that holds at a total.
pub(super) fn level_at(levels: &[Level], total: i64) -> usize {
    levels.partition_point(|l| l.from <= total).saturating_sub(1)
}
