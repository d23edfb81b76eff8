//! The whole way of a sale by the program: sold, taken back in part, explained; in a currency with three
//! decimals, up to the largest amount.

use super::support::Books;
use serde_json::json;
use switchyard_catalog::lead_work::{self, Actor, Entered};
use switchyard_catalog::line::Cause;
use switchyard_domain::commission::{CommissionEvent, LARGEST_AMOUNT};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{CommissionEventId, LeadId};
use switchyard_store::commissions;
use switchyard_store::ledger::{self, Account, Owner};
use switchyard_tests::program::Said;

/// A lead that the agency entered, and has accepted by that.
async fn lead(books: &Books, email: &str) -> LeadId {
    let fields = json!({
        "first_name": "Jan", "email": email, "country": "PL", "postal_code": "00-950",
    });
    let by = Actor { agency: Some(books.agency), name: format!("agency:{}", books.agency) };
    let mut tx = books.platform().await;
    let entered = lead_work::enter(&mut tx, &fields, &by, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    let Entered::New(lead) = entered else { panic!("a new lead: {entered:?}") };
    lead
}

async fn convert(books: &Books, lead: LeadId, amount: &str) -> Said {
    let lead = lead.to_string();
    let args = ["--json", "leads", "convert", &lead, "--amount", amount, "--currency", "KWD"];
    books.say(&[], &args).await
}

/// The event that a command's answer names, booked as a worker does.
async fn booked(books: &Books, said: &Said) -> CommissionEvent {
    assert_eq!(said.code, Some(0), "{said:?}");
    let id = CommissionEventId(said.json()["event_id"].as_str().unwrap().parse().unwrap());
    let mut tx = books.platform().await;
    let event = commissions::event(&mut tx, id).await.unwrap().event;
    tx.rollback().await.unwrap();
    books.run(std::slice::from_ref(&event)).await;
    books.assert_sound().await;
    event
}

#[tokio::test]
async fn a_sale_is_recorded_taken_back_in_part_and_explained_by_commands() {
    let books = Books::under(None, 1).await;
    let lead = lead(&books, "jan@example.com").await;
    booked(&books, &convert(&books, lead, "1000.000").await).await;
    let id = lead.to_string();
    let part = ["--lead", &id, "--amount", "250.010", "--currency", "KWD"];
    let refund = [&["--json", "commission", "record", "refunded_partly"][..], &part].concat();
    booked(&books, &books.say(&[], &refund).await).await;
    let told = books.say(&[], &["commission", "explain", &id]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    // 5 % of 1,000.000, and of the 749.990 that are left: 37.4995, half to the even one.
    for words in
        ["50.000 KWD", "-12.500 KWD", "1,000.000 at 5 %", "tier bronze", "not yet in the log"]
    {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
    let kwd = Currency::of("KWD").unwrap();
    let account = Account::payable(Owner::Agent(books.agents[0]), books.agency, kwd);
    let owed = ledger::balance(&mut books.platform().await, &account).await.unwrap();
    assert_eq!(owed, Money::new(37_500, kwd));
    assert_eq!(books.recomputed(false).await.differing, 0);
}

#[tokio::test]
async fn the_largest_sale_is_booked_and_a_larger_one_is_refused() {
    let books = Books::under(None, 1).await;
    let lead = lead(&books, "jan@example.com").await;
    let most = Money::new(LARGEST_AMOUNT, Currency::of("KWD").unwrap());
    let more = Money::new(LARGEST_AMOUNT + 1, most.currency);
    for unfit in [more.units(), "0".to_owned()] {
        let refused = convert(&books, lead, &unfit).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("10^15 minor units"), "{refused:?}");
    }
    let sale = booked(&books, &convert(&books, lead, &most.units()).await).await;
    assert_eq!(sale.amount, Some(most));
    let balances = books.balances().await;
    assert!(balances.values().any(|minor| *minor == LARGEST_AMOUNT / 20), "{balances:?}");
    let again = convert(&books, lead, &most.units()).await;
    assert_eq!((again.code, &again.json()["new"]), (Some(0), &json!(false)), "{again:?}");
}
