//! Commissions worked out by hand, as tables: `number | kind | period | tier | commission | shares`.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::json;
use switchyard_domain::commission::EventKind::{ChargedBack, Refunded, RefundedPartly};
use switchyard_domain::commission::{
    Cause, Change, CommissionEvent, KindWord, difference, evaluate, late,
};

#[path = "support/deals.rs"]
mod deals;
use deals::{arithmetic, deal, flat_rate, money, sentences, table, then, three_tiers, with};

fn three_deals() -> Vec<CommissionEvent> {
    vec![
        deal(1, "2026-11-03", "150000 USD"),
        deal(2, "2026-11-10", "250000 USD"),
        deal(3, "2026-11-20", "200000 USD"),
    ]
}

#[test]
fn six_hundred_thousand_marginally() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    // 200,000 x 3 % + 300,000 x 5 % + 100,000 x 7 % = 6,000 + 15,000 + 7,000 = 28,000
    assert_eq!(
        arithmetic(&plan, &[deal(1, "2026-11-03", "600000 USD")]),
        ["600,000.00 USD: 200,000.00 at 3 % = 6,000.00; 300,000.00 at 5 % = 15,000.00; \
          100,000.00 at 7 % = 7,000.00; together 28,000.00"]
    );
    assert_eq!(
        sentences(&plan, &[deal(1, "2026-11-03", "600000 USD")]),
        [
            "A deal of 600,000.00 USD earns 28,000.00 USD in tier gold (plan test, version 1, 2026-11)."
        ]
    );
    // The same in three deals: 4,500 + (1,500 + 10,000) + (5,000 + 7,000) = 28,000
    assert_eq!(
        table(&plan, &three_deals()),
        "
 1 | converted       | 2026-11 | bronze |    4500.00 | agent 4500.00
 2 | converted       | 2026-11 | silver |   11500.00 | agent 11500.00
 3 | converted       | 2026-11 | gold   |   12000.00 | agent 12000.00
"
    );
}

#[test]
fn six_hundred_thousand_retroactively() {
    let plan = with("USD", json!({"tiers": three_tiers(), "mode": "retroactive"}));
    // 600,000 x 7 % = 42,000
    assert_eq!(
        table(&plan, &three_deals()),
        "
 1 | converted       | 2026-11 | gold   |   10500.00 | agent 10500.00
 2 | converted       | 2026-11 | gold   |   17500.00 | agent 17500.00
 3 | converted       | 2026-11 | gold   |   14000.00 | agent 14000.00
"
    );
}

#[test]
fn a_retroactive_period_is_rounded_as_one_sum() {
    let plan = with("EUR", json!({"tiers": flat_rate("5"), "mode": "retroactive"}));
    let four: Vec<_> = (1..=4).map(|n| deal(n, "2026-11-03", "0.10 EUR")).collect();
    // Half a cent each: 0.005, 0.010, 0.015, 0.020 rounded half to even are 0, 1, 2 and 2 cents.
    assert_eq!(
        table(&plan, &four),
        "
 1 | converted       | 2026-11 | only   |       0.00 | 
 2 | converted       | 2026-11 | only   |       0.01 | agent 0.01
 3 | converted       | 2026-11 | only   |       0.01 | agent 0.01
 4 | converted       | 2026-11 | only   |       0.00 | 
"
    );
    // Marginally each is rounded by itself.
    let plan = with("EUR", json!({"tiers": flat_rate("5")}));
    assert_eq!(table(&plan, &four).matches(" 0.00 ").count(), 4);
}

#[test]
fn a_refund_across_a_tier_moves_later_deals_down() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    let mut events = three_deals();
    events.push(then(4, 1, RefundedPartly, "2026-11-25", "100000 USD"));
    // 50,000 x 3 %; 150,000 x 3 % + 100,000 x 5 %; 200,000 x 5 %: 21,000 on 500,000
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | bronze |    4500.00 | agent 4500.00
 4 | refunded_partly | 2026-11 | bronze |   -3000.00 | agent -3000.00
 2 | converted       | 2026-11 | silver |    9500.00 | agent 9500.00
 3 | converted       | 2026-11 | silver |   10000.00 | agent 10000.00
"
    );
    assert_eq!(
        arithmetic(&plan, &events)[1],
        "50,000.00 USD: 50,000.00 at 3 % = 1,500.00; 1,500.00 instead of 4,500.00: -3,000.00"
    );
    assert_eq!(
        sentences(&plan, &events)[1],
        "100,000.00 USD of the deal was refunded: 3,000.00 USD of commission is taken back."
    );
    let lines = evaluate(&plan, &events).unwrap().lines;
    let cause =
        Cause { event: events[3].id, kind: KindWord::RefundedPartly, deal: Some(events[0].id) };
    let (before, after) = (money("12000 USD"), lines[3].commission);
    assert_eq!(
        lines[3].shifted(&Change { entries: 1, before, after, cause: Some(cause) }),
        "Another deal of 2026-11 was refunded in part: this one now stands in tier silver and comes \
         to 10,000.00 USD instead of 12,000.00 USD. 200,000.00 USD: 200,000.00 at 5 % = 10,000.00"
    );
}

