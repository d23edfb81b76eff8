//! The largest amounts, and forecasts held against what the plan gives for the deals to come.
#![allow(clippy::unwrap_used, missing_docs)]

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard_domain::commission::EventKind::{ChargedBack, Converted, RefundedPartly};
use switchyard_domain::commission::{
    CommissionEvent, LARGEST_AMOUNT, Party, Plan, PlanFault, difference, evaluate, progress,
    remaining,
};
use switchyard_domain::money::{Currency, Money};

#[path = "support/deals.rs"]
mod deals;
use deals::{AGENT, at, event, id, plan};

const CODES: [&str; 3] = ["EUR", "JPY", "KWD"];

fn currency(code: usize) -> Currency {
    Currency::of(CODES[code]).unwrap()
}

fn units(minor: i64, code: usize) -> String {
    Money::new(minor, currency(code)).units()
}

fn sold(n: u128, minor: i64, code: usize) -> CommissionEvent {
    let amount = Some(Money::new(minor, currency(code)));
    CommissionEvent { amount, fee: amount, ..event(n, Converted, "2026-11-05") }
}

/// Amounts at the ends: what may be recorded at most, what an amount can hold at most, a unit below each.
fn edge() -> impl Strategy<Value = i64> {
    let ends = prop::sample::select(vec![0, 1, 99, LARGEST_AMOUNT, i64::MAX]);
    prop_oneof![
        (ends, 0..100_i64).prop_map(|(end, less)| (end - less).max(0)),
        0..=LARGEST_AMOUNT,
        any::<i64>().prop_map(|n| n.max(0)),
    ]
}

/// A plan that gives much: percentages to 1,000, factors to 100, a flat amount, a bonus on top.
fn generous() -> impl Strategy<Value = (Plan, usize)> {
    let rate = || prop::sample::select(vec!["0.000001", "7", "33.333333", "100", "1000"]);
    let factor = prop::sample::select(vec!["1", "1.0001", "100"]);
    (0..3_usize, rate(), factor, rate(), edge(), any::<bool>(), any::<bool>()).prop_map(
        |(code, rate, factor, on_top, flat, retroactive, by_fee)| {
            let document = json!({
                "name": "generous", "version": 1, "currencies": [CODES[code]],
                "mode": if retroactive { "retroactive" } else { "marginal" },
                "measure": if by_fee { "revenue" } else { "volume" },
                "tiers": [
                    {"name": "low", "from": "0", "rate": rate, "flat": units(flat, code)},
                    {"name": "high", "from": units(LARGEST_AMOUNT, code), "rate": "1000"},
                ],
                "accelerators": [{"name": "boost", "factor": factor, "above": units(1, code)}],
                "overrides": [{"product": "roof", "factor": factor}],
                "split": [
                    {"to": "agent", "percent": "33.333334"}, {"to": "agency", "percent": "33.333333"},
                    {"to": "platform", "percent": "33.333333"},
                    {"to": "manager", "percent": on_top, "of": "deal"},
                ],
            });
            (plan(document), code)
        },
    )
}

/// Tiers by volume without flat amounts, as `[from, rate]`.
fn tiers() -> impl Strategy<Value = Value> {
    prop::collection::vec((1..400_000_i64, 1..20_i64), 1..5).prop_map(|found| {
        let mut from = 0;
        let one = |(n, (gap, rate)): (usize, (i64, i64))| {
            let tier =
                json!({"name": format!("t{n}"), "from": units(from, 0), "rate": rate.to_string()});
            from += gap;
            tier
        };
        Value::Array(found.into_iter().enumerate().map(one).collect())
    })
}

#[test]
fn a_thousand_percent_of_the_largest_amount_is_exact_in_every_currency() {
    for (code, currency) in CODES.iter().enumerate() {
        let plan = plan(json!({"name": "test", "version": 1, "currencies": [currency],
            "tiers": [{"name": "only", "from": 0, "rate": "1000"}]}));
        let lines = evaluate(&plan, &[sold(1, LARGEST_AMOUNT, code)]).unwrap().lines;
        assert_eq!(lines[0].commission.minor, 10 * LARGEST_AMOUNT);
        // The largest amount of all is 1,000 % too much.
        let most = evaluate(&plan, &[sold(1, i64::MAX, code)]);
        assert_eq!(most, Err(PlanFault::Overflow { event: id(1) }));
    }
}

