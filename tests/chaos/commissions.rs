//! Workers are killed while commissions are booked. Every event must be booked once, and the accounts
//! must sum to zero at every moment at which somebody looks.

use crate::fleet::Fleet;
use chrono::{DateTime, Duration as Span, Utc};
use sqlx::PgConnection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_catalog::line::Cause;
use switchyard_catalog::{conversion, recompute};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::money::Money;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_store::{Db, DbConfig, PgWake, Scope, ledger};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

/// The `n`-th thing that happens: to the deal `of`, or a deal of its own.
pub fn event(
    agency: AgencyId,
    agent: AgentId,
    kind: EventKind,
    of: Option<&CommissionEvent>,
    n: i64,
) -> CommissionEvent {
    let start: DateTime<Utc> = DateTime::from_timestamp(1_793_500_000, 0).unwrap();
    CommissionEvent {
        id: CommissionEventId::new(),
        kind,
        lead: of.map_or_else(|| Some(LeadId::new()), |deal| deal.lead),
        agency,
        agent,
        manager: None,
        portal: None,
        product: None,
        occurred_at: start + Span::seconds(n * 61 % 1_000_000),
        received_at: start,
        amount: of.is_none().then(|| Money::new(10_000 + n, "PLN".parse().unwrap())),
        fee: None,
        of: of.map(|deal| deal.id),
    }
}

/// Deals of four agents of each agency, every fourth refunded, in a disorder.
async fn happened(owner: &mut PgConnection, deals: i64) -> Vec<CommissionEvent> {
    let agencies: Vec<Uuid> = sqlx::query_scalar("select id from switchyard.agencies order by id")
        .fetch_all(&mut *owner)
        .await
        .unwrap();
    let mut agents = Vec::new();
    for agency in agencies.iter().take(3) {
        for n in 0..4 {
            let agent = AgentId::new();
            sqlx::query("insert into switchyard.agents (id, agency_id, name) values ($1, $2, $3)")
                .bind(agent.0)
                .bind(agency)
                .bind(format!("seller {n}"))
                .execute(&mut *owner)
                .await
                .unwrap();
            agents.push((AgencyId(*agency), agent));
        }
    }
    let mut events = Vec::new();
    for n in 0..deals {
        let (agency, agent) = agents[usize::try_from(n).unwrap() % agents.len()];
        let deal = event(agency, agent, EventKind::Converted, None, n * 7919);
        if n % 4 == 0 {
            events.push(event(agency, agent, EventKind::Refunded, Some(&deal), n * 104_729));
        }
        events.push(deal);
    }
    events.sort_by_key(|e| (e.id.0.as_u128() % 997, e.id));
    events
}

#[tokio::test]
async fn workers_are_killed_while_commissions_are_booked() {
    let deals = i64::try_from(crate::leads()).unwrap() * 2;
    let mut fleet = Fleet::start(3, false).await.unwrap();
    let config = DbConfig::new(fleet.database());
    let end = CancellationToken::new();
    let wake = PgWake::start(&config, end.clone()).unwrap();
    let db = Db::connect(config, Arc::clone(&wake) as _).unwrap();
    let events = happened(&mut fleet.owner().await.unwrap(), deals).await;
    for (round, batch) in events.chunks(events.len().div_ceil(8)).enumerate() {
        for few in batch.chunks(10) {
            let mut tx = db.begin(Scope::Platform).await.unwrap();
            conversion::record(&mut tx, few, &Cause::default()).await.unwrap();
            tx.commit().await.unwrap();
        }
        // Some are told twice.
        let mut tx = db.begin(Scope::Platform).await.unwrap();
        let again = conversion::record(&mut tx, &batch[..batch.len() / 2], &Cause::default()).await;
        assert!(again.unwrap().is_empty());
        tx.commit().await.unwrap();
        // Not a wait for a condition: this is the rhythm of the disaster.
        sleep(Duration::from_millis(60)).await;
        fleet.kill_worker(round).await.unwrap();
        assert_zero(&db).await;
    }
    let until = Instant::now() + PATIENCE;
    let open =
        "select count(*) from switchyard.commission_events where state in ('pending', 'waiting')";
    loop {
        let left: i64 =
            sqlx::query_scalar(open).fetch_one(&mut fleet.owner().await.unwrap()).await.unwrap();
        assert_zero(&db).await;
        if left == 0 {
            break;
        }
        assert!(Instant::now() < until, "{left} events are not booked");
        sleep(Duration::from_millis(50)).await;
    }
    let found = recompute(&db, None, false, Utc::now(), |_| {}).await.unwrap();
    assert_eq!((found.differing, found.events), (0, events.len() as u64), "{found:?}");
    let booked: i64 = sqlx::query_scalar("select count(distinct event_id) from ledger.entries")
        .fetch_one(&mut fleet.owner().await.unwrap())
        .await
        .unwrap();
    assert_eq!(booked, events.len() as i64, "a line for every event");
    assert_unchanged(&db).await;
    end.cancel();
    fleet.stop().await;
}

/// Every entry gets its place, because the audit looks at no other, and the audit finds nothing.
pub async fn assert_unchanged(db: &Db) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut tx = db.begin(Scope::Platform).await.unwrap();
        // The scheduler's job may be at it.
        let done = ledger::sequence(&mut tx, 10_000).await.unwrap();
        tx.commit().await.unwrap();
        if done.is_some_and(|done| done.entries == 0) {
            break;
        }
        assert!(Instant::now() < until, "the log is not finished");
    }
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let filter = ledger::EntryFilter { limit: i64::MAX, ..ledger::EntryFilter::default() };
    let entries = ledger::entries(&mut tx, &filter).await.unwrap().len() as u64;
    tx.rollback().await.unwrap();
    let report = ledger::audit(db, None, &[], |_| {}).await.unwrap();
    assert_eq!((report.findings, report.entries), (Vec::new(), entries));
    assert!(entries > 0, "an audit of nothing finds nothing");
}

/// The sum of all accounts is zero in every currency.
pub async fn assert_zero(db: &Db) {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let (sums, _) = ledger::out_of_balance(&mut tx).await.unwrap();
    assert!(sums.is_empty(), "{sums:?}");
}
