//! The routes: who may, what is confirmed, what is written down.

use super::support::{administrator, backups, beside, seldom, until, work};
use crate::api::support::{Front, PASSWORD, config, json_of};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;
use switchyard_api::password;
use switchyard_catalog::Platform;
use switchyard_catalog::backup::Backups;
use switchyard_providers::Providers;
use switchyard_queue::JobState;
use switchyard_store::backups::{audit_log, restored};
use switchyard_store::{Scope, administrators, jobs};
use switchyard_tests::{TestDb, server_url};
use tempfile::TempDir;

/// A front over a database that is backed up, with a worker.
struct Stage {
    front: Front,
    backups: Arc<Backups>,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::beside(None).await
    }

    /// With a standby, as a URL on the test's server.
    async fn beside(standby: Option<SecretString>) -> Self {
        let test = TestDb::new().await;
        let folder = tempfile::tempdir().unwrap();
        let made = Arc::new(Backups { standby, ..backups(&test.url, &folder, seldom()) });
        let db = test.db.clone();
        let front = Front::backing_up(test, db, config(), Some(Arc::clone(&made))).await;
        Self { front, backups: made, _folder: folder }
    }

    fn platform(&self) -> Platform {
        let db = self.front.test.db.clone();
        let backups = Some(Arc::clone(&self.backups));
        Platform { backups, ..Platform::new(db, Providers::capture(), "https://x.test/{id}") }
    }

    async fn post(&self, token: &str, path: &str, body: &Value, status: u16) -> Value {
        let path = format!("/api/v1/backup/{path}");
        json_of(self.front.post(&path, body).bearer_auth(token), status).await
    }

    async fn get(&self, token: &str, path: &str, status: u16) -> Value {
        let path = format!("/api/v1/backup/{path}");
        json_of(self.front.get(&path).bearer_auth(token), status).await
    }

    /// A second administrator.
    async fn another(&self) -> String {
        let hash = password::hash(PASSWORD).unwrap();
        let mut tx = self.front.test.db.begin(Scope::Platform).await.unwrap();
        administrators::create(&mut tx, "two@example.com", "Bert", &hash).await.unwrap();
        tx.commit().await.unwrap();
        let who = json!({"email": "two@example.com", "password": PASSWORD});
        let answer = json_of(self.front.post("/api/admin/auth/login", &who), 200).await;
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    async fn done(&self, answer: &Value) {
        let id: uuid::Uuid = answer["data"]["job"].as_str().unwrap().parse().unwrap();
        let db = &self.front.test.db;
        until("the job", async || {
            let job = jobs::show(db, switchyard_queue::JobId(id)).await.ok()?;
            let dead = job.row.state == JobState::Discarded;
            assert!(!dead, "{job:?}");
            (job.row.state == JobState::Completed).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_backup_is_taken_looked_at_and_checked() {
    let stage = Stage::new().await;
    let token = stage.front.admin().await;
    let _working = work(&stage.platform());
    let empty = stage.get(&token, "status", 200).await;
    assert!(empty["data"]["exposed_seconds"].is_null() && empty["data"]["proof"].is_null());
    let taken = stage.post(&token, "create", &json!({ "kind": "full" }), 202).await;
    stage.done(&taken).await;
    let list = stage.get(&token, "list?kind=full", 200).await;
    let run = &list["data"][0];
    assert_eq!(run["state"], "succeeded", "{run}");
    assert!(run["asked_by"].as_str().unwrap().starts_with("admin:"));
    let id = run["backup"].as_str().unwrap();
    let verified = stage.post(&token, &format!("verify/{id}"), &json!({}), 202).await;
    stage.done(&verified).await;
    let one = stage.get(&token, id, 200).await;
    let kinds: Vec<&str> =
        one["data"].as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["verify", "full"]);
    let status = stage.get(&token, "status", 200).await;
    assert_eq!(status["data"]["rpo_seconds"], 900);
    assert!(status["data"]["exposed_seconds"].is_number());
    stage.get(&token, "19990101T000000Z-00000000", 404).await;
    stage.post(&token, "create", &json!({ "kind": "restore" }), 422).await;
    stage.post(&token, "verify/nonsense", &json!({}), 422).await;
}

#[tokio::test]
async fn only_administrators_may() {
    let stage = Stage::new().await;
    let (agency, _) = stage.front.agency("office@nowak.test").await;
    for path in ["status", "list", "x"] {
        stage.get(&agency, path, 403).await;
        json_of(stage.front.get(&format!("/api/v1/backup/{path}")), 401).await;
    }
    for path in ["create", "verify/all", "restore/newest", "disaster-recovery"] {
        stage.post(&agency, path, &json!({}), 403).await;
    }
    stage.post(&agency, "release", &json!({ "phrase": "release" }), 403).await;
}

#[tokio::test]
async fn a_restore_needs_a_second_confirmation() {
    let stage = Stage::new().await;
    let token = stage.front.admin().await;
    let _working = work(&stage.platform());
    let taken = stage.post(&token, "create", &json!({ "kind": "full" }), 202).await;
    stage.done(&taken).await;
    let list = stage.get(&token, "list?kind=full", 200).await;
    let backup = list["data"][0]["backup"].as_str().unwrap().to_owned();
    let restore = format!("restore/{backup}");
    let database = format!("sy_test_{}_{}", std::process::id(), uuid::Uuid::new_v4().simple());

    let asked = stage.post(&token, &restore, &json!({ "database": database }), 202).await;
    let asked = &asked["data"];
    let confirm = format!("confirm/{}", asked["request"].as_str().unwrap());
    assert_eq!(asked["phrase"], backup.as_str());
    // Alone: neither half is enough.
    for half in [
        json!({}),
        json!({ "token": asked["token"] }),
        json!({ "phrase": backup }),
        json!({ "token": "0".repeat(32), "phrase": backup }),
        json!({ "token": asked["token"], "phrase": "yes" }),
    ] {
        let refused = stage.post(&token, &confirm, &half, 409).await;
        assert_eq!(refused["error"]["code"], "not_confirmed", "{half}");
    }
    let both = json!({ "token": asked["token"], "phrase": backup });
    let confirmed = stage.post(&token, &confirm, &both, 202).await;
    stage.done(&confirmed).await;
    let twice = stage.post(&token, &confirm, &both, 409).await;
    assert_eq!(twice["error"]["code"], "confirmed");
    let runs = stage.get(&token, "list?kind=restore", 200).await;
    assert_eq!(runs["data"][0]["state"], "succeeded", "{runs}");
    assert_eq!(runs["data"][0]["evidence"]["database"], database.as_str());

    // Another administrator confirms with nothing but the request.
    let again = json!({ "database": format!("{database}b") });
    let asked = stage.post(&token, &restore, &again, 202).await;
    let confirm = format!("confirm/{}", asked["data"]["request"].as_str().unwrap());
    let other = stage.another().await;
    stage.post(&other, &confirm, &json!({}), 202).await;

    let mut tx = stage.front.test.db.begin(Scope::Platform).await.unwrap();
    let log: Vec<String> =
        audit_log(&mut tx, 100).await.unwrap().into_iter().map(|l| l.action).collect();
    let n = |action: &str| log.iter().filter(|a| *a == action).count();
    assert_eq!((n("backup.restore.asked"), n("backup.restore.confirmed")), (2, 2), "{log:?}");
}

#[tokio::test]
async fn disaster_recovery_wants_a_standby_and_a_request_expires() {
    let stage = Stage::new().await;
    let token = stage.front.admin().await;
    let none = stage.post(&token, "disaster-recovery", &json!({}), 409).await;
    assert_eq!(none["error"]["code"], "no_standby");
    let asked = stage.post(&token, "restore/newest", &json!({}), 202).await;
    sqlx::query("update switchyard.restore_requests set expires_at = now() - interval '1 second'")
        .execute(&mut stage.front.owner().await)
        .await
        .unwrap();
    let confirm = format!("confirm/{}", asked["data"]["request"].as_str().unwrap());
    let body = json!({ "token": asked["data"]["token"], "phrase": asked["data"]["phrase"] });
    let late = stage.post(&token, &confirm, &body, 409).await;
    assert_eq!(late["error"]["code"], "expired");
    stage.post(&token, "release", &json!({ "phrase": "release" }), 404).await;
    stage.post(&token, "release", &json!({ "phrase": "no" }), 422).await;
}

/// The whole plan over HTTP, into a database of this name.
async fn recovers_into(standby: SecretString) {
    let stage = Stage::beside(Some(standby.clone())).await;
    let token = stage.front.admin().await;
    let _working = work(&stage.platform());
    let taken = stage.post(&token, "create", &json!({ "kind": "full" }), 202).await;
    stage.done(&taken).await;
    administrator(&stage.front.test.db, "late@example.com").await;
    let taken = stage.post(&token, "create", &json!({ "kind": "incremental" }), 202).await;
    stage.done(&taken).await;

    let asked = stage.post(&token, "disaster-recovery", &json!({}), 202).await;
    assert_eq!(asked["data"]["phrase"], "disaster recovery");
    let confirm = format!("confirm/{}", asked["data"]["request"].as_str().unwrap());
    let body = json!({ "token": asked["data"]["token"], "phrase": asked["data"]["phrase"] });
    let confirmed = stage.post(&token, &confirm, &body, 202).await;
    stage.done(&confirmed).await;
    let runs = stage.get(&token, "list?kind=restore", 200).await;
    let evidence = &runs["data"][0]["evidence"];
    assert_eq!(
        (&runs["data"][0]["state"], &evidence["ready"]),
        (&json!("succeeded"), &json!(true))
    );
    let checks = evidence["checks"].as_array().unwrap();
    assert!(checks.len() >= 6 && checks.iter().all(|c| c["good"] == true), "{evidence}");
    assert!(evidence["seconds"].as_f64().unwrap() > 0.0, "{evidence}");
    assert!(evidence["lost_seconds"].is_number(), "{evidence}");

    let restored = TestDb::at(standby);
    assert!(restored::awaits_release(&restored.db).await.unwrap(), "it keeps still");
    let found: i64 = sqlx::query_scalar(
        "select count(*) from switchyard.administrators where email = 'late@example.com'",
    )
    .fetch_one(&mut restored.owner().await)
    .await
    .unwrap();
    assert_eq!(found, 1, "the increment is in it");
}

#[tokio::test]
async fn disaster_recovery_makes_the_standby() {
    recovers_into(beside(&SecretString::from(server_url())).1).await;
}

#[tokio::test]
async fn disaster_recovery_fills_a_standby_that_is_there_and_empty() {
    let (name, standby) = beside(&SecretString::from(server_url()));
    let mut server =
        <sqlx::PgConnection as sqlx::Connection>::connect(&server_url()).await.unwrap();
    let make = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::raw_sql(make).execute(&mut server).await.unwrap();
    recovers_into(standby.clone()).await;
    // And never one with something in it.
    let stage = Stage::beside(Some(standby)).await;
    let token = stage.front.admin().await;
    let _working = work(&stage.platform());
    let taken = stage.post(&token, "create", &json!({ "kind": "full" }), 202).await;
    stage.done(&taken).await;
    let asked = stage.post(&token, "disaster-recovery", &json!({}), 202).await;
    let confirm = format!("confirm/{}", asked["data"]["request"].as_str().unwrap());
    let body = json!({ "token": asked["data"]["token"], "phrase": asked["data"]["phrase"] });
    stage.post(&token, &confirm, &body, 202).await;
    let error = until("the refusal", async || {
        let runs = stage.get(&token, "list?kind=restore", 200).await;
        runs["data"][0]["error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(error.contains("is not empty"), "{error}");
}

#[tokio::test]
async fn without_an_archive_nothing_is_taken() {
    let front = Front::new().await;
    let token = front.admin().await;
    let body = json!({});
    for path in ["create", "restore/newest", "verify/all"] {
        let asked = front.post(&format!("/api/v1/backup/{path}"), &body).bearer_auth(&token);
        assert_eq!(json_of(asked, 409).await["error"]["code"], "no_archive");
    }
    let status = json_of(front.get("/api/v1/backup/status").bearer_auth(&token), 200).await;
    assert!(status["data"]["archive"].is_null());
}
