//! Reminders about leads: told when they are due, once, and only while the lead is the agency's.

use super::support::{Line, person};
use chrono::{Duration, Utc};
use switchyard_catalog::lead_work::{self, Actor, Deal, Reminder};
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::{AgencyId, LeadId};
use switchyard_store::distribution::Answer;
use switchyard_store::leads::{FollowUp, FollowUpState};
use switchyard_store::messages::{self, MessageFilter, MessageState};

async fn held(line: &Line) -> (AgencyId, LeadId) {
    let agency = line.agency("nowak", &["00-950"]).await;
    let event = line.send("a-1", &person("a-1", Some("00-950"))).await;
    (agency, line.lead_of(event).await.id)
}

fn by(agency: AgencyId) -> Actor {
    Actor { agency: Some(agency), name: format!("agency:{agency}") }
}

async fn answer(line: &Line, agency: AgencyId, lead: LeadId, answer: Answer) {
    let mut tx = line.tenant(agency).await;
    line::respond(&mut tx, lead, &answer, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn plan(line: &Line, agency: AgencyId, lead: LeadId) {
    let mut tx = line.tenant(agency).await;
    let due_at = Utc::now() + Duration::hours(1);
    let reminder = Reminder { due_at, agent: None, note: Some("Ask about the balcony.") };
    let cause = Cause::default();
    lead_work::follow_up(&mut tx, lead, &reminder, &by(agency), &cause).await.unwrap();
    tx.commit().await.unwrap();
}

async fn reminders(line: &Line, lead: LeadId) -> Vec<messages::Message> {
    let filter = MessageFilter { lead: Some(lead), limit: 100, ..MessageFilter::default() };
    let all = messages::list(&mut line.platform().await, &filter).await.unwrap();
    all.into_iter().filter(|m| m.body_text.contains("reminded")).collect()
}

async fn state(line: &Line, lead: LeadId) -> (FollowUpState, Option<String>) {
    let all = FollowUp::of_lead(&mut line.platform().await, lead).await.unwrap();
    (all[0].state, all[0].reason.clone())
}

#[tokio::test]
async fn a_reminder_is_told_once_when_it_is_due() {
    let line = Line::new().await;
    let (agency, lead) = held(&line).await;
    plan(&line, agency, lead).await;
    assert_eq!(line.run().await, [], "it is not due yet");
    assert!(reminders(&line, lead).await.is_empty());
    let ran = line.run_retries().await;
    assert!(ran.contains(&("lead.follow_up".to_owned(), "settled")), "{ran:?}");
    let told = reminders(&line, lead).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].state, MessageState::Sent);
    assert_eq!(told[0].recipient, "office@nowak.test", "nobody in particular works on it");
    assert!(told[0].body_text.contains("> Ask about the balcony."), "{}", told[0].body_text);
    assert_eq!(state(&line, lead).await, (FollowUpState::Told, None));
}

#[tokio::test]
async fn a_lead_that_went_to_somebody_else_or_was_sold_reminds_nobody() {
    let line = Line::new().await;
    let (agency, lead) = held(&line).await;
    plan(&line, agency, lead).await;
    answer(&line, agency, lead, Answer::Reject { note: None }).await;
    line.run_retries().await;
    assert!(reminders(&line, lead).await.is_empty());
    let (stands, why) = state(&line, lead).await;
    assert_eq!(stands, FollowUpState::Dropped);
    assert!(why.is_some_and(|w| w.contains("does not hold")));
    let other = line.send("a-2", &person("a-2", None)).await;
    assert!(line.lead_of(other).await.agency.is_none());
    let sold = line.send("a-3", &person("a-3", Some("00-950"))).await;
    let sold = line.lead_of(sold).await.id;
    answer(&line, agency, sold, Answer::Accept).await;
    plan(&line, agency, sold).await;
    let deal = Deal {
        amount_minor: 100,
        fee_minor: None,
        currency: "EUR",
        product: None,
        agent: None,
        sold_at: Utc::now(),
    };
    let mut tx = line.tenant(agency).await;
    lead_work::convert(&mut tx, sold, &deal, &by(agency), &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    line.run_retries().await;
    assert!(reminders(&line, sold).await.is_empty());
    assert!(state(&line, sold).await.1.is_some_and(|w| w.contains("sold")));
}
