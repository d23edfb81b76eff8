//! Going on from where a period stands, one deal at a time.

use super::book::{Book, Totals};
use super::evaluate::begin;
use super::plan::{Level, Measure, Mode, Plan, Split};
use super::price::level_at;
use super::{CommissionEvent, EventKind, Label, Line, PeriodKey, PlanRef, Reason};
use crate::money::Currency;
use crate::{AgentId, CommissionEventId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What somebody decided about an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The event.
    pub id: CommissionEventId,
    /// From when on.
    pub at: DateTime<Utc>,
    /// The tier was set: to this, or (`Some(None)`) to what the total says.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "twice")]
    pub tier: Option<Option<Label>>,
    /// The split was set: to this, or (`Some(None)`) to the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "twice")]
    pub split: Option<Option<Split>>,
}

impl Decision {
    /// The decision that an event tells, if the plan can use it.
    ///
    /// # Errors
    /// [`Reason::TierUnknown`] or [`Reason::SplitWrong`]: the plan passes it over.
    pub fn of(plan: &Plan, event: &CommissionEvent) -> Result<Self, Reason> {
        let (mut tier, mut split) = (None, None);
        match &event.kind {
            EventKind::TierChanged { tier: to } => {
                let terms = plan.terms();
                let own = terms.overrides.iter().flat_map(|o| &o.tiers);
                let known = |name: &Label| terms.tiers.iter().chain(own).any(|t| t.name == *name);
                if to.as_ref().is_some_and(|name| !known(name)) {
                    return Err(Reason::TierUnknown);
                }
                tier = Some(to.clone());
            }
            EventKind::SplitChanged { split: to } => {
                if to.as_ref().is_some_and(|to| to.fault().is_some()) {
                    return Err(Reason::SplitWrong);
                }
                split = Some(to.as_deref().cloned());
            }
            _ => {}
        }
        Ok(Self { id: event.id, at: event.occurred_at, tier, split })
    }
}

/// The last decision that says something at a moment. They are in the order of events.
pub(super) fn standing<'a, T>(
    decisions: &'a [Decision],
    at: DateTime<Utc>,
    says: impl Fn(&'a Decision) -> Option<T>,
) -> Option<T> {
    decisions.iter().rev().filter(|d| d.at <= at).find_map(says)
}

/// Where an agent's period stands. Kept in a row, so that the usual event, a new conversion, needs
/// no other one to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accumulator {
    /// The plan's version.
    pub plan: PlanRef,
    /// Whose.
    pub agent: AgentId,
    /// Of which period.
    pub period: PeriodKey,
    /// The last conversion in the order of events.
    pub newest: Option<(DateTime<Utc>, CommissionEventId)>,
    /// What its deals come to.
    pub totals: Totals,
    /// What was decided about the agent, in the order of events.
    pub decisions: Vec<Decision>,
}

impl Accumulator {
    /// A period without a deal. `events`: the agent's decisions; others are passed over, and so are
    /// decisions that the plan refuses.
    #[must_use]
    pub fn open(
        plan: &Plan,
        agent: AgentId,
        period: PeriodKey,
        events: &[CommissionEvent],
    ) -> Self {
        let own = events.iter().filter(|e| e.agent == agent && e.is_decision());
        let mut decisions: Vec<_> = own.filter_map(|e| Decision::of(plan, e).ok()).collect();
        decisions.sort_by_key(|d| (d.at, d.id));
        decisions.dedup_by_key(|d| d.id);
        let plan = plan.reference().clone();
        Self { plan, agent, period, newest: None, totals: Totals::default(), decisions }
    }

    /// Adds a conversion that is the newest of the period: its line is exactly what [`evaluate`]
    /// would give, and no other line changes. `None`: evaluate the period anew; nothing was added.
    /// It is `None` for every other event, for one that is not the newest, for one that would be
    /// refused or overflow, in a retroactive plan for one that reaches another tier or quota, and
    /// where the totals lack what is counted now.
    ///
    /// The caller knows that the conversion is new and that no event names it yet: one that came
    /// before its conversion needs the evaluation.
    ///
    /// [`evaluate`]: super::evaluate
    pub fn advance(&mut self, plan: &Plan, event: &CommissionEvent) -> Option<Line> {
        let next = (event.occurred_at, event.id);
        let ours = self.plan == *plan.reference()
            && event.agent == self.agent
            && event.kind == EventKind::Converted
            && self.newest.is_none_or(|newest| newest < next)
            && self.totals.purses.iter().all(|purse| purse.agent.is_some())
            && plan.period_at(event.occurred_at) == self.period;
        if !ours {
            return None;
        }
        let deal = begin(plan, event).ok()?;
        let state = deal.state(event, None);
        let mut whole = None;
        if plan.terms().mode == Mode::Retroactive {
            let mut after = self.totals.clone();
            after.add(deal.currency, &state)?;
            if !same_rates(plan, &self.totals, &after) {
                return None;
            }
            whole = Some(after);
        }
        let totals = self.totals.clone();
        let mut book =
            Book { plan, period: self.period, totals, whole, decisions: &self.decisions };
        let mut lines = Vec::with_capacity(1);
        book.lines(event, deal.currency, &[state], &mut lines).ok()?;
        let totals = book.totals;
        self.totals = totals;
        self.newest = Some(next);
        lines.pop()
    }
}

/// Whether every deal of a retroactive period keeps its rate.
fn same_rates(plan: &Plan, before: &Totals, after: &Totals) -> bool {
    let measure = plan.terms().measure;
    let same_in = |currency: Currency| {
        let Some(rules) = plan.rules(currency) else { return false };
        let (was, is) = (before.measured(measure, currency), after.measured(measure, currency));
        let same_level = |levels: &Vec<Level>| level_at(levels, was) == level_at(levels, is);
        let own = rules.overrides.iter().filter_map(|o| o.levels.as_ref());
        std::iter::once(&rules.levels).chain(own).all(same_level)
            && rules.boosts.iter().all(|b| (b.above <= was) == (b.above <= is))
    };
    match measure {
        // A deal in one currency brings those in the others nearer to the next tier.
        Measure::Count => before.purses.iter().all(|p| same_in(p.currency)),
        Measure::Volume | Measure::Revenue => after.purses.iter().all(|p| same_in(p.currency)),
    }
}

mod twice {
    //! `Some(None)` is written as null and told from a member that is not there.
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, clippy::option_option)] // the shape that serde's `with` demands
    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    #[allow(clippy::option_option)]
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(deserializer).map(Some)
    }
}
