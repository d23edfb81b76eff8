//! How much a portal may send, what happens while it is paused, and what is known of refusals.

use super::support::{Front, KEY, Operator, checked, count, json_of, until};
use serde_json::{Value, json};
use std::sync::Arc;
use switchyard_catalog::ReleaseHeld;
use switchyard_domain::PortalId;
use switchyard_queue::{Allowance, Counters, RedisCounters, Refill};
use switchyard_store::events::EventState;
use switchyard_store::{Scope, events, portals};
use switchyard_tests::redis_url;
use uuid::Uuid;

fn limited(limits: Value) -> Value {
    json!({"mapping": {"fields": {"email": "email"}}, "limits": limits})
}

fn lead(n: usize) -> Value {
    json!({"id": n, "email": format!("a{n}@example.com")})
}

#[tokio::test]
async fn beyond_the_rate_the_answer_is_429_with_the_time_to_wait() {
    let front = Front::new().await;
    front.portal("fast", limited(json!({"rate": "2/s", "burst": 3})), Some(KEY), None).await;
    front.portal("other", limited(json!({"rate": "2/s", "burst": 3})), Some(KEY), None).await;
    let send = |code: &str, n| {
        front.post(&format!("/api/webhooks/{code}"), &lead(n)).header("x-api-key", KEY)
    };
    for n in 0..3 {
        json_of(send("fast", n), 202).await;
    }
    let refused = send("fast", 3).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(checked(refused, 429).await["error"]["code"], "too_many_requests");
    json_of(send("other", 0), 202).await;
    // Who does not know the key takes nothing of it.
    for _ in 0..5 {
        json_of(front.post("/api/webhooks/other", &lead(9)), 401).await;
    }
    json_of(send("other", 1), 202).await;
    front.clock.advance(chrono::Duration::milliseconds(500));
    json_of(send("fast", 3), 202).await;
    json_of(send("fast", 4), 429).await;
}

#[tokio::test]
async fn a_quota_ends_at_midnight() {
    let front = Front::new().await;
    front.clock.set("2026-11-22T23:59:00Z".parse().unwrap());
    front.portal("daily", limited(json!({"quota": "2/day"})), Some(KEY), None).await;
    let send = |n| front.post("/api/webhooks/daily", &lead(n)).header("x-api-key", KEY);
    json_of(send(0), 202).await;
    json_of(send(1), 202).await;
    let refused = send(2).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "60");
    json_of(send(2), 429).await;
    front.clock.advance(chrono::Duration::seconds(60));
    json_of(send(2), 202).await;
}

#[tokio::test]
async fn replicas_share_the_count_through_redis_and_count_alone_without_it() {
    let key = Uuid::new_v4().to_string();
    let counters = |url: &str| RedisCounters::new(url, "test:").unwrap();
    let replicas = [counters(&redis_url()), counters(&redis_url())];
    let day = Refill { count: 4, period: std::time::Duration::from_secs(86_400) };
    let hour = Refill { count: 3, period: std::time::Duration::from_secs(3_600) };
    let allowance = Allowance { rate: Some((hour, 3)), quota: Some(day) };
    // Connecting may take longer than a request waits.
    let warm = Allowance::default();
    for replica in &replicas {
        until("redis", || async {
            let started = std::time::Instant::now();
            let _ = replica.take("warm", warm, chrono::Utc::now()).await;
            started.elapsed() < std::time::Duration::from_millis(40)
        })
        .await;
    }
    let mut taken = 0;
    for n in 0..8 {
        taken +=
            usize::from(replicas[n % 2].take(&key, allowance, chrono::Utc::now()).await.is_ok());
    }
    assert_eq!(taken, 3, "both replicas together");
    let alone: Arc<dyn Counters> = Arc::new(counters("redis://127.0.0.1:1/"));
    let mut taken = 0;
    for _ in 0..8 {
        taken += usize::from(alone.take(&key, allowance, chrono::Utc::now()).await.is_ok());
    }
    assert_eq!(taken, 3, "counted here while Redis is away");
}

async fn states(front: &Front) -> Vec<(String, i64)> {
    sqlx::query_as(
        "select state, count(*) from switchyard.webhook_events group by state order by state",
    )
    .fetch_all(&mut front.owner().await)
    .await
    .unwrap()
}

const PROCESSING: &str = "select count(*) from engine.jobs where kind = 'webhook.process'";

