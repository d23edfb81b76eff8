//! Judging again: in place, idempotent, and never against what an operator or another event did.

use super::support::{Line, person, settings};
use serde_json::{Value, json};
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::replay::{self, EventReplay, LeadChange};
use switchyard_domain::{EventId, LeadState};
use switchyard_store::events::{self, EventState, Range};
use switchyard_store::{leads, replays};

async fn apply(line: &Line, event: EventId) -> EventReplay {
    let mut tx = line.platform().await;
    let told = line::replay(&mut tx, event, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    line.run().await;
    told
}

fn changes(told: &EventReplay) -> Vec<LeadChange> {
    told.leads.iter().map(|l| l.change).collect()
}

async fn state(line: &Line, event: EventId) -> EventState {
    events::get(&mut line.platform().await, event).await.unwrap().0.state
}

#[tokio::test]
async fn a_lead_that_somebody_holds_is_changed_in_place() {
    let line = Line::new().await;
    let agency = line.agency("acme", &["00-950"]).await;
    let mut body = person("1", Some("00-950"));
    body["town"] = json!("Warszawa");
    let event = line.send("1", &body).await;
    let before = line.lead_of(event).await;
    let mut with_town = settings("email");
    with_town["mapping"]["fields"]["city"] = json!("town");
    with_town["mapping"]["fields"]["message"] = json!({"const": "Call"});
    line.set_settings(&with_town).await;

    let dry = replay::preview(&line.db, event).await.unwrap();
    let fields: Vec<_> = dry.leads[0]
        .fields
        .iter()
        .map(|f| (f.field.as_str(), f.before.clone(), f.after.clone()))
        .collect();
    assert_eq!(
        fields,
        [
            ("city", Value::Null, json!("Warszawa")),
            ("message", json!("Please call after six."), json!("Call")),
        ]
    );
    assert_eq!(line.lead(before.id).await.data, before.data, "a dry run changes nothing");
    assert_eq!(apply(&line, event).await, dry);
    let after = line.lead(before.id).await;
    assert_eq!(after.data.city.as_deref(), Some("Warszawa"));
    assert_eq!((after.agency, after.state), (Some(agency), LeadState::Assigned));
    let again = apply(&line, event).await;
    assert_eq!((changes(&again), again.differs()), (vec![LeadChange::Same], false));
    assert_eq!(again.judged_by, Some(2));
}

#[tokio::test]
async fn what_the_mapping_would_refuse_now_stays_and_is_told() {
    let line = Line::new().await;
    let event = line.send("1", &person("1", None)).await;
    let lead = line.lead_of(event).await;
    line.set_settings(&settings("nowhere")).await;
    let told = apply(&line, event).await;
    assert_eq!(changes(&told), [LeadChange::Refused]);
    assert!(!told.differs() && !told.reasons.is_empty(), "{told:?}");
    assert_eq!(state(&line, event).await, EventState::Processed);
    assert_eq!(line.lead(lead.id).await.data, lead.data);
}

#[tokio::test]
async fn leads_beyond_what_the_mapping_makes_are_told_and_stay() {
    let line = Line::new().await;
    let event = line.send("1", &person("1", None)).await;
    let mut tx = line.platform().await;
    let of = events::load(&mut tx, event).await.unwrap();
    let mut second = line.lead_of(event).await.data;
    second.external_id = None;
    let stored = leads::store(&mut tx, &of, 1, &second).await.unwrap();
    assert!(stored.new);
    assert!(!leads::store(&mut tx, &of, 1, &second).await.unwrap().new, "one lead for a place");
    tx.commit().await.unwrap();
    let (named, ..) = events::get(&mut line.platform().await, event).await.unwrap();
    assert_eq!(named.lead, Some(line.lead_of(event).await.id));
    let told = apply(&line, event).await;
    assert_eq!(changes(&told), [LeadChange::Same, LeadChange::Vanished]);
    assert!(told.differs());
    assert_eq!(line.leads().await.len(), 2);
}

#[tokio::test]
async fn repetitions_and_merges_stay_what_they_are() {
    let line = Line::new().await;
    let mut rule = settings("email");
    rule["duplicates"] = json!({"policy": "merge"});
    rule["mapping"]["fields"]["consent.sms"] = json!("sms");
    rule["mapping"]["fields"]["consent_proof.sms.text"] = json!("sms_text");
    line.set_settings(&rule).await;
    let first = line.send("1", &person("1", None)).await;
    let repeat = line.send("2", &person("1", None)).await;
    let mut more = person("3", None);
    more["email"] = json!("1@example.test");
    more["phone"] = json!("+48501000001");
    more["sms"] = json!("yes");
    more["sms_text"] = json!("You may write to me.");
    let merged = line.send("3", &more).await;
    let lead = line.lead_of(first).await;
    assert_eq!(lead.data.phone.as_deref(), Some("+48501000001"));
    let proof = &lead.data.consent_proof.as_ref().unwrap()["sms"];
    assert_eq!(proof.text.as_deref(), Some("You may write to me."));
    for event in [first, repeat, merged] {
        let told = apply(&line, event).await;
        assert!(!told.differs(), "{told:?}");
        assert_eq!(line.lead_of(event).await.id, lead.id);
    }
    let after = line.lead(lead.id).await;
    assert_eq!((after.data, after.merges), (lead.data, lead.merges), "what was merged stays");
    assert_eq!(line.leads().await.len(), 1);
}

#[tokio::test]
async fn an_id_that_another_lead_has_is_not_taken() {
    let line = Line::new().await;
    let mut body = person("1", None);
    body["other"] = json!("2");
    let event = line.send("1", &body).await;
    line.send("2", &person("2", None)).await;
    let mut by_other = settings("email");
    by_other["mapping"]["fields"]["external_id"] = json!("other");
    line.set_settings(&by_other).await;
    let told = apply(&line, event).await;
    assert_eq!(changes(&told), [LeadChange::Refused]);
    assert_eq!(told.reasons[0].code, "external_id_taken");
    assert_eq!(line.lead_of(event).await.data.external_id.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_range_is_replayed_in_steps_that_survive_their_worker() {
    let line = Line::new().await;
    line.set_settings(&settings("nowhere")).await;
    let batch: Vec<_> =
        (0..120).map(|n| line.delivery(&n.to_string(), &person(&n.to_string(), None))).collect();
    events::ingest(&line.db, batch).await.unwrap();
    line.run().await;
    assert!(line.leads().await.is_empty());
    line.set_settings(&settings("email")).await;
    let range = Range {
        portal: Some(line.portal),
        from: None,
        to: chrono::Utc::now() + chrono::Duration::minutes(1),
        state: Some(EventState::Rejected),
    };
    let mut tx = line.platform().await;
    let asked =
        line::replay_range(&mut tx, &range, false, "test", &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(asked.total, 120);

    // The worker is cut off after its first step.
    let worker = line.register().await.id;
    let job = line.claim(worker, &[]).await.remove(0);
    let cut = async {
        loop {
            let now = replays::get(&mut line.platform().await, asked.id).await.unwrap();
            if now.counts.contains_key("events") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = line.run_claimed(job) => panic!("it ended before it was cut off: {ended:?}"),
        () = cut => {}
    }
    let half = replays::get(&mut line.platform().await, asked.id).await.unwrap();
    assert!(half.finished_at.is_none() && half.counts["events"] < 120, "{:?}", half.counts);

    // Another one takes the job over.
    let next = line.register().await.id;
    let job = line.claim(next, &[worker]).await;
    let job = job.into_iter().find(|j| j.kind == "webhook.replay").expect("the job again");
    line.run_claimed(job).await.unwrap();
    let done = replays::get(&mut line.platform().await, asked.id).await.unwrap();
    assert!(done.finished_at.is_some());
    assert_eq!((done.counts["events"], done.counts["leads_new"]), (120, 120), "each event once");
    assert_eq!(line.leads().await.len(), 120);
    assert_eq!(done.changes.len(), 120);
}
