//! Worker processes are killed while they book and while they pay, one of them right between a payment
//! and its record. Afterwards every event is booked once and every payout is one transfer, counted at
//! Stripe's socket.

use crate::commissions::{assert_zero, event};
use crate::fleet::Fleet;
use chrono::Utc;
use sqlx::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_catalog::lead_work::Actor;
use switchyard_catalog::line::Cause;
use switchyard_catalog::payouts::{self as paying, PayoutFault, Wanted};
use switchyard_catalog::{conversion, recompute};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::money::Currency;
use switchyard_domain::payment::PayoutRules;
use switchyard_domain::{AgencyId, AgentId, PayoutId};
use switchyard_store::ledger::{self, Account, AccountKind, Owner};
use switchyard_store::payouts::{self, Payee, PayoutMethod};
use switchyard_store::{Db, DbConfig, PgWake, Scope, agents};
use switchyard_tests::fakes::HttpStep;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);
/// Sellers; the first closes every second deal.
const AGENTS: usize = 8;
/// So many of them are paid; deals of the others are refunded now and then.
const PAID: usize = 5;
/// Workers that are killed while leads are booked and paid in any order.
const KILLS: usize = 8;
/// Workers that are killed between a payment and its record.
const PAYERS: usize = 2;

/// An agency whose agents sell, and the processes that book and pay.
struct Shop {
    fleet: Fleet,
    db: Db,
    agency: AgencyId,
    agents: Vec<AgentId>,
    end: CancellationToken,
}

fn zloty() -> Currency {
    Currency::of("PLN").unwrap()
}

impl Shop {
    async fn open() -> Self {
        let fleet = Fleet::start(3, false).await.unwrap();
        let config = DbConfig::new(fleet.database());
        let end = CancellationToken::new();
        let wake = PgWake::start(&config, end.clone()).unwrap();
        let db = Db::connect(config, Arc::clone(&wake) as _).unwrap();
        let agency: Uuid =
            sqlx::query_scalar("select id from switchyard.agencies order by id limit 1")
                .fetch_one(&mut fleet.owner().await.unwrap())
                .await
                .unwrap();
        let agency = AgencyId(agency);
        let sellers: Vec<AgentId> = (0..AGENTS).map(|_| AgentId::new()).collect();
        let mut tx = db.begin(Scope::Platform).await.unwrap();
        for (n, agent) in sellers.iter().enumerate() {
            let name = format!("seller {n}");
            agents::upsert(&mut tx, *agent, agency, &name, None, None).await.unwrap();
            let payee = Payee {
                owner: Owner::Agent(*agent),
                agency,
                name,
                iban: None,
                bic: None,
                stripe_account: Some(format!("acct_{n}")),
            };
            payouts::set_payee(&mut tx, &payee, "admin:1").await.unwrap();
        }
        tx.commit().await.unwrap();
        Self { fleet, db, agency, agents: sellers, end }
    }

    /// Deals and refunds, in a disorder.
    fn happened(&self, deals: i64) -> Vec<CommissionEvent> {
        let mut events = Vec::new();
        for n in 0..deals {
            let cold = 1 + usize::try_from(n / 2).unwrap() % (AGENTS - 1);
            let seller = if n % 2 == 0 { 0 } else { cold };
            let (agency, agent) = (self.agency, self.agents[seller]);
            let deal = event(agency, agent, EventKind::Converted, None, n * 7919);
            if seller >= PAID && n % 3 == 0 {
                events.push(event(agency, agent, EventKind::Refunded, Some(&deal), n * 104_729));
            }
            events.push(deal);
        }
        events.sort_by_key(|e| (e.id.0.as_u128() % 997, e.id));
        events
    }

