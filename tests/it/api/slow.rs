//! Senders that take their time, and requests that make no sense as such.

use super::support::{Front, KEY, config, json_of, read_to_end};
use axum::http::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use switchyard_api::ApiConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let config = ApiConfig { body_timeout: Duration::from_millis(200), ..config() };
    let front = Front::with(config).await;
    front.demo().await;
    let head = format!(
        "POST /api/webhooks/demo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"id\":"
    );
    let begun = Instant::now();
    let answer = front.raw(&[head.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let config = ApiConfig { header_timeout: Duration::from_millis(200), ..config() };
    let front = Front::with(config).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"POST /api/webhooks/demo HTTP/1.1\r\nx-slow: ").await.unwrap();
    // `read_to_end` fails the test if the front does not close.
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    json_of(front.get("/health/live"), 200).await;
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_in_the_envelope() {
    let front = Front::new().await;
    let unknown = json_of(front.get("/api/nothing/here"), 404).await;
    assert_eq!(unknown["error"]["code"], "unknown_route");
    front.demo().await;
    for (path, allowed) in [
        ("/api/admin/auth/login", "POST"),
        ("/api/webhooks/demo", "POST, PUT"),
        ("/api/webhooks/demo/a/b", "POST, PUT"),
    ] {
        let response = front.get(path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        let wrong = super::support::checked(response, 405).await;
        assert_eq!(wrong["error"]["code"], "method_not_allowed", "{path}");
    }
    let patch = front.request(Method::PATCH, "/health/live");
    json_of(patch, 405).await;
}

#[tokio::test]
async fn answers_make_browsers_careful() {
    let front = Front::new().await;
    let data = front.get("/health/live").send().await.unwrap();
    let page = front.get("/api/docs/").send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    for headers in [data.headers(), page.headers()] {
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-eval"), "{policy}");
    }
    assert_eq!(
        front.get("/api/nothing").send().await.unwrap().headers()["cache-control"],
        "no-store"
    );
}

#[tokio::test]
async fn request_ids_are_made_where_none_is_given_and_nonsense_is_replaced() {
    let front = Front::new().await;
    for given in [None, Some("a b\"c"), Some(&*"x".repeat(300))] {
        let request = front.get("/health/live");
        let request = match given {
            Some(id) => request.header("x-request-id", id),
            None => request,
        };
        let response = request.send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{given:?} became {id}");
    }
}

#[tokio::test]
async fn bodies_of_other_routes_are_refused_alike() {
    let front = Front::new().await;
    let login = "/api/admin/auth/login";
    json_of(front.post(login, &json!({"email": 1})), 422).await;
    let text = front.request(Method::POST, login).header("content-type", "text/plain").body("{}");
    json_of(text, 415).await;
    let broken = front.request(Method::POST, login);
    json_of(broken.header("content-type", "application/json").body("{"), 400).await;
    json_of(front.post(login, &json!({"email": "x".repeat(2 << 20)})), 413).await;
}
