//! Periods, versions of a plan, the distance to the next tier and the forecast.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::json;
use switchyard_domain::commission::EventKind::{SplitChanged, TierChanged};
use switchyard_domain::commission::{
    Accumulator, Factor, Percent, PeriodKey, Plan, PlanFault, Quantity, Reason, Window, difference,
    evaluate, month_forecast, progress,
};
use switchyard_domain::money::Currency;

#[path = "support/deals.rs"]
mod deals;
use deals::{at, deal, event, id, money, plan, reasons, then, three_tiers, with};

#[test]
fn periods_are_read_back_as_they_are_written() {
    for text in ["2026-11", "2026-01", "2026-Q4", "2026", "lifetime"] {
        let period: PeriodKey = text.parse().unwrap();
        assert_eq!(period.to_string(), text);
        assert_eq!(serde_json::to_value(period).unwrap(), json!(text));
        assert_eq!(serde_json::from_value::<PeriodKey>(json!(text)).unwrap(), period);
    }
    for wrong in
        ["", "2026-13", "2026-1", "2026-00", "2026-Q5", "2026-Q0", "26", "2026-", "+026", "2026-+1"]
    {
        assert!(wrong.parse::<PeriodKey>().is_err(), "{wrong}");
    }
}

#[test]
fn a_moment_falls_in_the_period_of_its_zone() {
    let warsaw = chrono_tz::Europe::Warsaw;
    let late = at("2026-12-31T23:30:00Z");
    for (window, utc, local) in [
        (Window::Month, "2026-12", "2027-01"),
        (Window::Quarter, "2026-Q4", "2027-Q1"),
        (Window::Year, "2026", "2027"),
        (Window::Lifetime, "lifetime", "lifetime"),
    ] {
        assert_eq!(PeriodKey::at(window, chrono_tz::UTC, late).to_string(), utc);
        assert_eq!(PeriodKey::at(window, warsaw, late).to_string(), local);
    }
    let november: PeriodKey = "2026-11".parse().unwrap();
    let bounds = (at("2026-10-31T23:00:00Z"), at("2026-11-30T23:00:00Z"));
    assert_eq!(november.bounds(warsaw), Some(bounds));
    // In Asuncion the clocks went forward at that midnight: the day began at one o'clock.
    let october = "2023-10".parse::<PeriodKey>().unwrap();
    let began = october.bounds(chrono_tz::America::Asuncion).unwrap().0;
    assert_eq!(began, at("2023-10-01T04:00:00Z"));
}

#[test]
fn every_moment_lies_within_the_bounds_of_its_period() {
    for zone in [
        chrono_tz::UTC,
        chrono_tz::Europe::Warsaw,
        chrono_tz::America::Havana,
        chrono_tz::Pacific::Apia,
    ] {
        for hours in (0..24 * 365 * 3).step_by(7) {
            let moment = at("2010-12-01") + chrono::TimeDelta::hours(hours);
            let (from, after) = PeriodKey::at(Window::Month, zone, moment).bounds(zone).unwrap();
            assert!(from <= moment && moment < after, "{zone} {moment}");
        }
    }
}

#[test]
fn the_ends_of_the_calendar_are_periods_too() {
    use chrono::{DateTime, Utc};
    for zone in [chrono_tz::UTC, chrono_tz::Europe::Warsaw, chrono_tz::America::New_York] {
        for window in [Window::Month, Window::Quarter, Window::Year, Window::Lifetime] {
            for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                let _ = PeriodKey::at(window, zone, end).bounds(zone);
            }
        }
    }
    assert_eq!(PeriodKey::Quarter(2026, u32::MAX).days(), None);
    assert_eq!(PeriodKey::Month(i32::MAX, 1).days(), None);
}

#[test]
fn rates_are_exact_or_refused() {
    let read = |value| serde_json::from_value::<Percent>(value).map(|p| p.to_string()).ok();
    assert_eq!(read(json!("7.5")).as_deref(), Some("7.5"));
    assert_eq!(read(json!(7.5)).as_deref(), Some("7.5"));
    assert_eq!(read(json!(100)).as_deref(), Some("100"));
    assert_eq!(read(json!("0.000001")).as_deref(), Some("0.000001"));
    for wrong in [
        json!("0.0000001"),
        json!("1000.000001"),
        json!("-1"),
        json!(-1),
        json!(""),
        json!("7,5"),
        json!("7 %"),
        json!("1e2"),
        json!("."),
        json!(true),
        json!(null),
    ] {
        assert_eq!(read(wrong.clone()), None, "{wrong}");
    }
    assert_eq!("1.2345".parse::<Factor>().unwrap().to_string(), "1.2345");
    assert!("1.23456".parse::<Factor>().is_err() && "100.1".parse::<Factor>().is_err());
}

fn version(number: u32, from: Option<&str>, until: Option<&str>) -> Plan {
    plan(json!({"name": "v", "version": number, "valid_from": from, "valid_until": until,
        "tiers": [{"name": "only", "from": 0, "rate": "5"}], "measure": "count"}))
}