    async fn record(&self, events: &[CommissionEvent]) {
        for few in events.chunks(10) {
            let mut tx = self.db.begin(Scope::Platform).await.unwrap();
            conversion::record(&mut tx, few, &Cause::default()).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    async fn holds(&self, agent: usize, kind: AccountKind) -> i64 {
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        let owner = Owner::Agent(self.agents[agent]);
        let account = Account::of(kind, owner, self.agency, zloty());
        ledger::balance(&mut tx, &account).await.unwrap().minor
    }

    /// Asks for a share of what an agent is owed; `None`: nothing is, or a payout is on its way.
    async fn ask(&self, agent: usize, share: i64) -> Option<PayoutId> {
        let amount = self.holds(agent, AccountKind::Payable).await / share;
        let wanted = Wanted {
            agency: self.agency,
            agent: Some(self.agents[agent]),
            currency: zloty(),
            amount: Some(amount),
            method: PayoutMethod::Stripe,
        };
        let by = Actor { agency: None, name: "admin:1".to_owned() };
        let rules = PayoutRules { approval_limit: i64::MAX.into(), ..PayoutRules::default() };
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        match paying::request(&mut tx, &wanted, &by, &rules, &Cause::default()).await {
            Ok(payout) => {
                tx.commit().await.unwrap();
                Some(payout.id)
            }
            Err(PayoutFault::OneIsOpen | PayoutFault::NotOwed { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    /// Kills the process that has just moved the money of a payout and not written so down.
    async fn kill_a_payer(&mut self, agent: usize) {
        self.fleet.stripe.script().push([HttpStep::AcceptLate { ms: 400 }]);
        let payout = self.ask(agent, 3).await.expect("something is owed");
        let group = group_of(payout);
        until("the transfer is asked for", || {
            let came = self.fleet.stripe.record().all();
            came.iter().any(|r| !r.marker.is_empty() && r.body["transfer_group"] == group.as_str())
        })
        .await;
        // Its record will wait for this row; the payment does not.
        let mut owner = self.fleet.owner().await.unwrap();
        let mut hold = owner.begin().await.unwrap();
        sqlx::query("select from switchyard.payouts where id = $1 for update")
            .bind(payout.0)
            .execute(&mut *hold)
            .await
            .unwrap();
        until("the money moves", || {
            let made = self.fleet.stripe.transfers();
            made.iter().any(|t| t["transfer_group"] == group.as_str())
        })
        .await;
        let pid: i32 = sqlx::query_scalar(
            "select w.pid from engine.jobs j join engine.workers w on w.id = j.worker
             where j.kind = 'commission.payout' and j.args->>'payout' = $1",
        )
        .bind(payout.to_string())
        .fetch_one(&mut *hold)
        .await
        .unwrap();
        let killed = self.fleet.kill_worker_of(u32::try_from(pid).unwrap()).await.unwrap();
        assert!(killed, "process {pid} is no worker of ours");
        hold.rollback().await.unwrap();
        let state: String =
            sqlx::query_scalar("select state from switchyard.payouts where id = $1")
                .bind(payout.0)
                .fetch_one(&mut owner)
                .await
                .unwrap();
        assert!(["sent", "confirmed"].contains(&state.as_str()), "{state}");
    }

    /// Until no event waits and no payout is on its way.
    async fn settle(&self) {
        let open = "select (select count(*) from switchyard.commission_events
                      where state in ('pending', 'waiting')),
                    (select count(*) from switchyard.payouts where state in ('approved', 'sent'))";
        let begun = Instant::now();
        loop {
            let mut owner = self.fleet.owner().await.unwrap();
            let left: (i64, i64) = sqlx::query_as(open).fetch_one(&mut owner).await.unwrap();
            assert_zero(&self.db).await;
            if left == (0, 0) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{left:?} events and payouts are left");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// By what a payout's transfer is found at Stripe.
fn group_of(payout: PayoutId) -> String {
    format!("payout-{payout}")
}

/// Until it is so, for two minutes.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn workers_are_killed_while_they_book_and_pay() {
    let mut shop = Shop::open().await;
    let events = shop.happened(i64::try_from(crate::leads()).unwrap() * 2);
    for (round, batch) in events.chunks(events.len().div_ceil(KILLS)).enumerate() {
        shop.record(batch).await;
        for agent in 0..PAID {
            shop.ask(agent, 2).await;
        }
        // Not a wait for a condition: this is the rhythm of the disaster.
        sleep(Duration::from_millis(80)).await;
        shop.fleet.kill_worker(round).await.unwrap();
        assert_zero(&shop.db).await;
    }
    shop.settle().await;
    for agent in 0..PAYERS {
        shop.kill_a_payer(agent).await;
        shop.settle().await;
    }
    for agent in 0..PAID {
        shop.ask(agent, 1).await;
    }
    shop.settle().await;
    assert_eq!(shop.fleet.killed.len(), KILLS + PAYERS);
    booked_once(&shop, &events).await;
    paid_once(&shop).await;
    shop.end.cancel();
    shop.fleet.stop().await;
}

async fn booked_once(shop: &Shop, events: &[CommissionEvent]) {
    let found = recompute(&shop.db, None, false, Utc::now(), |_| {}).await.unwrap();
    assert_eq!((found.differing, found.events), (0, events.len() as u64), "{found:?}");
    let booked: i64 = sqlx::query_scalar(
        "select count(distinct event_id) from ledger.entries where event_id is not null",
    )
    .fetch_one(&mut shop.fleet.owner().await.unwrap())
    .await
    .unwrap();
    assert_eq!(booked, events.len() as i64, "a line for every event");
    let mut tx = shop.db.begin(Scope::Platform).await.unwrap();
    let off = ledger::out_of_balance(&mut tx).await.unwrap();
    assert_eq!(off, (Vec::new(), Vec::new()));
    crate::commissions::assert_unchanged(&shop.db).await;
}

async fn paid_once(shop: &Shop) {
    let payouts: Vec<(Uuid, i64, String)> =
        sqlx::query_as("select id, amount, state from switchyard.payouts")
            .fetch_all(&mut shop.fleet.owner().await.unwrap())
            .await
            .unwrap();
    let wrong: Vec<_> = payouts.iter().filter(|(.., state)| state != "confirmed").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let owed: BTreeMap<String, i64> =
        payouts.iter().map(|(id, amount, _)| (group_of(PayoutId(*id)), *amount)).collect();
    let transfers = shop.fleet.stripe.transfers();
    let group = |t: &serde_json::Value| t["transfer_group"].as_str().unwrap().to_owned();
    let made: BTreeMap<String, i64> =
        transfers.iter().map(|t| (group(t), t["amount"].as_i64().unwrap())).collect();
    assert_eq!(made.len(), transfers.len(), "a payout was transferred twice: {transfers:?}");
    assert_eq!(made, owed, "what Stripe moved is what was asked for");
    // However often a payout was asked for at the socket, it was under one key.
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for came in shop.fleet.stripe.record().all().into_iter().filter(|r| !r.marker.is_empty()) {
        keys.entry(group(&came.body)).or_default().insert(came.marker);
    }
    assert!(keys.values().all(|keys| keys.len() == 1), "{keys:?}");
    for agent in 0..PAID {
        let mine = format!("acct_{agent}");
        let own = transfers.iter().filter(|t| t["destination"] == mine.as_str());
        let paid: i64 = own.map(|t| t["amount"].as_i64().unwrap()).sum();
        let mut held = Vec::new();
        for kind in [AccountKind::Payable, AccountKind::Sent, AccountKind::Paid] {
            held.push(shop.holds(agent, kind).await);
        }
        assert_eq!(held, [0, 0, paid], "{mine}");
        assert!(paid > 0, "{mine} was paid nothing");
    }
}
