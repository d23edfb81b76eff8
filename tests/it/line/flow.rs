//! From event to lead to assignment to messages, and what becomes of those that do not fit.

use super::support::{Line, person, place, settings};
use serde_json::json;
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::{AgentId, LeadState};
use switchyard_store::distribution::{self, AssignmentReason, AssignmentState};
use switchyard_store::events::{self, EventState, RerunFault};
use switchyard_store::messages::{self, Channel, Message, MessageFilter, MessageState};
use switchyard_store::{StoreFault, agents};

async fn messages_of(line: &Line, lead: switchyard_domain::LeadId) -> Vec<Message> {
    let filter = MessageFilter { lead: Some(lead), limit: 100, ..MessageFilter::default() };
    let mut all = messages::list(&mut line.platform().await, &filter).await.unwrap();
    all.sort_by(|a, b| a.recipient.cmp(&b.recipient));
    all
}

#[tokio::test]
async fn an_event_becomes_a_lead_an_assignment_and_messages() {
    let line = Line::new().await;
    let agency = line.agency("acme", &["00-950"]).await;
    let mut tx = line.tenant(agency).await;
    let (both, gone) = (AgentId::new(), AgentId::new());
    agents::upsert(&mut tx, both, agency, "Bob", Some("bob@acme.test"), Some("+48501000000"))
        .await
        .unwrap();
    agents::upsert(&mut tx, gone, agency, "Eve", Some("eve@acme.test"), None).await.unwrap();
    assert!(agents::set_active(&mut tx, gone, false).await.unwrap());
    tx.commit().await.unwrap();

    let event = line.send("a1", &person("a1", Some("00-950"))).await;
    let lead = line.lead_of(event).await;
    assert_eq!(lead.state, LeadState::Assigned);
    assert_eq!(lead.agency, Some(agency));
    assert_eq!(lead.data.email.as_deref(), Some("a1@example.test"));
    assert_eq!(lead.data.interest.as_deref(), Some("Windows"));

    let given = distribution::assignments(&mut line.platform().await, lead.id).await.unwrap();
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].state, AssignmentState::Offered);
    assert_eq!(given[0].reason, AssignmentReason::RoundRobin);
    assert_eq!(given[0].sequence_key.as_deref(), Some("PL:00-950"));
    assert_eq!(given[0].position, Some(1));
    assert_eq!(given[0].explanation, "Covers PL 00-950; the only agency that may get it (turn 1).");

    let told = messages_of(&line, lead.id).await;
    let to: Vec<_> = told.iter().map(|m| (m.recipient.as_str(), m.channel)).collect();
    assert_eq!(
        to,
        [
            ("+48501000000", Channel::WhatsApp),
            ("agent@acme.test", Channel::Email),
            ("bob@acme.test", Channel::Email),
        ]
    );
    for message in &told {
        assert_eq!(message.state, MessageState::Sent, "{message:?}");
        assert_eq!(message.provider.as_deref(), Some("capture"));
        assert_eq!(message.attempts, 1);
        assert!(message.body_text.contains(&format!("/leads/{}", lead.id)));
        assert_eq!(message.subject.is_some(), message.channel == Channel::Email);
    }
}

#[tokio::test]
async fn an_agency_with_nobody_to_tell_is_told_itself() {
    let line = Line::new().await;
    let agency = line.bare_agency("solo", false).await;
    line.cover(agency, &["00-950"]).await;
    let lead = line.lead_of(line.send("a", &person("a", Some("00-950"))).await).await;
    let told = messages_of(&line, lead.id).await;
    let to: Vec<_> = told.iter().map(|m| (m.recipient.as_str(), m.agent)).collect();
    assert_eq!(to, [("+48221234567", None), ("office@solo.test", None)]);
}

#[tokio::test]
async fn the_same_lead_under_another_delivery_makes_no_second_one() {
    let line = Line::new().await;
    line.agency("acme", &["00-950"]).await;
    let first = line.send("d1", &person("lead-7", Some("00-950"))).await;
    let second = line.send("d2", &person("lead-7", Some("00-950"))).await;
    assert_ne!(first, second);
    let lead = line.lead_of(first).await;
    assert_eq!(line.lead_of(second).await.id, lead.id, "the repetition names the first lead");
    let events = line.events().await;
    assert!(events.iter().all(|e| e.state == EventState::Processed));
    assert_eq!(line.leads().await.len(), 1);
    assert_eq!(messages_of(&line, lead.id).await.len(), 1);
}

