//! The batching writer: nothing is answered before it is committed, and nothing is lost.

use super::support::{Cable, Front, KEY, config, count, json_of, until};
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use sqlx::Connection;
use std::time::Duration;
use switchyard_api::{ApiConfig, IngestConfig};
use switchyard_tests::TestDb;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn lead(id: usize) -> Value {
    json!({"id": format!("n-{id}"), "email": "jan@example.com"})
}

#[tokio::test]
async fn of_200_at_once_every_202_is_a_row() {
    let front = Front::new().await;
    front.demo().await;
    // 200 deliveries, 40 of them twice.
    let sent = (0..240).map(|i| front.deliver(&lead(i % 200)).send());
    let mut accepted = 0;
    for response in join_all(sent).await {
        match response.unwrap().status().as_u16() {
            202 => accepted += 1,
            200 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(accepted, 200);
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 200);
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 200);
    // Whatever came together was written together: a transaction stamps its rows alike.
    let stamps = "select count(distinct received_at) from switchyard.webhook_events";
    let transactions = count(&mut owner, stamps).await;
    assert!(transactions < 150, "{transactions} transactions for 200 events");
}

#[tokio::test]
async fn while_the_database_is_away_it_is_503_and_then_it_goes_on_by_itself() {
    let test = TestDb::new().await;
    let (mut cable, through) = Cable::lay(&test).await;
    let db = test.reached_by(through);
    // The portal is remembered, so that the writer is what meets the outage.
    let config = ApiConfig { portal_cache_ttl: Duration::from_secs(600), ..config() };
    let front = Front::over(test, db, config).await;
    front.demo().await;
    json_of(front.deliver(&lead(0)), 202).await;
    cable.cut();
    for refused in join_all((1..9).map(|i| json_of(front.deliver(&lead(i)), 503))).await {
        assert_eq!(refused["error"]["code"], "database_unavailable");
    }
    // A portal that is not remembered, too.
    json_of(front.post("/api/webhooks/other", &lead(1)), 503).await;
    json_of(front.get("/health/ready"), 503).await;
    json_of(front.get("/health/live"), 200).await;
    cable.mend().await;
    until("it takes deliveries again", || async {
        front.deliver(&lead(1)).send().await.unwrap().status() == 202
    })
    .await;
    json_of(front.get("/health/ready"), 200).await;
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 2);
}

/// Holds up every writer until it is dropped.
struct Jam(sqlx::PgConnection);

impl Jam {
    async fn new(front: &Front) -> Self {
        let mut owner = front.owner().await;
        sqlx::raw_sql("begin; lock table switchyard.webhook_events in access exclusive mode")
            .execute(&mut owner)
            .await
            .unwrap();
        Self(owner)
    }

    async fn clear(mut self) {
        sqlx::raw_sql("commit").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }

    /// Waits until so many writers hang in the jam.
    async fn holds(front: &Front, writers: i64) {
        until("the writers wait for the lock", || async {
            let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
                           and datname = current_database()";
            count(&mut front.owner().await, waiting).await == writers
        })
        .await;
    }
}

#[tokio::test]
async fn a_full_queue_is_503_at_once_and_what_was_taken_is_committed() {
    let ingest = IngestConfig { queue_events: 2, writers: 1, ..IngestConfig::default() };
    let front = Front::with(ApiConfig { ingest, ..config() }).await;
    front.demo().await;
    json_of(front.deliver(&lead(0)), 202).await;
    let jam = Jam::new(&front).await;
    let first = tokio::spawn(front.deliver(&lead(1)).send());
    Jam::holds(&front, 1).await;
    // Two more fit into the queue; of ten, eight are refused, and all of those at once.
    let mut rest: Vec<_> = (2..12).map(|i| tokio::spawn(front.deliver(&lead(i)).send())).collect();
    let mut refused = 0;
    while refused < 8 {
        let (done, _, left) = futures::future::select_all(rest).await;
        let response = done.unwrap().unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        refused += 1;
        rest = left;
    }
    jam.clear().await;
    assert_eq!(first.await.unwrap().unwrap().status(), 202);
    for waiting in rest {
        assert_eq!(waiting.await.unwrap().unwrap().status(), 202);
    }
    let mut owner = front.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.webhook_events").await, 4);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let ingest = IngestConfig { queue_bytes: 100_000, ..IngestConfig::default() };
    let front = Front::with(ApiConfig { ingest, ..config() }).await;
    front.demo().await;
    let large = json!({"id": "large", "message": "x".repeat(200_000)});
    let refused = json_of(front.deliver(&large), 503).await;
    assert_eq!(refused["error"]["code"], "ingest_full");
    // The room of what was answered is given back.
    for i in 0..5 {
        let body = json!({"id": format!("{i}"), "message": "x".repeat(60_000)});
        json_of(front.deliver(&body), 202).await;
    }
}

