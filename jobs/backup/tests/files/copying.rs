//! The second archive.

use crate::kit::{Kit, kit, sendable, whole_archive};
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_backup::copy::copy;
use switchyard_backup::format::layout;
use switchyard_backup::keys::{PASSPHRASE_KEY, seal_passphrase};
use switchyard_backup::verify::{Depth, Which, verify};
use switchyard_backup::{Shelf, Silent, Vault};
use switchyard_providers::archive::Directory;
use tempfile::TempDir;

fn two(kit: &Kit) -> (TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = kit.vault.clone().with_second(Arc::new(Directory::new(folder.path())));
    (folder, vault)
}

async fn keys(vault: &Vault) -> Vec<String> {
    vault.archive.list("").await.unwrap().into_iter().map(|e| e.key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_restores_by_itself() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    seal_passphrase(&kit.vault, SecretString::from("correct horse battery")).await.unwrap();
    let (_folder, vault) = two(&kit);
    let copied = sendable(copy(&vault, &Silent)).await.unwrap();
    let objects: u64 = written.iter().map(|m| m.objects().count() as u64).sum();
    let bytes: u64 = written.iter().map(|m| m.stored_bytes()).sum();
    assert_eq!(
        (copied.backups, copied.objects, copied.bytes, copied.skipped),
        (4, objects, bytes, 0)
    );
    let second = vault.of_second().unwrap();
    assert_eq!(keys(&second).await, keys(&vault).await);
    assert!(keys(&second).await.contains(&PASSPHRASE_KEY.to_owned()));
    let found = verify(&second, &Which::All, Depth::Contents, &Silent).await.unwrap();
    assert!(found.is_sound(), "{found:?}");
    // Nothing is sent twice.
    let again = copy(&vault, &Silent).await.unwrap();
    assert_eq!(again, switchyard_backup::copy::Copied::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_stopped_is_taken_up_where_it_was() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let (folder, vault) = two(&kit);
    copy(&vault, &Silent).await.unwrap();
    // As if it had been killed before the manifest of the full backup, with one file not yet there and one
    // of the right size that is another.
    let path = |key: &str| -> PathBuf { folder.path().join(key) };
    let files: Vec<_> = written[0].objects().collect();
    std::fs::remove_file(path(&layout::manifest(&written[0]))).unwrap();
    std::fs::remove_file(path(&files[1].key)).unwrap();
    let mut bytes = std::fs::read(path(&files[2].key)).unwrap();
    bytes[5] ^= 1;
    std::fs::write(path(&files[2].key), bytes).unwrap();
    let second = vault.of_second().unwrap();
    assert!(Shelf::load(&second).await.unwrap().get(&written[0].id).is_none());

    let copied = copy(&vault, &Silent).await.unwrap();
    assert_eq!(copied.backups, 1);
    assert_eq!(copied.skipped, files.len() as u64 - 2);
    assert_eq!(copied.bytes, files[1].bytes + files[2].bytes);
    let found = verify(&second, &Which::All, Depth::Stored, &Silent).await.unwrap();
    assert!(found.is_sound(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_not_copied() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let (_folder, vault) = two(&kit);
    let spoilt = &written[0].objects().nth(2).unwrap().key;
    let mut bytes = std::fs::read(kit.path(spoilt)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(kit.path(spoilt), bytes).unwrap();
    let fault = copy(&vault, &Silent).await.unwrap_err().to_string();
    assert!(fault.contains(spoilt) && fault.contains("SHA-256"), "{fault}");
    let second = vault.of_second().unwrap();
    assert!(Shelf::load(&second).await.unwrap().all().is_empty());
    assert!(!keys(&second).await.contains(spoilt));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_spoilt_in_the_second_archive_is_mended() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let (folder, vault) = two(&kit);
    copy(&vault, &Silent).await.unwrap();
    let key = layout::manifest(&written[1]);
    std::fs::write(folder.path().join(&key), b"{}").unwrap();
    let second = vault.of_second().unwrap();
    assert_eq!(Shelf::load(&second).await.unwrap().problems().len(), 1);
    let copied = copy(&vault, &Silent).await.unwrap();
    assert_eq!((copied.backups, copied.bytes), (1, 0));
    assert!(Shelf::load(&vault.of_second().unwrap()).await.unwrap().problems().is_empty());
}

#[tokio::test]
async fn without_a_second_archive_it_says_so() {
    let fault = copy(&kit().vault, &Silent).await.unwrap_err();
    assert!(fault.to_string().contains("no second archive is set"), "{fault}");
}
