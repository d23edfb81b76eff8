//! What events come to, through the job that books them.

use super::support::{Books, at, eur, new_agency, new_agent};
use switchyard_domain::commission::EventKind;
use switchyard_store::Scope;
use switchyard_store::commissions::RecordFault;
use switchyard_store::ledger::{self, EntryFilter, EntryKind};

#[tokio::test]
async fn a_deal_is_shared_to_the_cent_and_every_entry_says_why() {
    let books = Books::new("marginal").await;
    // 1,000 at 3 % and 500 at 5 %: 55.00, shared 38.50, 11.00 and 5.50.
    let deal = books.deal(0, 150_000, at(3, 0));
    books.book(std::slice::from_ref(&deal)).await;
    let filter = EntryFilter { limit: 9, ..Default::default() };
    let all = ledger::entries(&mut books.platform().await, &filter).await.unwrap();
    assert_eq!(all.len(), 1);
    let amounts: Vec<i64> = all[0].postings.iter().map(|p| p.amount.minor).collect();
    let mut sorted = amounts.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [-5500, 550, 1100, 3850]);
    assert_eq!(amounts.last(), Some(&-5500), "the platform's expense stands last");
    assert_eq!((all[0].event, all[0].lead), (Some(deal.id), deal.lead));
    let why = &all[0].explanation;
    assert_eq!(why["line"]["commission"]["minor"], 5500);
    assert_eq!(why["plan"]["period"], "2026-11");
    assert!(why["line"]["sentence"].as_str().unwrap().contains("1,500.00 EUR"), "{why}");
}

#[tokio::test]
async fn the_same_event_again_books_nothing_and_another_under_its_id_is_refused() {
    let books = Books::new("marginal").await;
    let deal = books.deal(0, 100_000, at(3, 0));
    books.book(std::slice::from_ref(&deal)).await;
    let before = books.balances().await;
    let mut heard_later = deal.clone();
    heard_later.received_at = at(20, 0);
    assert_eq!(books.record(&[heard_later.clone(), deal.clone()]).await.unwrap(), 0);
    books.run(&[deal.clone(), heard_later]).await;
    assert_eq!(books.balances().await, before);
    let mut other = deal.clone();
    other.amount = Some(eur(100_001));
    let refused = books.record(&[other]).await.unwrap_err();
    assert!(matches!(refused, RecordFault::OtherContent(id) if id == deal.id), "{refused}");
    let twice = books.deal(0, 5, at(3, 1));
    let mut unlike = twice.clone();
    unlike.amount = Some(eur(6));
    assert!(books.record(&[twice, unlike]).await.is_err(), "also within one call");
}

#[tokio::test]
async fn a_refund_across_a_tier_takes_back_what_later_deals_gained_by_it() {
    let books = Books::new("marginal").await;
    let first = books.deal(0, 100_000, at(3, 0));
    let second = books.deal(0, 100_000, at(4, 0));
    books.book(&[first.clone(), second.clone()]).await;
    // 30.00 + 50.00, seven tenths of it.
    assert_eq!(books.owed(0).await, 5600);
    let refund = books.about(&first, EventKind::Refunded, None, at(5, 0));
    books.book(std::slice::from_ref(&refund)).await;
    // The second deal is the first one now: 30.00.
    assert_eq!(books.owed(0).await, 2100);
    assert_eq!(books.recomputed(false).await.differing, 0);
    let all = EntryFilter { limit: 9, ..EntryFilter::default() };
    let entries = ledger::entries(&mut books.platform().await, &all).await.unwrap();
    let of_second: Vec<_> = entries.iter().filter(|e| e.event == Some(second.id)).collect();
    assert_eq!(of_second.len(), 2, "the deal, and what changed in it");
    assert!(of_second.iter().all(|e| e.kind == EntryKind::Commission));
}

#[tokio::test]
async fn a_refund_that_comes_before_its_deal_waits_for_it() {
    let books = Books::new("retroactive").await;
    let deal = books.deal(0, 100_000, at(3, 0));
    let refund = books.about(&deal, EventKind::RefundedPartly, Some(40_000), at(5, 0));
    books.book(std::slice::from_ref(&refund)).await;
    let (state, reason) = books.state(&refund).await;
    assert_eq!(state, "waiting");
    assert!(reason.unwrap().contains("conversion"));
    assert!(books.balances().await.is_empty());
    books.book(std::slice::from_ref(&deal)).await;
    assert_eq!(books.state(&refund).await, ("booked".to_owned(), None));
    // 600 at 3 %: 18.00.
    assert_eq!(books.owed(0).await, 1260);
    let lost = books.about(&books.deal(0, 1, at(1, 0)), EventKind::Refunded, None, at(5, 0));
    books.book(std::slice::from_ref(&lost)).await;
    assert_eq!(books.recomputed(false).await.waiting, 1);
}

#[tokio::test]
async fn what_cannot_be_booked_is_refused_with_its_reason_and_holds_nothing_up() {
    let books = Books::new("marginal").await;
    let mut zloty = books.deal(0, 100_000, at(3, 0));
    zloty.amount = "PLN".parse().ok().map(|c| switchyard_domain::money::Money::new(5, c));
    let fine = books.deal(0, 100_000, at(3, 1));
    let of_refused = books.about(&zloty, EventKind::Refunded, None, at(4, 0));
    books.book(&[zloty.clone(), fine, of_refused.clone()]).await;
    let (state, reason) = books.state(&zloty).await;
    assert_eq!(state, "refused");
    assert!(reason.unwrap().contains("currency"));
    assert_eq!(books.state(&of_refused).await.0, "refused");
    assert_eq!(books.owed(0).await, 2100);
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.waiting), (0, 0));
}

