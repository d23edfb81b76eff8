//! Health and metrics.

use super::support::{Front, config, json_of};
use secrecy::SecretString;
use switchyard_api::ApiConfig;

#[tokio::test]
async fn readiness_wants_every_migration() {
    let front = Front::new().await;
    let ready = json_of(front.get("/health/ready"), 200).await;
    assert_eq!(ready["data"]["status"], "ok");
    assert_eq!(ready["data"]["checks"][0]["name"], "database");
    sqlx::query("delete from _sqlx_migrations where version = 2")
        .execute(&mut front.owner().await)
        .await
        .unwrap();
    let behind = json_of(front.get("/health/ready"), 503).await;
    let check = &behind["error"]["details"]["checks"][0];
    assert_eq!(check["status"], "failed");
    assert!(check["problem"].as_str().unwrap().contains("migrat"), "{check}");
    // The process itself is well, and its condition can be read.
    json_of(front.get("/health/live"), 200).await;
    assert_eq!(json_of(front.get("/health"), 200).await["data"]["status"], "failed");
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_for_the_token() {
    let token = Some(SecretString::from("scrape-me"));
    let front = Front::with(ApiConfig { metrics_token: token, ..config() }).await;
    let here = front.get("/metrics").send().await.unwrap();
    assert_eq!(here.status(), 200);
    assert!(here.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    // A proxy on this machine forwards for others.
    let forwarded = || front.get("/metrics").header("x-forwarded-for", "192.0.2.1");
    json_of(forwarded(), 401).await;
    json_of(forwarded().bearer_auth("scrape"), 401).await;
    assert_eq!(forwarded().bearer_auth("scrape-me").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_a_token_of_the_configuration_none_is_good() {
    let front = Front::new().await;
    let forwarded = front.get("/metrics").header("x-forwarded-for", "192.0.2.1");
    json_of(forwarded.bearer_auth(""), 401).await;
}
