//! What holds for every plan and every set of events.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchyard_domain::commission::EventKind::{
    Cancelled, ChargedBack, Converted, Corrected, Refunded, RefundedPartly, SplitChanged,
    TierChanged,
};
use switchyard_domain::commission::{
    Accumulator, CommissionEvent, Evaluation, EventKind, Line, Mode, Party, Plan, evaluate,
    progress,
};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgentId, CommissionEventId};
use uuid::Uuid;

#[path = "support/deals.rs"]
mod deals;
use deals::{at, event, id, plan, split};

const CODES: [&str; 3] = ["EUR", "JPY", "KWD"];

/// The same number of minor units in every currency.
fn amounts(minor: i64) -> Value {
    let units = |code| Money::new(minor, Currency::of(code).unwrap()).units();
    CODES.iter().map(|code| ((*code).to_owned(), json!(units(code)))).collect()
}

fn tiers(by_count: bool) -> impl Strategy<Value = Value> {
    let one = (1..4_000_i64, 0..20_000_000_i64, prop::option::weighted(0.3, 0..500_i64));
    prop::collection::vec(one, 1..5).prop_map(move |found| {
        let mut from = 0;
        let mut list = Vec::new();
        for (i, (gap, rate, flat)) in found.into_iter().enumerate() {
            let mut tier = json!({"name": format!("t{i}"), "rate": Decimal::new(rate, 6)});
            tier["from"] = if by_count { json!(from) } else { amounts(from) };
            if let Some(flat) = flat {
                tier["flat"] = amounts(flat);
            }
            list.push(tier);
            from += if by_count { gap % 3 + 1 } else { gap };
        }
        Value::Array(list)
    })
}

fn any_split() -> impl Strategy<Value = Value> {
    let part = (0_i64..100_000_000, 0_i64..3_000_000);
    part.prop_map(|(agent, on_top)| {
        json!([
            {"to": "agent", "percent": Decimal::new(agent, 6)},
            {"to": "manager", "percent": Decimal::new(100_000_000 - agent, 6)},
            {"to": "manager", "percent": Decimal::new(on_top, 6), "of": "deal"},
        ])
    })
}

fn extras(by_count: bool) -> impl Strategy<Value = Value> {
    let above = move |n: i64| if by_count { json!(n % 5) } else { amounts(n) };
    let accelerators = prop::collection::vec((1..8_000_i64, 10_000..40_000_i64), 0..3);
    let accelerators = accelerators.prop_map(move |list| {
        let one = |(i, (from, factor)): (usize, &(i64, i64))| {
            json!({"name": format!("a{i}"), "above": above(*from), "factor": Decimal::new(*factor, 4)})
        };
        Value::Array(list.iter().enumerate().map(one).collect())
    });
    let limit = || prop::option::weighted(0.3, 20..600_i64);
    let product = tiers(by_count);
    (accelerators, limit(), limit(), prop::option::weighted(0.3, 0..20_i64), any_split(), product)
        .prop_map(|(accelerators, per_deal, per_period, floor, split, own)| {
            let mut members = json!({"accelerators": accelerators, "split": split});
            members["overrides"] = json!([{"product": "solar", "tiers": own},
                {"product": "roof", "factor": "1.2345"}]);
            if let Some(most) = per_deal {
                members["caps"] = json!({"per_deal": amounts(most)});
            } else if let Some(most) = per_period {
                members["caps"] = json!({"per_period": amounts(most)});
            }
            if let Some(least) = floor {
                members["floors"] = json!({"per_deal": amounts(least)});
            }
            members
        })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    (prop::bool::ANY, prop::bool::ANY, prop::sample::select(vec!["month", "quarter", "lifetime"]))
        .prop_flat_map(|(by_count, retroactive, window)| {
            (tiers(by_count), extras(by_count)).prop_map(move |(tiers, extras)| {
                let mut document = json!({
                    "name": "any", "version": 1, "currencies": CODES, "tiers": tiers,
                    "measure": if by_count { "count" } else { "volume" },
                    "mode": if retroactive { "retroactive" } else { "marginal" },
                    "window": window, "time_zone": "Europe/Warsaw", "clawback_days": 20,
                });
                document.as_object_mut().unwrap().extend(extras.as_object().unwrap().clone());
                plan(document)
            })
        })
}