#[test]
fn a_refund_takes_a_retroactive_period_to_a_lower_tier() {
    let plan = with("USD", json!({"tiers": three_tiers(), "mode": "retroactive"}));
    let mut events = three_deals();
    events.push(then(4, 1, Refunded, "2027-02-01", ""));
    // 450,000 x 5 % = 22,500
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | silver |    7500.00 | agent 7500.00
 4 | refunded        | 2026-11 | silver |   -7500.00 | agent -7500.00
 2 | converted       | 2026-11 | silver |   12500.00 | agent 12500.00
 3 | converted       | 2026-11 | silver |   10000.00 | agent 10000.00
"
    );
}

#[test]
fn a_chargeback_after_the_payout_takes_back_what_was_paid() {
    let plan = with(
        "EUR",
        json!({"tiers": flat_rate("10"), "clawback_days": 14, "split": [
            {"to": "agent", "percent": "80"}, {"to": "agency", "percent": "20"}]}),
    );
    let mut events = vec![deal(1, "2026-01-10", "5000 EUR"), deal(2, "2026-03-01", "1000 EUR")];
    let paid = evaluate(&plan, &events[..1]).unwrap().lines;
    events.push(then(3, 1, ChargedBack, "2026-03-02", ""));
    // It belongs to January, long paid: March earns 80.00 and owes 400.00, so -320.00 is carried.
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-01 | only   |     500.00 | agent 400.00, agency 100.00
 3 | charged_back    | 2026-01 | only   |    -500.00 | agent -400.00, agency -100.00
 2 | converted       | 2026-03 | only   |     100.00 | agent 80.00, agency 20.00
"
    );
    let due: Vec<_> =
        evaluate(&plan, &events).unwrap().lines.iter().flat_map(|l| l.shares.clone()).collect();
    let booked = difference(&due, &paid[0].shares).unwrap();
    let amounts: Vec<_> = booked.iter().map(|s| s.amount.to_string()).collect();
    assert_eq!(amounts, ["-320.00 EUR", "-80.00 EUR"]);
}

#[test]
fn a_hundred_in_three_keeps_the_last_cent() {
    let thirds = json!([
        {"to": "agent", "percent": "33.333334"},
        {"to": "agency", "percent": "33.333333"},
        {"to": "platform", "percent": "33.333333"}
    ]);
    let plan = with("EUR", json!({"tiers": flat_rate("10"), "split": thirds}));
    let events =
        [deal(1, "2026-11-03", "1000 EUR"), then(2, 1, RefundedPartly, "2026-11-04", "300.10 EUR")];
    // 69.99 is 23.33 three times, so the refund takes the odd cent back from who had it.
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | only   |     100.00 | agent 33.34, agency 33.33, platform 33.33
 2 | refunded_partly | 2026-11 | only   |     -30.01 | agent -10.01, agency -10.00, platform -10.00
"
    );
}

#[test]
fn yen_have_no_cents_and_dinars_have_a_thousand() {
    let yen = with("JPY", json!({"tiers": flat_rate("5")}));
    // 5 % of 10, 30 and 50 yen: 0.5, 1.5 and 2.5 go to the even one.
    assert_eq!(
        table(
            &yen,
            &[
                deal(1, "2026-11-01", "1234567 JPY"),
                deal(2, "2026-11-02", "10 JPY"),
                deal(3, "2026-11-03", "30 JPY"),
                deal(4, "2026-11-04", "50 JPY"),
            ]
        ),
        "
 1 | converted       | 2026-11 | only   |      61728 | agent 61728
 2 | converted       | 2026-11 | only   |          0 | 
 3 | converted       | 2026-11 | only   |          2 | agent 2
 4 | converted       | 2026-11 | only   |          2 | agent 2
"
    );
    let dinar = with("KWD", json!({"tiers": flat_rate("5")}));
    let one = [deal(1, "2026-11-01", "1234.567 KWD")];
    assert_eq!(
        arithmetic(&dinar, &one),
        ["1,234.567 KWD: 1,234.567 at 5 % = 61.72835; 61.72835 becomes 61.728"]
    );
}

#[test]
fn a_late_deal_takes_its_place_and_moves_later_ones_up() {
    let plan = with("USD", json!({"tiers": three_tiers()}));
    let mut events = vec![deal(1, "2026-11-03", "150000 USD"), deal(3, "2026-11-20", "250000 USD")];
    let closed = evaluate(&plan, &events).unwrap().lines;
    // Heard of in December, when November's statement is out: it counts in November all the same.
    events.push(deal(2, "2026-11-10", "100000 USD"));
    assert_eq!(
        table(&plan, &events),
        "
 1 | converted       | 2026-11 | bronze |    4500.00 | agent 4500.00
 2 | converted       | 2026-11 | silver |    4000.00 | agent 4000.00
 3 | converted       | 2026-11 | silver |   12500.00 | agent 12500.00
"
    );
    let now = evaluate(&plan, &events).unwrap().lines;
    let all = |lines: &[switchyard_domain::commission::Line]| -> Vec<_> {
        lines.iter().flat_map(|l| l.shares.clone()).collect()
    };
    let booked = difference(&all(&now), &all(&closed)).unwrap();
    assert_eq!(
        late(now[1].occurred_at, "2026-12-01".parse().unwrap()).unwrap(),
        "It belongs to 2026-11, whose statement is closed and stays as it was; the difference is \
         booked in 2026-12."
    );
    assert_eq!(late(now[1].occurred_at, "2026-11-01".parse().unwrap()), None);
    // 4,000 for the late deal and 1,000 for the one that it moved up.
    assert_eq!(booked[0].amount, money("5000 USD"));
}
