//! What happened: the events that commissions are a function of.

use super::Label;
use super::plan::Split;
use crate::money::Money;
use crate::{AgencyId, AgentId, CommissionEventId, LeadId, PortalId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The largest amount of a deal that is recorded: 10^15 minor units of whatever currency. Sums of nine
/// thousand of them fit 64 bits.
pub const LARGEST_AMOUNT: i64 = 1_000_000_000_000_000;

/// Something that happened to a deal, or a decision about an agent.
///
/// A commission is a function of the **set** of events: they count in the order of
/// (`occurred_at`, `id`), whatever order they came in and however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionEvent {
    /// Makes it count once. Two events with one id and different content are a fault.
    pub id: CommissionEventId,
    /// What happened, with what belongs to it.
    #[serde(flatten)]
    pub kind: EventKind,
    /// Of which lead; decisions about an agent have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<LeadId>,
    /// The agent's agency.
    pub agency: AgencyId,
    /// Who earns. An event that names a conversion belongs to the conversion's agent.
    pub agent: AgentId,
    /// Who gets the manager's share; without one the agency does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<AgentId>,
    /// Where the lead came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<PortalId>,
    /// What was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Box<str>>,
    /// When it happened: places it in a period and in the order of events.
    pub occurred_at: DateTime<Utc>,
    /// When the platform heard of it; no part of what the event says.
    pub received_at: DateTime<Utc>,
    /// Conversion: the deal's value. Correction: its true value. Partial refund and charge-back:
    /// how much went back (a charge-back without it: everything).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// The same of the platform's fee on the deal, in the same currency. A partial refund without
    /// it takes the fee back in proportion to `amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Money>,
    /// The conversion that it is about. `None` on conversions and on decisions about an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<CommissionEventId>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A lead became a deal; needs an amount.
    Converted,
    /// Everything went back to the customer.
    Refunded,
    /// `amount` went back to the customer.
    RefundedPartly,
    /// The customer's bank took `amount` back, or everything: at any time, also after the payout.
    ChargedBack,
    /// The deal was called off: taken back within the plan's clawback window, recorded after it.
    Cancelled,
    /// The deal's true value is `amount` (and `fee`).
    Corrected,
    /// From `occurred_at` on the agent has this tier, whatever the total; `None`: by the total again.
    TierChanged {
        /// A tier of the plan.
        tier: Option<Label>,
    },
    /// With `of`: this deal is shared so, from its beginning. Without: the agent's deals from
    /// `occurred_at` on.
    SplitChanged {
        /// `None`: as the plan says.
        split: Option<Box<Split>>,
    },
}

/// The kind of an event, without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    /// See [`EventKind::Converted`].
    Converted,
    /// See [`EventKind::Refunded`].
    Refunded,
    /// See [`EventKind::RefundedPartly`].
    RefundedPartly,
    /// See [`EventKind::ChargedBack`].
    ChargedBack,
    /// See [`EventKind::Cancelled`].
    Cancelled,
    /// See [`EventKind::Corrected`].
    Corrected,
    /// See [`EventKind::TierChanged`].
    TierChanged,
    /// See [`EventKind::SplitChanged`].
    SplitChanged,
}

impl KindWord {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Converted,
        Self::Refunded,
        Self::RefundedPartly,
        Self::ChargedBack,
        Self::Cancelled,
        Self::Corrected,
        Self::TierChanged,
        Self::SplitChanged,
    ];

    /// The word in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Converted => "converted",
            Self::Refunded => "refunded",
            Self::RefundedPartly => "refunded_partly",
            Self::ChargedBack => "charged_back",
            Self::Cancelled => "cancelled",
            Self::Corrected => "corrected",
            Self::TierChanged => "tier_changed",
            Self::SplitChanged => "split_changed",
        }
    }
}

impl FromStr for KindWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{word}` is no kind of event; take one of {all}")
        })
    }
}

impl EventKind {
    /// Its word.
    #[must_use]
    pub fn word(&self) -> KindWord {
        match self {
            Self::Converted => KindWord::Converted,
            Self::Refunded => KindWord::Refunded,
            Self::RefundedPartly => KindWord::RefundedPartly,
            Self::ChargedBack => KindWord::ChargedBack,
            Self::Cancelled => KindWord::Cancelled,
            Self::Corrected => KindWord::Corrected,
            Self::TierChanged { .. } => KindWord::TierChanged,
            Self::SplitChanged { .. } => KindWord::SplitChanged,
        }
    }
}

impl CommissionEvent {
    /// A decision about the agent and no event of a deal: it may change every period from
    /// `occurred_at` on, and has no line of its own.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        match self.kind {
            EventKind::TierChanged { .. } => true,
            EventKind::SplitChanged { .. } => self.of.is_none(),
            _ => false,
        }
    }

    /// Whether both say the same, whenever they were heard of.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        // Field by field: cloning one to blank a time would allocate for every duplicate.
        let Self {
            id,
            kind,
            lead,
            agency,
            agent,
            manager,
            portal,
            product,
            occurred_at,
            received_at: _,
            amount,
            fee,
            of,
        } = self;
        *id == other.id
            && *kind == other.kind
            && *lead == other.lead
            && *agency == other.agency
            && *agent == other.agent
            && *manager == other.manager
            && *portal == other.portal
            && *product == other.product
            && *occurred_at == other.occurred_at
            && *amount == other.amount
            && *fee == other.fee
            && *of == other.of
    }
}
