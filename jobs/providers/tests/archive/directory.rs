//! The directory.

use crate::contract;
use bytes::Bytes;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use switchyard_providers::archive::{
    Archive, ArchiveConfig, ArchiveFault, Directory, DirectoryConfig, open,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_to_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let config = ArchiveConfig {
        directory: DirectoryConfig { path: folder.path().join("made/on/first/use") },
        ..ArchiveConfig::default()
    };
    let archive = open(&config).unwrap();
    contract::holds(archive.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_write_one_key_in_a_directory_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    contract::one_winner_of(16, Arc::new(Directory::new(folder.path()))).await;
}

#[tokio::test]
async fn nobody_else_may_look_into_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Directory::new(folder.path().join("backups"));
    contract::write(&archive, "full/x/y", &Bytes::from_static(b"z")).await.unwrap();
    let mode = |path: &str| {
        let about = std::fs::metadata(folder.path().join(path)).unwrap();
        about.permissions().mode() & 0o777
    };
    assert_eq!(mode("backups/full/x"), 0o700);
    assert_eq!(mode("backups/full/x/y"), 0o600);
}

#[tokio::test]
async fn a_killed_runs_half_file_is_not_listed_and_is_swept_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Directory::new(folder.path());
    let mut upload = archive.create("full/x").await.unwrap();
    upload.write(Bytes::from_static(b"half")).await.unwrap();
    std::mem::forget(upload); // as kill -9 leaves it
    assert!(contract::keys(&archive, "").await.is_empty());
    let hour = chrono::TimeDelta::hours(1);
    assert_eq!(archive.sweep(chrono::Utc::now() - hour).await.unwrap(), 0);
    assert_eq!(archive.sweep(chrono::Utc::now() + hour).await.unwrap(), 1);
    assert_eq!(std::fs::read_dir(folder.path().join(".partial")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_others_put_into_the_directory_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Directory::new(folder.path());
    contract::write(&archive, "full/x", &Bytes::from_static(b"ours")).await.unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    std::fs::write(folder.path().join("full/with a blank"), b"").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("full/link")).unwrap();
    assert_eq!(contract::keys(&archive, "").await, ["full/x"]);
}

#[tokio::test]
async fn a_file_in_the_way_of_a_folder_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("full"), b"").unwrap();
    let archive = Directory::new(folder.path());
    let fault = archive.put_new("full/x", Bytes::new()).await.unwrap_err();
    assert!(matches!(&fault, ArchiveFault::Refused { .. }), "{fault:?}");
    assert!(fault.to_string().contains("set a directory"), "{fault}");
}
