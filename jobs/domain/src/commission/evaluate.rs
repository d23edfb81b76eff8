//! From a set of events to lines.

use super::book::{Book, Totals};
use super::deal::{Deal, State};
use super::plan::{Mode, Plan};
use super::{Accumulator, CommissionEvent, Decision, EventKind, Line, PeriodKey, Reason, Refusal};
use crate::money::Currency;
use crate::{AgentId, CommissionEventId};
use serde::{Deserialize, Serialize};

/// Why nothing can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// A sum is beyond what an amount can hold (9.2e18 minor units).
    #[error("event {event}: the amounts are beyond what can be counted; correct the deal's value")]
    Overflow {
        /// At this conversion.
        event: CommissionEventId,
    },
    /// Two events have one id and say different things.
    #[error(
        "event {event} came twice with different content; send the second one with an id of its own"
    )]
    Conflict {
        /// Their id.
        event: CommissionEventId,
    },
}

/// What a set of events comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// By agent and period; within one, the deals in the order of events, each followed by its
    /// events. Every event of a deal has one, if only of zero.
    pub lines: Vec<Line>,
    /// Events without a line that should have one, by id.
    pub refusals: Vec<Refusal>,
    /// Where each agent's period stands, to go on from; in the order of `lines`.
    pub accumulators: Vec<Accumulator>,
}

/// Computes the commissions of a set of events under one version of a plan.
///
/// The events may be of any number of agents and periods, in any order, with repetitions. For a
/// period to be right, give all its conversions, every event that names one of them (whenever it
/// happened), and the agents' decisions ([`CommissionEvent::is_decision`]) up to its end.
///
/// # Errors
/// [`PlanFault`]. An event that cannot count by itself is no fault but a [`Refusal`].
pub fn evaluate(plan: &Plan, events: &[CommissionEvent]) -> Result<Evaluation, PlanFault> {
    let sorted = Sorted::of(events)?;
    let mut found = Evaluation::default();
    let decisions = sorted.decisions(plan, &mut found.refusals);
    sorted.orphans(&mut found.refusals);
    let mut rest = &sorted.conversions[..];
    while let Some(first) = rest.first() {
        let period = plan.period_at(first.occurred_at);
        let bounds = plan.bounds(period);
        let same = |e: &&&CommissionEvent| {
            e.agent == first.agent && bounds.is_none_or(|(_, after)| e.occurred_at < after)
        };
        let (deals, later) = rest.split_at(rest.iter().take_while(same).count().max(1));
        rest = later;
        let from = decisions.partition_point(|(agent, _)| *agent < first.agent);
        let until = decisions.partition_point(|(agent, _)| *agent <= first.agent);
        let own = decisions[from..until].iter().map(|(_, d)| d.clone()).collect();
        let group = Group { plan, period, decisions: own, sorted: &sorted };
        group.evaluate(first.agent, deals, &mut found)?;
    }
    found.refusals.sort_by_key(|r| r.event);
    Ok(found)
}

/// Events once each, in the orders in which they are needed.
struct Sorted<'a> {
    /// By id.
    all: Vec<&'a CommissionEvent>,
    /// By agent, time and id.
    conversions: Vec<&'a CommissionEvent>,
    /// What names a conversion: by it, time and id.
    later: Vec<&'a CommissionEvent>,
}

impl<'a> Sorted<'a> {
    fn of(events: &'a [CommissionEvent]) -> Result<Self, PlanFault> {
        let mut all: Vec<&CommissionEvent> = events.iter().collect();
        all.sort_by_key(|e| e.id);
        if let Some(pair) =
            all.windows(2).find(|pair| pair[0].id == pair[1].id && !pair[0].says_the_same(pair[1]))
        {
            return Err(PlanFault::Conflict { event: pair[0].id });
        }
        all.dedup_by_key(|e| e.id);
        let of_kind = |conversion: bool| {
            let found = all.iter().copied().filter(move |e| {
                !e.is_decision() && conversion == (e.kind == EventKind::Converted)
            });
            found.collect::<Vec<_>>()
        };
        let (mut conversions, mut later) = (of_kind(true), of_kind(false));
        conversions.sort_by_key(|e| (e.agent, e.occurred_at, e.id));
        later.sort_by_key(|e| (e.of, e.occurred_at, e.id));
        Ok(Self { all, conversions, later })
    }

