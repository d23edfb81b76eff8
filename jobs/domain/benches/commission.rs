//! How fast a million conversions of 5,000 agents are computed, on one core.
//! `cargo bench -p switchyard-domain --bench commission`
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use serde_json::json;
use std::hint::black_box;
use std::time::Instant;
use switchyard_domain::commission::{Accumulator, CommissionEvent, EventKind, Plan, evaluate};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use uuid::Uuid;

const AGENTS: u128 = 5_000;
const EACH: u128 = 200;

fn plan(mode: &str) -> Plan {
    Plan::parse(&json!({
        "name": "bench", "version": 1, "currencies": ["EUR"], "mode": mode, "window": "month",
        "time_zone": "Europe/Warsaw",
        "tiers": [
            {"name": "bronze", "from": "0", "rate": "5"},
            {"name": "silver", "from": "50000", "rate": "8"},
            {"name": "gold", "from": "150000", "rate": "12"},
            {"name": "platinum", "from": "400000", "rate": "15"}
        ],
        "split": [
            {"to": "agent", "percent": "70"}, {"to": "manager", "percent": "10"},
            {"to": "agency", "percent": "15"}, {"to": "platform", "percent": "5"}
        ]
    }))
    .unwrap()
}

/// The deals of an agent over three months; one in fifty is refunded.
fn events(agent: u128) -> Vec<CommissionEvent> {
    let start = "2026-09-01T06:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let euro = Currency::of("EUR").unwrap();
    let mut events = Vec::new();
    for n in 0..EACH {
        let number = agent * 1_000 + n;
        let mixed = (number * 2_654_435_761) % 1_000_003;
        let when = start + chrono::TimeDelta::minutes(i64::try_from(n).unwrap() * 640);
        let conversion = CommissionEvent {
            id: CommissionEventId(Uuid::from_u128(number * 2)),
            kind: EventKind::Converted,
            lead: Some(LeadId(Uuid::from_u128(number))),
            agency: AgencyId(Uuid::from_u128(agent % 200)),
            agent: AgentId(Uuid::from_u128(agent)),
            manager: Some(AgentId(Uuid::from_u128(agent / 10))),
            portal: None,
            product: None,
            occurred_at: when,
            received_at: when,
            amount: Some(Money::new(i64::try_from(mixed).unwrap(), euro)),
            fee: None,
            of: None,
        };
        if n % 50 == 49 {
            events.push(CommissionEvent {
                id: CommissionEventId(Uuid::from_u128(number * 2 + 1)),
                kind: EventKind::Refunded,
                of: Some(conversion.id),
                amount: None,
                ..conversion.clone()
            });
        }
        events.push(conversion);
    }
    events
}

fn report(what: &str, began: Instant, conversions: u128) {
    let seconds = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let rate = conversions as f64 / seconds;
    println!("{what:<44} {conversions:>9} conversions {seconds:>7.2} s {rate:>11.0} /s");
}

fn main() {
    let all: Vec<_> = (1..=AGENTS).map(events).collect();
    println!("an event: {} bytes, without its product's name", size_of::<CommissionEvent>());
    for mode in ["marginal", "retroactive"] {
        let plan = plan(mode);
        let began = Instant::now();
        for events in &all {
            black_box(evaluate(&plan, events).unwrap());
        }
        report(&format!("evaluate, {mode}, agent by agent"), began, AGENTS * EACH);
    }
    let plan = plan("marginal");
    let began = Instant::now();
    let mut advanced = 0;
    for events in &all {
        let mut open: Option<Accumulator> = None;
        for event in events {
            let period = plan.period_at(event.occurred_at);
            let place = open.take().filter(|o| o.period == period);
            let mut place =
                place.unwrap_or_else(|| Accumulator::open(&plan, event.agent, period, &[]));
            advanced += u128::from(black_box(place.advance(&plan, event)).is_some());
            open = Some(place);
        }
    }
    report("advance, marginal", began, advanced);
    let began = Instant::now();
    let first: Vec<_> = all.iter().take(500).collect();
    let mut bytes = 0;
    for events in first {
        for line in evaluate(&plan, events).unwrap().lines {
            bytes += serde_json::to_vec(&line.explained()).unwrap().len();
        }
    }
    report("evaluate and explain as JSON", began, 500 * EACH);
    println!("{bytes} bytes of explanations");
}
