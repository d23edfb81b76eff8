//! Commissions and leads clicked through, as two operators would.

use super::driver::Browser;
use crate::dashboard::support::{Ops, within};
use chrono::{DateTime, Months, Utc};
use serde_json::json;
use std::time::Duration;
use switchyard_catalog::lead_work::{self, Actor, Deal, Entered};
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::{conversion, month_of};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_store::commissions::{self, EventState, NewAssignment, NewPlan, NewVersion};
use switchyard_store::distribution::Answer;
use switchyard_store::ledger::Owner;
use switchyard_store::payouts::{self, Payee};
use switchyard_store::{Scope, agencies, agents, leads};

const OTHER: &str = "other@example.test";

/// An agency with a plan of its own, whose agent sold something last month.
pub struct Sold {
    pub agency: AgencyId,
    pub agent: AgentId,
    pub lead: LeadId,
    /// A decision that was refused.
    pub refused: CommissionEventId,
    /// The month before this one, such as `2026-03`.
    pub month: String,
}

/// A sale of last month, its commission booked by the workers, and a decision that was refused.
pub async fn sold(ops: &Ops) -> Sold {
    let this = month_of(Utc::now().date_naive());
    let before = this - Months::new(1);
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let agency = agencies::list(&mut tx, None, 1).await.unwrap()[0].id;
    let agent = agents::list(&mut tx, agency).await.unwrap()[0].id;
    let rules = serde_json::from_str(include_str!("../../../ops/seed/plans/team.json")).unwrap();
    let new = NewPlan { agency: None, code: "team".into(), name: "Team with manager".into() };
    let plan = commissions::create(&mut tx, &new).await.unwrap();
    let valid_from = DateTime::UNIX_EPOCH;
    let version = NewVersion { plan, rules, valid_from, by: "test".into() };
    commissions::add_version(&mut tx, &version).await.unwrap();
    let holds =
        NewAssignment { agency: Some(agency), by: "test".into(), ..NewAssignment::default() };
    commissions::assign(&mut tx, plan, &holds).await.unwrap();
    let payee = Payee {
        owner: Owner::Agent(agent),
        agency,
        name: "Jan Kowalski".into(),
        iban: Some("PL61109010140000071219812874".into()),
        bic: None,
        stripe_account: None,
    };
    payouts::set_payee(&mut tx, &payee, "admin:1").await.unwrap();
    let by = Actor { agency: Some(agency), name: "agency:1".into() };
    let fields = json!({ "first_name": "Halina", "last_name": "Zając", "email": "h@example.test" });
    let entered = lead_work::enter(&mut tx, &fields, &by, &Cause::default()).await.unwrap();
    let Entered::New(lead) = entered else { panic!("{entered:?}") };
    let deal = Deal {
        amount_minor: 10_000_000,
        fee_minor: None,
        currency: "EUR",
        product: Some("Three-room flat"),
        agent: Some(agent),
        sold_at: before.and_hms_opt(12, 0, 0).unwrap().and_utc(),
    };
    let (_, sale) = lead_work::convert(&mut tx, lead, &deal, &by, &Cause::default()).await.unwrap();
    let decision = CommissionEvent {
        id: CommissionEventId::new(),
        kind: EventKind::TierChanged { tier: Some("diamond".into()) },
        lead: None,
        agency,
        agent,
        manager: None,
        portal: None,
        product: None,
        occurred_at: Utc::now(),
        received_at: Utc::now(),
        amount: None,
        fee: None,
        of: None,
    };
    conversion::record(&mut tx, std::slice::from_ref(&decision), &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    settled(ops, CommissionEventId(sale.event), EventState::Booked).await;
    settled(ops, decision.id, EventState::Refused).await;
    // What was recorded this moment is not shown as unbooked.
    sqlx::query("update switchyard.commission_events set received_at = now() - interval '1 hour'")
        .execute(&mut ops.test.owner().await)
        .await
        .unwrap();
    let month = before.format("%Y-%m").to_string();
    Sold { agency, agent, lead, refused: decision.id, month }
}

async fn settled(ops: &Ops, event: CommissionEventId, as_: EventState) {
    within(Duration::from_secs(20), "the event is booked or refused", async || {
        let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
        let state = commissions::state(&mut tx, event).await.unwrap();
        (state == Some(as_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn commissions_are_looked_at_closed_and_paid_by_two_operators() {
    let ops = Ops::new().await;
    ops.another(OTHER).await;
    ops.work();
    let sold = sold(&ops).await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;

    // The leaderboard, and what is not booked.
    browser.click("nav a[href='/ops/commissions']").await;
    browser.until("the screen", "return document.title.startsWith('Commissions')").await;
    let board = browser.text("section[aria-label=Leaderboard]").await;
    assert!(board.contains("Jan Kowalski") && board.contains("2,400.00 EUR"), "{board}");
    let unbooked = browser.text("#unbooked").await;
    assert!(unbooked.contains("no tier of that name"), "{unbooked}");
    browser.click(&format!("#unbooked a[href$='{}']", sold.refused)).await;
    browser.until("why", "return document.body.innerText.includes('Refused: the plan')").await;

    // The plans.
    browser.go(&ops, "/commissions").await;
    browser.click(".tabs a[href='/ops/commissions/plans']").await;
    let plan = browser.text("#plan-team").await;
    for part in ["champion", "9 %", "manager 0.5 % of the deal on top", "Nordhaus Immobilien"] {
        assert!(plan.contains(part), "`{part}` is missing: {plan}");
    }

    // Last month is closed, once somebody said so twice.
    browser.click(".tabs a[href='/ops/commissions/periods']").await;
    let row = format!("#period-{}-{}", sold.agency, sold.month);
    assert!(browser.text(&row).await.contains("open"));
    browser.click(&format!("{row} form button")).await;
    browser.client.dismiss_alert().await.unwrap();
    assert!(browser.text(&row).await.contains("open"));
    browser.click(&format!("{row} form button")).await;
    browser.client.accept_alert().await.unwrap();
    browser.told("is closed. Its figures are final.").await;
    let text = browser.text(&row).await;
    assert!(text.contains("closed") && text.contains("3,400.00 EUR"), "{text}");

    // Its statements, and the agent's own, as a page and as files.
    browser.click(&format!("{row} a.button")).await;
    browser.until("the month", "return document.body.innerText.includes('are final')").await;
    browser.click(&format!("table a[href*='{}']", sold.agent)).await;
    browser.until("the statement", "return document.title.startsWith('Statement')").await;
    assert_eq!(browser.text("#closing").await, "2,400.00 EUR");
    assert!(browser.text("#main table").await.contains("in tier starter"));
    for (format, kind) in [("pdf", "application/pdf"), ("csv", "text/csv; charset=utf-8")] {
        let asked = format!(
            "const done = arguments[arguments.length - 1];
             fetch(document.querySelector(\"a[href$='format={format}']\").href)
               .then(r => done(r.headers.get('content-type')))"
        );
        let got = browser.client.execute_async(&asked, Vec::new()).await.unwrap();
        assert_eq!(got, json!(kind));
    }

    // Paid by two people: the one who asks may not approve.
    browser.run("document.getElementById('payout-method').value = 'sepa'").await;
    browser.fill("input[name=amount]", "1000.50").await;
    browser.click("form[action='/ops/commissions/payout'] button").await;
    browser.told("waits for another person's approval").await;
    assert!(browser.text("section[aria-label=Payouts]").await.contains("1,000.50 EUR"));
    browser.click("button[formaction$='/approve']").await;
    browser.told("by another person than the one who asked for it").await;
    browser.click(".who button").await;
    browser.sign_in_as(&ops, OTHER).await;
    browser.go(&ops, "/commissions").await;
    browser.click("button[formaction$='/approve']").await;
    browser.told("The payout is approved.").await;
    browser.see("section[aria-label=Payouts] .st-approved").await;

    // From the lead to the reason of its commission.
    browser.go(&ops, &format!("/leads/{}", sold.lead)).await;
    browser.click(&format!("#work a[href='/ops/commissions/{}']", sold.lead)).await;
    let arithmetic = "return document.body.innerText.includes('100,000.00 at 4 % = 4,000.00')";
    browser.until("the arithmetic", arithmetic).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

#[tokio::test]
async fn a_lead_is_entered_given_out_noted_and_sold_on_screen() {
    let ops = Ops::new().await;
    ops.work();
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.click("nav a[href='/ops/leads']").await;
    browser.click("a[href='/ops/leads/new']").await;
    for (field, value) in [
        ("first_name", "Anna"),
        ("last_name", "Nowak"),
        ("email", "anna@example.test"),
        ("country", "Nowhere"),
        ("postal_code", "00-950"),
    ] {
        browser.fill(&format!("input[name={field}]"), value).await;
    }
    browser.click("form[action='/ops/leads/new'] button").await;
    browser.told("Not entered: country").await;
    let kept = "return document.querySelector('input[name=last_name]').value === 'Nowak'";
    browser.until("what was typed stays", kept).await;
    browser.fill("input[name=country]", "Poland").await;
    browser.click("form[action='/ops/leads/new'] button").await;
    browser.told("The lead is entered").await;
    // It is offered to the agency whose turn it is; the page that is open follows.
    let offered = "return document.querySelector('#page .way').innerText.includes('Offered to')";
    browser.until("it is offered", offered).await;
    let lead = browser.client.current_url().await.unwrap();
    let lead: LeadId = lead.path_segments().unwrap().next_back().unwrap().parse().unwrap();
    assert!(!browser.text("#work").await.contains("Sold"), "nobody has taken it yet");
    accept(&ops, lead).await;

    browser.fill("#work input[name=body]", "Prefers mornings.").await;
    browser.click("form[action$='/note'] button").await;
    browser.told("The note is written").await;
    assert!(browser.text("#work").await.contains("Prefers mornings."));
    browser.fill("#work input[name=amount]", "much").await;
    browser.click("form[action$='/convert'] button").await;
    browser.told("Not sold: `much` is no amount").await;
    browser.fill("#work input[name=amount]", "650000.00").await;
    browser.click("form[action$='/convert'] button").await;
    browser.told("Sold. Its commission is being booked.").await;
    let work = browser.text("#work").await;
    assert!(work.contains("650,000.00 EUR") && work.contains("closed by Jan Kowalski"), "{work}");
    let event = within(Duration::from_secs(5), "the sale", async || {
        let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
        leads::Sale::of_lead(&mut tx, lead).await.unwrap()
    })
    .await
    .event;
    settled(&ops, CommissionEventId(event), EventState::Booked).await;
    browser.click("#work a.link").await;
    let booked = "return document.body.innerText.includes('650,000.00 at 5 % = 32,500.00')";
    browser.until("its commission", booked).await;
    // The browser tells of the form that was refused, and of nothing else.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|c| c.contains("422")), "{complaints:?}");
    browser.end().await;
}

/// As the agency's own program would.
async fn accept(ops: &Ops, lead: LeadId) {
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let agency = leads::get(&mut tx, lead).await.unwrap().agency.expect("an agency has it");
    drop(tx);
    let mut tx = ops.db.begin(Scope::Tenant(agency)).await.unwrap();
    line::respond(&mut tx, lead, &Answer::Accept, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
}
