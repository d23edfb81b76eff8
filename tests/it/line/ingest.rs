//! Deliveries: each once, whoever sends them how often, in whatever company.

use super::support::{Line, person};
use serde_json::json;
use std::collections::HashSet;
use switchyard_domain::delivery::DeliveryKey;
use switchyard_store::events::{self, EventState};

#[tokio::test]
async fn a_delivery_becomes_an_event_and_a_job_in_one_commit() {
    let line = Line::new().await;
    let body = json!({ "id": "a", "odd": "\u{1F600} exactly as it came" });
    let new = line.delivery("a", &body);
    let (job, raw) = (new.job.id, new.body.clone());
    let answers = events::ingest(&line.db, vec![new]).await.unwrap();
    assert!(!answers[0].duplicate);

    let (event, headers, stored) =
        events::get(&mut line.platform().await, answers[0].event).await.unwrap();
    assert_eq!(stored, raw);
    assert_eq!(event.state, EventState::Received);
    assert_eq!(event.request_id.as_deref(), Some("req-1"));
    assert_eq!(headers, json!({ "content-type": "application/json" }));
    let (partition, request): (String, Option<String>) = sqlx::query_as(
        "select l.partition, j.request_id from engine.jobs j join engine.lanes l on l.id = j.lane
         where j.id = $1 and j.kind = 'webhook.process'",
    )
    .bind(job.0)
    .fetch_one(&mut line.test.owner().await)
    .await
    .unwrap();
    assert_eq!(partition, line.portal.to_string(), "a portal has a lane of its own");
    assert_eq!(request.as_deref(), Some("req-1"));
}

#[tokio::test]
async fn the_same_delivery_again_names_the_first_event() {
    let line = Line::new().await;
    let body = person("a", None);
    let first = events::ingest(&line.db, vec![line.delivery("a", &body)]).await.unwrap()[0];
    let again = events::ingest(&line.db, vec![line.delivery("a", &body)]).await.unwrap()[0];
    assert!(again.duplicate);
    assert_eq!(again.event, first.event);
    line.run().await;
    let late = events::ingest(&line.db, vec![line.delivery("a", &body)]).await.unwrap()[0];
    assert_eq!((late.duplicate, late.event), (true, first.event), "also after it was processed");
    assert_eq!((line.events().await.len(), line.leads().await.len()), (1, 1));
}

#[tokio::test]
async fn one_batch_may_hold_the_same_delivery_twice_among_others() {
    let line = Line::new().await;
    events::ingest(&line.db, vec![line.delivery("old", &person("old", None))]).await.unwrap();
    let keys = ["b", "a", "b", "old", "c", "a"];
    let batch: Vec<_> = keys.iter().map(|k| line.delivery(k, &person(k, None))).collect();
    let answers = events::ingest(&line.db, batch).await.unwrap();
    let duplicates: Vec<_> = answers.iter().map(|a| a.duplicate).collect();
    assert_eq!(duplicates, [false, false, true, true, false, true]);
    assert_eq!(answers[2].event, answers[0].event);
    assert_eq!(answers[5].event, answers[1].event);
    let bodies: Vec<_> = line.events().await;
    assert_eq!(bodies.len(), 4);
    let ran = line.run().await;
    assert_eq!(ran.iter().filter(|(kind, _)| kind == "webhook.process").count(), 4);
}

#[tokio::test]
async fn writers_of_the_same_keys_at_once_write_each_once() {
    const WRITERS: usize = 8;
    const KEYS: usize = 40;
    let line = Line::new().await;
    // Each writer brings all keys, each in an order of its own.
    let batches = (0..WRITERS).map(|w| {
        let mut keys: Vec<usize> = (0..KEYS).collect();
        keys.rotate_left(w * 5);
        if w % 2 == 1 {
            keys.reverse();
        }
        let batch = keys.iter().map(|k| {
            let id = format!("k{k}");
            line.delivery(&id, &person(&id, None))
        });
        let (db, batch) = (line.db.clone(), batch.collect::<Vec<_>>());
        tokio::spawn(async move { (keys, events::ingest(&db, batch).await.unwrap()) })
    });
    let mut by_key = vec![HashSet::new(); KEYS];
    let mut new = 0;
    for (keys, answers) in futures::future::join_all(batches).await.into_iter().map(Result::unwrap)
    {
        for (key, answer) in keys.into_iter().zip(answers) {
            by_key[key].insert(answer.event);
            new += usize::from(!answer.duplicate);
        }
    }
    assert_eq!(new, KEYS, "each key is new to exactly one writer");
    assert!(by_key.iter().all(|events| events.len() == 1), "all writers name the same event");
    assert_eq!(line.events().await.len(), KEYS);
    line.run().await;
    assert_eq!(line.leads().await.len(), KEYS);
}

#[tokio::test]
async fn a_body_counts_for_a_day_and_a_senders_id_for_good() {
    let line = Line::new().await;
    let keys = || [DeliveryKey::Body("00ff".into()), DeliveryKey::Sender("00ff".into())];
    let body = json!({});
    let batch = || keys().map(|key| line.keyed(key, &body)).to_vec();
    let first = events::ingest(&line.db, batch()).await.unwrap();
    assert!(first.iter().all(|a| !a.duplicate), "an id is no hash");

    let again = events::ingest(&line.db, batch()).await.unwrap();
    assert!(again.iter().all(|a| a.duplicate));

    let late: i64 = sqlx::query_scalar(
        "with aged as (
           update switchyard.delivery_keys set expires_at = expires_at - interval '1 day'
           where expires_at is not null returning 1
         ) select count(*) from aged",
    )
    .fetch_one(&mut line.test.owner().await)
    .await
    .unwrap();
    assert_eq!(late, 1);
    let tomorrow = events::ingest(&line.db, batch()).await.unwrap();
    assert_eq!([tomorrow[0].duplicate, tomorrow[1].duplicate], [false, true]);
    assert_ne!(tomorrow[0].event, first[0].event);
    let after = events::ingest(&line.db, batch()).await.unwrap();
    assert_eq!(after[0].event, tomorrow[0].event, "the key was taken over");
}

#[tokio::test]
async fn old_body_keys_are_forgotten() {
    let line = Line::new().await;
    let bodies = (0..3).map(|n| line.keyed(DeliveryKey::Body(format!("{n}")), &json!({})));
    let mut batch: Vec<_> = bodies.collect();
    batch.push(line.delivery("kept", &json!({})));
    events::ingest(&line.db, batch).await.unwrap();
    sqlx::query(
        "update switchyard.delivery_keys set expires_at = now() - interval '1 second'
         where key in ('sha256:0', 'sha256:1')",
    )
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    let mut tx = line.platform().await;
    tx.enqueue(switchyard_catalog::registry().parse("deliveries.expire_keys", json!({})).unwrap())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    line.run().await;
    let left: Vec<String> =
        sqlx::query_scalar("select key from switchyard.delivery_keys order by key")
            .fetch_all(&mut line.test.owner().await)
            .await
            .unwrap();
    assert_eq!(left, ["id:kept", "sha256:2"]);
}
