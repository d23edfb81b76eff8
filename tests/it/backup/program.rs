//! `switchyard up` backs itself up from its first minute; and with nothing but its archive and the
//! operators' identity all of it comes back on another server.

use crate::up::up_in;
use secrecy::SecretString;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use switchyard_tests::program::{open_folder, say, until};
use switchyard_tests::server_url;

const UP: [&str; 6] = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn up_proves_its_first_backup_and_a_lost_machine_comes_back_from_archive_and_identity() {
    let folder = open_folder();
    let at = folder.path();
    let quick = [("SWITCHYARD_BACKUP__INCREMENTAL_INTERVAL", "2s")];
    let (running, demo) = up_in(at, "data", "first", &quick, &UP).await;
    let status = until("a proven restore", || async {
        let said = say(at, &quick, ["--json", "backup", "status"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let status = said.json();
        let many = status["recent"].as_array()?.iter().filter(|r| r["kind"] == "incremental");
        (status["proof"].is_object() && many.count() > 0).then_some(status)
    })
    .await;
    assert_eq!(status["figures"]["ended"], status["figures"]["succeeded"], "{status}");
    assert!(running.output().contains("backs itself up"), "{}", running.output());
    for file in ["backup-keys.json", "backup-identity.txt"] {
        let mode = std::fs::metadata(at.join("data").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let taken = say(at, &quick, ["--json", "backup", "now"]).await;
    assert_eq!(taken.code, Some(0), "{taken:?}");
    let log = running.log();
    assert_eq!(running.stop().await, Some(0));

    // The machine is gone but for the archive and what an operator kept.
    let elsewhere = open_folder();
    let keys: Value =
        serde_json::from_slice(&std::fs::read(at.join("data/backup-keys.json")).unwrap()).unwrap();
    let identity = at.join("data/backup-identity.txt");
    let kept = std::fs::read_to_string(&identity).unwrap();
    assert!(!kept.contains(keys["drill_identity"].as_str().unwrap()));
    let archive = at.join("data/backups").display().to_string();
    let name = format!("sy_test_{}_{}", std::process::id(), uuid::Uuid::new_v4().simple());
    let server = server_url();
    let to = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let identity = identity.display().to_string();
    let base = ["--json", "restore", "--to", &to, "--from", &archive];
    let blind = say(elsewhere.path(), &[], base).await;
    assert_eq!(blind.code, Some(1), "without an identity nothing is read: {blind:?}");
    let args: Vec<&str> = base.into_iter().chain(["--identity", &identity]).collect();
    let said = say(elsewhere.path(), &[], &args).await;
    assert_eq!(said.code, Some(0), "{said:?}\n{log}");
    assert_eq!(said.json()["database"], name.as_str());
    let again = say(elsewhere.path(), &[], &args).await;
    assert_eq!(again.code, Some(1), "a database that is there is left alone: {again:?}");

    // It is all there, and keeps still.
    let there = [("DATABASE_URL", to.as_str())];
    let health = say(elsewhere.path(), &there, ["--json", "backup", "status"]).await;
    assert!(health.json()["restored"]["released_at"].is_null(), "{health:?}");
    let portals = say(elsewhere.path(), &there, ["--json", "portals", "list"]).await;
    let code = demo["portals"][0]["code"].as_str().unwrap();
    assert!(portals.out.contains(code), "{portals:?}");
    let resumed = say(elsewhere.path(), &there, ["queues", "resume", "backups"]).await;
    assert_ne!(resumed.code, Some(0), "{resumed:?}");
    let unsure = say(elsewhere.path(), &there, ["release"]).await;
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    let released = say(elsewhere.path(), &there, ["release", "--confirm", "release"]).await;
    assert_eq!(released.code, Some(0), "{released:?}");
    let resumed = say(elsewhere.path(), &there, ["queues", "resume", "backups"]).await;
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    drop(SecretString::from(to));
}

#[tokio::test]
async fn the_archive_is_listed_and_checked_without_a_database() {
    let folder = open_folder();
    let at = folder.path();
    let (running, _) = up_in(at, "data", "first", &[], &UP).await;
    until("a full backup", || async {
        let said = say(at, &[], ["--json", "backup", "list"]).await;
        let list = if said.code == Some(0) { said.json() } else { Value::Null };
        (!list["backups"].as_array()?.is_empty()).then_some(())
    })
    .await;
    assert_eq!(running.stop().await, Some(0));
    let list = say(at, &[], ["--json", "backup", "list"]).await.json();
    assert_eq!(list["problems"], serde_json::json!([]), "{list}");
    assert!(!list["restorable"].as_array().unwrap().is_empty());
    let verified = say(at, &[], ["--json", "backup", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let dry = say(at, &[], ["--json", "backup", "prune", "--dry-run"]).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    let after = say(at, &[], ["--json", "backup", "list"]).await.json();
    assert_eq!(list["backups"], after["backups"], "a dry run takes nothing away");
}
