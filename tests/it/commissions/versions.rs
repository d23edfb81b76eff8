//! Which version of a plan a deal falls under, put in force by the program itself.

use super::support::{Books, at, plan};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

fn document(version: u32, rate: &str) -> Value {
    json!({
        "format": 1, "name": "field", "version": version, "currencies": ["EUR"],
        "tiers": [{ "name": "one", "from": "0", "rate": rate }]
    })
}

fn when(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// `plans apply`, with what it says on success.
async fn apply(books: &Books, document: &Value, more: &[&str]) -> Value {
    let said = books
        .say(
            &[("plan.json", document)],
            &[&["--json", "plans", "apply", "plan.json"], more].concat(),
        )
        .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    said.json()
}

#[tokio::test]
async fn a_version_governs_the_periods_that_begin_when_it_was_put_in_force() {
    let books = Books::under(None, 3).await;
    apply(&books, &document(1, "5"), &["--from", "2020-01-01"]).await;
    assert_eq!(books.say(&[], &["plans", "assign", "field"]).await.code, Some(0));
    apply(&books, &document(2, "50"), &["--from", "2026-12-01"]).await;
    let deals = [
        books.deal(0, 10_000, at(3, 0)),
        books.deal(1, 10_000, when("2026-08-03T00:00:00Z")),
        books.deal(2, 10_000, when("2026-12-01T00:00:00Z")),
    ];
    books.book(&deals).await;
    let owed = [books.owed(0).await, books.owed(1).await, books.owed(2).await];
    assert_eq!(owed, [500, 500, 5_000], "November and August began with version 1");
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn the_document_and_the_command_name_one_beginning() {
    let books = Books::under(None, 1).await;
    apply(&books, &document(1, "5"), &["--from", "2020-01-01"]).await;
    let mut second = document(2, "6");
    second["valid_from"] = "2027-02-01".into();
    second["time_zone"] = "Europe/Warsaw".into();
    let files = [("plan.json", &second)];
    let apply_from = ["plans", "apply", "plan.json", "--from", "2027-03-01"];
    let said = books.say(&files, &apply_from).await;
    assert!(said.code == Some(1) && said.err.contains("name one day only"), "{said:?}");
    let shown = books.say(&[], &["--json", "plans", "show", "field"]).await.json();
    assert_eq!(shown["version"], 1, "nothing was stored");
    // The document's day alone, in the plan's own calendar.
    apply(&books, &second, &[]).await;
    let shown = books.say(&[], &["--json", "plans", "show", "field"]).await.json();
    assert_eq!(shown["valid_from"], "2027-01-31T23:00:00Z");
    // And a day of the command is one of that calendar too.
    let mut third = document(3, "7");
    third["time_zone"] = "Europe/Warsaw".into();
    apply(&books, &third, &["--from", "2027-04-01"]).await;
    let shown = books.say(&[], &["--json", "plans", "show", "field"]).await.json();
    assert_eq!(shown["valid_from"], "2027-03-31T22:00:00Z");
}

#[tokio::test]
async fn a_plan_that_is_named_default_is_the_one_that_holds_for_everybody() {
    let books = Books::under(None, 1).await;
    let mut own = document(1, "10");
    own["name"] = "default".into();
    let agency = books.agency.to_string();
    let files = [("plan.json", &own)];
    let said = books.say(&files, &["plans", "apply", "plan.json", "--agency", &agency]).await;
    assert!(said.code == Some(1) && said.err.contains("leave --agency out"), "{said:?}");
    // Before anything was booked.
    apply(&books, &own, &[]).await;
    let deal = books.deal(0, 10_000, at(3, 0));
    books.book(std::slice::from_ref(&deal)).await;
    assert_eq!(books.state(&deal).await, ("booked".to_owned(), None));
    assert_eq!(books.owed(0).await, 1_000);
}

#[tokio::test]
async fn the_first_deal_of_a_lifetime_chooses_the_version_whenever_it_is_heard_of() {
    let mut lifetime = plan("marginal");
    lifetime["window"] = "lifetime".into();
    let books = Books::under(Some(lifetime.clone()), 1).await;
    lifetime["version"] = 2.into();
    lifetime["tiers"][0]["rate"] = "30".into();
    books.version(&lifetime, when("2026-12-01T00:00:00Z")).await;
    let version = "select plan_version::int8 from switchyard.commission_groups";
    books.book(&[books.deal(0, 10_000, when("2026-12-05T00:00:00Z"))]).await;
    assert_eq!((books.owed(0).await, books.count(version).await), (2_100, 2));
    books.book(&[books.deal(0, 10_000, at(3, 0))]).await;
    assert_eq!((books.owed(0).await, books.count(version).await), (2 * 210, 1));
    // A later one goes on from there.
    books.book(&[books.deal(0, 10_000, when("2027-01-05T00:00:00Z"))]).await;
    assert_eq!((books.owed(0).await, books.count(version).await), (3 * 210, 1));
    assert_eq!(books.recomputed(false).await.differing, 0);
}