#[test]
fn a_period_keeps_the_version_that_it_began_with() {
    let versions =
        [version(1, Some("2026-01-15"), Some("2026-11-15")), version(2, Some("2026-11-15"), None)];
    let of = |period: &str| {
        let found = Plan::version_for(&versions, period.parse().unwrap());
        found.map(|p| p.reference().version)
    };
    assert_eq!(of("2025-12"), None);
    // The first one came into force within January.
    assert_eq!(of("2026-01"), Some(1));
    assert_eq!(of("2026-11"), Some(1));
    assert_eq!(of("2026-12"), Some(2));
    // A correction of a version in force replaces it.
    let mended = [versions[1].clone(), version(3, Some("2026-11-15"), None)];
    assert_eq!(
        Plan::version_for(&mended, "2027-01".parse().unwrap()).unwrap().reference().version,
        3
    );
}

#[test]
fn deals_outside_of_the_plans_days_are_refused() {
    let one = version(1, Some("2026-01-15"), Some("2026-11-15"));
    let events = [
        deal(1, "2026-01-14", "1 EUR"),
        deal(2, "2026-01-15", "1 EUR"),
        deal(3, "2026-11-30", "1 EUR"),
        deal(4, "2026-12-01", "1 EUR"),
    ];
    let refused = Reason::PlanNotInForce;
    assert_eq!(reasons(&one, &events), [(1, refused), (4, refused)]);
}

#[test]
fn what_cannot_count_is_refused_by_reason() {
    let plan = with("EUR", json!({"tiers": three_tiers()}));
    let mut no_amount = deal(1, "2026-11-01", "1 EUR");
    no_amount.amount = None;
    let mut negative = deal(2, "2026-11-01", "1 EUR");
    negative.amount = Some(money("-1 EUR"));
    let unknown = event(3, TierChanged { tier: Some("diamond".into()) }, "2026-11-01");
    let half = deals::split(json!([{"to": "agent", "percent": "50"}]));
    let wrong = event(4, SplitChanged { split: half }, "2026-11-01");
    let lost = event(5, switchyard_domain::commission::EventKind::Refunded, "2026-11-01");
    assert_eq!(
        reasons(&plan, &[lost, wrong, unknown, negative, no_amount]),
        [
            (1, Reason::AmountMissing),
            (2, Reason::AmountNegative),
            (3, Reason::TierUnknown),
            (4, Reason::SplitWrong),
            (5, Reason::OfMissing),
        ]
    );
}

#[test]
fn one_id_with_two_meanings_is_a_fault_and_so_is_what_cannot_be_counted() {
    let plan = with("EUR", json!({"tiers": three_tiers()}));
    let pair = [deal(1, "2026-11-01", "1 EUR"), deal(1, "2026-12-01", "1 EUR")];
    assert_eq!(evaluate(&plan, &pair), Err(PlanFault::Conflict { event: id(1) }));
    let most = "92233720368547758.07 EUR";
    let huge = [deal(1, "2026-11-01", most), deal(2, "2026-11-02", most)];
    assert_eq!(evaluate(&plan, &huge), Err(PlanFault::Overflow { event: id(2) }));
    // The first alone is no fault: 7 % of it fits.
    assert!(evaluate(&plan, &huge[..1]).is_ok());
}

#[test]
fn the_distance_to_the_next_tier_and_the_forecast() {
    let plan = with(
        "USD",
        json!({"tiers": three_tiers(), "split": [
        {"to": "agent", "percent": "75"}, {"to": "agency", "percent": "25"}]}),
    );
    let found = evaluate(&plan, &[deal(1, "2026-11-03", "150000 USD")]).unwrap();
    let usd = Currency::of("USD").unwrap();
    let standing = progress(&plan, &found.accumulators[0], usd, at("2026-11-10")).unwrap();
    assert_eq!(&*standing.tier, "bronze");
    let next = standing.next.unwrap();
    assert_eq!((&*next.name, next.missing), ("silver", Quantity::Money(money("50000 USD"))));
    // 150,000 in 10 of 30 days: 450,000; 50,000 more at 3 %, 250,000 at 5 %: 4,500 + 14,000.
    let forecast = standing.forecast.unwrap();
    assert_eq!((forecast.elapsed_days, forecast.period_days), (10, 30));
    assert_eq!(forecast.total, Quantity::Money(money("450000 USD")));
    assert_eq!(forecast.commission, money("18500 USD"));
    assert_eq!(forecast.agent, money("13875 USD"));
    assert!(forecast.method.starts_with("Pro rata by days: what 10 of the 30 days of 2026-11"));
    // When the period is over, the forecast is what was earned.
    let over = progress(&plan, &found.accumulators[0], usd, at("2026-12-10")).unwrap();
    assert_eq!(over.forecast.unwrap().commission, money("4500 USD"));
    assert!(
        progress(&plan, &found.accumulators[0], Currency::of("EUR").unwrap(), at("2026-11-10"))
            .is_none()
    );
}