#[tokio::test]
async fn a_decision_changes_the_agents_deals_from_then_on_and_no_others() {
    let books = Books::new("marginal").await;
    let (early, late) = (books.deal(0, 10_000, at(3, 0)), books.deal(0, 10_000, at(8, 0)));
    let others = books.deal(1, 10_000, at(8, 0));
    books.book(&[early, late, others]).await;
    assert_eq!((books.owed(0).await, books.owed(1).await), (420, 210));
    let gold = EventKind::TierChanged { tier: Some("gold".into()) };
    books.book(&[books.decide(0, gold, at(5, 0))]).await;
    // 3 % of the first deal, 7 % of the second.
    assert_eq!((books.owed(0).await, books.owed(1).await), (210 + 490, 210));
    let more = books.deal(0, 10_000, at(9, 0));
    books.book(&[more]).await;
    assert_eq!(books.owed(0).await, 210 + 2 * 490);
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn where_nothing_was_assigned_the_standard_plan_holds() {
    let books = Books::under(None, 1).await;
    books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
    assert_eq!(books.owed(0).await, 500, "bronze, 5 %");
}

#[tokio::test]
async fn a_recomputation_finds_what_differs_and_posts_it_when_told_to() {
    let books = Books::new("marginal").await;
    let deals: Vec<_> = (0..30).map(|n| books.deal(n % 2, 20_000, at(3, n as i64))).collect();
    books.book(&deals).await;
    let before = books.balances().await;
    // A booking that no event explains, by the rules of the ledger.
    let mut owner = books.test.owner().await;
    let wrong =
        "update switchyard.commission_events set document = jsonb_set(document, '{amount,minor}',
      '20100') where id = $1";
    sqlx::query(wrong).bind(deals[0].id.0).execute(&mut owner).await.unwrap();
    let found = books.recomputed(false).await;
    assert!(found.differing > 0 && found.posted == 0, "{found:?}");
    assert!(found.differences.iter().any(|d| d.event == Some(deals[0].id)));
    assert_eq!(books.balances().await, before, "looking changes nothing");
    let posted = books.recomputed(true).await;
    assert!(posted.posted > 0);
    assert_eq!(books.recomputed(false).await.differing, 0);
    assert_ne!(books.balances().await, before);
    books.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookings_of_one_agent_at_once_are_as_one_after_another() {
    let (at_once, one_by_one) = (Books::new("retroactive").await, Books::new("retroactive").await);
    let amounts = (0..24).map(|n| 10_000 + n * 137);
    let deals: Vec<_> = amounts.clone().map(|a| at_once.deal(0, a, at(3, a))).collect();
    // Recorded apart, so that every booking finds others under way.
    for deal in &deals {
        at_once.record(std::slice::from_ref(deal)).await.unwrap();
    }
    let twice: Vec<_> = deals.iter().chain(deals.iter().rev()).cloned().collect();
    at_once.run(&twice).await;
    at_once.assert_sound().await;
    for amount in amounts {
        one_by_one.book(&[one_by_one.deal(0, amount, at(3, amount))]).await;
    }
    assert_eq!(at_once.owed(0).await, one_by_one.owed(0).await);
    assert_eq!(at_once.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn an_agency_sees_its_own_books_only() {
    let books = Books::new("marginal").await;
    let mut owner = books.test.owner().await;
    let other = new_agency(&mut owner, "other").await;
    let agent = new_agent(&mut owner, other, "theirs").await;
    let mut theirs = books.deal(0, 50_000, at(3, 0));
    (theirs.agency, theirs.agent) = (other, agent);
    books.book(&[books.deal(0, 10_000, at(3, 0)), theirs.clone()]).await;
    for (agency, event) in [(other, true), (books.agency, false)] {
        let mut tx = books.db.begin(Scope::Tenant(agency)).await.unwrap();
        let all = EntryFilter { limit: 9, ..EntryFilter::default() };
        let entries = ledger::entries(&mut tx, &all).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].agency, agency);
        assert_eq!(entries[0].postings.iter().map(|p| p.amount.minor).sum::<i64>(), 0);
        let accounts = ledger::balances(&mut tx, None, None, 99).await.unwrap();
        assert!(accounts.iter().all(|b| b.account.agency == Some(agency)), "{accounts:?}");
        assert_eq!(accounts.len(), 2);
        let seen = switchyard_store::commissions::state(&mut tx, theirs.id).await.unwrap();
        assert_eq!(seen.is_some(), event);
    }
    let mut nobody = books.test.owner().await;
    sqlx::raw_sql("set role switchyard_app").execute(&mut nobody).await.unwrap();
    for table in [
        "ledger.entries",
        "ledger.postings",
        "ledger.accounts",
        "ledger.log",
        "switchyard.commission_events",
        "switchyard.commission_groups",
    ] {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut nobody).await.unwrap();
        assert_eq!(seen, 0, "{table} without a scope");
    }
}
