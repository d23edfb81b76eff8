//! How far it is to the next tier, and where the period may end.

use super::accumulator::standing;
use super::plan::{Measure, Mode, Plan, Rules};
use super::price::{Place, WHOLE, level_at};
use super::shares::Shared;
use super::{
    Accumulator, CommissionEvent, EventKind, Label, PeriodKey, Purse, arithmetic::half_even,
    period::day_in,
};
use crate::money::{Currency, Money};
use crate::{AgencyId, CommissionEventId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A total, or a distance to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// So many deals.
    Deals(i64),
    /// So much.
    Money(Money),
}

/// Where an agent stands in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The tier of the next deal.
    pub tier: Label,
    /// It was set by hand, whatever the total.
    pub by_hand: bool,
    /// What thresholds look at.
    pub total: Quantity,
    /// `None` in the highest tier.
    pub next: Option<NextTier>,
    /// Where the period may end; `None` for a lifetime and before the period begins.
    pub forecast: Option<Forecast>,
}

/// The tier above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextTier {
    /// Its name.
    pub name: Label,
    /// Where it begins.
    pub from: Quantity,
    /// How much is missing to it.
    pub missing: Quantity,
}

/// Where a period may end. An extrapolation, no promise: see `method`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// How it was made, and what it leaves out, as a sentence.
    pub method: String,
    /// Days of the period that have begun, today included.
    pub elapsed_days: i64,
    /// Days of the whole period.
    pub period_days: i64,
    /// What thresholds would look at.
    pub total: Quantity,
    /// What percentages would be of.
    pub base: Money,
    /// The commission, of all parties, without percentages of the deal on top.
    pub commission: Money,
    /// The agent's part: what the deals so far gave, and the share of what may follow.
    pub agent: Money,
}

/// What an agent's deals of the months that run now may come to, under all plans together: the sum of
/// their forecasts. `None` if no plan counts by months, or beyond what an amount can hold.
#[must_use]
pub fn month_forecast<'a>(
    found: impl IntoIterator<Item = (PeriodKey, &'a Progress)>,
) -> Option<Money> {
    let months = found.into_iter().filter(|(period, _)| matches!(period, PeriodKey::Month(..)));
    let mut parts = months.filter_map(|(_, stands)| stands.forecast.as_ref()).map(|f| f.agent);
    let first = parts.next()?;
    parts.try_fold(first, Money::plus)
}

/// Where an agent stands in a currency of the plan. `None`: the plan does not have that currency,
/// or a sum is beyond what an amount can hold.
#[must_use]
pub fn progress(
    plan: &Plan,
    accumulator: &Accumulator,
    currency: Currency,
    now: DateTime<Utc>,
) -> Option<Progress> {
    let rules = plan.rules(currency)?;
    let measure = plan.terms().measure;
    let total = accumulator.totals.measured(measure, currency);
    let quantity = |n| match measure {
        Measure::Count => Quantity::Deals(n),
        Measure::Volume | Measure::Revenue => Quantity::Money(Money::new(n, currency)),
    };
    let level = level_at(&rules.levels, total);
    let by_hand = standing(&accumulator.decisions, now, |d| d.tier.as_ref()).cloned().flatten();
    let next = rules.levels.get(level + 1).map(|next| NextTier {
        name: next.name.clone(),
        from: quantity(next.from),
        missing: quantity(next.from - total),
    });
    let forecast = match pace(plan, accumulator.period, now) {
        Some(pace) => {
            let outlook = Outlook { plan, rules, accumulator, currency, now, by_hand: &by_hand };
            Some(outlook.forecast(pace, quantity)?)
        }
        None => None,
    };
    Some(Progress {
        by_hand: by_hand.is_some(),
        tier: by_hand.clone().unwrap_or(rules.levels.get(level)?.name.clone()),
        total: quantity(total),
        next: next.filter(|_| by_hand.is_none()),
        forecast,
    })
}

/// Days that have begun and days of the whole period.
fn pace(plan: &Plan, period: PeriodKey, now: DateTime<Utc>) -> Option<(i64, i64)> {
    let (first, after) = period.days()?;
    let days = (after - first).num_days();
    let elapsed = (day_in(plan.terms().time_zone, now) - first).num_days() + 1;
    (elapsed > 0).then_some((elapsed.min(days), days))
}

struct Outlook<'a> {
    plan: &'a Plan,
    rules: &'a Rules,
    accumulator: &'a Accumulator,
    currency: Currency,
    now: DateTime<Utc>,
    by_hand: &'a Option<Label>,
}