#[tokio::test]
async fn deliveries_of_one_lead_processed_at_once_make_one_lead() {
    let line = Line::new().await;
    let batch: Vec<_> =
        (0..12).map(|n| line.delivery(&format!("d{n}"), &person("same", None))).collect();
    events::ingest(&line.db, batch).await.unwrap();
    line.run().await;
    let leads = line.leads().await;
    assert_eq!(leads.len(), 1);
    let events = line.events().await;
    assert_eq!(events.len(), 12);
    assert!(events.iter().all(|e| e.lead == Some(leads[0].id)));
}

#[tokio::test]
async fn a_misfit_is_rejected_with_reasons_and_runs_again_once_the_settings_are_mended() {
    let line = Line::new().await;
    line.set_settings(&settings("mail_address")).await;
    let id = line.send("a", &person("a", None)).await;
    let (event, ..) = events::get(&mut line.platform().await, id).await.unwrap();
    assert_eq!(event.state, EventState::Rejected);
    assert!(!event.reasons.is_empty());
    assert!(event.reasons.iter().all(|r| !r.message.is_empty()), "{:?}", event.reasons);
    assert!(line.leads().await.is_empty());
    let version = event.portal_version.unwrap();

    // Before the mapping is mended it only fails again.
    rerun(&line, id).await.unwrap();
    line.run().await;
    let (event, ..) = events::get(&mut line.platform().await, id).await.unwrap();
    assert_eq!(event.state, EventState::Rejected);

    line.set_settings(&settings("email")).await;
    rerun(&line, id).await.unwrap();
    line.run().await;
    let (event, ..) = events::get(&mut line.platform().await, id).await.unwrap();
    assert_eq!(event.state, EventState::Processed);
    assert!(event.reasons.is_empty());
    assert_eq!(event.portal_version, Some(version + 1));
    assert_eq!(line.lead_of(id).await.data.email.as_deref(), Some("a@example.test"));

    let again = rerun(&line, id).await.unwrap_err();
    assert!(matches!(again, RerunFault::NotRejected(EventState::Processed)), "{again:?}");
    let unknown = rerun(&line, switchyard_domain::EventId::new()).await.unwrap_err();
    assert!(matches!(unknown, RerunFault::Store(StoreFault::NotFound)), "{unknown:?}");
}

