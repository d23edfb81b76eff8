//! Whoever judges events locks in one order: events, persons, leads. Two that meet go on one after the
//! other and never wait for each other in a circle.

use super::support::{Line, PORTAL, at_a_gate, person, settings};
use serde_json::{Value, json};
use switchyard_catalog::line::{self, Cause};
use switchyard_catalog::replay::{EventReplay, LeadChange};
use switchyard_domain::EventId;
use switchyard_queue::Outcome;
use switchyard_store::events::{self, EventState, Range};
use switchyard_store::{Result, replays};

/// The persons' rows.
const PERSONS: &str = "select from switchyard.person_keys order by key for update";
const ROUNDS: usize = 6;

/// The demo's settings with a rule for persons, and with this text in every lead.
fn merging(message: &str) -> Value {
    let mut all = settings("email");
    all["duplicates"] = json!({"policy": "merge"});
    all["mapping"]["fields"]["message"] = json!({"const": message});
    all
}

fn ada(id: &str) -> Value {
    let mut body = person(id, None);
    body["email"] = json!("ada@example.test");
    body
}

async fn replayed(line: &Line, event: EventId) -> Result<EventReplay> {
    let mut tx = line.platform().await;
    let told = line::replay(&mut tx, event, &Cause::default()).await?;
    tx.commit().await?;
    Ok(told)
}

#[tokio::test]
async fn a_replay_and_a_merge_of_the_same_person_go_on_one_after_the_other() {
    let line = Line::new().await;
    line.set_settings(&merging("first")).await;
    let event = line.send("1", &ada("1")).await;
    let worker = line.register().await;
    for round in 0..ROUNDS {
        line.set_settings(&merging(&format!("round {round}"))).await;
        let id = format!("again {round}");
        let (second, job) = line.to_judge(&worker, &id, &ada(&id)).await;
        let (replay, judged) = (replayed(&line, event), line.run_claimed(job));
        // Each of them comes first half of the time.
        let (told, outcome) = if round % 2 == 0 {
            let (outcome, told) = at_a_gate(&line, PERSONS, judged, replay).await;
            (told, outcome)
        } else {
            at_a_gate(&line, PERSONS, replay, judged).await
        };
        let told = told.unwrap_or_else(|e| panic!("round {round}: {e:?}"));
        assert_eq!(told.leads[0].change, LeadChange::Changed, "{told:?}");
        assert!(matches!(outcome, Ok(Outcome::Settled(_))), "round {round}: {outcome:?}");
        let lead = line.lead_of(event).await;
        assert_eq!(lead.data.message, Some(format!("round {round}")));
        assert_eq!(line.lead_of(second).await.id, lead.id, "it completed the first");
    }
    assert_eq!(line.leads().await.len(), 1);
}

#[tokio::test]
async fn a_replay_of_many_and_a_merge_of_one_of_them_go_on_one_after_the_other() {
    let line = Line::new().await;
    line.set_settings(&merging("first")).await;
    for n in 0..4 {
        line.send(&n.to_string(), &person(&n.to_string(), None)).await;
    }
    line.set_settings(&merging("second")).await;
    let range = Range {
        portal: Some(line.portal),
        from: None,
        to: chrono::Utc::now() + chrono::Duration::minutes(1),
        state: None,
    };
    let mut tx = line.platform().await;
    let cause = Cause::default();
    let asked = line::replay_range(&mut tx, &range, false, "test", &cause).await.unwrap();
    tx.commit().await.unwrap();
    let worker = line.register().await;
    let all = line.claim(worker.id, &[]).await.remove(0);
    // The last one of the range again: the replay comes to it after all others.
    let mut more = person("more", None);
    more["email"] = json!("3@example.test");
    let (_, job) = line.to_judge(&worker, "more", &more).await;
    let (judged, replayed) =
        at_a_gate(&line, PERSONS, line.run_claimed(job), line.run_claimed(all)).await;
    assert!(matches!(judged, Ok(Outcome::Settled(_))), "{judged:?}");
    assert!(matches!(replayed, Ok(Outcome::Settled(_))), "{replayed:?}");
    let done = replays::get(&mut line.platform().await, asked.id).await.unwrap();
    assert!(done.finished_at.is_some() && done.counts["leads_changed"] == 4, "{:?}", done.counts);
    assert_eq!(line.leads().await.len(), 4);
}

#[tokio::test]
async fn two_events_with_the_same_persons_in_another_order_go_on_one_after_the_other() {
    let line = Line::new().await;
    let mut all = merging("hello");
    all["delivery_id"] = json!({"path": "delivery"});
    all["mapping"]["foreach"] = json!("people[*]");
    line.set_settings(&all).await;
    let worker = line.register().await;
    let body = |order: [&str; 2], round: usize| {
        let one = |name: &str, time: &str| {
            let mut one = person(&format!("{name} {round} {} {time}", order[0]), None);
            one["email"] = json!(format!("{name}{round}@example.test"));
            one
        };
        // Who is there a second time is met once the first of them is stored, before the next is claimed.
        json!({"people": order.map(|name| ["once", "twice"].map(|time| one(name, time))).concat()})
    };
    for round in 0..ROUNDS {
        // Persons that nobody has seen, so that there are no rows yet to lock.
        let (there, back) = (body(["ada", "eve"], round), body(["eve", "ada"], round));
        let (first, one) = line.to_judge(&worker, &format!("there {round}"), &there).await;
        let (second, two) = line.to_judge(&worker, &format!("back {round}"), &back).await;
        let (a, b) = at_a_gate(&line, PORTAL, line.run_claimed(one), line.run_claimed(two)).await;
        assert!(matches!(a, Ok(Outcome::Settled(_))), "round {round}: {a:?}");
        assert!(matches!(b, Ok(Outcome::Settled(_))), "round {round}: {b:?}");
        for event in [first, second] {
            let (event, ..) = events::get(&mut line.platform().await, event).await.unwrap();
            assert_eq!(event.state, EventState::Processed);
        }
        assert_eq!(line.leads().await.len(), 2 * (round + 1), "each person is there once");
        line.run().await;
    }
    let marks = "select count(*) from switchyard.person_keys where seen_at = '-infinity'";
    let mut owner = line.test.owner().await;
    let left: i64 = sqlx::query_scalar(marks).fetch_one(&mut owner).await.unwrap();
    assert_eq!(left, 0, "what was locked and not claimed is forgotten");
}
