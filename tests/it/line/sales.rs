//! From a lead that is typed in to its commission, the statement and the payout: the whole way.

use super::support::Line;
use chrono::{Datelike, Utc};
use serde_json::json;
use switchyard_catalog::lead_work::{self, Actor, Deal, Entered};
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::statements::{self, Of};
use switchyard_catalog::tiers;
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId, LeadId};
use switchyard_store::distribution::Answer;
use switchyard_store::{agents, ledger, payouts};

fn by(agency: AgencyId) -> Actor {
    Actor { agency: Some(agency), name: format!("agency:{agency}") }
}

async fn sold(line: &Line, agency: AgencyId, amount_minor: i64) -> LeadId {
    let fields = json!({
        "first_name": "Jan", "email": "jan@example.com", "country": "PL", "postal_code": "00-950",
        "interest": "Flat",
    });
    let cause = Cause::default();
    let mut tx = line.platform().await;
    let entered = lead_work::enter(&mut tx, &fields, &by(agency), &cause).await.unwrap();
    tx.commit().await.unwrap();
    line.run().await;
    let Entered::New(lead) = entered else { panic!("a new lead") };
    let mut tx = line.tenant(agency).await;
    line::respond(&mut tx, lead, &Answer::Accept, &cause).await.unwrap();
    let deal = Deal {
        amount_minor,
        fee_minor: None,
        currency: "EUR",
        product: None,
        agent: None,
        sold_at: Utc::now(),
    };
    let (new, _) = lead_work::convert(&mut tx, lead, &deal, &by(agency), &cause).await.unwrap();
    assert!(new);
    tx.commit().await.unwrap();
    line.run().await;
    lead
}

#[tokio::test]
async fn a_sale_is_booked_explained_and_stands_in_the_statement() {
    let line = Line::new().await;
    let agency = line.agency("nowak", &["00-950"]).await;
    line.run().await;
    let agent: AgentId = agents::list(&mut line.platform().await, agency).await.unwrap()[0].id;
    let mut tx = line.tenant(agency).await;
    let euro = Currency::of("EUR").unwrap();
    let before = tiers::standing(&mut tx, agency, agent, euro, Utc::now()).await.unwrap();
    let [first] = &before[..] else { panic!("the plan that holds for the first sale: {before:?}") };
    assert_eq!((first.version, first.progress.tier.to_string().as_str()), (1, "bronze"));
    assert!(first.progress.next.is_some(), "the distance to the next tier");
    let stranger = tiers::standing(&mut tx, agency, AgentId::new(), euro, Utc::now()).await;
    assert!(stranger.unwrap().is_empty(), "nobody's figures");
    tx.rollback().await.unwrap();
    let lead = sold(&line, agency, 100_000).await;
    let (euros, now) = (Currency::of("EUR").unwrap(), Utc::now());
    let mut tx = line.tenant(agency).await;
    let entries = payouts::entries_about(&mut tx, lead.0).await.unwrap();
    assert_eq!(entries.len(), 1, "the commission was booked once");
    let entry = ledger::entry(&mut tx, entries[0]).await.unwrap();
    assert!(entry.explanation["line"].is_object(), "{}", entry.explanation);
    let payable = ledger::Account::payable(ledger::Owner::Agent(agent), agency, euros);
    let owed = ledger::balance(&mut tx, &payable).await.unwrap();
    assert!(owed.minor > 0, "bronze gives something: {owed}");
    let month = now.date_naive().with_day(1).unwrap();
    let of = Of { agency, agent: Some(agent), month, currency: euros };
    let (statement, reader) = statements::draw(&mut tx, &of, now).await.unwrap();
    assert!(statement.adds_up() && !statement.closed);
    assert_eq!(statement.closing, owed);
    assert_eq!(reader.email.as_deref(), Some("agent@nowak.test"));
    assert!(statement.lines[0].why.contains("bronze"), "{}", statement.lines[0].why);
    let tiers = tiers::standing(&mut tx, agency, agent, euros, now).await.unwrap();
    assert_eq!(tiers.len(), 1, "one plan, one period that runs");
    assert_eq!(tiers[0].progress.tier.to_string(), "bronze");
    assert!(tiers[0].progress.next.is_some(), "there is a tier above");
}

#[tokio::test]
async fn a_statement_is_sent_by_e_mail_with_both_files() {
    use switchyard_catalog::CommissionStatement;
    use switchyard_providers::{Providers, ProvidersConfig};
    use switchyard_tests::fakes::FakeSmtp;
    let smtp = FakeSmtp::start().await;
    let config: ProvidersConfig = smtp.config(None);
    let line = Line::with_providers(Providers::from_config(&config).unwrap()).await;
    let agency = line.agency("nowak", &[]).await;
    let agent = agents::list(&mut line.platform().await, agency).await.unwrap()[0].id;
    let month = Utc::now().date_naive().with_day(1).unwrap();
    let currency = Currency::of("EUR").unwrap();
    let job = CommissionStatement { agency, agent: Some(agent), month, currency };
    let mut tx = line.tenant(agency).await;
    tx.enqueue(job.job().unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    let ran = line.run().await;
    assert_eq!(ran, [("commission.statement".to_owned(), "done")]);
    let [mail] = &smtp.record().accepted()[..] else { panic!("one e-mail") };
    assert_eq!(mail.recipient, "agent@nowak.test");
    let raw = mail.body.to_string();
    assert!(raw.contains("Statement of commissions"), "{raw}");
}
