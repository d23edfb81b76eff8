//! A plan: what an agent earns on what. A versioned JSON document; `docs/commission-plans.md` shows
//! it by examples.

use super::{Factor, Label, Percent, Window};
use crate::PortalId;
use crate::money::{Currency, Money};
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

mod check;
mod fields;
mod read;
mod rules;
mod version;

pub(super) use rules::{Boost, Level, Rules};
pub use version::Plan;

/// What a plan says, as it stands in its document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// Version of the document's format; 1.
    pub format: u32,
    /// The plan's name; the same for all its versions.
    pub name: Label,
    /// Its version, from 1. A period keeps the version that it began with.
    pub version: u32,
    /// The currencies that deals may have. Empty: every one, in a plan that names no amounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub currencies: Vec<Currency>,
    /// What thresholds measure.
    pub measure: Measure,
    /// What percentages are of.
    pub basis: Basis,
    /// Whether a higher tier changes what was earned below it.
    pub mode: Mode,
    /// When totals start at zero again.
    pub window: Window,
    /// Whose calendar months and dates are meant.
    #[serde(serialize_with = "zone_name")]
    pub time_zone: Tz,
    /// The first day that deals count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<NaiveDate>,
    /// The first day whose periods belong to another version; a period that began before goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<NaiveDate>,
    /// From the lowest to the highest.
    pub tiers: Vec<Tier>,
    /// Other rates for a product, a portal or both. The most exact one counts: both, then the
    /// product, then the portal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// Raised rates above a quota or for a time. Of several that hold, the greatest factor counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<Accelerator>,
    /// Most that is paid.
    #[serde(skip_serializing_if = "Caps::is_none")]
    pub caps: Caps,
    /// Least that is paid.
    #[serde(skip_serializing_if = "Floors::is_none")]
    pub floors: Floors,
    /// Who gets it.
    pub split: Split,
    /// A deal that is called off this many days (of 24 hours) after it converted, or earlier, is
    /// taken back. `None`: at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clawback_days: Option<u32>,
}

/// What thresholds measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The sum of the deals' values, in each currency by itself.
    #[default]
    Volume,
    /// The sum of the platform's fees on them, in each currency by itself.
    Revenue,
    /// How many deals, of all currencies together. A deal that went back as a whole is none.
    Count,
}

/// What percentages are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The deal's value.
    #[default]
    Volume,
    /// The platform's fee on it.
    Revenue,
}

/// Whether a higher tier changes what was earned below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No: each part is paid at the rate of the tier that it falls in.
    #[default]
    Marginal,
    /// Yes: the whole period is paid at the rate of the tier that its total reaches.
    Retroactive,
}

/// Amounts, one a currency, in minor units.
pub type Amounts = BTreeMap<Currency, i64>;

/// Where something begins to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// So many deals.
    Count(i64),
    /// These totals. Empty: zero in every currency.
    Amounts(Amounts),
}

/// A tier. It holds from its threshold (included) to the next one's (excluded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// Its name.
    pub name: Label,
    /// From which total; zero for the first.
    pub from: Threshold,
    /// Percent of the basis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Percent>,
    /// For each deal, whatever its value.
    #[serde(skip_serializing_if = "Amounts::is_empty", serialize_with = "amounts")]
    pub flat: Amounts,
}

/// Other rates for a product, a portal or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    /// Deals of this product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Label>,
    /// Deals of leads from this portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal: Option<PortalId>,
    /// Multiplies the rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Factor>,
    /// Stand in for the plan's. Their thresholds look at the same total, of all deals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// A raised rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accelerator {
    /// Its name.
    pub name: Label,
    /// Multiplies rates; flat amounts stay.
    pub factor: Factor,
    /// Above this total: in marginal mode the part above it, in retroactive mode the whole period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<Threshold>,
    /// For deals from this day on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NaiveDate>,
    /// For deals to this day, included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<NaiveDate>,
}

/// Most that is paid. What a percentage of the deal adds on top is not capped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// For one deal.
    #[serde(skip_serializing_if = "Amounts::is_empty", serialize_with = "amounts")]
    pub per_deal: Amounts,
    /// For all deals of a period.
    #[serde(skip_serializing_if = "Amounts::is_empty", serialize_with = "amounts")]
    pub per_period: Amounts,
}

/// Least that is paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Floors {
    /// For one deal that did not go back as a whole.
    #[serde(skip_serializing_if = "Amounts::is_empty", serialize_with = "amounts")]
    pub per_deal: Amounts,
}

impl Caps {
    fn is_none(&self) -> bool {
        self.per_deal.is_empty() && self.per_period.is_empty()
    }
}

impl Floors {
    fn is_none(&self) -> bool {
        self.per_deal.is_empty()
    }
}

/// Who gets a commission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Split(
    /// The last cents go to the largest remainders; of equal ones to the first in this order.
    pub Vec<SplitShare>,
);

/// A share of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitShare {
    /// Who.
    pub to: Role,
    /// How much of it.
    pub percent: Percent,
    /// Of what.
    #[serde(default, skip_serializing_if = "Of::is_commission")]
    pub of: Of,
}

/// Who gets a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The agent.
    Agent,
    /// The agent's manager. Without one a share of the commission goes to the agency, and a
    /// percentage of the deal is not paid.
    Manager,
    /// The agency.
    Agency,
    /// The platform.
    Platform,
}

/// What a share is a percentage of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The commission: these shares sum to 100.
    #[default]
    Commission,
    /// The deal's value, on top of the commission.
    Deal,
}

impl Of {
    #[allow(clippy::trivially_copy_pass_by_ref)] // the shape that serde demands
    fn is_commission(&self) -> bool {
        *self == Self::Commission
    }
}

impl Split {
    /// Most shares of a split.
    pub const MOST: usize = 16;

    /// Everything to the agent.
    #[must_use]
    pub fn all_to_agent() -> Self {
        Self(vec![SplitShare { to: Role::Agent, percent: Percent::HUNDRED, of: Of::Commission }])
    }

    /// What keeps it from being used, as a sentence.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.0.len() > Self::MOST {
            return Some(format!("A split has at most {} shares.", Self::MOST));
        }
        let of_commission = self.0.iter().filter(|s| s.of == Of::Commission);
        let sum: i64 = of_commission.map(|s| s.percent.steps()).sum();
        let sum = rust_decimal::Decimal::new(sum, 6).normalize();
        let whole = sum == rust_decimal::Decimal::ONE_HUNDRED;
        (!whole).then(|| {
            format!("The shares of the commission sum to {sum} percent; they must sum to 100.")
        })
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_i64(*count),
            Self::Amounts(found) if found.is_empty() => serializer.serialize_i64(0),
            Self::Amounts(found) => amounts(found, serializer),
        }
    }
}

fn amounts<S: Serializer>(amounts: &Amounts, serializer: S) -> Result<S::Ok, S::Error> {
    let units =
        amounts.iter().map(|(currency, minor)| (currency, Money::new(*minor, *currency).units()));
    serializer.collect_map(units)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape that serde demands
fn zone_name<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}
