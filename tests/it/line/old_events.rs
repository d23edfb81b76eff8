//! What becomes of events as they grow old: compressed bodies, and what their gaps say of a portal.

use super::support::{Line, person};
use serde_json::json;
use switchyard_catalog::{CompressBodies, WatchPortals};
use switchyard_domain::EventId;
use switchyard_queue::{Job, NewJob};
use switchyard_store::backups::alarms::{self, Alarm};
use switchyard_store::{events, overview, portals, pulse};

impl Line {
    async fn chore<J: Job>(&self, job: &J) {
        let mut tx = self.platform().await;
        tx.enqueue(NewJob::of(job).unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(self.run().await, [(J::KIND.to_owned(), "settled")]);
    }

    /// Lets all events have come so much earlier.
    async fn age(&self, interval: &str) {
        sqlx::query(
            "update switchyard.webhook_events set received_at = received_at - $1::interval",
        )
        .bind(interval)
        .execute(&mut self.test.owner().await)
        .await
        .unwrap();
    }

    async fn body(&self, id: EventId) -> Vec<u8> {
        events::get(&mut self.platform().await, id).await.unwrap().2
    }
}

#[tokio::test]
async fn old_bodies_are_compressed_and_read_byte_for_byte() {
    let line = Line::new().await;
    let mut long = person("long", None);
    long["message"] = json!("żółw ".repeat(500));
    let mut sent = Vec::new();
    for (id, body) in [("long", long.clone()), ("short", person("short", None))] {
        let event = line.delivery(id, &body);
        let bytes = event.body.clone();
        sent.push((events::ingest(&line.db, vec![event]).await.unwrap()[0].event, bytes));
    }
    // Neither text nor JSON, and compressed already: what was sent is what is kept.
    for bytes in
        [(0..=255).cycle().take(3000).collect::<Vec<u8>>(), [&[0x1f, 0x8b][..], &[0; 900]].concat()]
    {
        let mut event = line.delivery(&sent.len().to_string(), &json!({}));
        event.body.clone_from(&bytes);
        sent.push((events::ingest(&line.db, vec![event]).await.unwrap()[0].event, bytes));
    }
    line.run().await;
    line.chore(&CompressBodies {}).await;
    let packed = async || -> i64 {
        sqlx::query_scalar(
            "select count(*) from switchyard.webhook_events where body_encoding = 'gzip'",
        )
        .fetch_one(&mut line.test.owner().await)
        .await
        .unwrap()
    };
    assert_eq!(packed().await, 0, "what came today is left alone");
    line.age("25 hours").await;
    line.chore(&CompressBodies {}).await;
    assert_eq!(packed().await, 2);
    for (id, bytes) in &sent {
        assert_eq!(&line.body(*id).await, bytes);
        let mut tx = line.platform().await;
        assert_eq!(&events::load(&mut tx, *id).await.unwrap().body, bytes);
        let shown = overview::event(&mut tx, *id).await.unwrap();
        assert_eq!((&shown.body, shown.row.bytes), (bytes, i32::try_from(bytes.len()).unwrap()));
    }
    line.chore(&CompressBodies {}).await;
    assert_eq!(packed().await, 2);
    // One that is damaged is an error, never something else.
    sqlx::query("update switchyard.webhook_events set body = substr(body, 1, 100) where id = $1")
        .bind(sent[0].0.0)
        .execute(&mut line.test.owner().await)
        .await
        .unwrap();
    assert!(events::get(&mut line.platform().await, sent[0].0).await.is_err());
}

impl Line {
    /// An event every `minutes` from `from` days ago to `to` hours ago.
    async fn history(&self, minutes: i32, from_days: i32, to_hours: i32) {
        sqlx::query(
            "insert into switchyard.webhook_events (id, portal_id, received_at, body, headers, state)
             select gen_random_uuid(), $1, t, '{}', '{}', 'processed' from generate_series(
               now() - make_interval(days => $2), now() - make_interval(hours => $3),
               make_interval(mins => $4)) as t",
        )
        .bind(self.portal.0)
        .bind(from_days)
        .bind(to_hours)
        .bind(minutes)
        .execute(&mut self.test.owner().await)
        .await
        .unwrap();
    }

    async fn alarms(&self) -> Vec<Alarm> {
        alarms::open(&mut self.platform().await).await.unwrap()
    }