#[tokio::test]
async fn a_paused_portal_takes_and_holds_and_lets_go_when_it_resumes() {
    let front = Front::new().await;
    front.demo().await;
    let operator = Operator::of(&front).await;
    json_of(front.deliver(&lead(1)), 202).await;
    let paused = operator.post("/api/admin/portals/demo/pause", &json!({}), 200).await;
    assert!(paused["data"]["paused_at"].is_string() && paused["message"] == "paused");
    let again = operator.post("/api/admin/portals/demo/pause", &json!({}), 200).await;
    assert_eq!(again["data"]["paused_at"], paused["data"]["paused_at"]);
    for n in 2..5 {
        json_of(front.deliver(&lead(n)), 202).await;
    }
    let again = json_of(front.deliver(&lead(2)), 200).await;
    assert_eq!(again["data"]["duplicate"], true);
    let mut owner = front.owner().await;
    assert_eq!(states(&front).await, [("held".to_owned(), 3), ("received".to_owned(), 1)]);
    assert_eq!(count(&mut owner, PROCESSING).await, 1);

    let resumed = operator.post("/api/admin/portals/demo/resume", &json!({}), 200).await;
    assert!(resumed["data"]["paused_at"].is_null() && resumed["message"] == "resumed");
    json_of(front.deliver(&lead(5)), 202).await;
    let release = "select count(*) from engine.jobs where kind = 'portal.release_held'";
    assert_eq!(count(&mut owner, release).await, 1);
    // What that job does, batch by batch, the oldest first.
    let portal: Uuid = sqlx::query_scalar("select id from switchyard.portals")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let portal = PortalId(portal);
    for wanted in [2, 1, 0] {
        let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
        let job = |_| switchyard_queue::NewJob::of(&ReleaseHeld { portal });
        assert_eq!(events::release(&mut tx, portal, 2, job).await.unwrap(), wanted);
        tx.commit().await.unwrap();
    }
    assert_eq!(states(&front).await, [("received".to_owned(), 5)]);
    assert_eq!(EventState::Held.as_str(), "held");
    operator.post("/api/admin/portals/nobody/pause", &json!({}), 404).await;
}

#[tokio::test]
async fn a_delivery_that_meets_the_end_of_a_pause_is_not_left_behind() {
    let front = Front::new().await;
    front.demo().await;
    let mut tx = front.test.db.begin(Scope::Platform).await.unwrap();
    let portal = portals::by_code(&mut tx, "demo").await.unwrap().unwrap().id;
    portals::pause(&mut tx, portal).await.unwrap();
    tx.commit().await.unwrap();
    // The end of the pause is under way while the delivery, which saw the pause, is written: it
    // waits for the portal's lock, sees that the portal goes on, and is judged at once.
    let mut end = front.test.db.begin(Scope::Platform).await.unwrap();
    portals::resume(&mut end, portal).await.unwrap();
    let request = front.deliver(&lead(1)).send();
    let delivery = tokio::spawn(request);
    let mut owner = front.owner().await;
    let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                     and wait_event_type = 'Lock'";
    while count(&mut owner, waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    end.commit().await.unwrap();
    checked(delivery.await.unwrap().unwrap(), 202).await;
    assert_eq!(states(&front).await, [("received".to_owned(), 1)]);
    assert_eq!(count(&mut owner, PROCESSING).await, 1);
}

#[tokio::test]
async fn refusals_are_kept_without_credentials_and_beyond_a_rate_only_counted() {
    let front = Front::new().await;
    front.demo().await;
    let operator = Operator::of(&front).await;
    json_of(front.deliver(&lead(1)), 202).await;
    json_of(front.deliver(&lead(1)), 200).await;
    let wrong =
        front.post("/api/webhooks/demo", &lead(2)).header("x-api-key", "sk_wrong-but-secret");
    json_of(wrong.header("authorization", "Bearer s3cret"), 401).await;
    let body = format!("{{\"a\":\"{}", "x".repeat(5_000));
    let broken = front.request(axum::http::Method::POST, "/api/webhooks/demo");
    let broken = broken.header("content-type", "application/json").header("x-api-key", KEY);
    json_of(broken.body(body), 400).await;
    for _ in 0..60 {
        json_of(front.post("/api/webhooks/demo", &lead(3)), 401).await;
    }
    until("the audit is written", || async {
        let circuit = operator.get("/api/admin/portals/demo/circuit", 200).await;
        circuit["data"]["refused"] == 62
    })
    .await;
    let circuit = operator.get("/api/admin/portals/demo/circuit", 200).await["data"].clone();
    assert_eq!(circuit["taken"], 2);
    let codes = json!([{"code": "invalid_api_key", "n": 61}, {"code": "invalid_json", "n": 1}]);
    assert_eq!(circuit["codes"], codes);
    assert!((circuit["error_rate"].as_f64().unwrap() - 62.0 / 64.0).abs() < 1e-9);
    let page = operator.get("/api/admin/portals/demo/refusals?limit=200", 200).await;
    let items = page["data"]["items"].as_array().unwrap();
    assert!(items.len() >= 2 && items.len() < 60, "samples only: {}", items.len());
    let text = page.to_string();
    assert!(!text.contains("s3cret") && !text.contains("sk_wrong"), "{text}");
    let first = items.iter().find(|r| r["code"] == "invalid_json").unwrap();
    assert_eq!((&first["status"], &first["body_bytes"]), (&json!(400), &json!(5_006)));
    assert_eq!(first["body"].as_str().unwrap().len(), 2_048);
    assert_eq!(first["address"], "127.0.0.1");
    let unread = items.iter().find(|r| r["code"] == "invalid_api_key").unwrap();
    assert!(unread["body"].is_null() && unread["body_bytes"].is_null(), "it was not read");
    operator.get("/api/admin/portals/nobody/refusals", 404).await;
}

#[tokio::test]
async fn what_waits_for_the_audit_is_written_before_the_front_ends() {
    let front = Front::new().await;
    front.demo().await;
    json_of(front.post("/api/webhooks/demo", &lead(1)), 401).await;
    let test = front.stopped().await;
    let mut owner = test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from switchyard.refused_requests").await, 1);
    assert_eq!(count(&mut owner, "select sum(n)::int8 from switchyard.delivery_counts").await, 1);
}
