//! What a drill proves beside that the newest backup restores: that it is the newest, that increments tell
//! everything, and that the second archive is as good as the first.

use super::support::{Yard, administrator, good, seldom, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_backup::Vault;
use switchyard_catalog::alarms::Alarms;
use switchyard_catalog::backup::{Backups, Status};
use switchyard_providers::Providers;
use switchyard_providers::archive::Directory;
use switchyard_store::backups::runs::{Run, RunKind, RunState};
use switchyard_tests::program::{open_folder, say};

/// Waits for a drill that has looked at the comparison of a full backup; gives its evidence.
async fn compared(yard: &Yard, full: &Run) -> Value {
    until("the comparison", async || {
        let drills = good(&yard.platform.db, RunKind::Drill).await;
        let evidence = drills.into_iter().filter_map(|d| d.evidence);
        let full = full.backup.as_deref().unwrap();
        evidence.into_iter().find(|e| e["compared"]["full"] == full)
    })
    .await
}

async fn taken(yard: &Yard, kind: RunKind) -> Run {
    let run = yard.run(kind).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:?}");
    run
}

async fn status(yard: &Yard) -> Status {
    let (db, now) = (&yard.platform.db, chrono::Utc::now());
    switchyard_catalog::backup::status(db, Some(yard.backups()), now).await.unwrap()
}

#[tokio::test]
async fn an_old_full_backup_and_its_increments_are_compared_with_the_new_one_without_being_asked() {
    let yard = Yard::new(seldom()).await;
    let _working = yard.work();
    let first = taken(&yard, RunKind::Full).await;
    administrator(&yard.platform.db, "one@example.com").await;
    taken(&yard, RunKind::Incremental).await;
    let evidence = compared(&yard, &first).await;
    let why = evidence["compared"]["out_of_reach"].as_str().unwrap();
    assert!(why.contains("no older full backup"), "the first has none before it: {evidence}");

    administrator(&yard.platform.db, "two@example.com").await;
    let second = taken(&yard, RunKind::Full).await;
    administrator(&yard.platform.db, "three@example.com").await;
    taken(&yard, RunKind::Incremental).await;
    let evidence = compared(&yard, &second).await;
    assert_eq!(evidence["comparison"]["proven"], true, "{evidence}");
    assert!(evidence["comparison"]["changes"].as_u64().unwrap() > 0, "{evidence}");
    assert!(evidence["compared"]["out_of_reach"].is_null(), "{evidence}");

    // Once is enough; later drills carry it on, and the status shows it.
    let drills = good(&yard.platform.db, RunKind::Drill).await.len();
    let drill = taken(&yard, RunKind::Drill).await;
    let evidence = drill.evidence.unwrap();
    assert!(evidence["comparison"].is_null(), "{evidence}");
    assert_eq!(good(&yard.platform.db, RunKind::Drill).await.len(), drills + 1);
    let shown = status(&yard).await.proof.unwrap().compared.unwrap();
    assert_eq!(Some(&shown.full), second.backup.as_ref());
}

#[tokio::test]
async fn a_chain_whose_newest_increment_was_taken_away_is_no_proof() {
    let yard = Yard::new(seldom()).await;
    let _working = yard.work();
    let full = taken(&yard, RunKind::Full).await;
    taken(&yard, RunKind::Incremental).await;
    // After it no drill comes by itself.
    compared(&yard, &full).await;
    assert_eq!(yard.run(RunKind::Drill).await.state, RunState::Succeeded);
    administrator(&yard.platform.db, "late@example.com").await;
    let increment = taken(&yard, RunKind::Incremental).await;
    // Whoever may delete: what is left is whole and signed.
    let from = increment.from_lsn.unwrap();
    let manifests = files_of(&yard.folder.path().join("log"), ".json");
    assert_eq!(manifests.len(), 2);
    let newest = manifests
        .iter()
        .find(|m| std::fs::read_to_string(m).unwrap().contains(&format!("\"from\":\"{from}\"")));
    std::fs::remove_file(newest.unwrap()).unwrap();
    let drill = yard.run(RunKind::Drill).await;
    assert_eq!(drill.state, RunState::Failed, "{drill:?}");
    assert!(drill.error.is_some_and(|e| e.contains("the newest files are gone")));
    assert_eq!(drill.evidence.unwrap()["restore"]["proven"], true, "what is there restores");
}

