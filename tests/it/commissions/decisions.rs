//! Decisions about agents that no plan can use: they are refused with the reason, and stand as soon as
//! one can.

use super::support::{Books, at, plan};
use chrono::DateTime;
use switchyard_domain::commission::EventKind;
use switchyard_store::commissions::{self, NewAssignment, NewPlan, NewVersion};

fn diamond() -> EventKind {
    EventKind::TierChanged { tier: Some("diamond".into()) }
}

#[tokio::test]
async fn a_decision_that_no_plan_can_use_is_refused_with_the_reason() {
    let books = Books::new("marginal").await;
    let decision = books.decide(0, diamond(), at(1, 0));
    let known = books.decide(0, EventKind::TierChanged { tier: Some("silver".into()) }, at(2, 0));
    books.book(&[decision.clone(), known.clone(), books.deal(0, 10_000, at(3, 0))]).await;
    let (state, reason) = books.state(&decision).await;
    assert_eq!(state, "refused");
    let reason = reason.expect("a reason");
    assert!(reason.contains("no tier of that name") && reason.contains("plan test"), "{reason}");
    assert_eq!(books.state(&known).await, ("booked".to_owned(), None));
    assert_eq!(books.owed(0).await, 350, "silver, seven tenths of 5 %");
    let mut tx = books.platform().await;
    let [told] = &commissions::about(&mut tx, decision.id.0).await.unwrap()[..] else {
        panic!("one event")
    };
    assert_eq!(told.in_words(), format!("Refused: {reason}."));
    assert_eq!(commissions::backlog(&mut tx).await.unwrap().refused, 1);
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn a_refused_decision_stands_from_the_moment_that_a_plan_can_use_it() {
    let books = Books::new("marginal").await;
    let decision = books.decide(1, diamond(), at(1, 0));
    books.book(&[decision.clone(), books.deal(1, 10_000, at(2, 0))]).await;
    assert_eq!(books.state(&decision).await.0, "refused");
    assert_eq!(books.owed(1).await, 210, "bronze: the decision changes nothing");

    let mut document = plan("marginal");
    document["name"] = "gems".into();
    document["tiers"][2]["name"] = "diamond".into();
    let rules = serde_json::from_value(document).unwrap();
    let mut tx = books.platform().await;
    let new = NewPlan { agency: None, code: "gems".into(), name: "Gems".into() };
    let gems = commissions::create(&mut tx, &new).await.unwrap();
    let valid_from = DateTime::UNIX_EPOCH;
    let version = NewVersion { plan: gems, rules, valid_from, by: "test".into() };
    commissions::add_version(&mut tx, &version).await.unwrap();
    let own = NewAssignment {
        agent: Some(books.agents[1]),
        valid_from: Some(at(10, 0)),
        by: "test".into(),
        ..NewAssignment::default()
    };
    commissions::assign(&mut tx, gems, &own).await.unwrap();
    tx.commit().await.unwrap();

    books.book(&[books.deal(1, 10_000, at(11, 0))]).await;
    assert_eq!(books.state(&decision).await, ("booked".to_owned(), None));
    assert_eq!(books.owed(1).await, 210 + 490, "seven tenths of 7 %");
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.unusable.len()), (0, 0), "{found:?}");
}
