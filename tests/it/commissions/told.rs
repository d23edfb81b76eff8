//! Lines that move say why, on the explanation and on the statement; sums count what goes back where it
//! came from.

use super::support::{Books, at, eur};
use chrono::NaiveDate;
use switchyard_catalog::ClosePeriod;
use switchyard_catalog::statements::{self, Of};
use switchyard_domain::commission::{Booked, CommissionEvent, EventKind};
use switchyard_domain::statement::Statement;
use switchyard_domain::{AgentId, PortalId};
use switchyard_store::payouts::{EarnedBy, Months, earned, entries_about};
use switchyard_store::{Scope, ledger};

fn month(n: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, n, 1).unwrap()
}

/// What is said of a deal's entries, the oldest first.
async fn told(books: &Books, deal: &CommissionEvent) -> Vec<String> {
    let mut tx = books.platform().await;
    let mut all = Vec::new();
    for id in entries_about(&mut tx, deal.id.0).await.unwrap() {
        let entry = ledger::entry(&mut tx, id).await.unwrap();
        let told = Booked::read(&entry.explanation, entry.occurred_at, entry.period).unwrap();
        all.push(told.sentence);
    }
    all
}

async fn statement(books: &Books, agent: AgentId, month: NaiveDate) -> Statement {
    let of = Of { agency: books.agency, agent: Some(agent), month, currency: eur(0).currency };
    let mut tx = books.db.begin(Scope::Tenant(books.agency)).await.unwrap();
    statements::draw(&mut tx, &of, at(30, 0)).await.unwrap().0
}

#[tokio::test]
async fn a_line_that_another_deal_moves_says_from_what_to_what_and_why() {
    let books = Books::new("marginal").await;
    let mut first = books.deal(0, 100_000, at(3, 0));
    first.product = Some("heat-pump".into());
    let second = books.deal(0, 100_000, at(4, 0));
    books.book(&[first.clone(), second.clone()]).await;
    let refund = books.about(&first, EventKind::Refunded, None, at(5, 0));
    books.book(std::slice::from_ref(&refund)).await;

    let sentences = told(&books, &second).await;
    assert_eq!(sentences.len(), 2, "{sentences:?}");
    assert!(sentences[0].starts_with("A deal of 1,000.00 EUR earns 50.00 EUR in tier silver"));
    assert!(
        sentences[1].starts_with(
            "Another deal of 2026-11 was refunded: this one now stands in tier bronze and comes to \
             30.00 EUR instead of 50.00 EUR."
        ),
        "{}",
        sentences[1]
    );
    let drawn = statement(&books, books.agents[0], month(11)).await;
    assert!(drawn.adds_up());
    let lines: Vec<_> =
        drawn.lines.iter().map(|l| (l.base.map(|b| b.minor), l.amount.minor)).collect();
    // The deals, the difference of the second one (without its value once more), the refund.
    assert_eq!(
        lines,
        [(Some(100_000), 2100), (Some(100_000), 3500), (None, -1400), (Some(-100_000), -2100)]
    );
    assert!(drawn.lines[0].why.ends_with("Your share of it: 21.00 EUR."), "{}", drawn.lines[0].why);
    assert!(drawn.lines[2].why.starts_with("Another deal"), "{}", drawn.lines[2].why);
    let products: Vec<&str> = drawn.lines.iter().map(|l| l.product.as_str()).collect();
    assert_eq!(products, ["heat-pump", "", "", "heat-pump"]);
    let said = books.say(&[], &["commission", "explain", &second.id.to_string()]).await;
    assert!(said.out.contains("comes to 30.00 EUR instead of 50.00 EUR"), "{said:?}");
}

#[tokio::test]
async fn a_difference_that_is_booked_later_names_its_own_month() {
    let books = Books::new("marginal").await;
    let (first, second) = (books.deal(0, 100_000, at(3, 0)), books.deal(0, 100_000, at(4, 0)));
    books.book(&[first.clone(), second.clone()]).await;
    let mut tx = books.platform().await;
    let december = "2026-12-05T00:00:00Z".parse().unwrap();
    ClosePeriod::close(&mut tx, books.agency, month(11), december).await.unwrap();
    tx.commit().await.unwrap();
    let refund =
        books.about(&first, EventKind::Refunded, None, "2026-12-06T00:00:00Z".parse().unwrap());
    books.book(std::slice::from_ref(&refund)).await;
    let late = "It belongs to 2026-11, whose statement is closed and stays as it was; the difference is \
                booked in 2026-12.";
    let sentences = told(&books, &second).await;
    assert!(!sentences[0].contains(late) && sentences[1].ends_with(late), "{sentences:?}");
    assert!(!told(&books, &refund).await[0].contains(late), "the refund is December's own");
    let drawn = statement(&books, books.agents[0], month(12)).await;
    assert!(drawn.adds_up() && drawn.lines.iter().any(|l| l.why.ends_with(late)), "{drawn:?}");
}

#[tokio::test]
async fn what_goes_back_counts_with_the_product_and_portal_that_it_came_from() {
    let books = Books::new("marginal").await;
    let portal = PortalId::new();
    let mut deal = books.deal(0, 50_000, at(3, 0));
    (deal.product, deal.portal) = (Some("heat-pump".into()), Some(portal));
    let mut refund = books.about(&deal, EventKind::RefundedPartly, Some(20_000), at(4, 0));
    (refund.product, refund.portal) = (None, None);
    books.book(&[deal, refund]).await;
    let months = Months { from: month(11), to: month(11) };
    for (by, key) in
        [(EarnedBy::Product, "heat-pump".to_owned()), (EarnedBy::Portal, portal.to_string())]
    {
        let mut tx = books.platform().await;
        let sums = earned(&mut tx, by, eur(0).currency, months, None).await.unwrap();
        let sums: Vec<_> = sums.into_iter().map(|e| (e.key, e.amount_minor, e.entries)).collect();
        // 3 % of 300.00, but for the platform's tenth.
        assert_eq!(sums, [(Some(key), "810".to_owned(), 2)], "{by:?}");
    }
}

#[tokio::test]
async fn the_close_of_a_month_mails_each_statement_once_where_statements_are_mailed() {
    let books = Books::new("marginal").await;
    books.book(&[books.deal(0, 10_000, "2020-03-05T00:00:00Z".parse().unwrap())]).await;
    let agency = books.agency.to_string();
    let close = |on: &'static str, day: &'static str| {
        let (books, agency) = (&books, &agency);
        async move {
            let settings = [("SWITCHYARD_PAYOUTS__MAIL_STATEMENTS", on)];
            let args = ["commission", "close", agency.as_str(), day];
            let said = books.say_with(&settings, &[], &args).await;
            assert_eq!(said.code, Some(0), "{said:?}");
            books
                .count("select count(*) from engine.jobs where kind = 'commission.statement'")
                .await
        }
    };
    assert_eq!(close("true", "2020-02-01").await, 0, "nothing was booked in it");
    assert_eq!(close("true", "2020-03-01").await, 2, "the agent's and the agency's");
    assert_eq!(close("true", "2020-03-01").await, 2, "it was closed already");
    books.book(&[books.deal(1, 10_000, "2020-04-05T00:00:00Z".parse().unwrap())]).await;
    assert_eq!(close("false", "2020-04-01").await, 2, "nobody wants them by e-mail");
}