fn files_of(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

/// Changes one byte of one file of rows.
fn damage(folder: &Path) {
    let data = files_of(folder, ".copy.gz.age").pop().unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
}

#[tokio::test]
async fn the_second_archive_gets_its_copy_and_is_checked_as_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("second");
    let copying = |b: Backups| {
        let second = Arc::new(Directory::new(&place));
        Backups { vault: Vault::with_second(b.vault.clone(), second), ..b }
    };
    let yard = Yard::over(seldom(), Providers::capture(), Alarms::default(), copying).await;
    let _working = yard.work();
    let full = taken(&yard, RunKind::Full).await;
    // Each backup is copied without being asked.
    until("the copy", async || good(&yard.platform.db, RunKind::Copy).await.pop()).await;
    let sound = taken(&yard, RunKind::Verify).await.evidence.unwrap();
    assert_eq!((&sound["backups"], &sound["second"]["backups"]), (&1.into(), &1.into()), "{sound}");
    damage(&place);
    let spoilt = yard.run(RunKind::Verify).await;
    assert_eq!(spoilt.state, RunState::Failed, "{spoilt:?}");
    assert!(spoilt.error.is_some_and(|e| e.contains("second archive")));
    let evidence = spoilt.evidence.unwrap();
    let found = (&evidence["sound"], &evidence["second"]["sound"]);
    assert_eq!(found, (&Value::Bool(true), &Value::Bool(false)), "{evidence}");
    let problem = &evidence["second"]["problems"][0]["key"];
    assert!(problem.as_str().unwrap().contains(full.backup.as_deref().unwrap()), "{problem}");
}

#[tokio::test]
async fn the_program_copies_lists_checks_and_restores_from_the_second_archive() {
    use secrecy::ExposeSecret;
    let (folder, test) = (open_folder(), switchyard_tests::TestDb::new().await);
    let at = folder.path();
    let keygen = ["--json", "backup", "keygen", "--out", "operators.txt"];
    let keys = say(at, &[], keygen).await.json();
    let (first, second) = (at.join("first"), at.join("second"));
    let settings = [
        ("DATABASE_URL", test.url.expose_secret()),
        ("SWITCHYARD_BACKUP__ARCHIVE", first.to_str().unwrap()),
        ("SWITCHYARD_BACKUP__SECOND", second.to_str().unwrap()),
        ("SWITCHYARD_BACKUP__RECIPIENTS", keys["recipients"][0].as_str().unwrap()),
        ("SWITCHYARD_BACKUP__SIGNING_KEY", keys["signing_key"].as_str().unwrap()),
        ("SWITCHYARD_BACKUP__DRILL_IDENTITY", keys["drill_identity"].as_str().unwrap()),
    ];
    for what in ["full", "copy"] {
        let said = say(at, &settings, ["backup", "now", what]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let list = say(at, &settings, ["--json", "backup", "list", "--second"]).await.json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 1, "{list}");
    // The first one is gone whole, and the second restores.
    std::fs::remove_dir_all(&first).unwrap();
    let (_, to) = super::support::beside(&test.url);
    let restore = ["restore", "--second", "--identity", "operators.txt", "--to"];
    let args = restore.into_iter().chain([to.expose_secret()]);
    let said = say(at, &settings, args).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let good = say(at, &settings, ["backup", "verify", "--second"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    damage(&second);
    let spoilt = say(at, &settings, ["backup", "verify", "--second"]).await;
    assert_eq!(spoilt.code, Some(1), "{spoilt:?}");
}
