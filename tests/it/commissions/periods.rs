//! Closed months stay as they are.

use super::support::{Books, at};
use chrono::NaiveDate;
use std::time::Duration;
use switchyard_catalog::{CloseFault, ClosePeriod};
use switchyard_domain::commission::EventKind;
use switchyard_store::ledger::{self, EntryFilter};

fn november() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 1).unwrap()
}

async fn close(books: &Books) -> ledger::ClosedPeriod {
    let mut tx = books.platform().await;
    let december = "2026-12-05T00:00:00Z".parse().unwrap();
    let closed = ClosePeriod::close(&mut tx, books.agency, at(20, 0).date_naive(), december).await;
    tx.commit().await.unwrap();
    closed.unwrap().period
}

#[tokio::test]
async fn what_comes_after_the_close_counts_in_the_next_month() {
    let books = Books::new("marginal").await;
    let deal = books.deal(0, 150_000, at(3, 0));
    books.book(std::slice::from_ref(&deal)).await;
    let statement = close(&books).await;
    assert_eq!(statement.month, november());
    assert_eq!(statement.figures.iter().map(|f| f.closing).sum::<i64>(), 0);
    let agents = statement.figures.iter().find(|f| f.owner_kind == "agent").unwrap();
    assert_eq!((agents.opening, agents.got, agents.gave, agents.closing), (0, 3850, 0, 3850));

    let refund = books.about(&deal, EventKind::Refunded, None, at(28, 0));
    let late = books.deal(0, 10_000, at(2, 0));
    books.book(&[refund, late]).await;
    assert_eq!(close(&books).await, statement, "closing again changes nothing");
    let count = |period| EntryFilter { period: Some(period), limit: 99, ..EntryFilter::default() };
    let mut tx = books.platform().await;
    let in_november = ledger::entries(&mut tx, &count(november())).await.unwrap();
    assert_eq!(in_november.len(), 1);
    let december = NaiveDate::from_ymd_opt(2026, 12, 1).unwrap();
    let in_december = ledger::entries(&mut tx, &count(december)).await.unwrap();
    assert!(in_december.len() >= 2);
    let sums = |entries: &[ledger::Entry]| -> i64 {
        entries.iter().flat_map(|e| &e.postings).map(|p| p.amount.minor.max(0)).sum()
    };
    assert_eq!(sums(&in_november), 5500);
    assert_eq!(books.owed(0).await, 210, "3 % of 100.00, seven tenths of it");
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn a_month_is_closed_when_it_is_over() {
    let books = Books::new("marginal").await;
    let mut tx = books.platform().await;
    let closed = ClosePeriod::close(&mut tx, books.agency, november(), at(30, 0)).await;
    assert!(matches!(closed, Err(CloseFault::NotOver(month)) if month == november()));
}

#[tokio::test]
async fn nothing_can_be_entered_into_a_closed_month_whoever_tries() {
    let books = Books::new("marginal").await;
    books.book(&[books.deal(0, 150_000, at(3, 0))]).await;
    close(&books).await;
    for month in ["2026-11-01", "2026-10-01"] {
        let entry = sqlx::AssertSqlSafe(format!(
            "insert into ledger.entries (id, key, content_hash, agency_id, period, kind, occurred_at, explanation)
             select gen_random_uuid(), 'late {month}', content_hash, agency_id, '{month}', kind, occurred_at, '{{}}'
             from ledger.entries limit 1"
        ));
        let refused =
            sqlx::raw_sql(entry).execute(&mut books.test.owner().await).await.unwrap_err();
        let refused = refused.into_database_error().unwrap();
        assert_eq!(refused.constraint(), Some("entries_period_open"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_waits_for_bookings_that_are_under_way() {
    let books = Books::new("marginal").await;
    let deal = books.deal(0, 150_000, at(3, 0));
    // An entry that is not committed yet.
    let mut under_way = books.platform().await;
    let taken = booked_in(&mut under_way, &books, &deal).await;
    assert!(taken);
    let db = books.db.clone();
    let agency = books.agency;
    let closing = tokio::spawn(async move {
        let mut tx = db.begin(switchyard_store::Scope::Platform).await.unwrap();
        let closed = ledger::close(&mut tx, agency, november()).await.unwrap();
        tx.commit().await.unwrap();
        closed
    });
    // It waits as soon as somebody waits for the books' lock.
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())";
    while books.count(waits).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    under_way.commit().await.unwrap();
    let closed = closing.await.unwrap();
    let got: i64 = closed.figures.iter().map(|f| f.got).sum();
    assert_eq!(got, 70, "it sees what it waited for");
}

async fn booked_in(
    tx: &mut switchyard_store::Tx,
    books: &Books,
    deal: &switchyard_domain::commission::CommissionEvent,
) -> bool {
    use switchyard_store::ledger::{Account, EntryKind, NewEntry, Owner};
    let currency = super::support::eur(0).currency;
    let entry = NewEntry {
        key: "under way".into(),
        agency: books.agency,
        kind: EntryKind::Commission,
        agent: Some(deal.agent),
        event: None,
        lead: None,
        occurred_at: deal.occurred_at,
        explanation: serde_json::json!({}),
        postings: vec![
            (Account::payable(Owner::Agent(deal.agent), books.agency, currency), 70),
            (Account::expense(currency), -70),
        ],
    };
    !ledger::post(tx, &[entry]).await.unwrap()[0].replayed
}

#[tokio::test]
async fn a_period_keeps_the_version_of_the_plan_that_it_began_with() {
    use switchyard_store::commissions::{self, NewVersion, PlanId, VersionFault};
    let books = Books::new("marginal").await;
    books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
    let mut tx = books.platform().await;
    let plan = commissions::find(&mut tx, "test").await.unwrap().unwrap();
    let mut document = super::support::plan("marginal");
    document["version"] = 2.into();
    document["valid_from"] = "2026-11-15".into();
    document["tiers"][0]["rate"] = "50".into();
    let valid_from = at(15, 0);
    let rules = |document: &serde_json::Value| serde_json::from_value(document.clone()).unwrap();
    let version = NewVersion {
        plan: PlanId(plan.id),
        rules: rules(&document),
        valid_from,
        by: "test".into(),
    };
    assert_eq!(commissions::add_version(&mut tx, &version).await.unwrap(), 2);
    let again = commissions::add_version(&mut tx, &version).await;
    assert!(matches!(again, Err(VersionFault::Number { said: 2, next: 3 })), "{again:?}");
    document["version"] = 3.into();
    let early = NewVersion { rules: rules(&document), valid_from: at(14, 0), ..version };
    let early = commissions::add_version(&mut tx, &early).await;
    assert!(matches!(early, Err(VersionFault::TooEarly(at)) if at == valid_from), "{early:?}");
    tx.commit().await.unwrap();
    books.book(&[books.deal(0, 10_000, at(20, 0)), books.deal(1, 10_000, at(21, 0))]).await;
    assert_eq!(
        (books.owed(0).await, books.owed(1).await),
        (420, 210),
        "November began with version 1"
    );
    let december = at(30, 0) + chrono::Duration::days(3);
    books.book(&[books.deal(1, 10_000, december)]).await;
    assert_eq!(books.owed(1).await, 210 + 3500);
    assert_eq!(books.recomputed(false).await.differing, 0);
}
