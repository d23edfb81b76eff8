//! Leads that are kept in one transaction come out as if each had been kept alone, one after the other.

use super::support::{Line, person, settings};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::HashMap;
use switchyard_domain::EventId;
use switchyard_store::events;

/// As many as go together once the first two have gone on their own.
const DELIVERIES: usize = 32;

/// Deliveries of few persons and few ids of the sender, so that they meet in every way. The first two are
/// nobody's who comes later: they go side by side, each alone.
fn deliveries() -> Vec<Value> {
    let few = (0..14_u8, 0..10_u8, prop::option::of(0..5_u8), 0..12_u8);
    let one = few.prop_map(|(id, email, phone, odd)| {
        let mut body = person(&format!("p{id}"), Some("00-950"));
        body["email"] = json!(match odd {
            0 => "no address".to_owned(),
            _ => format!("e{email}@example.test"),
        });
        body["phone"] = json!(phone.map(|n| format!("+4850100000{n}")));
        body["message"] = json!((odd > 5).then(|| format!("Message {odd}")));
        body
    });
    let some = prop::collection::vec(one, DELIVERIES - 2);
    let some = some.new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let first = ["first", "second"].map(|id| person(id, Some("00-950")));
    first.into_iter().chain(some).collect()
}

async fn line(policy: &str) -> Line {
    let line = Line::new().await;
    line.agency("acme", &["00-950"]).await;
    let mut settings = settings("email");
    settings["duplicates"] = json!({ "policy": policy });
    line.set_settings(&settings).await;
    line
}

/// What became of each delivery, with deliveries' numbers for everybody's ids.
async fn outcome(line: &Line, sent: &[EventId]) -> Vec<Value> {
    let numbers: HashMap<EventId, usize> =
        sent.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let leads = line.leads().await;
    let number = |id| leads.iter().find(|l| l.id == id).map(|l| numbers[&l.event]);
    let mut all = Vec::new();
    for id in sent {
        let (event, ..) = events::get(&mut line.platform().await, *id).await.unwrap();
        let made = leads.iter().find(|lead| lead.event == *id).map(|lead| {
            json!({
                "says": lead.data, "state": lead.state, "first": lead.duplicate_of.map(number),
                "merged": switchyard_store::leads::merged_fields(lead.merges.as_ref()),
            })
        });
        let codes: Vec<_> = event.reasons.iter().map(|r| (&r.field, &r.code)).collect();
        all.push(json!({
            "state": event.state.as_str(), "reasons": codes, "lead": event.lead.map(number),
            "made": made,
        }));
    }
    all
}

#[tokio::test]
async fn what_is_kept_together_is_what_would_have_been_kept_one_by_one() {
    let bodies = deliveries();
    for policy in ["reject", "link", "merge", "accept"] {
        let (together, alone) = (line(policy).await, line(policy).await);
        let new =
            bodies.iter().enumerate().map(|(n, body)| together.delivery(&n.to_string(), body));
        let answers = events::ingest(&together.db, new.collect::<Vec<_>>()).await.unwrap();
        let many: Vec<EventId> = answers.iter().map(|a| a.event).collect();
        together.run().await;
        let mut each = Vec::new();
        for (n, body) in bodies.iter().enumerate() {
            each.push(alone.send(&n.to_string(), body).await);
        }
        let (many, each) = (outcome(&together, &many).await, outcome(&alone, &each).await);
        for (n, (many, each)) in many.iter().zip(&each).enumerate() {
            assert_eq!(many, each, "{policy}: delivery {n}, {}", bodies[n]);
        }
        let moments = "select count(distinct processed_at) from switchyard.webhook_events";
        let commits =
            crate::engine::support::count(&mut together.test.owner().await, moments).await;
        assert!(commits <= 4, "{policy}: they went together, not in {commits} transactions");
        assert!(together.leads().await.len() > 5, "{policy}");
    }
}
