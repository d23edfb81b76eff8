//! Each of a plan's terms, worked out by hand, as tables:
//! `number | kind | period | tier | commission | shares`.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::json;
use switchyard_domain::commission::EventKind::{
    Cancelled, Corrected, Refunded, RefundedPartly, SplitChanged, TierChanged,
};
use switchyard_domain::commission::{CommissionEvent, Plan};

#[path = "support/deals.rs"]
mod deals;
use deals::{
    arithmetic, deal, event, flat_rate, money, sentences, split, table, then, three_tiers, with,
};

#[test]
fn accelerators_raise_the_part_above_a_quota_and_the_days_they_name() {
    let plan = with(
        "USD",
        json!({"tiers": flat_rate("5"), "accelerators": [
            {"name": "quota", "factor": "1.5", "above": "100000"},
            {"name": "last-days", "factor": "2", "from": "2026-11-20", "until": "2026-11-30"}
        ]}),
    );
    let events = [
        deal(1, "2026-11-03", "80000 USD"),
        deal(2, "2026-11-10", "40000 USD"),
        deal(3, "2026-11-20", "10000 USD"),
        deal(4, "2026-12-01", "10000 USD"),
    ];
    assert_eq!(
        arithmetic(&plan, &events),
        [
            "80,000.00 USD: 80,000.00 at 5 % = 4,000.00",
            "40,000.00 USD: 20,000.00 at 5 % = 1,000.00; 20,000.00 at 5 % x 1.5 = 1,500.00; \
             together 2,500.00",
            "10,000.00 USD: 10,000.00 at 5 % x 2 = 1,000.00",
            "10,000.00 USD: 10,000.00 at 5 % = 500.00",
        ]
    );
}

#[test]
fn floors_and_caps_bound_deals_and_periods() {
    let plan = with(
        "EUR",
        json!({"tiers": flat_rate("10"), "floors": {"per_deal": "20"},
            "caps": {"per_deal": "500", "per_period": "900"}}),
    );
    let mut events = vec![
        deal(1, "2026-11-01", "100 EUR"),
        deal(2, "2026-11-02", "10000 EUR"),
        deal(3, "2026-11-03", "3000 EUR"),
        deal(4, "2026-11-04", "2000 EUR"),
        deal(5, "2026-11-05", "500 EUR"),
    ];
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |      20.00 | agent 20.00
 2 | converted       | 2026-11 | only   |     500.00 | agent 500.00
 3 | converted       | 2026-11 | only   |     300.00 | agent 300.00
 4 | converted       | 2026-11 | only   |      80.00 | agent 80.00
 5 | converted       | 2026-11 | only   |       0.00 | 
"
    );
    // What went back makes room under the period's cap.
    events.push(then(6, 2, Refunded, "2026-11-06", ""));
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |      20.00 | agent 20.00
 2 | converted       | 2026-11 | only   |     500.00 | agent 500.00
 6 | refunded        | 2026-11 | only   |    -500.00 | agent -500.00
 3 | converted       | 2026-11 | only   |     300.00 | agent 300.00
 4 | converted       | 2026-11 | only   |     200.00 | agent 200.00
 5 | converted       | 2026-11 | only   |      50.00 | agent 50.00
"
    );
}

