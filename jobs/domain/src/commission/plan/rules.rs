//! A plan's terms in one currency, laid out for the arithmetic.

use super::{Amounts, Terms, Threshold, Tier};
use crate::PortalId;
use crate::commission::period::day_begins;
use crate::commission::{Factor, Label, Percent};
use crate::money::Currency;
use chrono::{DateTime, Days, Utc};

/// Everything that a deal in one currency is paid by. Amounts are minor units, thresholds minor
/// units or deals.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commission) struct Rules {
    /// The plan's own tiers, ascending; the first is from zero.
    pub levels: Vec<Level>,
    /// The most exact first, so that the first that fits is the one.
    pub overrides: Vec<Special>,
    pub boosts: Vec<Boost>,
    pub deal_cap: Option<i64>,
    pub period_cap: Option<i64>,
    pub floor: Option<i64>,
}

/// A tier.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commission) struct Level {
    pub name: Label,
    pub from: i64,
    pub rate: Percent,
    pub flat: i64,
}

/// An override.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commission) struct Special {
    pub product: Option<Label>,
    pub portal: Option<PortalId>,
    pub factor: Factor,
    pub levels: Option<Vec<Level>>,
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::commission) struct Boost {
    pub name: Label,
    pub factor: Factor,
    pub above: i64,
    pub from: Option<DateTime<Utc>>,
    /// The first moment after it.
    pub ends: Option<DateTime<Utc>>,
}

impl Rules {
    /// `currency`: `None` for a plan that names no amounts.
    pub fn of(terms: &Terms, currency: Option<Currency>) -> Self {
        let amount = |amounts: &Amounts| currency.and_then(|c| amounts.get(&c)).copied();
        let zone = terms.time_zone;
        let mut overrides: Vec<Special> = terms
            .overrides
            .iter()
            .map(|o| Special {
                product: o.product.clone(),
                portal: o.portal,
                factor: o.factor.unwrap_or(Factor::NEUTRAL),
                levels: (!o.tiers.is_empty()).then(|| levels(&o.tiers, currency)),
            })
            .collect();
        overrides.sort_by_key(|o| std::cmp::Reverse((o.product.is_some(), o.portal.is_some())));
        let boosts = terms.accelerators.iter().map(|a| Boost {
            name: a.name.clone(),
            factor: a.factor,
            above: a.above.as_ref().map_or(0, |t| in_currency(t, currency)),
            from: a.from.map(|day| day_begins(zone, day)),
            ends: a
                .until
                .and_then(|day| day.checked_add_days(Days::new(1)))
                .map(|day| day_begins(zone, day)),
        });
        Self {
            levels: levels(&terms.tiers, currency),
            overrides,
            boosts: boosts.collect(),
            deal_cap: amount(&terms.caps.per_deal),
            period_cap: amount(&terms.caps.per_period),
            floor: amount(&terms.floors.per_deal),
        }
    }
}

fn levels(tiers: &[Tier], currency: Option<Currency>) -> Vec<Level> {
    let level = |tier: &Tier| Level {
        name: tier.name.clone(),
        from: in_currency(&tier.from, currency),
        rate: tier.rate.unwrap_or_default(),
        flat: currency.and_then(|c| tier.flat.get(&c)).copied().unwrap_or_default(),
    };
    tiers.iter().map(level).collect()
}

fn in_currency(threshold: &Threshold, currency: Option<Currency>) -> i64 {
    match threshold {
        Threshold::Count(count) => *count,
        Threshold::Amounts(found) => {
            currency.and_then(|c| found.get(&c)).copied().unwrap_or_default()
        }
    }
}