#[test]
fn what_nobody_could_give_in_one_posting_is_a_fault() {
    // Each of both fits an amount; what leaves the expense for both does not.
    let plan = plan(json!({"name": "test", "version": 1, "currencies": ["KWD"],
        "tiers": [{"name": "only", "from": 0, "rate": "60"}],
        "split": [{"to": "agent", "percent": "100"},
            {"to": "manager", "percent": "60", "of": "deal"}]}));
    let most = [sold(1, i64::MAX, 2)];
    assert_eq!(evaluate(&plan, &most), Err(PlanFault::Overflow { event: id(1) }));
    assert!(evaluate(&plan, &[sold(1, i64::MAX / 2, 2)]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_largest_amounts_are_exact_or_refused_and_never_wrap(
        (plan, code) in generous(),
        amounts in prop::collection::vec((edge(), edge()), 1..5),
    ) {
        let mut events = Vec::new();
        for (n, (minor, back)) in (1_u128..).zip(&amounts) {
            events.push(sold(n, *minor, code));
            let kind = if back % 2 == 0 { RefundedPartly } else { ChargedBack };
            let part = CommissionEvent { kind, of: Some(id(n)), ..sold(n + 100, *back, code) };
            let left = remaining(&events[events.len() - 1], std::slice::from_ref(&part));
            prop_assert_eq!(left.amount.unwrap().minor, minor.saturating_sub(*back).max(0));
            events.push(part);
        }
        match evaluate(&plan, &events) {
            Err(fault) => prop_assert!(matches!(fault, PlanFault::Overflow { .. }), "{fault}"),
            Ok(found) => {
                prop_assert_eq!(found.lines.len(), events.len());
                let shares: Vec<_> = found.lines.iter().flat_map(|l| l.shares.clone()).collect();
                for line in &found.lines {
                    let sum: i128 = line.shares.iter().map(|s| i128::from(s.amount.minor)).sum();
                    let given = i128::from(line.commission.minor) + i128::from(line.on_top.minor);
                    prop_assert_eq!(sum, given);
                    prop_assert!(i64::try_from(given).is_ok(), "the other side of it fits as well");
                    prop_assert!(line.explanation.due.minor >= 0, "{:?}", line);
                    prop_assert!(!line.arithmetic().is_empty());
                }
                prop_assert_eq!(difference(&shares, &shares), Some(Vec::new()));
                let stands = progress(&plan, &found.accumulators[0], currency(code), at("2026-11-06"));
                let forecast = stands.and_then(|stands| stands.forecast);
                prop_assert!(forecast.is_none_or(|f| f.commission.minor >= 0 && f.agent.minor >= 0));
            }
        }
    }

    #[test]
    fn one_deal_at_one_rate_is_its_percentage_rounded_once(minor in edge(), code in 0..3_usize) {
        let plan = plan(json!({"name": "test", "version": 1, "currencies": [CODES[code]],
            "tiers": [{"name": "only", "from": 0, "rate": "12.5"}]}));
        let found = evaluate(&plan, &[sold(1, minor, code)]).unwrap();
        let (whole, rest) = (i128::from(minor) / 8, i128::from(minor) % 8);
        let up = i128::from(rest > 4 || (rest == 4 && whole % 2 == 1));
        prop_assert_eq!(i128::from(found.lines[0].commission.minor), whole + up);
    }

    #[test]
    fn a_forecast_is_what_the_plan_gives_for_the_deals_to_come(
        tiers in tiers(),
        sales in prop::collection::vec(0..300_000_i64, 1..6),
        day in 1..=30_i64,
        quota in prop::option::of(1..500_000_i64),
        most in prop::option::weighted(0.3, 1_000..90_000_i64),
        retroactive: bool,
    ) {
        let mut document = json!({"name": "test", "version": 1, "currencies": ["EUR"], "tiers": tiers,
            "mode": if retroactive { "retroactive" } else { "marginal" },
            "split": [{"to": "agent", "percent": "70"}, {"to": "agency", "percent": "30"}]});
        if let Some(above) = quota {
            document["accelerators"] = json!([{"name": "q", "factor": "1.5", "above": units(above, 0)}]);
        }
        if let Some(most) = most.filter(|_| !retroactive) {
            document["caps"] = json!({"per_period": units(most, 0)});
        }
        let plan = plan(document);
        let mut events: Vec<CommissionEvent> = Vec::new();
        for (n, minor) in (1_u128..).zip(&sales) {
            let first = CommissionEvent { occurred_at: at("2026-11-01"), ..sold(n, *minor, 0) };
            events.push(first);
        }
        let now = at("2026-11-01") + TimeDelta::days(day - 1);
        let so_far = evaluate(&plan, &events).unwrap();
        let of = &so_far.accumulators[0];
        let forecast = progress(&plan, of, currency(0), now).unwrap().forecast.unwrap();
        prop_assert_eq!((forecast.elapsed_days, forecast.period_days), (day, 30));
        // The pace, to the cent.
        let sum: i64 = sales.iter().sum();
        prop_assert!((i128::from(forecast.base.minor) * i128::from(day) - i128::from(sum) * 30).abs() <= i128::from(day));
        // One more deal of all that is missing goes through the same tiers.
        let more = CommissionEvent { occurred_at: now, ..sold(999, forecast.base.minor - sum, 0) };
        events.push(more);
        let whole = evaluate(&plan, &events).unwrap();
        let earned: i64 = whole.lines.iter().map(|l| l.commission.minor).sum();
        prop_assert_eq!(forecast.commission.minor, earned);
        if !retroactive {
            let shares = whole.lines.iter().flat_map(|l| &l.shares);
            let own = shares.filter(|s| matches!(s.party, Party::Agent(a) if a.0.as_u128() == AGENT));
            prop_assert_eq!(forecast.agent.minor, own.map(|s| s.amount.minor).sum::<i64>());
        }
    }
}