#[test]
fn corrections_and_decisions_by_hand() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    let of_agent = |n, kind, when| event(n, kind, when);
    let events = [
        deal(1, "2026-11-03", "1000 USD"),
        then(2, 1, Corrected, "2026-11-04", "1500 USD"),
        of_agent(3, TierChanged { tier: Some("gold".into()) }, "2026-11-05"),
        deal(4, "2026-11-06", "1000 USD"),
        of_agent(5, TierChanged { tier: None }, "2026-11-07"),
        deal(6, "2026-11-08", "1000 USD"),
        of_agent(
            7,
            SplitChanged {
                split: split(
                    json!([{"to": "agent", "percent": "60"}, {"to": "manager", "percent": "40"}]),
                ),
            },
            "2026-11-09",
        ),
        deal(8, "2026-11-10", "1000 USD"),
        then(
            9,
            1,
            SplitChanged { split: split(json!([{"to": "agency", "percent": "100"}])) },
            "2026-11-11",
            "",
        ),
    ];
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | bronze |      30.00 | agent 30.00
 2 | corrected       | 2026-11 | bronze |      15.00 | agent 15.00
 9 | split_changed   | 2026-11 | bronze |       0.00 | agency 45.00, agent -45.00
 4 | converted       | 2026-11 | gold   |      70.00 | agent 70.00
 6 | converted       | 2026-11 | bronze |      30.00 | agent 30.00
 8 | converted       | 2026-11 | bronze |      30.00 | agent 18.00, manager 12.00
"
    );
}

#[test]
fn what_is_called_off_after_the_window_is_recorded_only() {
    let plan = with("EUR", json!({"tiers": flat_rate("10"), "clawback_days": 30}));
    let events = [
        deal(1, "2026-11-01", "100 EUR"),
        then(2, 1, Cancelled, "2026-12-01T12:00:00Z", ""),
        deal(3, "2026-11-01", "100 EUR"),
        then(4, 3, Cancelled, "2026-12-01T12:00:01Z", ""),
        then(5, 1, Refunded, "2026-12-05", ""),
    ];
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |      10.00 | agent 10.00
 2 | cancelled       | 2026-11 | only   |     -10.00 | agent -10.00
 5 | refunded        | 2026-11 | only   |       0.00 | 
 3 | converted       | 2026-11 | only   |      10.00 | agent 10.00
 4 | cancelled       | 2026-11 | only   |       0.00 | 
"
    );
    let said = sentences(&plan, &events);
    assert!(
        said[4].ends_with(
            "The clawback window ended at 2026-12-01 12:00 UTC, so nothing is taken back."
        )
    );
    assert!(said[2].ends_with("The deal had gone back as a whole before."));
}

#[test]
fn each_currency_has_thresholds_of_its_own_and_others_are_refused() {
    let plan = Plan::parse(&json!({
        "name": "two", "version": 3, "currencies": ["EUR", "USD"],
        "tiers": [
            {"name": "low", "from": 0, "rate": 5},
            {"name": "high", "from": {"EUR": "1000", "USD": "1100"}, "rate": "10",
             "flat": {"EUR": "2", "USD": "3"}}
        ]
    }))
    .unwrap();
    let events = [
        deal(1, "2026-11-01", "1050 EUR"),
        deal(2, "2026-11-02", "1050 USD"),
        deal(3, "2026-11-03", "100 EUR"),
        deal(4, "2026-11-04", "100 PLN"),
        then(5, 4, Refunded, "2026-11-05", ""),
        then(6, 1, RefundedPartly, "2026-11-05", "5 USD"),
        then(7, 99, Refunded, "2026-11-05", ""),
    ];
    // 1,000 x 5 % + 50 x 10 %; 1,050 x 5 %; 100 x 10 % + 2
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | high   |      55.00 | agent 55.00
 2 | converted       | 2026-11 | low    |      52.50 | agent 52.50
 3 | converted       | 2026-11 | high   |      12.00 | agent 12.00
 4 | refused: the plan has no thresholds in its currency; add the currency to the plan's next version
 5 | refused: its conversion was refused; mend that one first
 6 | refused: its currency differs from the deal's; send it in the deal's currency
 7 | refused: its conversion has not come yet; it counts as soon as it does
"
    );
}