    async fn pulse(&self) -> portals::Pulse {
        self.chore(&WatchPortals {}).await;
        portals::pulses(&mut self.platform().await).await.unwrap()[&self.portal]
    }
}

#[tokio::test]
async fn a_portal_is_silent_when_it_pauses_for_longer_than_it_ever_does() {
    let line = Line::new().await;
    line.history(120, 10, 3).await;
    let pulse = line.pulse().await;
    let hours = pulse.usual_gap.unwrap().as_secs_f64() / 3600.0;
    assert!((2.0..2.3).contains(&hours), "{hours}");
    assert!(pulse.silent_since.is_some(), "three hours are more than two");
    assert_eq!(pulse::silent(&line.db).await.unwrap(), ["demo"]);
    let attention = overview::attention(&mut line.platform().await).await.unwrap();
    assert_eq!(attention.silent, 1);
    let [alarm] = &line.alarms().await[..] else { panic!("one alarm") };
    assert_eq!(alarm.key, "portal.silent.demo");
    assert!(alarm.told_at.is_some() && alarm.text.contains("no longer than 2."), "{alarm:?}");

    // It sends again; what was counted is not counted twice.
    sqlx::query(
        "insert into switchyard.webhook_events (id, portal_id, received_at, body, headers, state)
         values (gen_random_uuid(), $1, now() - interval '5 minutes', '{}', '{}', 'processed')",
    )
    .bind(line.portal.0)
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    let again = line.pulse().await;
    assert_eq!(again.silent_since, None);
    assert!(line.alarms().await.is_empty(), "it is over");
    let gaps: i64 = sqlx::query_scalar("select sum(n)::bigint from switchyard.portal_gaps")
        .fetch_one(&mut line.test.owner().await)
        .await
        .unwrap();
    let all: i64 = sqlx::query_scalar("select count(*) from switchyard.webhook_events")
        .fetch_one(&mut line.test.owner().await)
        .await
        .unwrap();
    assert_eq!(gaps, all - 1, "one gap between each two");
}

#[tokio::test]
async fn nights_are_usual_and_little_is_known_of_a_new_portal() {
    let line = Line::new().await;
    sqlx::query(
        "insert into switchyard.webhook_events (id, portal_id, received_at, body, headers, state)
         values (gen_random_uuid(), $1, now() - interval '5 minutes', '{}', '{}', 'processed')",
    )
    .bind(line.portal.0)
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    assert_eq!(line.pulse().await.usual_gap, None, "one event says nothing");
    // Every minute by day, nothing from 20 to 6.
    sqlx::query(
        "insert into switchyard.webhook_events (id, portal_id, received_at, body, headers, state)
         select gen_random_uuid(), $1, t, '{}', '{}', 'processed' from generate_series(
           now() - interval '7 days', now() - interval '2 minutes', interval '1 minute') as t
         where extract(hour from t at time zone 'UTC') between 6 and 19",
    )
    .bind(line.portal.0)
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    sqlx::query("delete from switchyard.event_marks")
        .execute(&mut line.test.owner().await)
        .await
        .unwrap();
    sqlx::query("delete from switchyard.portal_gaps")
        .execute(&mut line.test.owner().await)
        .await
        .unwrap();
    sqlx::query("delete from switchyard.portal_pulse")
        .execute(&mut line.test.owner().await)
        .await
        .unwrap();
    let pulse = line.pulse().await;
    assert!(pulse.usual_gap.unwrap().as_secs() >= 10 * 3600, "{pulse:?}");
    assert_eq!(pulse.silent_since, None, "whatever the hour is now");
}

#[tokio::test]
async fn leads_that_people_enter_are_never_missed() {
    let line = Line::new().await;
    line.history(120, 10, 72).await;
    assert!(line.pulse().await.silent_since.is_some(), "any other portal is silent by now");
    // The same history of the portal of hand-written leads, marked as silent by an earlier program.
    sqlx::query("update switchyard.portals set code = 'by-hand' where id = $1")
        .bind(line.portal.0)
        .execute(&mut line.test.owner().await)
        .await
        .unwrap();
    assert_eq!(line.pulse().await.silent_since, None);
    assert!(pulse::silent(&line.db).await.unwrap().is_empty());
}
