//! What a recomputation finds beside lines that differ, and what posting cannot mend.

use super::support::{Books, at, eur};
use serde_json::json;
use switchyard_domain::AgentId;
use switchyard_domain::commission::EventKind;
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
use uuid::Uuid;

/// An entry that no event explains, for an agent or, though an agent gets it, for nobody.
async fn loose(books: &Books, agent: AgentId, of: Option<AgentId>) {
    let entry = NewEntry {
        key: format!("by hand {}", Uuid::now_v7()),
        agency: books.agency,
        kind: EntryKind::Commission,
        agent: of,
        event: None,
        lead: None,
        occurred_at: at(3, 0),
        explanation: json!({}),
        postings: vec![
            (Account::payable(Owner::Agent(agent), books.agency, eur(0).currency), 70),
            (Account::expense(eur(0).currency), -70),
        ],
    };
    let mut tx = books.platform().await;
    ledger::post(&mut tx, &[entry]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_entry_that_no_event_explains_is_found_and_is_left_after_posting() {
    let books = Books::new("marginal").await;
    // Of an agent with deals, and of one of whom only the ledger knows.
    books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
    loose(&books, books.agents[0], Some(books.agents[0])).await;
    loose(&books, books.agents[1], Some(books.agents[1])).await;
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.left), (4, 0), "{found:?}");
    let whose: Vec<bool> = books
        .agents
        .iter()
        .map(|a| found.differences.iter().any(|d| d.agent == Some(*a)))
        .collect();
    assert_eq!(whose, [true, true]);
    assert!(found.differences.iter().all(|d| d.event.is_none() && d.entry.is_some()));
    let said = books.say(&[], &["--json", "commission", "recompute", "--post"]).await;
    assert_eq!(said.code, Some(1), "nothing was mended: {said:?}");
    assert_eq!((&said.json()["posted"], &said.json()["left"]), (&json!(0), &json!(4)));
}

#[tokio::test]
async fn what_posting_mends_is_not_left() {
    let books = Books::new("marginal").await;
    let deal = books.deal(0, 10_000, at(3, 0));
    books.book(std::slice::from_ref(&deal)).await;
    let wrong =
        "update switchyard.commission_events set document = jsonb_set(document, '{amount,minor}',
           '20100') where id = $1";
    sqlx::query(wrong).bind(deal.id.0).execute(&mut books.test.owner().await).await.unwrap();
    let said = books.say(&[], &["--json", "commission", "recompute", "--post"]).await;
    assert_eq!((said.code, &said.json()["left"]), (Some(0), &json!(0)), "{said:?}");
}

#[tokio::test]
async fn a_leftover_is_charged_to_the_agent_that_it_was_booked_for() {
    let books = Books::new("marginal").await;
    let deals = [0, 1].map(|agent| books.deal(agent, 10_000, at(3, 0)));
    books.book(&deals).await;
    for deal in &deals {
        // The event is gone; what was booked for it stays, and agents come by the order of their ids.
        let mut owner = books.test.owner().await;
        let gone = "delete from switchyard.commission_events where id = $1";
        sqlx::query(gone).bind(deal.id.0).execute(&mut owner).await.unwrap();
        let found = books.recomputed(false).await;
        let own = found.differences.iter().filter(|d| d.event == Some(deal.id));
        let own: Vec<AgentId> = own.filter_map(|d| d.agent).collect();
        assert!(!own.is_empty() && own.iter().all(|a| *a == deal.agent), "{found:?}");
    }
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_makes_no_differences() {
    let books = Books::new("marginal").await;
    let deal = books.deal(0, 10_000, at(3, 0));
    let refund = books.about(&deal, EventKind::RefundedPartly, Some(1_000), at(4, 0));
    books.book(&[deal, refund]).await;
    let mut owner = books.test.owner().await;
    for broken in [
        "alter table switchyard.commission_plan_versions disable trigger append_only",
        "update switchyard.commission_plan_versions set document = '{}'",
    ] {
        sqlx::query(broken).execute(&mut owner).await.unwrap();
    }
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.unusable.len()), (0, 1), "{found:?}");
    let said = books.say(&[], &["commission", "recompute", "--post"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[tokio::test]
async fn an_entry_that_is_nobodys_is_found_and_so_is_one_of_an_unknown_kind() {
    let books = Books::new("marginal").await;
    loose(&books, books.agents[0], None).await;
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.differences[0].agent), (2, None), "{found:?}");
    let said = books.say(&[], &["commission", "recompute", "--post"]).await;
    assert_eq!((said.code, said.out.contains("nobody")), (Some(1), true), "{said:?}");
    // Whoever owns the server calls it something else.
    let mut owner = books.test.owner().await;
    sqlx::query("alter table ledger.entries disable trigger append_only")
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query("update ledger.entries set kind = 'bonus', agent_id = $1")
        .bind(books.agents[0].0)
        .execute(&mut owner)
        .await
        .unwrap();
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.differences[0].agent), (2, Some(books.agents[0])));
}

#[tokio::test]
async fn a_decision_that_waits_for_its_booking_makes_no_difference() {
    let books = Books::new("marginal").await;
    books.book(&[0, 1].map(|agent| books.deal(agent, 10_000, at(3, 0)))).await;
    let gold = EventKind::TierChanged { tier: Some("gold".into()) };
    let decided = books.decide(0, gold, at(1, 0));
    books.record(std::slice::from_ref(&decided)).await.unwrap();
    let found = books.recomputed(false).await;
    assert_eq!((found.differing, found.waiting), (0, 1), "{found:?}");
    books.run(std::slice::from_ref(&decided)).await;
    assert_eq!((books.owed(0).await, books.owed(1).await), (490, 210));
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn deals_that_no_plan_could_be_used_for_are_booked_when_there_is_one() {
    let books = Books::new("marginal").await;
    let mut owner = books.test.owner().await;
    let keep =
        "create temporary table kept as select document from switchyard.commission_plan_versions
       where document->>'name' = 'test'";
    for statement in [
        keep,
        "alter table switchyard.commission_plan_versions disable trigger append_only",
        "update switchyard.commission_plan_versions set document = '{}'",
    ] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    }
    let deal = books.deal(0, 10_000, at(3, 0));
    let refund = books.about(&deal, EventKind::RefundedPartly, Some(4_000), at(4, 0));
    books.book(&[deal.clone(), refund.clone()]).await;
    assert_eq!(books.state(&deal).await.0, "refused");
    assert_eq!((books.owed(0).await, books.recomputed(false).await.differing), (0, 0));
    let mended = "update switchyard.commission_plan_versions set document = k.document from kept k
       where commission_plan_versions.document = '{}'";
    sqlx::query(mended).execute(&mut owner).await.unwrap();
    let found = books.recomputed(false).await;
    assert!(found.differing > 0 && found.unusable.is_empty(), "{found:?}");
    let said = books.say(&[], &["--json", "commission", "recompute", "--post"]).await;
    assert_eq!((said.code, &said.json()["left"]), (Some(0), &json!(0)), "{said:?}");
    // 3 % of what is left of it, and 70 % of that.
    assert_eq!(books.owed(0).await, 126);
    for event in [&deal, &refund] {
        assert_eq!(books.state(event).await, ("booked".to_owned(), None));
    }
    books.assert_sound().await;
    assert_eq!(books.recomputed(false).await.differing, 0);
}
