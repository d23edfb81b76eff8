//! Signing in, and what becomes of those who cannot.

use super::support::{Front, PASSWORD, config, json_of, until};
use chrono::Duration;
use serde_json::{Value, json};
use switchyard_api::ApiConfig;

#[tokio::test]
async fn an_administrator_signs_in_and_the_token_lasts_12_hours() {
    let front = Front::new().await;
    let token = front.admin().await;
    json_of(front.get("/api/admin/queues").bearer_auth(&token), 200).await;
    front.clock.advance(Duration::hours(11));
    json_of(front.get("/api/admin/queues").bearer_auth(&token), 200).await;
    front.clock.advance(Duration::hours(2));
    json_of(front.get("/api/admin/queues").bearer_auth(&token), 401).await;
}

#[tokio::test]
async fn an_agency_registers_and_signs_in_whatever_the_case_of_its_address() {
    let front = Front::new().await;
    let new = json!({"name": " Nowak ", "email": "Biuro@Nowak.example", "phone": "+48 22 694 00 00",
        "password": PASSWORD});
    let made = json_of(front.post("/api/v1/agencies/register", &new), 201).await;
    assert_eq!(made["data"]["role"], "agency");
    assert_eq!(made["data"]["name"], "Nowak");
    let taken = json_of(front.post("/api/v1/agencies/register", &new), 409).await;
    assert_eq!(taken["error"]["code"], "email_taken");
    let who = json!({"email": " BIURO@nowak.example", "password": PASSWORD});
    let again = json_of(front.post("/api/v1/agencies/login", &who), 200).await;
    assert_eq!(again["data"]["id"], made["data"]["id"]);
    let token = again["data"]["token"].as_str().unwrap();
    json_of(front.get("/api/mobile/leads").bearer_auth(token), 200).await;
    // An agency is no administrator, at either door.
    json_of(front.post("/api/admin/auth/login", &who), 401).await;
    json_of(front.get("/api/admin/queues").bearer_auth(token), 403).await;
}

#[tokio::test]
async fn registrations_that_make_no_sense_are_422() {
    let front = Front::new().await;
    let good = json!({"name": "N", "email": "n@nowak.example", "password": PASSWORD});
    for (field, value, code) in [
        ("email", json!("nowak"), "invalid_email"),
        ("name", json!("  "), "invalid_name"),
        ("phone", json!("call me"), "invalid_phone"),
        ("password", json!("short"), "weak_password"),
        ("catch_all", json!(true), "invalid_body"),
    ] {
        let mut new = good.clone();
        new[field] = value;
        let refused = json_of(front.post("/api/v1/agencies/register", &new), 422).await;
        assert_eq!(refused["error"]["code"], code);
    }
}

#[tokio::test]
async fn unknown_accounts_and_wrong_passwords_are_answered_alike() {
    let front = Front::new().await;
    front.agency("biuro@nowak.example").await;
    let mut answers = Vec::new();
    for email in ["biuro@nowak.example", "nobody@nowak.example"] {
        let who = json!({"email": email, "password": "not the password"});
        let mut answer = json_of(front.post("/api/v1/agencies/login", &who), 401).await;
        answer["timestamp"] = Value::Null;
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["error"]["code"], "invalid_credentials");
}

#[tokio::test]
async fn guessing_is_slowed_down_even_with_the_right_password_at_last() {
    let front = Front::new().await;
    front.agency("biuro@nowak.example").await;
    let login = |password: &str| {
        let who = json!({"email": "biuro@nowak.example", "password": password});
        front.post("/api/v1/agencies/login", &who)
    };
    for _ in 0..5 {
        json_of(login("a guess"), 401).await;
    }
    json_of(login("a guess"), 429).await;
    json_of(login(PASSWORD), 429).await;
    front.clock.advance(Duration::minutes(16));
    json_of(login(PASSWORD), 200).await;
}

#[tokio::test]
async fn guesses_in_parallel_are_slowed_down_too() {
    let front = Front::new().await;
    front.agency("biuro@nowak.example").await;
    let who = json!({"email": "biuro@nowak.example", "password": "a guess"});
    let volley = (0..20).map(|_| front.post("/api/v1/agencies/login", &who).send());
    let answers = futures::future::join_all(volley).await;
    let guessed = answers.iter().filter(|a| a.as_ref().unwrap().status() == 401).count();
    assert_eq!(guessed, 5);
}

#[tokio::test]
async fn behind_a_proxy_the_client_is_throttled_not_the_proxy() {
    let front = Front::with(ApiConfig { forwarded_hops: 1, ..config() }).await;
    front.agency("biuro@nowak.example").await;
    let login = |from: &str, password: &str| {
        let who = json!({"email": "biuro@nowak.example", "password": password});
        front.post("/api/v1/agencies/login", &who).header("x-forwarded-for", from)
    };
    for _ in 0..5 {
        // What the client itself puts in front does not help it.
        json_of(login("1.2.3.4, 192.0.2.1", "a guess"), 401).await;
    }
    json_of(login("5.6.7.8, 192.0.2.1", "a guess"), 429).await;
    json_of(login("192.0.2.2", PASSWORD), 200).await;
}

#[tokio::test]
async fn a_disabled_account_is_locked_out_though_its_token_is_valid() {
    let front = Front::new().await;
    let admin = front.admin().await;
    let (agency, id) = front.agency("biuro@nowak.example").await;
    json_of(front.get("/api/mobile/leads").bearer_auth(&agency), 200).await;
    let path = format!("/api/admin/agencies/{id}");
    let off = json!({"active": false, "subscribed_until": null});
    json_of(front.put(&path, &off).bearer_auth(&admin), 200).await;
    until("the agency is locked out", || async {
        front.get("/api/mobile/leads").bearer_auth(&agency).send().await.unwrap().status() == 401
    })
    .await;
    let who = json!({"email": "biuro@nowak.example", "password": PASSWORD});
    let refused = json_of(front.post("/api/v1/agencies/login", &who), 403).await;
    assert_eq!(refused["error"]["code"], "account_disabled");
    sqlx::query("update switchyard.administrators set disabled_at = now()")
        .execute(&mut front.owner().await)
        .await
        .unwrap();
    until("the administrator is locked out", || async {
        front.get("/api/admin/queues").bearer_auth(&admin).send().await.unwrap().status() == 401
    })
    .await;
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_401() {
    let front = Front::new().await;
    let token = front.admin().await;
    let queues = || front.get("/api/admin/queues");
    for bad in ["", "x", "a.b.c", &token[..token.len() - 2], &format!("{token}x")] {
        let response = queues().bearer_auth(bad).send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        super::support::checked(response, 401).await;
    }
    json_of(queues().header("authorization", format!("Basic {token}")), 401).await;
    json_of(queues().header("authorization", format!("bearer {token}")), 200).await;
}
