//! Commission events whose job came to nothing are booked all the same, and once.

use super::support::Line;
use chrono::Utc;
use serde_json::json;
use switchyard_catalog::line::Cause;
use switchyard_catalog::{CatchUpCommissions, conversion};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_queue::{JobId, NewJob};
use switchyard_store::commissions::{self, EventState};
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
use switchyard_store::{agents, jobs};
use uuid::Uuid;

/// An agency with one agent, who sells.
struct Shop {
    line: Line,
    agency: AgencyId,
    agent: AgentId,
}

impl Shop {
    async fn new() -> Self {
        let line = Line::new().await;
        let agency = line.bare_agency("nowak", false).await;
        let agent = AgentId::new();
        let mut tx = line.platform().await;
        agents::upsert(&mut tx, agent, agency, "Ann", None, None).await.unwrap();
        tx.commit().await.unwrap();
        Self { line, agency, agent }
    }

    /// Records so many deals of 100.00 with their jobs.
    async fn sell(&self, deals: i64) -> Vec<CommissionEvent> {
        let now = Utc::now();
        let deal = |n| CommissionEvent {
            id: CommissionEventId::new(),
            kind: EventKind::Converted,
            lead: None,
            agency: self.agency,
            agent: self.agent,
            manager: None,
            portal: None,
            product: None,
            occurred_at: now + chrono::Duration::microseconds(n),
            received_at: now,
            amount: Some(Money::new(10_000, Currency::of("EUR").unwrap())),
            fee: None,
            of: None,
        };
        let events: Vec<CommissionEvent> = (0..deals).map(deal).collect();
        let mut tx = self.line.platform().await;
        conversion::record(&mut tx, &events, &Cause::default()).await.unwrap();
        tx.commit().await.unwrap();
        events
    }

    async fn states(&self, events: &[CommissionEvent]) -> Vec<EventState> {
        let mut tx = self.line.platform().await;
        let mut found = Vec::new();
        for event in events {
            found.push(commissions::state(&mut tx, event.id).await.unwrap().unwrap());
        }
        found
    }

    /// Every booking that waits becomes a dead letter.
    async fn discard_all(&self) {
        let open: Vec<Uuid> = sqlx::query_scalar(
            "select id from engine.jobs where kind = 'commission.book' and stage in (0, 1)",
        )
        .fetch_all(&mut self.line.test.owner().await)
        .await
        .unwrap();
        assert!(!open.is_empty(), "there are bookings to discard");
        for id in open {
            jobs::discard(&self.line.db, JobId(id)).await.unwrap();
        }
    }

    async fn age(&self, minutes: i32) {
        sqlx::query("update switchyard.commission_events set received_at = now() - make_interval(mins => $1)")
            .bind(minutes)
            .execute(&mut self.line.test.owner().await)
            .await
            .unwrap();
    }

    /// The periodic look, as the scheduler enqueues it; gives how many bookings it led to.
    async fn catch_up(&self) -> usize {
        let mut tx = self.line.platform().await;
        tx.enqueue(NewJob::of(&CatchUpCommissions {}).unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        let ran = self.line.run().await;
        assert!(ran.iter().any(|(kind, _)| kind == "commission.catch_up"), "{ran:?}");
        ran.iter().filter(|(kind, _)| kind == "commission.book").count()
    }

    async fn owed(&self) -> i64 {
        let euros = Currency::of("EUR").unwrap();
        let account = Account::payable(Owner::Agent(self.agent), self.agency, euros);
        ledger::balance(&mut self.line.platform().await, &account).await.unwrap().minor
    }
}

#[tokio::test]
async fn an_event_whose_job_was_discarded_is_booked_once_all_the_same() {
    let shop = Shop::new().await;
    let events = shop.sell(3).await;
    shop.discard_all().await;
    assert!(shop.line.run().await.is_empty(), "a dead letter waits for somebody");
    assert_eq!(shop.catch_up().await, 0, "what was recorded this moment may still be booked");
    assert_eq!(shop.states(&events).await, [EventState::Pending; 3]);
    shop.age(6).await;
    let mut tx = shop.line.platform().await;
    let open = commissions::backlog(&mut tx).await.unwrap();
    assert_eq!(open.pending, 3);
    assert!(open.oldest_pending.unwrap().as_secs() >= 360, "{open:?}");
    drop(tx);
    assert_eq!(shop.catch_up().await, 3);
    assert_eq!(shop.states(&events).await, [EventState::Booked; 3]);
    assert_eq!(shop.owed().await, 1_500, "5 % of 100.00, three times");
    assert_eq!(shop.catch_up().await, 0, "nothing is left");
    // Somebody retries the dead letters after all.
    let dead: Vec<Uuid> =
        sqlx::query_scalar("select id from engine.jobs where kind = 'commission.book'")
            .fetch_all(&mut shop.line.test.owner().await)
            .await
            .unwrap();
    for id in &dead {
        jobs::retry(&shop.line.db, JobId(*id)).await.unwrap();
    }
    assert_eq!((dead.len(), shop.line.run().await.len()), (3, 3));
    assert_eq!(shop.owed().await, 1_500);
}

#[tokio::test]
async fn a_second_look_enqueues_no_second_booking_while_the_first_is_open() {
    let shop = Shop::new().await;
    shop.sell(2).await;
    shop.discard_all().await;
    shop.age(10).await;
    let mut tx = shop.line.platform().await;
    let left = commissions::left(&mut tx, std::time::Duration::from_secs(300), None, 10).await;
    for left in left.unwrap() {
        assert!(tx.enqueue(CatchUpCommissions::booking(&left).unwrap()).await.unwrap().inserted());
        assert!(!tx.enqueue(CatchUpCommissions::booking(&left).unwrap()).await.unwrap().inserted());
    }
    tx.commit().await.unwrap();
    assert_eq!(shop.catch_up().await, 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_booked_keeps_no_other_from_it() {
    let shop = Shop::new().await;
    let events = shop.sell(3).await;
    // Somebody took the key of its entry for something else.
    let euros = Currency::of("EUR").unwrap();
    let payable = Account::payable(Owner::Agent(shop.agent), shop.agency, euros);
    let entry = NewEntry {
        key: format!("commission:{}:1", events[1].id),
        agency: shop.agency,
        kind: EntryKind::Commission,
        agent: Some(shop.agent),
        event: None,
        lead: None,
        occurred_at: Utc::now(),
        explanation: json!({}),
        postings: vec![(payable, 1), (Account::expense(euros), -1)],
    };
    let mut tx = shop.line.platform().await;
    ledger::post(&mut tx, &[entry]).await.unwrap();
    tx.commit().await.unwrap();
    shop.line.run().await;
    shop.line.run_retries().await;
    use EventState::{Booked, Pending};
    assert_eq!(shop.states(&events).await, [Booked, Pending, Booked]);
    assert_eq!(shop.owed().await, 1_001);
}