    fn of_deal(&self, conversion: CommissionEventId) -> &[&'a CommissionEvent] {
        let from = self.later.partition_point(|e| e.of < Some(conversion));
        let until = self.later.partition_point(|e| e.of <= Some(conversion));
        &self.later[from..until]
    }

    /// Refuses what names no conversion, or one that is not there.
    fn orphans(&self, refusals: &mut Vec<Refusal>) {
        for event in &self.later {
            let named = event.of.map(|of| {
                let found = self.all.binary_search_by_key(&of, |e| e.id).ok();
                found.is_some_and(|at| self.all[at].kind == EventKind::Converted)
            });
            let reason = match named {
                None => Reason::OfMissing,
                Some(false) => Reason::ConversionMissing,
                Some(true) => continue,
            };
            refusals.push(Refusal { event: event.id, reason });
        }
    }

    /// By agent and in the order of events.
    fn decisions(&self, plan: &Plan, refusals: &mut Vec<Refusal>) -> Vec<(AgentId, Decision)> {
        let mut found = Vec::new();
        for event in self.all.iter().filter(|e| e.is_decision()) {
            match Decision::of(plan, event) {
                Ok(decision) => found.push((event.agent, decision)),
                Err(reason) => refusals.push(Refusal { event: event.id, reason }),
            }
        }
        found.sort_by_key(|(agent, d)| (*agent, d.at, d.id));
        found
    }
}

/// One agent's period.
struct Group<'s, 'a> {
    plan: &'s Plan,
    period: PeriodKey,
    decisions: Vec<Decision>,
    sorted: &'s Sorted<'a>,
}

/// A deal with its states.
type Deals<'a> = Vec<(&'a CommissionEvent, Currency, Vec<State<'a>>)>;

impl<'s> Group<'s, '_> {
    fn evaluate(
        self,
        agent: AgentId,
        conversions: &[&'s CommissionEvent],
        found: &mut Evaluation,
    ) -> Result<(), PlanFault> {
        let deals = self.deals(conversions, &mut found.refusals);
        let whole = (self.plan.terms().mode == Mode::Retroactive).then(|| sum(&deals));
        let mut book = Book {
            plan: self.plan,
            period: self.period,
            totals: Totals::default(),
            whole: whole.transpose()?,
            decisions: &self.decisions,
        };
        for (conversion, currency, states) in &deals {
            book.lines(conversion, *currency, states, &mut found.lines)?;
        }
        found.accumulators.push(Accumulator {
            plan: self.plan.reference().clone(),
            agent,
            period: self.period,
            newest: deals.last().map(|(e, ..)| (e.occurred_at, e.id)),
            totals: book.totals,
            decisions: self.decisions,
        });
        Ok(())
    }

    fn deals(&self, conversions: &[&'s CommissionEvent], refusals: &mut Vec<Refusal>) -> Deals<'s> {
        let mut deals = Vec::with_capacity(conversions.len());
        for conversion in conversions {
            let later = self.sorted.of_deal(conversion.id);
            match begin(self.plan, conversion) {
                Ok(mut deal) => {
                    let mut states = Vec::with_capacity(1 + later.len());
                    states.push(deal.state(conversion, None));
                    for event in later {
                        match deal.apply(event) {
                            Ok(note) => states.push(deal.state(event, note)),
                            Err(reason) => refusals.push(Refusal { event: event.id, reason }),
                        }
                    }
                    deals.push((*conversion, deal.currency, states));
                }
                Err(reason) => {
                    refusals.push(Refusal { event: conversion.id, reason });
                    let lost = Reason::ConversionRefused;
                    refusals.extend(later.iter().map(|e| Refusal { event: e.id, reason: lost }));
                }
            }
        }
        deals
    }
}

/// A deal under a plan that was in force.
pub(super) fn begin<'a>(
    plan: &'a Plan,
    conversion: &'a CommissionEvent,
) -> Result<Deal<'a>, Reason> {
    if plan.in_force(conversion.occurred_at) {
        Deal::begin(plan, conversion)
    } else {
        Err(Reason::PlanNotInForce)
    }
}

/// What all deals come to, after all their events.
fn sum(deals: &Deals<'_>) -> Result<Totals, PlanFault> {
    let mut totals = Totals::default();
    for (conversion, currency, states) in deals {
        if let Some(last) = states.last() {
            let overflow = PlanFault::Overflow { event: conversion.id };
            totals.add(*currency, last).ok_or(overflow)?;
        }
    }
    Ok(totals)
}
