//! The same person twice: what each policy does, who is first, and what repetitions are not.

use super::support::{Line, PORTAL, at_a_gate, person, settings};
use serde_json::{Value, json};
use switchyard_domain::LeadState;
use switchyard_queue::Outcome;
use switchyard_store::events::{self, EventState};
use switchyard_store::{Scope, persons};

async fn line(rule: Value) -> Line {
    let line = Line::new().await;
    line.agency("acme", &["00-950"]).await;
    let mut settings = settings("email");
    settings["duplicates"] = rule;
    line.set_settings(&settings).await;
    line
}

/// A lead of Ada's; `id` is the sender's.
fn ada(id: &str, more: Value) -> Value {
    let mut body = person(id, Some("00-950"));
    body["email"] = json!("ada@example.test");
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_second_lead_of_a_person_is_refused_and_names_the_first() {
    let line = line(json!({"policy": "reject"})).await;
    let first = line.lead_of(line.send("1", &ada("1", json!({}))).await).await;
    let second = line.send("2", &ada("2", json!({"email": "ADA@example.test"}))).await;
    let (event, ..) = events::get(&mut line.platform().await, second).await.unwrap();
    assert_eq!(event.state, EventState::Rejected);
    assert_eq!(event.reasons[0].code, "duplicate_person");
    assert!(event.reasons[0].message.contains(&first.id.to_string()), "{:?}", event.reasons);
    assert_eq!(line.leads().await.len(), 1);
    // The refused one claimed nothing: its number is nobody's yet.
    let third = json!({"email": "eve@example.test", "phone": "+48501000001"});
    line.send("3", &ada("3", json!({"phone": "+48501000001"}))).await;
    line.lead_of(line.send("4", &ada("4", third)).await).await;
    assert_eq!(line.leads().await.len(), 2);
}

#[tokio::test]
async fn a_second_lead_is_linked_and_given_out() {
    let line = line(json!({"policy": "link"})).await;
    let first = line.lead_of(line.send("1", &ada("1", json!({}))).await).await;
    let with_phone = ada("2", json!({"phone": "+48501000001"}));
    let second = line.lead_of(line.send("2", &with_phone).await).await;
    assert_eq!((second.duplicate_of, second.state), (Some(first.id), LeadState::Assigned));
    // Known by the number of the second, still of the first.
    let by_phone = ada("3", json!({"email": "a.l@example.test", "phone": "+48501000001"}));
    let third = line.lead_of(line.send("3", &by_phone).await).await;
    assert_eq!(third.duplicate_of, Some(first.id));
    assert_eq!(first.duplicate_of, None);
}

#[tokio::test]
async fn a_second_lead_completes_the_first_and_nobody_is_told_again() {
    let line = line(json!({"policy": "merge"})).await;
    let first = line.send("1", &ada("1", json!({"message": null}))).await;
    let held = line.lead_of(first).await;
    let with_more = ada("2", json!({"phone": "+48501000001", "product": "Doors"}));
    let second = line.send("2", &with_more).await;
    let lead = line.lead_of(second).await;
    assert_eq!(lead.id, held.id, "the event names the lead that it completed");
    assert_eq!(line.leads().await.len(), 1);
    assert_eq!(lead.data.phone.as_deref(), Some("+48501000001"));
    assert_eq!(lead.data.interest.as_deref(), Some("Windows"), "what stands is not overwritten");
    assert_eq!((lead.agency, lead.state), (held.agency, held.state));
    let notes = lead.merges.unwrap();
    assert_eq!(notes[0]["event"], json!(second));
    assert_eq!(notes[0]["fields"], json!(["phone", "message"]));
    let messages: i64 = sqlx::query_scalar("select count(*) from switchyard.messages")
        .fetch_one(&mut line.test.owner().await)
        .await
        .unwrap();
    assert_eq!(messages, 1);
}

#[tokio::test]
async fn an_accepted_one_stands_by_itself_with_a_warning() {
    let line = line(json!({"policy": "accept"})).await;
    line.send("1", &ada("1", json!({}))).await;
    let second = line.lead_of(line.send("2", &ada("2", json!({}))).await).await;
    assert_eq!(
        (second.duplicate_of, second.data.warnings),
        (None, vec!["duplicate_person".to_owned()])
    );
}

#[tokio::test]
async fn the_senders_repetition_of_a_lead_is_no_second_person() {
    let line = line(json!({"policy": "reject"})).await;
    let first = line.lead_of(line.send("d1", &ada("7", json!({}))).await).await;
    let repeated = line.send("d2", &ada("7", json!({"phone": "+48501000001"}))).await;
    let (event, ..) = events::get(&mut line.platform().await, repeated).await.unwrap();
    assert_eq!((event.state, event.lead), (EventState::Processed, Some(first.id)));
    // It left no claim behind on the number.
    let other = ada("8", json!({"email": "eve@example.test", "phone": "+48501000001"}));
    line.lead_of(line.send("8", &other).await).await;
}

#[tokio::test]
async fn after_the_window_and_for_another_product_a_person_is_new() {
    let line = line(json!({"policy": "reject", "window": "12h", "product": true})).await;
    let first = line.send("1", &ada("1", json!({}))).await;
    line.lead_of(line.send("2", &ada("2", json!({"product": "Doors"}))).await).await;
    let refused = line.send("3", &ada("3", json!({"product": " windows"}))).await;
    let (event, ..) = events::get(&mut line.platform().await, refused).await.unwrap();
    assert_eq!(event.state, EventState::Rejected);
    let mut owner = line.test.owner().await;
    sqlx::query("update switchyard.person_keys set seen_at = seen_at - interval '13 hours'")
        .execute(&mut owner)
        .await
        .unwrap();
    line.lead_of(line.send("4", &ada("4", json!({}))).await).await;
    assert_eq!(line.leads().await.len(), 3);
    sqlx::query("update switchyard.person_keys set expires_at = now()")
        .execute(&mut owner)
        .await
        .unwrap();
    let mut tx = line.db.begin(Scope::Platform).await.unwrap();
    assert_eq!(persons::expire(&mut tx, 10).await.unwrap(), 2);
    tx.commit().await.unwrap();
    assert!(line.lead_of(first).await.duplicate_of.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_deliveries_of_one_person_at_one_instant_exactly_one_is_first() {
    for policy in ["reject", "link", "merge"] {
        let line = line(json!({"policy": policy})).await;
        // Half are known by the address, half by the number, one by both: whoever wins, they meet.
        let body = |n: usize| match n % 3 {
            0 => ada(&n.to_string(), json!({})),
            1 => ada(&n.to_string(), json!({"phone": "+48501000001"})),
            _ => ada(&n.to_string(), json!({"phone": "+48501000001", "product": "Doors"})),
        };
        let batch: Vec<_> = (0..24).map(|n| line.delivery(&format!("d{n}"), &body(n))).collect();
        events::ingest(&line.db, batch).await.unwrap();
        // Claimed together: they are judged in few transactions.
        line.run().await;
        line.run_retries().await;
        let leads = line.leads().await;
        let firsts: Vec<_> = leads.iter().filter(|l| l.duplicate_of.is_none()).collect();
        assert_eq!(firsts.len(), 1, "{policy}: {leads:?}");
        let all = line.events().await;
        let rejected = all.iter().filter(|e| e.state == EventState::Rejected).count();
        match policy {
            "reject" => assert_eq!((leads.len(), rejected), (1, 23)),
            "link" => {
                assert_eq!((leads.len(), rejected), (24, 0));
                let first = Some(firsts[0].id);
                assert_eq!(leads.iter().filter(|l| l.duplicate_of == first).count(), 23);
            }
            _ => {
                assert_eq!((leads.len(), rejected), (1, 0));
                assert_eq!(leads[0].data.phone.as_deref(), Some("+48501000001"));
                assert!(all.iter().all(|e| e.lead == Some(leads[0].id)));
            }
        }
    }
}

#[tokio::test]
async fn of_two_deliveries_in_transactions_of_their_own_at_one_instant_one_is_first() {
    for policy in ["reject", "link", "merge"] {
        let line = line(json!({"policy": policy})).await;
        line.run().await;
        let worker = line.register().await;
        let (first, one) = line.to_judge(&worker, "1", &ada("1", json!({}))).await;
        let (second, two) = line.to_judge(&worker, "2", &ada("2", json!({}))).await;
        // The first has claimed the person and stores its lead when the second comes.
        let (a, b) = at_a_gate(&line, PORTAL, line.run_claimed(one), line.run_claimed(two)).await;
        assert!(matches!(a, Ok(Outcome::Settled(_))), "{policy}: {a:?}");
        assert!(matches!(b, Ok(Outcome::Settled(_))), "{policy}: {b:?}");
        let lead = line.lead_of(first).await;
        assert_eq!(lead.duplicate_of, None, "{policy}");
        let (second, ..) = events::get(&mut line.platform().await, second).await.unwrap();
        let leads = line.leads().await;
        match policy {
            "reject" => assert_eq!((leads.len(), second.state), (1, EventState::Rejected)),
            "link" => {
                let later: Vec<_> = leads.iter().filter(|l| l.id != lead.id).collect();
                assert_eq!(later.len(), 1);
                assert_eq!(later[0].duplicate_of, Some(lead.id));
            }
            _ => assert_eq!((leads.len(), second.lead), (1, Some(lead.id))),
        }
    }
}