/// A deal of one of two agents: when (in hours), how much, in what, of which product; then its
/// events: what, how much later, how much.
type Sale = (bool, i64, i64, usize, usize, Vec<(u8, i64, i64)>);

fn sale() -> impl Strategy<Value = Sale> {
    let later = prop::collection::vec((0..7_u8, 0..1_500_i64, 0..9_000_i64), 0..3);
    let later = prop_oneof![2 => Just(Vec::new()), 1 => later];
    (prop::bool::ANY, 0..1_500_i64, 0..9_000_i64, 0..3_usize, 0..4_usize, later)
}

fn hours(n: i64) -> chrono::DateTime<chrono::Utc> {
    at("2026-10-30") + chrono::TimeDelta::hours(n)
}

fn agent(second: bool) -> AgentId {
    AgentId(Uuid::from_u128(if second { 71 } else { 70 }))
}

fn events_of(sales: &[Sale], decisions: &[(bool, i64, u8)]) -> Vec<CommissionEvent> {
    let mut events = Vec::new();
    let mut n = 0;
    let mut next = |kind: EventKind, who: bool, when: i64| {
        n += 1;
        // Ids do not follow time, so that ties and late events are real ones.
        let id = CommissionEventId(Uuid::from_u128(n * 7919 % 1009));
        CommissionEvent {
            id,
            agent: agent(who),
            occurred_at: hours(when),
            ..event(n, kind, "2026-11-01")
        }
    };
    for (who, when, minor, code, product, later) in sales {
        let money = |minor| Some(Money::new(minor, Currency::of(CODES[*code]).unwrap()));
        let mut sold = next(Converted, *who, *when);
        sold.amount = money(*minor);
        sold.product = ["solar", "roof"].get(*product).map(|p| (*p).into());
        let of = Some(sold.id);
        events.push(sold);
        for (what, after, part) in later {
            let (kind, amount) = match what {
                0 => (Refunded, None),
                1 | 2 => (RefundedPartly, money(*part)),
                3 => (ChargedBack, money(*part)),
                4 => (Cancelled, None),
                5 => (Corrected, money(*part)),
                _ => {
                    let all = json!([{"to": "agency", "percent": "100"}]);
                    (SplitChanged { split: split(all) }, None)
                }
            };
            events.push(CommissionEvent { of, amount, ..next(kind, *who, when + after) });
        }
    }
    for (who, when, what) in decisions {
        let kind = match what {
            0 => TierChanged { tier: Some("t0".into()) },
            1 => TierChanged { tier: None },
            2 => TierChanged { tier: Some("no such tier".into()) },
            _ => SplitChanged { split: split(json!([{"to": "agent", "percent": "100"}])) },
        };
        events.push(next(kind, *who, *when));
    }
    events
}

fn any_events() -> impl Strategy<Value = Vec<CommissionEvent>> {
    let decisions = prop::collection::vec((prop::bool::ANY, 0..1_500_i64, 0..4_u8), 0..3);
    (prop::collection::vec(sale(), 0..12), decisions).prop_map(|(s, d)| events_of(&s, &d))
}

