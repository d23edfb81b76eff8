//! A message is sent once, or it is known why not.

use super::support::{Line, Ran, person};
use std::sync::Arc;
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::{AgentId, MessageId};
use switchyard_providers::Providers;
use switchyard_queue::ErrorClass;
use switchyard_store::agents;
use switchyard_store::messages::{self, Message, MessageFilter, MessageState, ResendFault};
use switchyard_tests::fakes::{FakeTwilio, HttpStep};

/// One agency with one agent who has WhatsApp: a lead makes one message. The provider does as the
/// script says, and then takes everything.
async fn line_with(steps: impl IntoIterator<Item = HttpStep>) -> (Line, FakeTwilio) {
    let twilio = FakeTwilio::start().await;
    twilio.script().push(steps);
    let line = Line::with_providers(Providers::from_config(&twilio.config()).unwrap()).await;
    let agency = line.bare_agency("acme", false).await;
    line.cover(agency, &["00-950"]).await;
    let mut tx = line.tenant(agency).await;
    agents::upsert(&mut tx, AgentId::new(), agency, "Ann", None, Some("+48600100200"))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    line.run().await; // the search that a new territory starts
    (line, twilio)
}

fn busy() -> HttpStep {
    HttpStep::refuse(500, 20500, "We met an error with +48600100200")
}

async fn send_one(line: &Line) -> Vec<Ran> {
    let body = person("a", Some("00-950"));
    let new = vec![line.delivery("a", &body)];
    switchyard_store::events::ingest(&line.db, new).await.unwrap();
    line.run().await
}

async fn all(line: &Line) -> Vec<Message> {
    let filter = MessageFilter { limit: 100, ..MessageFilter::default() };
    messages::list(&mut line.platform().await, &filter).await.unwrap()
}

async fn only(line: &Line) -> Message {
    let mut all = all(line).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn how(ran: &[Ran]) -> Vec<&'static str> {
    ran.iter().filter(|(kind, _)| kind == "notify.whatsapp").map(|(_, how)| *how).collect()
}

#[tokio::test]
async fn a_provider_that_fails_and_then_takes_it_has_one_message() {
    let wait = HttpStep::refuse(429, 14107, "Rate limit exceeded");
    let (line, twilio) = line_with([busy(), wait]).await;
    assert_eq!(how(&send_one(&line).await), ["retry"]);
    let message = only(&line).await;
    assert_eq!((message.state, message.attempts), (MessageState::Queued, 1));
    assert!(message.error.unwrap().contains("20500"));

    assert!(line.run().await.is_empty(), "not before its time");
    assert_eq!(how(&line.run_retries().await), ["retry"]);
    let wait: f64 = sqlx::query_scalar(
        "select extract(epoch from run_at - now())::float8 from engine.jobs where stage = 1",
    )
    .fetch_one(&mut line.test.owner().await)
    .await
    .unwrap();
    assert!((50.0..=60.0).contains(&wait), "the provider's wait is kept: {wait}");

    assert_eq!(how(&line.run_retries().await), ["settled"]);
    let message = only(&line).await;
    assert_eq!((message.state, message.attempts), (MessageState::Sent, 3));
    assert_eq!(message.provider.as_deref(), Some("twilio"));
    assert!(message.provider_id.unwrap().starts_with("SM"));
    assert_eq!(message.error, None);
    let counts = twilio.record().counts();
    assert_eq!((counts.requests, counts.accepted, counts.messages), (3, 1, 1));
}

#[tokio::test]
async fn a_refusal_is_a_dead_letter_and_may_be_tried_again_by_hand() {
    let refusal = HttpStep::refuse(400, 21211, "Invalid number +48600100200");
    let (line, _twilio) = line_with([refusal]).await;
    assert_eq!(how(&send_one(&line).await), ["permanent"]);
    assert_eq!(only(&line).await.state, MessageState::Failed);
    let (stage, error): (i16, String) =
        sqlx::query_as("select stage, last_error from engine.jobs where kind = 'notify.whatsapp'")
            .fetch_one(&mut line.test.owner().await)
            .await
            .unwrap();
    assert_eq!(stage, 5);
    assert!(error.contains("21211"), "{error}");
    assert!(!error.contains("600100200"), "the provider's words stay with the message: {error}");

    let new = resend(&line, only(&line).await.id).await.unwrap();
    assert_eq!(how(&line.run().await), ["settled"]);
    let sent = messages::get(&mut line.platform().await, new.id).await.unwrap();
    assert_eq!(sent.state, MessageState::Sent);
}

