//! Events and tables for the tests of commissions.
#![allow(dead_code)] // each test file uses a part

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use switchyard_domain::commission::{
    CommissionEvent, EventKind, Line, Party, Plan, Reason, Split, evaluate,
};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use uuid::Uuid;

pub const AGENT: u128 = 1;
pub const MANAGER: u128 = 2;

pub fn plan(document: Value) -> Plan {
    Plan::parse(&document).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// A plan with what every one needs, in one currency.
pub fn with(currency: &str, members: Value) -> Plan {
    let mut document = json!({"name": "test", "version": 1, "currencies": [currency]});
    document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    plan(document)
}

/// 3 % to 200,000, 5 % to 500,000, 7 % above.
pub fn three_tiers() -> Value {
    json!([
        {"name": "bronze", "from": "0", "rate": "3"},
        {"name": "silver", "from": "200000", "rate": "5"},
        {"name": "gold", "from": "500000", "rate": "7"}
    ])
}

/// One tier in percent.
pub fn flat_rate(rate: &str) -> Value {
    json!([{"name": "only", "from": "0", "rate": rate}])
}

pub fn money(text: &str) -> Money {
    let (units, code) = text.split_once(' ').unwrap();
    Money::parse(units, Currency::of(code).unwrap()).unwrap()
}

pub fn at(text: &str) -> DateTime<Utc> {
    let text = if text.len() == 10 { format!("{text}T12:00:00Z") } else { text.to_owned() };
    text.parse().unwrap()
}

pub fn id(n: u128) -> CommissionEventId {
    CommissionEventId(Uuid::from_u128(n))
}

pub fn event(n: u128, kind: EventKind, when: &str) -> CommissionEvent {
    CommissionEvent {
        id: id(n),
        kind,
        lead: Some(LeadId(Uuid::from_u128(n))),
        agency: AgencyId(Uuid::from_u128(9)),
        agent: AgentId(Uuid::from_u128(AGENT)),
        manager: Some(AgentId(Uuid::from_u128(MANAGER))),
        portal: None,
        product: None,
        occurred_at: at(when),
        received_at: at("2026-12-24"),
        amount: None,
        fee: None,
        of: None,
    }
}

/// A deal such as `deal(1, "2026-11-03", "200000 USD")`.
pub fn deal(n: u128, when: &str, amount: &str) -> CommissionEvent {
    CommissionEvent { amount: Some(money(amount)), ..event(n, EventKind::Converted, when) }
}

/// An event of a deal; an empty amount is none.
pub fn then(n: u128, of: u128, kind: EventKind, when: &str, amount: &str) -> CommissionEvent {
    let amount = (!amount.is_empty()).then(|| money(amount));
    CommissionEvent { of: Some(id(of)), amount, ..event(n, kind, when) }
}

pub fn split(value: Value) -> Option<Box<Split>> {
    Some(Box::new(serde_json::from_value(value).unwrap()))
}

fn shares(line: &Line) -> String {
    let one = |share: &switchyard_domain::commission::Share| {
        let to = match share.party {
            Party::Agent(_) => "agent",
            Party::Manager(_) => "manager",
            Party::Agency(_) => "agency",
            Party::Platform => "platform",
        };
        format!("{to} {}", share.amount.units())
    };
    line.shares.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Every line as `number | kind | period | tier | commission | shares`, and the sum.
pub fn table(plan: &Plan, events: &[CommissionEvent]) -> String {
    let found = evaluate(plan, events).unwrap();
    let mut text = String::from("\n");
    for line in &found.lines {
        text.push_str(&format!(
            "{:>2} | {:<15} | {} | {:<6} | {:>10} | {}\n",
            line.event.0.as_u128(),
            line.kind.as_str(),
            line.period,
            line.tier,
            line.commission.units(),
            shares(line),
        ));
    }
    for refusal in &found.refusals {
        text.push_str(&format!("{:>2} | refused: {}\n", refusal.event.0.as_u128(), refusal.reason));
    }
    text
}

pub fn reasons(plan: &Plan, events: &[CommissionEvent]) -> Vec<(u128, Reason)> {
    let found = evaluate(plan, events).unwrap();
    found.refusals.iter().map(|r| (r.event.0.as_u128(), r.reason)).collect()
}

pub fn arithmetic(plan: &Plan, events: &[CommissionEvent]) -> Vec<String> {
    evaluate(plan, events).unwrap().lines.iter().map(Line::arithmetic).collect()
}

pub fn sentences(plan: &Plan, events: &[CommissionEvent]) -> Vec<String> {
    evaluate(plan, events).unwrap().lines.iter().map(Line::sentence).collect()
}