fn by_event(found: &Evaluation) -> BTreeMap<CommissionEventId, Line> {
    found.lines.iter().map(|line| (line.event, line.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn order_and_repetition_change_nothing(
        plan in any_plan(),
        (events, shuffled) in any_events().prop_flat_map(|events| {
            let twice: Vec<_> = events.iter().chain(&events).cloned().map(|mut e| {
                e.received_at += chrono::TimeDelta::seconds(1);
                e
            }).collect();
            (Just(events), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(evaluate(&plan, &events).unwrap(), evaluate(&plan, &shuffled).unwrap());
    }

    #[test]
    fn agents_and_periods_are_computed_apart_or_together(plan in any_plan(), events in any_events()) {
        let whole = by_event(&evaluate(&plan, &events).unwrap());
        let mut parts: BTreeMap<_, Vec<CommissionEvent>> = BTreeMap::new();
        for one in events.iter().filter(|e| e.kind == Converted) {
            let part = parts.entry((one.agent, plan.period_at(one.occurred_at))).or_default();
            part.extend(events.iter().filter(|e| e.id == one.id || e.of == Some(one.id)).cloned());
        }
        let mut apart = BTreeMap::new();
        for ((who, _), mut part) in parts {
            part.extend(events.iter().filter(|e| e.agent == who && e.is_decision()).cloned());
            apart.extend(by_event(&evaluate(&plan, &part).unwrap()));
        }
        prop_assert_eq!(whole, apart);
    }

    #[test]
    fn going_on_gives_what_computing_anew_gives(plan in any_plan(), events in any_events().prop_shuffle()) {
        let mut open: BTreeMap<_, Accumulator> = BTreeMap::new();
        let mut lines = BTreeMap::new();
        let mut advanced = 0;
        for n in 0..events.len() {
            let (so_far, event) = (&events[..=n], &events[n]);
            let period = plan.period_at(event.occurred_at);
            let known = so_far[..n].iter().any(|e| e.of == Some(event.id));
            let place = open
                .entry((event.agent, period))
                .or_insert_with(|| Accumulator::open(&plan, event.agent, period, &so_far[..n]));
            let line = if known { None } else { place.advance(&plan, event) };
            let anew = evaluate(&plan, so_far).unwrap();
            match line {
                Some(line) => {
                    advanced += 1;
                    lines.insert(line.event, line);
                }
                None => {
                    lines = by_event(&anew);
                    // A decision or a refund may concern any period: all are read again.
                    open = anew.accumulators.iter().map(|a| ((a.agent, a.period), a.clone())).collect();
                }
            }
            prop_assert_eq!(&lines, &by_event(&anew));
            for found in &anew.accumulators {
                prop_assert_eq!(open.get(&(found.agent, found.period)), Some(found));
            }
        }
        let conversions = events.iter().filter(|e| e.kind == Converted).count();
        prop_assert!(advanced <= conversions);
        prop_assert!(advanced > 0 || conversions == 0 || plan.terms().mode == Mode::Retroactive
            || events.iter().any(|e| e.of.is_some()));
    }

    #[test]
    fn shares_sum_to_the_cent(plan in any_plan(), events in any_events()) {
        let found = evaluate(&plan, &events).unwrap();
        for line in &found.lines {
            let sum: i64 = line.shares.iter().map(|s| s.amount.minor).sum();
            prop_assert_eq!(sum, line.commission.minor + line.on_top.minor);
            prop_assert!(line.shares.iter().all(|s| s.amount.currency == line.commission.currency));
            let mut parties: Vec<_> = line.shares.iter().map(|s| s.party).collect();
            parties.sort();
            parties.dedup();
            prop_assert_eq!(parties.len(), line.shares.len());
            prop_assert_eq!(line.commission, line.explanation.due.minus(line.explanation.before).unwrap());
            let stored = serde_json::to_value(line).unwrap();
            prop_assert_eq!(&serde_json::from_value::<Line>(stored).unwrap(), line);
            prop_assert!(!line.sentence().is_empty() && !line.arithmetic().is_empty());
        }
        let lines = found.lines.len() + found.refusals.len();
        let expected = events.iter().filter(|e| !e.is_decision()).count()
            + found.refusals.iter().filter(|r| events.iter().any(|e| e.id == r.event && e.is_decision())).count();
        prop_assert_eq!(lines, expected);
        let stored = serde_json::to_value(&found.accumulators).unwrap();
        prop_assert_eq!(serde_json::from_value::<Vec<Accumulator>>(stored).unwrap(), found.accumulators);
    }

    #[test]
    fn the_forecast_of_a_period_that_is_over_is_what_was_earned(plan in any_plan(), events in any_events()) {
        let found = evaluate(&plan, &events).unwrap();
        for of in &found.accumulators {
            let Some((_, after)) = plan.bounds(of.period) else { continue };
            for code in CODES {
                let currency = Currency::of(code).unwrap();
                let own = |l: &&Line| (l.agent, l.period, l.commission.currency) == (of.agent, of.period, currency);
                let lines: Vec<&Line> = found.lines.iter().filter(own).collect();
                let earned: i64 = lines.iter().map(|l| l.commission.minor).sum();
                let shares = lines.iter().flat_map(|l| &l.shares);
                let agents: i64 =
                    shares.filter(|s| s.party == Party::Agent(of.agent)).map(|s| s.amount.minor).sum();
                let over = progress(&plan, of, currency, after).unwrap().forecast.unwrap();
                prop_assert_eq!((over.commission.minor, over.agent.minor), (earned, agents));
            }
        }
    }

    #[test]
    fn a_full_refund_leaves_nothing_for_anybody(plan in any_plan(), events in any_events(), pick: prop::sample::Index) {
        let sold: Vec<_> = events.iter().filter(|e| e.kind == Converted).collect();
        prop_assume!(!sold.is_empty());
        let one = sold[pick.index(sold.len())].clone();
        let mut events = events.clone();
        let mut refund = event(5000, Refunded, "2027-06-01");
        refund.of = Some(one.id);
        events.push(refund);
        let mut left: BTreeMap<Party, i64> = BTreeMap::new();
        let found = evaluate(&plan, &events).unwrap();
        prop_assert!(found.lines.iter().any(|l| l.event == id(5000)));
        for line in found.lines.iter().filter(|l| l.conversion == one.id) {
            for share in &line.shares {
                *left.entry(share.party).or_default() += share.amount.minor;
            }
        }
        prop_assert!(left.values().all(|minor| *minor == 0), "{:?}", left);
    }

    #[test]
    fn a_retroactive_total_is_its_rate_on_the_total(
        tiers in tiers(false),
        sales in prop::collection::vec(0..9_000_i64, 1..20),
    ) {
        let mut plain = tiers.clone();
        for tier in plain.as_array_mut().unwrap() {
            tier.as_object_mut().unwrap().remove("flat");
        }
        let plan = plan(json!({"name": "whole", "version": 1, "currencies": CODES,
            "mode": "retroactive", "tiers": plain}));
        let sales: Vec<Sale> = sales.iter().map(|n| (false, 100, *n, 0, 3, Vec::new())).collect();
        let total: i64 = sales.iter().map(|s| s.2).sum();
        let list = &plan.terms().tiers;
        let from = |t: &switchyard_domain::commission::Tier| match &t.from {
            switchyard_domain::commission::Threshold::Amounts(a) => a[&Currency::of("EUR").unwrap()],
            switchyard_domain::commission::Threshold::Count(n) => *n,
        };
        let rate = list.iter().rev().find(|t| from(t) <= total).unwrap().rate.unwrap();
        let exact = Decimal::from(total) * Decimal::new(rate.steps(), 8);
        let rounded = exact.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven);
        let found = evaluate(&plan, &events_of(&sales, &[])).unwrap();
        let sum: i64 = found.lines.iter().map(|l| l.commission.minor).sum();
        prop_assert_eq!(Decimal::from(sum), rounded);
    }

    #[test]
    fn no_amount_makes_it_panic(
        plan in any_plan(),
        wild in prop::collection::vec((any::<i64>(), any::<i64>(), 0..3_usize), 1..6),
        events in any_events(),
    ) {
        let mut events = events;
        for (n, (minor, after, code)) in (2_000_u128..).zip(wild) {
            let minor = if minor % 3 == 0 { minor } else { i64::MAX - (minor % 5).abs() };
            let mut sold = deals::event(n, Converted, "2026-11-05");
            sold.amount = Some(Money::new(minor, Currency::of(CODES[code]).unwrap()));
            let mut back = deals::event(n + 500, RefundedPartly, "2026-11-06");
            (back.of, back.amount) = (Some(sold.id), Some(Money::new(after, sold.amount.unwrap().currency)));
            events.extend([sold, back]);
        }
        let found = evaluate(&plan, &events);
        if let Ok(found) = &found {
            for line in &found.lines {
                prop_assert!(!line.arithmetic().is_empty());
            }
        }
        let mut open = Accumulator::open(&plan, agent(false), plan.period_at(hours(1)), &events);
        for event in &events {
            let _ = open.advance(&plan, event);
            let _ = progress(&plan, &open, Currency::of("JPY").unwrap(), hours(30));
        }
    }
}