#[tokio::test]
async fn out_of_attempts_means_failed() {
    let (line, _twilio) = line_with((0..15).map(|_| busy())).await;
    send_one(&line).await;
    for _ in 0..13 {
        assert_eq!(how(&line.run_retries().await), ["retry"]);
        assert_eq!(only(&line).await.state, MessageState::Queued);
    }
    assert_eq!(how(&line.run_retries().await), ["last"]);
    let message = only(&line).await;
    assert_eq!((message.state, message.attempts), (MessageState::Failed, 15));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_message_in_doubt_and_it_is_not_sent_again() {
    let (line, twilio) = line_with([HttpStep::AcceptAndCut]).await;
    assert_eq!(how(&send_one(&line).await), ["settled"]);
    assert_eq!(only(&line).await.state, MessageState::Unknown);
    let why: String =
        sqlx::query_scalar("select error from engine.job_history where kind = 'notify.whatsapp'")
            .fetch_one(&mut line.test.owner().await)
            .await
            .unwrap();
    assert!(why.starts_with("in doubt"), "{why}");
    assert!(line.run_retries().await.is_empty());
    assert_eq!(twilio.record().counts().requests, 1);
}

#[tokio::test]
async fn a_worker_that_dies_while_sending_leaves_the_message_in_doubt() {
    let (line, twilio) = line_with([HttpStep::AcceptLate { ms: 600_000 }]).await;
    let line = Arc::new(line);
    let new = vec![line.delivery("a", &person("a", Some("00-950")))];
    switchyard_store::events::ingest(&line.db, new).await.unwrap();
    let presence = line.register().await;
    let job = line.claim_notify(presence.id).await;
    let dying = {
        let (line, job) = (Arc::clone(&line), job.clone());
        tokio::spawn(async move { line.run_claimed(job).await })
    };
    twilio.record().wait_for(1).await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());

    let heir = line.register().await;
    let again = line.claim(heir.id, &[presence.id]).await.pop().expect("the dead worker's job");
    assert_eq!(again.id, job.id);
    line.run_claimed(again).await.unwrap();
    let message = only(&line).await;
    assert_eq!((message.state, message.attempts), (MessageState::Unknown, 2));
    assert_eq!(twilio.record().counts().requests, 1, "the provider was not asked again");

    // The first worker was only frozen: it can write nothing any more.
    let late = line.run_claimed(job).await.unwrap_err();
    assert_eq!(late.class(), ErrorClass::Lost);
    assert_eq!(twilio.record().counts().requests, 1);
}

/// A worker cuts an attempt off when its time is over; the engine makes the last one a dead letter.
#[tokio::test]
async fn a_message_whose_last_attempt_was_cut_off_is_settled_by_the_rescan() {
    let (line, twilio) = line_with([HttpStep::AcceptLate { ms: 600_000 }]).await;
    let line = Arc::new(line);
    let new = vec![line.delivery("a", &person("a", Some("00-950")))];
    switchyard_store::events::ingest(&line.db, new).await.unwrap();
    let presence = line.register().await;
    let job = line.claim_notify(presence.id).await;
    let cut = {
        let (line, job) = (Arc::clone(&line), job.clone());
        tokio::spawn(async move { line.run_claimed(job).await })
    };
    twilio.record().wait_for(1).await;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    line.dead_letter(&job, "timeout after 120 s").await;
    assert_eq!(only(&line).await.state, MessageState::Queued);

    line.settle_messages().await;
    let message = only(&line).await;
    assert_eq!(message.state, MessageState::Unknown);
    assert!(message.error.unwrap().contains("may have gone out"));
    line.settle_messages().await;
    assert_eq!(only(&line).await.state, MessageState::Unknown, "a second look changes nothing");

    // Somebody retries the dead letter all the same: what is in doubt is not sent by itself.
    switchyard_store::jobs::retry(&line.db, job.id).await.unwrap();
    assert_eq!(how(&line.run().await), ["settled"]);
    assert_eq!(only(&line).await.state, MessageState::Unknown);
    assert_eq!(twilio.record().counts().requests, 1, "the provider was asked once");
    resend(&line, message.id).await.unwrap();
}

#[tokio::test]
async fn a_message_whose_job_an_operator_discarded_has_failed_and_a_retry_sends_it() {
    let (line, twilio) = line_with([]).await;
    let new = vec![line.delivery("a", &person("a", Some("00-950")))];
    switchyard_store::events::ingest(&line.db, new).await.unwrap();
    let presence = line.register().await;
    let job = line.claim_notify(presence.id).await;
    line.settle_messages().await;
    assert_eq!(only(&line).await.state, MessageState::Queued, "its job still runs");
    line.dead_letter(&job, "discarded by an operator").await;
    line.settle_messages().await;
    let message = only(&line).await;
    assert_eq!(message.state, MessageState::Failed);
    assert!(message.error.unwrap().contains("discarded by an operator"));
    assert_eq!(twilio.record().counts().requests, 0);

    switchyard_store::jobs::retry(&line.db, job.id).await.unwrap();
    assert_eq!(how(&line.run().await), ["settled"]);
    let message = only(&line).await;
    assert_eq!((message.state, message.error), (MessageState::Sent, None));
    line.settle_messages().await;
    assert_eq!(only(&line).await.state, MessageState::Sent);
}

async fn resend(line: &Line, id: MessageId) -> Result<Message, ResendFault> {
    let mut tx = line.platform().await;
    let message = line::resend(&mut tx, id, &Cause::default()).await?;
    tx.commit().await?;
    Ok(message)
}

#[tokio::test]
async fn an_operator_may_repeat_a_message_in_doubt_once() {
    let (line, twilio) = line_with([HttpStep::AcceptAndCut]).await;
    send_one(&line).await;
    let old = only(&line).await;
    let new = resend(&line, old.id).await.unwrap();
    assert_eq!(new.resend_of, Some(old.id));
    assert_eq!(resend(&line, old.id).await.unwrap().id, new.id, "a second click repeats nothing");
    line.run().await;
    let states: Vec<_> = all(&line).await.iter().map(|m| (m.id, m.state)).collect();
    assert_eq!(states, [(new.id, MessageState::Sent), (old.id, MessageState::Unknown)]);
    let counts = twilio.record().counts();
    assert_eq!((counts.requests, counts.messages), (2, 2), "each has an id of its own");
    let sent = resend(&line, new.id).await.unwrap_err();
    assert!(matches!(sent, ResendFault::WrongState(MessageState::Sent)), "{sent:?}");
}