#[test]
fn products_and_portals_have_rates_of_their_own() {
    let portal = "0198c0de-0000-7000-8000-000000000002";
    let plan = with(
        "EUR",
        json!({"tiers": flat_rate("5"), "overrides": [
            {"portal": portal, "factor": "2"},
            {"product": "solar", "factor": "1.5"},
            {"product": "solar", "portal": portal, "tiers": [
                {"name": "start", "from": "0", "rate": "20"},
                {"name": "more", "from": "1000", "rate": "30"}
            ]},
        ]}),
    );
    let of = |n, product: Option<&str>, here: bool| {
        let portal = here.then(|| portal.parse().unwrap());
        CommissionEvent {
            product: product.map(Into::into),
            portal,
            ..deal(n, "2026-11-03", "600 EUR")
        }
    };
    let events = [
        of(1, None, false),
        of(2, Some("solar"), true),
        of(3, Some("solar"), false),
        of(4, Some("roof"), true),
    ];
    // The second one stands from 600 to 1,200: its own tiers look at the total of all deals.
    assert_eq!(
        arithmetic(&plan, &events),
        [
            "600.00 EUR: 600.00 at 5 % = 30.00",
            "600.00 EUR: 400.00 at 20 % = 80.00; 200.00 at 30 % = 60.00; together 140.00",
            "600.00 EUR: 600.00 at 5 % x 1.5 = 45.00",
            "600.00 EUR: 600.00 at 5 % x 2 = 60.00",
        ]
    );
}

#[test]
fn deals_may_be_counted_and_paid_by_the_piece() {
    let plan = with(
        "EUR",
        json!({"measure": "count", "tiers": [
            {"name": "first", "from": 0, "flat": "10"},
            {"name": "mixed", "from": 2, "rate": "1", "flat": "15"}
        ]}),
    );
    let mut events: Vec<_> = (1..=3).map(|n| deal(n, "2026-11-03", "500 EUR")).collect();
    assert_eq!(arithmetic(&plan, &events)[2], "500.00 EUR: 500.00 at 1 % + 15.00 = 20.00");
    // A deal that went back as a whole counts no more.
    events.push(then(4, 1, Refunded, "2026-11-04", ""));
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | first  |      10.00 | agent 10.00
 4 | refunded        | 2026-11 | first  |     -10.00 | agent -10.00
 2 | converted       | 2026-11 | first  |      10.00 | agent 10.00
 3 | converted       | 2026-11 | first  |      10.00 | agent 10.00
"
    );
}

#[test]
fn a_plan_by_revenue_pays_on_the_fee() {
    let plan = with("EUR", json!({"measure": "revenue", "tiers": flat_rate("20")}));
    let sold = CommissionEvent { fee: Some(money("90 EUR")), ..deal(1, "2026-11-03", "3000 EUR") };
    let events = [
        sold,
        // A third of the deal goes back, and with it a third of the fee.
        then(2, 1, RefundedPartly, "2026-11-04", "1000 EUR"),
        deal(3, "2026-11-05", "3000 EUR"),
    ];
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |      18.00 | agent 18.00
 2 | refunded_partly | 2026-11 | only   |      -6.00 | agent -6.00
 3 | refused: it has no amount that the plan could use; send the deal's value, and the fee if the plan is by revenue
"
    );
}

#[test]
fn a_managers_override_comes_on_top_and_an_absent_managers_share_goes_to_the_agency() {
    let plan = with(
        "EUR",
        json!({"tiers": flat_rate("10"), "split": [
            {"to": "agent", "percent": "70"},
            {"to": "manager", "percent": "20"},
            {"to": "agency", "percent": "10"},
            {"to": "manager", "percent": "1", "of": "deal"}
        ]}),
    );
    let alone = CommissionEvent { manager: None, ..deal(2, "2026-11-04", "1000 EUR") };
    let events = [deal(1, "2026-11-03", "1000 EUR"), then(3, 1, Refunded, "2026-11-05", ""), alone];
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |     100.00 | agent 70.00, manager 30.00, agency 10.00
 3 | refunded        | 2026-11 | only   |    -100.00 | agent -70.00, manager -30.00, agency -10.00
 2 | converted       | 2026-11 | only   |     100.00 | agent 70.00, agency 30.00
"
    );
}