#[tokio::test]
async fn one_bad_event_does_not_take_the_others_down() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let config = ApiConfig { portal_cache_ttl: Duration::from_secs(600), ..config() };
    let ingest = IngestConfig { writers: 1, ..IngestConfig::default() };
    let front = Front::with(ApiConfig { ingest, ..config }).await;
    front.demo().await;
    let settings = json!({"mapping": {"fields": {"email": "email"}}});
    front.portal("doomed", settings, Some(KEY), None).await;
    let doomed = |i| front.post("/api/webhooks/doomed", &lead(i)).header("x-api-key", KEY);
    json_of(doomed(0), 202).await;
    let jam = Jam::new(&front).await;
    let first = tokio::spawn(front.deliver(&lead(1)).send());
    Jam::holds(&front, 1).await;
    // These wait together, so they are one batch; the portal of one of them goes meanwhile.
    let good: Vec<_> = (2..6).map(|i| tokio::spawn(front.deliver(&lead(i)).send())).collect();
    let bad = tokio::spawn(doomed(7).send());
    until("all six wait", || async { metrics.render().contains("switchyard_ingest_waiting 6") })
        .await;
    let mut jammer = jam;
    sqlx::raw_sql(
        "alter table switchyard.portals disable trigger portals_stay;
         delete from switchyard.webhook_events where portal_id in
           (select id from switchyard.portals where code = 'doomed');
         delete from switchyard.portal_versions where portal_id in
           (select id from switchyard.portals where code = 'doomed');
         delete from switchyard.delivery_counts where portal_id in
           (select id from switchyard.portals where code = 'doomed');
         delete from switchyard.portals where code = 'doomed'",
    )
    .execute(&mut jammer.0)
    .await
    .unwrap();
    jammer.clear().await;
    assert_eq!(first.await.unwrap().unwrap().status(), 202);
    for sent in good {
        assert_eq!(sent.await.unwrap().unwrap().status(), 202);
    }
    assert_eq!(bad.await.unwrap().unwrap().status(), 500);
}

#[tokio::test]
async fn an_event_whose_sender_hung_up_is_committed_all_the_same() {
    let front = Front::new().await;
    front.demo().await;
    json_of(front.deliver(&lead(0)), 202).await;
    let jam = Jam::new(&front).await;
    let body = lead(1).to_string();
    let request = format!(
        "POST /api/webhooks/demo HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    Jam::holds(&front, 1).await;
    drop(stream);
    jam.clear().await;
    until("the event is committed", || async {
        count(&mut front.owner().await, "select count(*) from switchyard.webhook_events").await == 2
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_waits_for_what_was_taken() {
    let front = Front::new().await;
    front.demo().await;
    json_of(front.deliver(&lead(0)), 202).await;
    let jam = Jam::new(&front).await;
    let waiting = tokio::spawn(front.deliver(&lead(1)).send());
    Jam::holds(&front, 1).await;
    front.stop();
    let address = front.address;
    until("nobody new is let in", || async { TcpStream::connect(address).await.is_err() }).await;
    assert!(!waiting.is_finished());
    jam.clear().await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 202);
    let test = front.stopped().await;
    let events = "select count(*) from switchyard.webhook_events";
    assert_eq!(count(&mut test.owner().await, events).await, 2);
}
