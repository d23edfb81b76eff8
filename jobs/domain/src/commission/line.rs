//! What an evaluation gives: a line for every event, with its shares and its explanation.

use super::{Factor, KindWord, Label, Percent, PeriodKey};
use crate::money::Money;
use crate::{AgencyId, AgentId, CommissionEventId, LeadId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Who gets a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Party {
    /// The agent who earned it.
    Agent(AgentId),
    /// The agent's manager.
    Manager(AgentId),
    /// The agency.
    Agency(AgencyId),
    /// The platform.
    Platform,
}

/// What one party gets of a line. A party stands in a line at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Who.
    pub party: Party,
    /// How much; negative: given back.
    pub amount: Money,
}

/// What one event does to the commissions. The lines of a conversion add up: a full refund leaves
/// zero for every party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The event.
    pub event: CommissionEventId,
    /// Its kind.
    pub kind: KindWord,
    /// The conversion it belongs to; of a conversion's own line, the event itself.
    pub conversion: CommissionEventId,
    /// The conversion's lead.
    pub lead: Option<LeadId>,
    /// Who earned it.
    pub agent: AgentId,
    /// The agent's agency.
    pub agency: AgencyId,
    /// The **conversion's** period of the plan: a refund lowers the period that it came from, also
    /// if it is booked in a later one.
    pub period: PeriodKey,
    /// When the event happened.
    pub occurred_at: DateTime<Utc>,
    /// The highest tier that the conversion reaches.
    pub tier: Label,
    /// By how much the event changed what percentages are of.
    pub base: Money,
    /// The rate in percent, where one alone applies and nothing capped or raised the result.
    pub rate: Option<Percent>,
    /// The commission by the tiers: the sum of the shares less `on_top`.
    pub commission: Money,
    /// What overrides add that are a percentage of the deal.
    pub on_top: Money,
    /// Who gets it; sums to `commission` + `on_top`. Parties that get nothing are left out.
    pub shares: Vec<Share>,
    /// Why.
    pub explanation: Explanation,
}

/// Why a line is what it is. [`Line::sentence`] and [`Line::arithmetic`] put it into words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The plan that it was computed by.
    pub plan: PlanRef,
    /// The deal after the event: what percentages are of.
    pub net: Money,
    /// What the tiers give on `net`, step by step.
    pub steps: Vec<Step>,
    /// The commission on `net`, after rounding, floors and caps.
    pub due: Money,
    /// The commission of the conversion before this event.
    pub before: Money,
    /// What else mattered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// A version of a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanRef {
    /// The plan's name.
    pub name: Label,
    /// Its version.
    pub version: u32,
}

/// A part of a deal at one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The tier.
    pub tier: Label,
    /// This much of the deal.
    pub base: Money,
    /// At this rate, ...
    pub rate: Percent,
    /// ... multiplied by the override's and the accelerator's factor, ...
    pub factors: [Factor; 2],
    /// ... and this, whatever the deal's value.
    pub flat: Money,
}

/// Something that changed a line besides its tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// An override for the product or portal was used.
    Override {
        /// Its product.
        product: Option<Label>,
        /// Whether it names a portal.
        portal: bool,
    },
    /// An accelerator raised the rate of a part.
    Accelerator {
        /// Its name.
        name: Label,
    },
    /// The tier was set by hand.
    ManualTier {
        /// The decision.
        by: CommissionEventId,
    },
    /// The shares were set by hand.
    ManualSplit {
        /// The decision.
        by: CommissionEventId,
    },
    /// The whole period is paid at one rate: the remainder of earlier lines was carried on, so that
    /// the period's sum is rounded once.
    RoundedWithPeriod,
    /// Raised to the floor of a deal.
    Floor {
        /// The floor.
        least: Money,
    },
    /// Cut at the cap of a deal.
    DealCap {
        /// The cap.
        most: Money,
    },
    /// Cut at the cap of the period.
    PeriodCap {
        /// The cap.
        most: Money,
    },
    /// The agent has no manager: the manager's share went to the agency.
    NoManager,
    /// Called off after the clawback window: recorded, nothing is taken back.
    WindowPassed {
        /// The window's last moment.
        ended: DateTime<Utc>,
    },
    /// The deal had gone back as a whole before: nothing is left to change.
    NothingLeft,
    /// More was to go back than was left: only what was left did.
    MoreThanLeft {
        /// What was to go back.
        asked: Money,
    },
}

/// An event that has no line, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The event.
    pub event: CommissionEventId,
    /// Why.
    pub reason: Reason,
}

/// Why an event has no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It names a conversion that is not there yet, and counts as soon as it is.
    #[error("its conversion has not come yet; it counts as soon as it does")]
    ConversionMissing,
    /// The conversion that it names was itself refused.
    #[error("its conversion was refused; mend that one first")]
    ConversionRefused,
    /// It must name a conversion.
    #[error("it names no conversion; send it with `of`, the conversion's id")]
    OfMissing,
    /// It has no amount (or no fee) where the plan needs one.
    #[error(
        "it has no amount that the plan could use; send the deal's value, and the fee if the \
             plan is by revenue"
    )]
    AmountMissing,
    /// An amount is negative.
    #[error(
        "its amount is negative; what goes back is an event of its own, with a positive amount"
    )]
    AmountNegative,
    /// The plan has no thresholds in the currency: nothing is converted silently.
    #[error(
        "the plan has no thresholds in its currency; add the currency to the plan's next version"
    )]
    CurrencyNotInPlan,
    /// Amount and fee, or refund and conversion, differ in currency.
    #[error("its currency differs from the deal's; send it in the deal's currency")]
    CurrencyDiffers,
    /// The plan was not in force.
    #[error("the plan was not in force then; choose the version that was")]
    PlanNotInForce,
    /// The plan has no tier of that name.
    #[error("the plan has no tier of that name")]
    TierUnknown,
    /// The split cannot be used.
    #[error("its split does not add up to 100 percent; send one that does")]
    SplitWrong,
}
