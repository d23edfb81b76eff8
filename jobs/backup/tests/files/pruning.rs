//! Taking away, in a real folder.

use crate::kit::{Kit, at, kit, sendable, whole_archive};
use chrono::{TimeDelta, Utc};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;
use switchyard_backup::format::{layout, put_manifest, write_object};
use switchyard_backup::keys::Signer;
use switchyard_backup::model::{BackupId, Kind};
use switchyard_backup::prune::{Policy, Pruned, prune};
use switchyard_backup::verify::{Depth, Which, verify};
use switchyard_backup::{Keys, Shelf, Silent, Vault};

const NEWEST: Policy =
    Policy { window_days: 0, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

/// An archive with a second full backup, which makes everything before it old.
async fn old_and_new(kit: &Kit) -> (Vec<BackupId>, BackupId) {
    let old = whole_archive(&kit.vault).await.into_iter().map(|m| m.id).collect();
    let mut new = crate::kit::full(1000, 1000);
    let id = new.id.clone();
    let Kind::Full { schema_before, schema_after, tables, .. } = &mut new.kind else { panic!() };
    let sql = bytes::Bytes::from_static(b"select 1;\n");
    *schema_before =
        write_object(&kit.vault, layout::schema_before(&id), sql.clone()).await.unwrap();
    *schema_after = write_object(&kit.vault, layout::schema_after(&id), sql).await.unwrap();
    *tables = vec![crate::kit::rows(&kit.vault, &id, "leads").await];
    put_manifest(&kit.vault, &new).await.unwrap();
    (old, id)
}

async fn keys(vault: &Vault) -> Vec<String> {
    vault.archive.list("").await.unwrap().into_iter().map(|e| e.key).collect()
}

async fn run(vault: &Vault, dry_run: bool) -> Pruned {
    sendable(prune(vault, &NEWEST, at(100_000), dry_run)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_a_run_then_does() {
    let kit = kit();
    let (old, new) = old_and_new(&kit).await;
    let there = keys(&kit.vault).await;
    let look = run(&kit.vault, true).await;
    assert_eq!(keys(&kit.vault).await, there, "a look takes nothing away");
    let done = run(&kit.vault, false).await;
    assert_eq!((look.dry_run, done.dry_run), (true, false));
    assert_eq!((&look.kept, &look.dropped, look.bytes), (&done.kept, &done.dropped, done.bytes));
    let mut dropped: Vec<_> = done.dropped.iter().map(|d| d.manifest.id.clone()).collect();
    dropped.sort();
    let mut expected = old;
    expected.sort();
    assert_eq!(dropped, expected);
    assert!(done.dropped.iter().all(|d| !d.reason.is_empty()) && done.refused.is_empty());
    assert!(keys(&kit.vault).await.iter().all(|key| key.contains(new.as_str())));
    let found = verify(&kit.vault, &Which::All, Depth::Contents, &Silent).await.unwrap();
    assert_eq!((found.backups, found.is_sound()), (1, true));
}

fn age(path: &Path, hours: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let then = SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    file.set_modified(then).unwrap();
}

fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| files_in(folder)));
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_a_year_ahead_makes_nothing_old() {
    let kit = kit();
    let (old, _) = old_and_new(&kit).await;
    // A run that is under way, and one that was stopped.
    for (id, hours) in [("20260101T000000Z-00000008", 0), ("20260101T000000Z-00000009", 48)] {
        let path = kit.path(&format!("full/{id}/data/app.leads/0000.copy.gz.age"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"x").unwrap();
        age(&path, hours);
    }
    // All of it is a year old to such a clock, and of this week to a right one.
    let days = (Utc::now() - at(0)).num_days() + 7;
    let window = Policy { window_days: u32::try_from(days).unwrap(), ..NEWEST };
    let ahead = Utc::now() + TimeDelta::days(365);
    let pruned = prune(&kit.vault, &window, ahead, false).await.unwrap();
    assert!(pruned.dropped.is_empty(), "{:?}", pruned.dropped);
    assert_eq!(pruned.orphans.len(), 1, "{:?}", pruned.orphans);
    assert!(pruned.doubt.is_some_and(|doubt| doubt.contains("Set the clock")));
    let shelf = Shelf::load(&kit.vault).await.unwrap();
    assert!(old.iter().all(|id| shelf.get(id).is_some()));
    let right = prune(&kit.vault, &window, Utc::now(), true).await.unwrap();
    assert_eq!(right.doubt, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stopped_runs_left_goes_after_a_day_and_nothing_of_others_does() {
    let kit = kit();
    old_and_new(&kit).await;
    let id = "20260101T000000Z-00000009";
    let stray = |key: String, hours| {
        let path = kit.path(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"x").unwrap();
        age(&path, hours);
        key
    };
    let old = [
        stray(format!("full/{id}/data/app.leads/0000.copy.gz.age"), 30),
        stray(format!("full/{id}/schema-before.sql.gz.age"), 26),
        stray(format!("log/switchyard-7/{id}/0000.changes.gz.age"), 25),
    ];
    // The run may be under way: one of its files is young.
    let running = id.replace('9', "8");
    stray(format!("diff/{running}/000/0000.changes.gz.age"), 40);
    stray(format!("diff/{running}/000/0001.changes.gz.age"), 2);
    stray("full/notes.txt".to_owned(), 1000);
    stray(format!("full/{id}/readme.txt"), 1000);
    let before = keys(&kit.vault).await;
    let keep_all = Policy { window_days: 100_000, ..NEWEST };
    let pruned = prune(&kit.vault, &keep_all, Utc::now(), false).await.unwrap();
    assert_eq!(pruned.orphans, old);
    assert_eq!((pruned.dropped.len(), pruned.bytes), (0, 3));
    let after = keys(&kit.vault).await;
    let gone: Vec<_> = before.into_iter().filter(|key| !after.contains(key)).collect();
    assert_eq!(gone, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_wrong_key_nothing_is_taken_for_garbage() {
    let kit = kit();
    old_and_new(&kit).await;
    let there = keys(&kit.vault).await;
    let stranger = kit.with(Keys::new().signing(Signer::generate()));
    let later = Utc::now() + TimeDelta::days(400);
    let pruned = prune(&stranger, &NEWEST, later, false).await.unwrap();
    assert_eq!(pruned.problems.len(), 5);
    assert!(pruned.orphans.is_empty() && pruned.dropped.is_empty());
    assert_eq!(keys(&kit.vault).await, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_leaves_whole_backups_and_the_next_one_takes_the_rest() {
    let kit = kit();
    let (old, new) = old_and_new(&kit).await;
    // Killed between the manifest and the files of the first full backup.
    std::fs::remove_file(kit.path(&format!("full/{}/manifest.json", old[0]))).unwrap();
    let shelf = Shelf::load(&kit.vault).await.unwrap();
    assert!(shelf.get(&old[0]).is_none() && shelf.get(&new).is_some());
    for path in files_in(&kit.path(&format!("full/{}", old[0]))) {
        age(&path, 48);
    }
    let pruned = prune(&kit.vault, &NEWEST, Utc::now(), false).await.unwrap();
    assert!(pruned.orphans.iter().all(|key| key.contains(old[0].as_str())));
    assert!(!pruned.orphans.is_empty());
    assert!(keys(&kit.vault).await.iter().all(|key| key.contains(new.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_refuses_to_delete_is_told_and_stays_whole() {
    // root is refused nothing by rights, so the folder is made unwritable by what even root heeds.
    let kit = kit();
    let (old, _) = old_and_new(&kit).await;
    let folder = kit.path(&format!("full/{}", old[0]));
    let locked = std::process::Command::new("chattr").arg("+i").arg(&folder).status();
    let by_attribute = locked.is_ok_and(|s| s.success());
    if !by_attribute {
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o500)).unwrap();
    }
    let probe = std::fs::write(folder.join("probe"), b"").is_err();
    let pruned = run(&kit.vault, false).await;
    if by_attribute {
        std::process::Command::new("chattr").arg("-i").arg(&folder).status().unwrap();
    } else {
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    }
    assert!(
        probe,
        "the test could not lock the folder: run it as a user, or on ext4, XFS or Btrfs"
    );
    assert_eq!(pruned.refused.len(), 1, "{:?}", pruned.refused);
    assert!(pruned.refused[0].key.ends_with("manifest.json"));
    let shelf = Shelf::load(&kit.vault).await.unwrap();
    assert!(shelf.get(&old[0]).is_some());
    let one = Which::One(old[0].clone());
    assert!(verify(&kit.vault, &one, Depth::Stored, &Silent).await.unwrap().is_sound());
}