impl Outlook<'_> {
    fn forecast(
        &self,
        (elapsed, days): (i64, i64),
        quantity: impl Fn(i64) -> Quantity,
    ) -> Option<Forecast> {
        let none = Purse::empty(self.currency);
        let purse = self.accumulator.totals.of(self.currency).unwrap_or(&none);
        let (measure, deals) = (self.plan.terms().measure, self.accumulator.totals.deals);
        let rest = |so_far: i64| {
            let exact = i128::from(so_far).checked_mul(i128::from(days - elapsed))?;
            i64::try_from(half_even(exact, i128::from(elapsed))).ok()
        };
        let (more_base, more_deals) = (rest(purse.base)?, rest(deals)?);
        let total = self.accumulator.totals.measured(measure, self.currency);
        let more_total = rest(total)?;
        let base = purse.base.checked_add(more_base)?;
        let end = total.checked_add(more_total)?;
        let mut commission = match (self.plan.terms().mode, measure) {
            (Mode::Retroactive, _) => {
                let then = self.priced(end, base, deals.checked_add(more_deals)?)?;
                let now = self.priced(total, purse.base, deals)?;
                purse.commission.checked_add(then.checked_sub(now)?)?
            }
            (Mode::Marginal, Measure::Count) => {
                purse.commission.checked_add(self.by_deals(total, more_deals, more_base)?)?
            }
            (Mode::Marginal, _) => {
                purse.commission.checked_add(self.priced(total, more_base, more_deals)?)?
            }
        };
        if let Some(most) = self.rules.period_cap {
            commission = commission.min(most);
        }
        let money = |minor| Money::new(minor, self.currency);
        // Deals so far may have had splits of their own; those to come have the one that stands now.
        let so_far = match purse.agent {
            Some(agent) => agent,
            None => self.agents_share(purse.commission)?,
        };
        let more = self.agents_share(commission.checked_sub(purse.commission)?)?;
        Some(Forecast {
            method: format!(
                "Pro rata by days: what {elapsed} of the {days} days of {} brought goes on at the \
                 same pace to its end, at the plan's own tiers. Rates for single products and \
                 portals, floors and caps of single deals, and percentages of a deal on top are left \
                 out for the days to come; accelerators hold as they do today.",
                self.accumulator.period
            ),
            elapsed_days: elapsed,
            period_days: days,
            total: quantity(end),
            base: money(base),
            commission: money(commission),
            agent: money(so_far.checked_add(more)?),
        })
    }

    /// What a base earns that begins at a total, in so many deals.
    fn priced(&self, total: i64, base: i64, deals: i64) -> Option<i64> {
        let none = CommissionEventId(Uuid::nil());
        let terms = self.plan.terms();
        let place = Place {
            rules: self.rules,
            mode: terms.mode,
            by_count: terms.measure == Measure::Count,
            total,
            manual: self.by_hand.as_ref().map(|tier| (tier, none)),
        };
        let priced = place.price(&self.deal(), base, self.currency)?;
        let flat = priced.steps.first().map_or(0, |step| step.flat.minor);
        let flats = i128::from(flat).checked_mul(i128::from(deals) - 1)?;
        let exact = priced.exact.checked_add(flats.checked_mul(WHOLE)?)?;
        i64::try_from(half_even(exact, WHOLE)).ok()
    }

    /// The same where tiers count deals: as many as each tier still holds, of the usual size.
    fn by_deals(&self, total: i64, deals: i64, base: i64) -> Option<i64> {
        let (mut at, mut left, mut base, mut sum) = (total, deals, base, 0_i64);
        while left > 0 {
            let next = self.rules.levels.iter().map(|l| l.from);
            let quotas = self.rules.boosts.iter().map(|b| b.above);
            let stop = next.chain(quotas).filter(|from| *from > at).min();
            let here = stop.map_or(left, |stop| left.min(stop - at));
            let part = i128::from(base).checked_mul(i128::from(here))? / i128::from(left);
            let part = i64::try_from(part).ok()?;
            sum = sum.checked_add(self.priced(at, part, here)?)?;
            (at, left, base) = (at.checked_add(here)?, left - here, base - part);
        }
        Some(sum)
    }

    fn agents_share(&self, commission: i64) -> Option<i64> {
        let set = standing(&self.accumulator.decisions, self.now, |d| d.split.as_ref());
        let split = set.and_then(Option::as_ref).unwrap_or(&self.plan.terms().split);
        Some(Shared::of(split, commission, 0, &self.deal())?.agents())
    }

    /// A deal of now, of no product and portal of its own.
    fn deal(&self) -> CommissionEvent {
        CommissionEvent {
            id: CommissionEventId(Uuid::nil()),
            kind: EventKind::Converted,
            lead: None,
            agency: AgencyId(Uuid::nil()),
            agent: self.accumulator.agent,
            manager: None,
            portal: None,
            product: None,
            occurred_at: self.now,
            received_at: self.now,
            amount: None,
            fee: None,
            of: None,
        }
    }
}
