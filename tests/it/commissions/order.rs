//! Any order, repetition and division of a set of events comes to the same.

use super::support::{Books, at, plan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use switchyard_domain::commission::{CommissionEvent, EventKind};
use uuid::Uuid;

const LIFETIME: &str = "lifetime";

/// What happens to one deal, and when, in minutes of the month.
#[derive(Clone, Debug)]
struct Story {
    agent: usize,
    minor: i64,
    minute: i64,
    then: Vec<(u8, i64, i64)>,
}

fn story() -> impl Strategy<Value = Story> {
    let then = prop::collection::vec((0_u8..7, 1_i64..120_000, 0_i64..30_000), 0..3);
    (0_usize..2, 1_i64..150_000, 0_i64..30_000, then)
        .prop_map(|(agent, minor, minute, then)| Story { agent, minor, minute, then })
}

/// Orders, repetitions and divisions are decided by these.
fn tale() -> impl Strategy<Value = (Vec<Story>, Vec<(u32, u8)>)> {
    prop::collection::vec(story(), 1..9).prop_flat_map(|stories| {
        let most = stories.iter().map(|s| 1 + s.then.len()).sum::<usize>() + 2;
        (Just(stories), prop::collection::vec((any::<u32>(), 0_u8..12), most))
    })
}

/// Of a lifetime plan there is a second version, from December on.
async fn books(mode: &str) -> Books {
    if mode != LIFETIME {
        return Books::new(mode).await;
    }
    let mut document = plan("marginal");
    document["window"] = "lifetime".into();
    let books = Books::under(Some(document.clone()), 2).await;
    document["version"] = 2.into();
    document["valid_from"] = "2026-12-01".into();
    for (tier, rate) in ["11", "13", "17"].into_iter().enumerate() {
        document["tiers"][tier]["rate"] = rate.into();
    }
    books.version(&document, "2026-12-01T00:00:00Z".parse().unwrap()).await;
    books
}

fn events(books: &Books, stories: &[Story], mode: &str) -> Vec<CommissionEvent> {
    // Over four months, so that the versions of all of them are met.
    let spread = if mode == LIFETIME { 4 } else { 1 };
    let mut all = Vec::new();
    for s in stories {
        let deal = books.deal(s.agent, s.minor, at(1, s.minute * spread));
        for (kind, minor, later) in &s.then {
            let when = at(1, s.minute * spread + later);
            let (kind, amount) = match kind {
                0 => (EventKind::Refunded, None),
                1 => (EventKind::ChargedBack, None),
                2 => (EventKind::Cancelled, None),
                3 => (EventKind::Corrected, Some(*minor)),
                _ => (EventKind::RefundedPartly, Some((*minor).min(s.minor))),
            };
            all.push(books.about(&deal, kind, amount, when));
        }
        all.push(deal);
    }
    let silver = EventKind::TierChanged { tier: Some("silver".into()) };
    all.push(books.decide(0, silver, at(9, 0)));
    all.push(books.decide(1, EventKind::TierChanged { tier: None }, at(4, 0)));
    all
}

/// Balances of the same deals in another database: there the ids of agents differ, so amounts are
/// told apart by whose they are.
async fn owed(books: &Books) -> (Vec<i64>, Vec<i64>) {
    let mut all: Vec<i64> = books.balances().await.into_values().collect();
    all.sort_unstable();
    (vec![books.owed(0).await, books.owed(1).await], all)
}

async fn same_however_they_come(mode: &str, stories: &[Story], chance: &[(u32, u8)]) {
    let (plain, mixed) = (books(mode).await, books(mode).await);
    let in_order = events(&plain, stories, mode);
    plain.book(&in_order).await;
    let mut order: Vec<(u32, u8, CommissionEvent)> = events(&mixed, stories, mode)
        .into_iter()
        .zip(chance)
        .map(|(event, (place, division))| (*place, *division, event))
        .collect();
    // Some come twice, at other places.
    let again: Vec<_> = order
        .iter()
        .filter(|(_, division, _)| *division < 3)
        .map(|(place, division, event)| (place.rotate_left(7), *division, event.clone()))
        .collect();
    order.extend(again);
    order.sort_by_key(|(place, ..)| *place);
    let mut batch: Vec<CommissionEvent> = Vec::new();
    let last = order.len() - 1;
    for (n, (_, division, event)) in order.into_iter().enumerate() {
        if !batch.iter().any(|e| e.id == event.id) {
            batch.push(event);
        }
        if division % 3 == 0 || n == last {
            mixed.book(&batch).await;
            batch.clear();
        }
    }
    assert_eq!(owed(&mixed).await, owed(&plain).await, "{mode}");
    for books in [&plain, &mixed] {
        let found = books.recomputed(false).await;
        assert_eq!((found.differing, found.waiting), (0, 0), "{mode}: {found:?}");
        assert_eq!(sums(&books.balances().await), 0);
    }
}

fn sums(balances: &BTreeMap<Uuid, i64>) -> i64 {
    balances.values().sum()
}

fn walk(mode: &'static str) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut runner = TestRunner::new(Config { cases, max_shrink_iters: 60, ..Config::default() });
    runner
        .run(&tale(), |(stories, chance)| {
            runtime.block_on(same_however_they_come(mode, &stories, &chance));
            Ok(())
        })
        .unwrap();
}

#[test]
fn events_come_to_the_same_in_any_order_when_tiers_are_marginal() {
    walk("marginal");
}

#[test]
fn events_come_to_the_same_in_any_order_when_tiers_are_retroactive() {
    walk("retroactive");
}

#[test]
fn events_come_to_the_same_in_any_order_when_the_first_deal_chooses_the_version() {
    walk(LIFETIME);
}
