//! Commissions on screen: the leaderboard, payouts that wait, and why a line is what it is.

use super::support::{Ops, agency};
use chrono::Utc;
use reqwest::Method;
use serde_json::json;
use switchyard_catalog::lead_work::Actor;
use switchyard_catalog::line::Cause;
use switchyard_catalog::payouts::{self as paying, Wanted};
use switchyard_domain::AgentId;
use switchyard_domain::money::Currency;
use switchyard_domain::payment::PayoutRules;
use switchyard_store::ledger::{self, Account, EntryKind, NewEntry, Owner};
use switchyard_store::payouts::{self, Payee, PayoutMethod};
use switchyard_store::{Scope, agents};
use uuid::Uuid;

const EVIL: &str = "<script>alert(1)</script>\"'>";

#[tokio::test]
async fn what_waits_is_approved_on_screen_and_every_line_is_explained() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/commissions").await.contains("No payout yet"));
    let books = agency(&ops.db, "Nowak", "nowak", &[]).await;
    let (agent, euros) = (AgentId::new(), Currency::of("EUR").unwrap());
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    agents::upsert(&mut tx, agent, books, EVIL, None, None).await.unwrap();
    let owner = Owner::Agent(agent);
    let entry = NewEntry {
        key: "commission:1".to_owned(),
        agency: books,
        kind: EntryKind::Commission,
        agent: Some(agent),
        event: None,
        lead: None,
        occurred_at: Utc::now(),
        explanation: json!({ "plan": "standard" }),
        postings: vec![
            (Account::payable(owner, books, euros), 12_345),
            (Account::expense(euros), -12_345),
        ],
    };
    let entry = ledger::post(&mut tx, &[entry]).await.unwrap()[0].id;
    let payee = Payee {
        owner,
        agency: books,
        name: EVIL.to_owned(),
        iban: Some("PL61109010140000071219812874".to_owned()),
        bic: None,
        stripe_account: None,
    };
    payouts::set_payee(&mut tx, &payee, "admin:1").await.unwrap();
    let wanted = Wanted {
        agency: books,
        agent: Some(agent),
        currency: euros,
        amount: None,
        method: PayoutMethod::Csv,
    };
    let by = Actor { agency: Some(books), name: "agency:1".to_owned() };
    let rules = PayoutRules::default();
    let asked = paying::request(&mut tx, &wanted, &by, &rules, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();

    let list = session.page("/ops/commissions").await;
    assert!(list.contains("123.45 EUR") && list.contains("Approve"), "{list}");
    assert!(list.contains("&#60;script") && !list.contains(EVIL), "{list}");
    let act = |verb: &str| format!("/ops/commissions/payouts/{}/{verb}", asked.id);
    let (_, page) = session.press(&act("approve")).await;
    assert!(page.contains("The payout is approved."), "{page}");
    assert!(page.contains(&act("decline")), "it can still be turned down: {page}");
    let (_, page) = session.press("/ops/commissions/export/sepa").await;
    assert!(page.contains("Not done"), "nobody said from which account: {page}");
    let (_, page) = session.press("/ops/commissions/export/csv").await;
    assert!(page.contains("A file with 1 payouts is made."), "{page}");
    let (_, page) = session.press(&act("decline")).await;
    assert!(page.contains("Not done: the payout is `sent`"), "{page}");
    let (_, page) = session.press(&act("arrived")).await;
    assert!(page.contains("The payout has arrived"), "{page}");
    assert!(session.page("/ops/commissions?currency=PLN").await.contains("Nothing was booked"));

    let why = session.page(&format!("/ops/commissions/{}", entry.0)).await;
    assert!(
        why.contains("payable") && why.contains("-123.45 EUR") && why.contains("standard"),
        "{why}"
    );
    assert_eq!(session.get(&format!("/ops/commissions/{}", Uuid::nil())).await.0, 404);
    assert_eq!(session.get("/ops/commissions?currency=XXX").await.0, 400);
    // The month that runs is listed and cannot be closed; its statement has the payout.
    let month = Utc::now().format("%Y-%m").to_string();
    let periods = session.page("/ops/commissions/periods").await;
    assert!(periods.contains(&format!("/periods/{books}/{month}")), "{periods}");
    assert!(!periods.contains("/close"), "{periods}");
    let close = format!("/ops/commissions/periods/{books}/{month}/close");
    let (_, page) = session.press(&close).await;
    assert!(page.contains("is not over yet"), "{page}");
    let statement = format!("/ops/commissions/statements/{month}?agency={books}&agent={agent}");
    let page = session.page(&statement).await;
    assert!(page.contains("payout_sent") && page.contains("&#60;script"), "{page}");
    assert!(session.page("/ops/commissions/plans").await.contains("No plan yet"));
    for (path, status) in [
        (format!("/ops/commissions/periods/{books}/2026-13"), 400),
        (format!("/ops/commissions/periods/{books}/2001-01"), 404),
        (format!("/ops/commissions/statements/{month}?agency={}", Uuid::nil()), 404),
        (format!("{statement}&format=doc"), 400),
        ("/ops/commissions/statements/now?agency=me".to_owned(), 400),
    ] {
        assert_eq!(session.get(&path).await.0, status, "{path}");
    }
    for path in [act("explode"), format!("/ops/commissions/payouts/{}/approve", Uuid::nil())] {
        let answer = session.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}
