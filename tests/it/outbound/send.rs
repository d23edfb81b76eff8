//! What is told, to whom, and how it is signed.

use super::support::{Hooks, payload, policy, refuse, verified};
use chrono::Utc;
use switchyard_catalog::{SendWebhook, outbound as manage};
use switchyard_domain::outbound::{EventType, webhook_id};
use switchyard_domain::{AgentId, LeadId};
use switchyard_providers::Providers;
use switchyard_queue::NewJob;
use switchyard_store::distribution::Answer;
use switchyard_store::outbound::{self, DeliveryState};
use switchyard_store::{agents, leads};
use switchyard_tests::fakes::{FakeTwilio, HttpStep, headers_of};

#[tokio::test]
async fn an_agency_hears_of_its_own_leads_signed_as_the_standard_says() {
    let hooks = Hooks::new().await;
    let mine = hooks.line.agency("mine", &["00-950"]).await;
    let other = hooks.line.agency("other", &["30-001"]).await;
    let (endpoint, secret) = hooks.endpoint(Some(mine), &["lead.*"], false).await;
    let lead = hooks.lead("a", "00-950").await;
    hooks.lead("b", "30-001").await;

    let came = hooks.receiver.record().all();
    assert_eq!(hooks.came(), ["\"lead.assigned\""], "nothing of the other agency's lead");
    let told = payload(&came[0]);
    assert_eq!(told["data"]["lead"]["id"], lead.to_string());
    assert_eq!(told["data"]["lead"]["email"], "a@example.test");
    assert_eq!(told["data"]["lead"]["state"], "assigned");
    assert_eq!(told["data"]["assignment"]["agency_id"], mine.to_string());
    assert!(told["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(verified(&came[0], &secret), "by another implementation of the standard");
    assert!(!verified(&came[0], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let headers = headers_of(&came[0]);
    assert_eq!(headers["content-type"], "application/json");
    assert!(came[0].marker.starts_with("msg_"));

    let [delivery] = &hooks.deliveries(endpoint).await[..] else { panic!("one delivery") };
    assert_eq!(delivery.state, DeliveryState::Delivered);
    assert_eq!(came[0].marker, webhook_id(delivery.message));
    assert_eq!((delivery.attempts, delivery.last_status), (1, Some(200)));
    let mut tx = hooks.tx(Some(mine)).await;
    let log = outbound::attempts(&mut tx, endpoint, delivery.message).await.unwrap();
    assert_eq!(log[0].body.as_deref(), Some("{\"taken\":true}"));
    drop(tx);

    // The other agency sees none of it.
    let mut tx = hooks.tx(Some(other)).await;
    assert!(outbound::get(&mut tx, endpoint).await.is_err());
    assert!(outbound::delivery(&mut tx, endpoint, delivery.message).await.is_err());
    assert!(outbound::attempts(&mut tx, endpoint, delivery.message).await.unwrap().is_empty());
    let all = outbound::EndpointFilter { limit: 10, ..Default::default() };
    assert!(outbound::list(&mut tx, &all).await.unwrap().is_empty());
    assert!(manage::remove(&mut tx, endpoint).await.is_err());
}

#[tokio::test]
async fn a_partner_hears_of_everything_and_agencies_do_not_see_the_partner() {
    let hooks = Hooks::new().await;
    let agency = hooks.line.agency("only", &["00-950"]).await;
    let (endpoint, secret) = hooks.endpoint(None, &["*"], true).await;
    let lead = hooks.lead("a", "00-950").await;
    hooks.answer(agency, lead, &Answer::Reject { note: Some("too far".into()) }).await;
    let taken = hooks.lead("b", "00-950").await;
    hooks.answer(agency, taken, &Answer::Accept).await;
    hooks.answer(agency, taken, &Answer::Accept).await;

    let came: Vec<_> = hooks.came();
    let expected = [
        "lead.created",
        "lead.assigned",
        "lead.rejected",
        "lead.unassigned",
        "lead.created",
        "lead.assigned",
        "lead.accepted",
    ];
    assert_eq!(came, expected.map(|e| format!("\"{e}\"")), "each once, in the order of commits");
    let all = hooks.receiver.record().all();
    assert!(all.iter().all(|r| verified(r, &secret)));
    let rejected = payload(&all[2]);
    assert_eq!(rejected["data"]["lead_id"], lead.to_string());
    assert_eq!(rejected["data"]["note"], "too far");
    assert!(!rejected.to_string().contains("a@example.test"), "it may not see the person any more");
    assert_eq!(payload(&all[6])["data"]["lead"]["state"], "accepted");

    let mut tx = hooks.tx(Some(agency)).await;
    assert!(outbound::get(&mut tx, endpoint).await.is_err());
    let seen: i64 = leads::list_for_agency(&mut tx, None, None, 10).await.unwrap().len() as i64;
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn a_message_that_failed_is_told_to_its_agency() {
    let twilio = FakeTwilio::start().await;
    twilio.script().push([HttpStep::refuse(400, 21211, "Invalid number")]);
    let hooks = Hooks::over(Providers::from_config(&twilio.config()).unwrap(), policy()).await;
    let agency = hooks.line.bare_agency("acme", false).await;
    hooks.line.cover(agency, &["00-950"]).await;
    let mut tx = hooks.tx(Some(agency)).await;
    let phone = Some("+48600100200");
    agents::upsert(&mut tx, AgentId::new(), agency, "Ann", None, phone).await.unwrap();
    tx.commit().await.unwrap();
    hooks.endpoint(Some(agency), &["message.*"], false).await;
    hooks.lead("a", "00-950").await;

    let [told] = &hooks.receiver.record().all()[..] else { panic!("{:?}", hooks.came()) };
    let told = payload(told);
    assert_eq!(told["type"], "message.failed");
    assert_eq!(told["data"]["message"]["channel"], "whatsapp");
    assert_eq!(told["data"]["message"]["recipient"], "+48600100200");
    assert!(told["data"]["message"]["error"].as_str().unwrap().contains("21211"));
}

#[tokio::test]
async fn a_job_that_is_not_the_deliverys_own_sends_nothing() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    let message = hooks.tests(endpoint, 1).await[0];
    // One beside the delivery's own, and one when it is settled.
    for _ in 0..2 {
        let mut tx = hooks.tx(None).await;
        tx.enqueue(NewJob::of(&SendWebhook { endpoint, message }).unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        hooks.line.run().await;
        assert_eq!(hooks.came().len(), 1);
    }
    let [delivery] = &hooks.deliveries(endpoint).await[..] else { panic!("one delivery") };
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 1));
}

#[tokio::test]
async fn nothing_is_written_when_nobody_listens() {
    let hooks = Hooks::new().await;
    let agency = hooks.line.agency("quiet", &["00-950"]).await;
    hooks.lead("a", "00-950").await;
    assert_eq!(hooks.rows().await, 0);
    // Somebody listens, but not to this.
    hooks.endpoint(Some(agency), &["lead.accepted"], false).await;
    hooks.lead("b", "00-950").await;
    assert_eq!(hooks.rows().await, 0);
}

#[tokio::test]
async fn a_lead_whose_transaction_is_undone_is_told_to_nobody() {
    let hooks = Hooks::new().await;
    let agency = hooks.line.agency("mine", &["00-950"]).await;
    hooks.endpoint(Some(agency), &["lead.accepted"], false).await;
    let lead = hooks.lead("a", "00-950").await;
    let mut tx = hooks.tx(Some(agency)).await;
    let cause = switchyard_catalog::line::Cause::default();
    switchyard_catalog::line::respond(&mut tx, lead, &Answer::Accept, &cause).await.unwrap();
    tx.rollback().await.unwrap();
    hooks.line.run().await;
    assert_eq!(hooks.rows().await, 0);
    assert!(hooks.came().is_empty());
}

#[tokio::test]
async fn an_agency_can_speak_of_nobody_elses_lead() {
    let hooks = Hooks::new().await;
    let mine = hooks.line.agency("mine", &["00-950"]).await;
    let other = hooks.line.agency("other", &["30-001"]).await;
    hooks.endpoint(Some(other), &["*"], false).await;
    for stranger in [Some(other), None] {
        let mut tx = hooks.tx(Some(mine)).await;
        let forged = outbound::NewOutbound {
            id: switchyard_domain::OutboundMessageId::new(),
            kind: EventType::LeadAssigned,
            agency: stranger,
            lead: Some(LeadId::new()),
            data: serde_json::json!({}),
        };
        assert!(outbound::emit(&mut tx, &[forged]).await.is_err());
    }
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_old_one_for_a_day() {
    let hooks = Hooks::new().await;
    let (endpoint, old) = hooks.endpoint(None, &["*"], false).await;
    let mut tx = hooks.tx(None).await;
    let made = manage::rotate(&mut tx, &super::support::key(), endpoint).await.unwrap();
    tx.commit().await.unwrap();
    let new = made.secret.expose().to_string();
    let until = made.endpoint.old_secret_until.unwrap();
    assert!((until - Utc::now()).num_hours() >= 23);
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    let came = hooks.receiver.record().all();
    assert_eq!(came[0].authorization.as_ref().unwrap().split(' ').count(), 2);
    assert!(verified(&came[0], &old) && verified(&came[0], &new));

    sqlx::query("update switchyard.webhook_endpoints set old_secret_until = now()")
        .execute(&mut hooks.line.test.owner().await)
        .await
        .unwrap();
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    let came = hooks.receiver.record().all();
    assert!(verified(&came[1], &new) && !verified(&came[1], &old));
}

#[tokio::test]
async fn the_same_bytes_and_id_come_at_every_attempt() {
    let hooks = Hooks::new().await;
    let (endpoint, _) = hooks.endpoint(None, &["*"], false).await;
    hooks.receiver.script().push([refuse(500), HttpStep::Cut, HttpStep::Accept]);
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    hooks.line.run_retries().await;
    hooks.line.run_retries().await;
    let came = hooks.receiver.record().all();
    assert_eq!(came.len(), 3);
    let texts: std::collections::BTreeSet<_> =
        came.iter().map(|r| (r.marker.clone(), switchyard_tests::fakes::text_of(r))).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(hooks.states(endpoint).await, [DeliveryState::Delivered]);
}