async fn rerun(line: &Line, id: switchyard_domain::EventId) -> Result<(), RerunFault> {
    let mut tx = line.platform().await;
    line::rerun(&mut tx, id, &Cause::default()).await?;
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_json_or_has_unreadable_settings_is_rejected_not_lost() {
    let line = Line::new().await;
    let mut broken = line.delivery("a", &json!({}));
    broken.body = b"{\"id\": ".to_vec();
    events::ingest(&line.db, vec![broken]).await.unwrap();
    line.run().await;
    let event = line.events().await.remove(0);
    assert_eq!(event.state, EventState::Rejected);
    assert_eq!(event.reasons[0].code, "invalid_json");

    line.set_settings(&json!({ "mapping": 7 })).await;
    let id = line.send("b", &person("b", None)).await;
    let (event, ..) = events::get(&mut line.platform().await, id).await.unwrap();
    assert_eq!(event.state, EventState::Rejected);
    assert!(event.reasons[0].field.starts_with("portal settings"), "{:?}", event.reasons);
    line.set_settings(&settings("email")).await;
    rerun(&line, id).await.unwrap();
    line.run().await;
    line.lead_of(id).await;
}

#[tokio::test]
async fn text_that_a_database_cannot_hold_never_wedges_the_line() {
    let line = Line::new().await;
    let mut body = person("nul", Some("00-950"));
    body["first_name"] = json!("Ma\u{0}rta");
    body["message"] = json!("\u{0}");
    let id = line.send("nul", &body).await;
    let (event, ..) = events::get(&mut line.platform().await, id).await.unwrap();
    assert_ne!(event.state, EventState::Received, "judged one way or the other");
}

#[tokio::test]
async fn a_lead_that_nobody_covers_waits_until_somebody_does() {
    let line = Line::new().await;
    line.agency("other", &["30-001"]).await;
    let lead = line.lead_of(line.send("a", &person("a", Some("00-950"))).await).await;
    assert_eq!((lead.state, lead.agency), (LeadState::Unassigned, None));

    let agency = line.agency("late", &[]).await;
    line.cover(agency, &["00-950"]).await;
    line.run().await;
    let lead = line.lead(lead.id).await;
    assert_eq!((lead.state, lead.agency), (LeadState::Assigned, Some(agency)));
    assert_eq!(messages_of(&line, lead.id).await.len(), 1);
}

#[tokio::test]
async fn the_periodic_search_finds_what_nothing_else_reported() {
    let line = Line::new().await;
    let agency = line.agency("acme", &["00-950"]).await;
    let mut owner = line.test.owner().await;
    sqlx::query("update switchyard.agencies set subscribed_until = now() - interval '1 hour'")
        .execute(&mut owner)
        .await
        .unwrap();
    let unassigned = line.lead_of(line.send("a", &person("a", Some("00-950"))).await).await;
    assert_eq!(unassigned.state, LeadState::Unassigned);
    // A lead whose job was lost: the job is discarded behind the curtain.
    events::ingest(&line.db, vec![line.delivery("b", &person("b", None))]).await.unwrap();
    line.run().await;
    sqlx::query(
        "update switchyard.leads set state = 'new', postal_code = '00-950',
           updated_at = now() - interval '2 minutes' where external_id = 'b'",
    )
    .execute(&mut owner)
    .await
    .unwrap();

    let rescan = || async {
        let mut tx = line.platform().await;
        let job = switchyard_catalog::registry().parse("leads.rescan_unassigned", json!({}));
        tx.enqueue(job.unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        line.run().await.iter().filter(|(kind, _)| kind == "lead.distribute").count()
    };
    assert_eq!(rescan().await, 1, "the stale one only: nobody may get the other");
    sqlx::query("update switchyard.agencies set subscribed_until = now() + interval '1 hour'")
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(rescan().await, 2);
    assert!(line.leads().await.iter().all(|l| l.agency == Some(agency)));
    assert_eq!(rescan().await, 0, "nothing is left to find");
}

/// Leads behind the curtain: a search goes on where the batch before it ended.
#[tokio::test]
async fn a_search_through_many_leads_finds_each_once() {
    let line = Line::new().await;
    sqlx::raw_sql(
        "insert into switchyard.webhook_events (id, portal_id, body, headers)
         select gen_random_uuid(), p.id, '', '{}' from switchyard.portals p, generate_series(1, 1203);
         insert into switchyard.leads (id, portal_id, event_id, state, country, postal_code)
         select gen_random_uuid(), e.portal_id, e.id, 'unassigned', 'PL',
           nullif((row_number() over ()) % 3, 0)::text
         from switchyard.webhook_events e",
    )
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    let found = || async {
        let presence = line.register().await;
        let jobs = line.claim(presence.id, &[]).await;
        let job = jobs.into_iter().find(|j| j.kind == "leads.rescan_unassigned").unwrap();
        line.run_claimed(job).await.unwrap();
        let found: i64 = sqlx::query_scalar(
            "with gone as (delete from engine.jobs where kind = 'lead.distribute' returning 1),
               keys as (delete from engine.job_uniques)
             select count(*) from gone",
        )
        .fetch_one(&mut line.test.owner().await)
        .await
        .unwrap();
        found
    };
    // One place (it has 401), then everywhere: 802 have a place now, and a catch-all takes the rest.
    line.agency("one", &["1"]).await;
    assert_eq!(found().await, 401);
    line.agency("two", &["1", "2"]).await;
    assert_eq!(found().await, 802);
    line.bare_agency("all", true).await;
    let mut tx = line.platform().await;
    let job = switchyard_catalog::registry().parse("leads.rescan_unassigned", json!({})).unwrap();
    tx.enqueue(job).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(found().await, 1203);
}

#[tokio::test]
async fn a_lead_without_a_country_is_matched_by_a_code_that_only_one_country_has() {
    let line = Line::new().await;
    let agency = line.agency("acme", &["00-950"]).await;
    let mut body = person("a", Some("00-950"));
    body["country"] = json!(null);
    let lead = line.lead_of(line.send("a", &body).await).await;
    assert_eq!(lead.data.country, None);
    assert_eq!((lead.state, lead.agency), (LeadState::Assigned, Some(agency)));

    let mut tx = line.tenant(agency).await;
    let abroad = [place("DE", "00-950")];
    line::add_territories(&mut tx, agency, &abroad, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    body["id"] = json!("b");
    let lead = line.lead_of(line.send("b", &body).await).await;
    assert_eq!(lead.state, LeadState::Unassigned, "two countries have the code now");
}