#[test]
fn the_agents_forecast_keeps_the_splits_that_deals_were_sold_under() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    // 3,000 on the first deal, shared by hand; what is to come is the agent's alone, as the plan says.
    let half = deals::split(json!([
        {"to": "agent", "percent": "50"}, {"to": "agency", "percent": "50"}]));
    let own = then(2, 1, SplitChanged { split: half }, "2026-11-04", "");
    let found = evaluate(&plan, &[deal(1, "2026-11-03", "100000 USD"), own]).unwrap();
    let usd = Currency::of("USD").unwrap();
    let standing = progress(&plan, &found.accumulators[0], usd, at("2026-11-15")).unwrap();
    let forecast = standing.forecast.clone().unwrap();
    assert_eq!((forecast.commission, forecast.agent), (money("6000 USD"), money("4500 USD")));
    // Months add up; a year is none, and there is no sum of nothing.
    let month: PeriodKey = "2026-11".parse().unwrap();
    let (both, year) = ([(month, &standing), (month, &standing)], PeriodKey::Year(2026));
    assert_eq!(month_forecast(both), Some(money("9000 USD")));
    assert_eq!(month_forecast([(month, &standing), (year, &standing)]), Some(money("4500 USD")));
    assert_eq!(month_forecast([(year, &standing)]), None);
}

#[test]
fn totals_that_lack_the_agents_part_are_computed_anew() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    let deals = [deal(1, "2026-11-03", "150000 USD"), deal(2, "2026-11-10", "1000 USD")];
    let found = evaluate(&plan, &deals[..1]).unwrap().accumulators.remove(0);
    let mut stored = serde_json::to_value(&found).unwrap();
    assert!(stored["totals"]["purses"][0].as_object_mut().unwrap().remove("agent").is_some());
    let mut earlier: Accumulator = serde_json::from_value(stored).unwrap();
    assert!(earlier.advance(&plan, &deals[1]).is_none() && earlier.newest == found.newest);
    assert!(found.clone().advance(&plan, &deals[1]).is_some());
    // Until then its forecast goes by the split that stands.
    let usd = Currency::of("USD").unwrap();
    let forecast = |of: &Accumulator| progress(&plan, of, usd, at("2026-11-10")).unwrap().forecast;
    assert_eq!(forecast(&earlier), forecast(&found));
}

#[test]
fn a_forecast_by_deals_climbs_their_tiers() {
    let standard = plan(Plan::standard());
    let deals: Vec<_> = (1..=8).map(|n| deal(n, "2026-11-03", "100 EUR")).collect();
    let found = evaluate(&standard, &deals).unwrap();
    let euro = Currency::of("EUR").unwrap();
    let standing = progress(&standard, &found.accumulators[0], euro, at("2026-11-10")).unwrap();
    assert_eq!(standing.next.unwrap().missing, Quantity::Deals(2));
    // 16 more of 100.00: two at 5 %, fourteen at 8 %: 40 + 10 + 112.
    let forecast = standing.forecast.unwrap();
    assert_eq!(forecast.total, Quantity::Deals(24));
    assert_eq!(forecast.commission, money("162 EUR"));
}

#[test]
fn a_retroactive_forecast_is_paid_at_the_tier_that_it_reaches() {
    let plan = with("USD", json!({"tiers": three_tiers(), "mode": "retroactive"}));
    let found = evaluate(&plan, &[deal(1, "2026-11-03", "150000 USD")]).unwrap();
    let usd = Currency::of("USD").unwrap();
    let standing = progress(&plan, &found.accumulators[0], usd, at("2026-11-10")).unwrap();
    // 450,000 at 5 %.
    assert_eq!(standing.forecast.unwrap().commission, money("22500 USD"));
}

#[test]
fn a_tier_by_hand_has_no_next_one_and_a_lifetime_no_forecast() {
    let plan = with("USD", json!({"tiers": three_tiers(), "window": "lifetime"}));
    let by_hand = event(1, TierChanged { tier: Some("gold".into()) }, "2026-11-01");
    let agent = by_hand.agent;
    let open = Accumulator::open(&plan, agent, PeriodKey::Lifetime, &[by_hand]);
    let usd = Currency::of("USD").unwrap();
    let standing = progress(&plan, &open, usd, at("2026-11-10")).unwrap();
    assert_eq!((&*standing.tier, standing.by_hand), ("gold", true));
    assert_eq!((standing.next, standing.forecast), (None, None));
    let before = progress(&plan, &open, usd, at("2026-10-10")).unwrap();
    assert_eq!((&*before.tier, before.by_hand), ("bronze", false));
    assert!(before.next.is_some());
}

#[test]
fn what_is_held_becomes_what_is_due_by_its_difference() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    let of = |amount: &str| {
        let events = [deal(1, "2026-11-03", amount)];
        evaluate(&plan, &events).unwrap().lines.remove(0).shares
    };
    let (small, large) = (of("100 USD"), of("1000 USD"));
    assert_eq!(difference(&small, &small).unwrap(), []);
    assert_eq!(difference(&large, &small).unwrap()[0].amount, money("27 USD"));
    assert_eq!(difference(&[], &large).unwrap()[0].amount, money("-30 USD"));
    let mut most = small.clone();
    most[0].amount.minor = i64::MAX;
    assert_eq!(difference(&[most[0], small[0]], &[]), None);
}
