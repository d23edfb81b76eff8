//! What the demo's agencies have sold: two months of it, under the standard plan and under one of their
//! own with splits, so that standings, statements and explanations have something to show.

use super::DemoAgency;
use super::data::AGENCIES;
use crate::{Fault, database_help};
use chrono::{DateTime, Months, NaiveTime, Utc};
use serde_json::json;
use std::collections::HashMap;
use switchyard_catalog::lead_work::{self, Actor, Deal, Entered, WorkFault};
use switchyard_catalog::line::Cause;
use switchyard_catalog::{conversion, month_of};
use switchyard_domain::commission::{CommissionEvent, EventKind, Plan};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId, normalise};
use switchyard_store::commissions::{self, NewAssignment, NewPlan, NewVersion, RecordFault};
use switchyard_store::leads::Sale;
use switchyard_store::{Db, Scope, StoreFault, Tx, agents};

/// The plan with splits: agent, agency, platform, and the manager's share on top.
const PLAN: &str = "team";
/// Whose plan that is, by its place among the demo's agencies: the one with a manager.
const OF: usize = 0;
/// In whose name all of this is done.
const BY: &str = "demo";

/// A sale of the demo. Buyers are invented.
struct Sold {
    /// The agency's place among the demo's.
    agency: usize,
    /// The agent's place in the agency.
    agent: usize,
    buyer: [&'static str; 2],
    interest: &'static str,
    /// In whole euros.
    euros: i64,
    /// How many months ago, and how far into the month, or into what has passed of it, in percent.
    when: (u32, i32),
    /// The deal fell through this month.
    refunded: bool,
}

const fn sold(
    (agency, agent): (usize, usize),
    buyer: [&'static str; 2],
    interest: &'static str,
    euros: i64,
    when: (u32, i32),
) -> Sold {
    Sold { agency, agent, buyer, interest, euros, when, refunded: false }
}

const SALES: [Sold; 14] = [
    sold((0, 0), ["Halina", "Zając"], "Two-room flat", 128_500, (1, 8)),
    sold((0, 1), ["Tomasz", "Król"], "Studio", 86_900, (1, 15)),
    Sold { refunded: true, ..sold((0, 1), ["Iga", "Wrona"], "Garage", 18_400, (1, 27)) },
    sold((1, 0), ["Adam", "Sowa"], "House with garden", 412_000, (1, 33)),
    sold((0, 1), ["Beata", "Lis"], "Three-room flat", 174_250, (1, 46)),
    sold((2, 0), ["Karol", "Dudek"], "Two-room flat", 139_900, (1, 58)),
    sold((0, 0), ["Ewelina", "Mak"], "Penthouse", 655_000, (1, 71)),
    sold((0, 1), ["Oskar", "Bielak"], "Office", 231_000, (1, 84)),
    sold((1, 0), ["Nina", "Gil"], "Studio", 92_300, (1, 93)),
    sold((0, 1), ["Marek", "Wilk"], "Two-room flat", 133_700, (0, 20)),
    sold((2, 0), ["Lena", "Kozak"], "Allotment", 24_500, (0, 35)),
    sold((0, 0), ["Hubert", "Pająk"], "Three-room flat", 189_990, (0, 55)),
    sold((1, 0), ["Wanda", "Cygan"], "Two-room flat", 147_350, (0, 70)),
    sold((0, 1), ["Filip", "Rak"], "Attic to convert", 77_777, (0, 90)),
];

/// Puts plan and sales into the database, once: where the plan is there already, nothing is done. The
/// jobs that book are left to the workers.
///
/// # Errors
/// If the database refuses a row; then nothing is written.
pub async fn sell(db: &Db, agencies: &[DemoAgency], now: DateTime<Utc>) -> Result<(), Fault> {
    let mut tx = db.begin(Scope::Platform).await.map_err(refused)?;
    // An agency that somebody took out of the demo sells nothing.
    let there = agencies.len() == AGENCIES.len();
    if !there || commissions::find(&mut tx, PLAN).await.map_err(refused)?.is_some() {
        return Ok(());
    }
    let mut people = HashMap::new();
    for (n, agency) in agencies.iter().enumerate() {
        let all = agents::list(&mut tx, agency.id).await.map_err(refused)?;
        let of = |name: &str| all.iter().find(|a| a.name == name).map(|a| a.id);
        let own: Vec<Option<AgentId>> = AGENCIES[n].agents.iter().map(|a| of(a.name)).collect();
        people.insert(n, own);
    }
    let person = |agency: usize, agent: usize| people.get(&agency)?.get(agent).copied().flatten();
    if let (Some(manager), Some(agent)) = (person(OF, 0), person(OF, 1)) {
        agents::set_manager(&mut tx, agent, Some(manager)).await.map_err(refused)?;
    }
    plan(&mut tx, agencies[OF].id).await?;
    for sale in &SALES {
        let (agency, agent) = (agencies[sale.agency].id, person(sale.agency, sale.agent));
        let Some(agent) = agent else { continue };
        let by = Actor { agency: Some(agency), name: BY.to_owned() };
        let Some(lead) = enter(&mut tx, sale, &by).await? else { continue };
        let at = moment(sale.when, now);
        let made = convert(&mut tx, lead, sale, agent, at, &by).await?;
        if sale.refunded {
            refund(&mut tx, &made, agent, at, now).await?;
        }
    }
    tx.commit().await.map_err(refused)
}

async fn plan(tx: &mut Tx, agency: AgencyId) -> Result<(), Fault> {
    let rules: Plan = serde_json::from_str(include_str!("../../seed/plans/team.json"))
        .map_err(|e| Fault::new("demo", "the demo's plan cannot be read").caused_by(e))?;
    let new = NewPlan { agency: None, code: PLAN.to_owned(), name: "Team with manager".to_owned() };
    let plan = commissions::create(tx, &new).await.map_err(refused)?;
    let by = BY.to_owned();
    let version = NewVersion { plan, rules, valid_from: DateTime::UNIX_EPOCH, by: by.clone() };
    commissions::add_version(tx, &version).await.map_err(|e| not_sold(&e))?;
    let holds = NewAssignment { agency: Some(agency), by, ..NewAssignment::default() };
    commissions::assign(tx, plan, &holds).await.map_err(refused)?;
    Ok(())
}

/// The lead: the agency typed it in, so it is its own. `None`: the person asked before.
async fn enter(tx: &mut Tx, sale: &Sold, by: &Actor) -> Result<Option<LeadId>, Fault> {
    let [first, last] = sale.buyer;
    let name = normalise::fold(last);
    let fields = json!({
        "first_name": first, "last_name": last, "interest": sale.interest, "country": "PL",
        "email": format!("{name}@buyers.demo.switchyard.example"),
        "postal_code": AGENCIES[sale.agency].postal_codes[0],
    });
    match lead_work::enter(tx, &fields, by, &Cause::default()).await {
        Ok(Entered::New(lead)) => Ok(Some(lead)),
        Ok(Entered::Known(_)) => Ok(None),
        Err(fault) => Err(not_done(fault)),
    }
}

async fn convert(
    tx: &mut Tx,
    lead: LeadId,
    sale: &Sold,
    agent: AgentId,
    sold_at: DateTime<Utc>,
    by: &Actor,
) -> Result<Sale, Fault> {
    let deal = Deal {
        amount_minor: sale.euros * 100,
        fee_minor: None,
        currency: "EUR",
        product: None,
        agent: Some(agent),
        sold_at,
    };
    let done = lead_work::convert(tx, lead, &deal, by, &Cause::default()).await;
    done.map(|(_, sale)| sale).map_err(not_done)
}

/// The buyer went back on it a month later, or by now.
async fn refund(
    tx: &mut Tx,
    sale: &Sale,
    agent: AgentId,
    sold_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let event = CommissionEvent {
        id: CommissionEventId::new(),
        kind: EventKind::Refunded,
        lead: Some(sale.lead),
        agency: sale.agency,
        agent,
        manager: None,
        portal: None,
        product: None,
        occurred_at: (sold_at + Months::new(1)).min(now),
        received_at: now,
        amount: None,
        fee: None,
        of: Some(CommissionEventId(sale.event)),
    };
    let recorded = conversion::record(tx, &[event], &Cause::default()).await;
    recorded.map(drop).map_err(|fault| match fault {
        RecordFault::Store(fault) => refused(fault),
        fault => not_sold(&fault),
    })
}

/// The moment of a sale; never one that is still to come.
fn moment((months, percent): (u32, i32), now: DateTime<Utc>) -> DateTime<Utc> {
    let this = month_of(now.date_naive());
    let first = this.checked_sub_months(Months::new(months)).unwrap_or(this);
    let begins = first.and_time(NaiveTime::MIN).and_utc();
    let after = first.checked_add_months(Months::new(1)).unwrap_or(first);
    let ends = after.and_time(NaiveTime::MIN).and_utc().min(now);
    // To the second: what is stored has microseconds, and nobody looks at them.
    let seconds = (ends - begins).num_seconds() / 100 * i64::from(percent);
    begins + chrono::Duration::seconds(seconds)
}

fn not_done(fault: WorkFault) -> Fault {
    match fault {
        WorkFault::Store(fault) => refused(fault),
        fault => not_sold(&fault),
    }
}

fn not_sold(fault: &dyn std::error::Error) -> Fault {
    Fault::new("demo", format!("the demo's sales could not be made: {fault}"))
}

fn refused(e: StoreFault) -> Fault {
    database_help::fault("demo", "the demo's sales could not be put into the database", e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Datelike;

    #[test]
    fn the_plan_is_sound_and_splits_among_all_four() {
        let plan: Plan =
            serde_json::from_str(include_str!("../../seed/plans/team.json")).expect("a sound plan");
        let shares: Vec<_> = plan.terms().split.0.iter().map(|s| s.to).collect();
        assert_eq!(shares.len(), 4, "{shares:?}");
        assert_eq!(plan.reference().name.to_string(), PLAN);
    }

    #[test]
    fn sales_lie_in_two_months_and_never_ahead() {
        for now in ["2026-03-01T00:00:07Z", "2026-03-31T12:00:00Z", "2026-01-15T00:00:00Z"] {
            let now: DateTime<Utc> = now.parse().expect("a time");
            for sale in &SALES {
                let at = moment(sale.when, now);
                let count = |t: DateTime<Utc>| i64::from(t.year()) * 12 + i64::from(t.month0());
                let ago = (at <= now, count(now) - count(at));
                assert_eq!(ago, (true, i64::from(sale.when.0)), "{at} seen at {now}");
            }
        }
    }

    #[test]
    fn every_sale_is_of_an_agent_that_is_there_and_has_a_buyer_of_its_own() {
        let mut buyers: Vec<_> = SALES.iter().map(|s| s.buyer[1]).collect();
        buyers.sort_unstable();
        buyers.dedup();
        assert_eq!(buyers.len(), SALES.len());
        assert!(SALES.iter().all(|s| s.agent < AGENCIES[s.agency].agents.len()));
    }
}
