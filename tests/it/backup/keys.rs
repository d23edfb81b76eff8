//! Settings that cannot be kept are refused before anything runs.

use switchyard_tests::program::{open_folder, say};

async fn faults(settings: &[(&str, &str)], command: &[&str]) -> String {
    let folder = open_folder();
    let said = say(folder.path(), settings, command).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    said.err
}

#[tokio::test]
async fn a_promise_that_the_interval_cannot_keep_is_refused() {
    let settings = [
        ("SWITCHYARD_BACKUP__ARCHIVE", "/var/backups/switchyard"),
        ("SWITCHYARD_BACKUP__RECIPIENTS", "age1x"),
        ("SWITCHYARD_BACKUP__SIGNING_KEY", "x"),
        ("SWITCHYARD_BACKUP__INCREMENTAL_INTERVAL", "15m"),
    ];
    let said = faults(&settings, &["config"]).await;
    assert!(said.contains("backup.rpo") && said.contains("incremental_interval"), "{said}");
}

#[tokio::test]
async fn whoever_takes_backups_is_refused_without_keys_and_whoever_reads_them_is_not() {
    let settings = [
        ("SWITCHYARD_BACKUP__ARCHIVE", "s3://bucket/prefix"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
    ];
    for takes in [&["work"][..], &["up"], &["backup", "now"], &["backup", "now", "full"]] {
        let said = faults(&settings, takes).await;
        let named = said.contains("backup.recipients") && said.contains("backup.signing_key");
        assert!(named && said.contains("keygen"), "{takes:?}: {said}");
    }
    for reads in [&["config"][..], &["backup", "list"], &["migrate"], &["backup", "status"]] {
        let said = say(open_folder().path(), &settings, reads).await;
        assert_ne!(said.code, Some(2), "{reads:?}: {said:?}");
        assert!(!said.err.contains("backup.signing_key"), "{reads:?}: {said:?}");
    }
}

#[tokio::test]
async fn new_keys_are_printed_once_and_the_identity_goes_to_a_private_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = open_folder();
    let args = ["--json", "backup", "keygen", "--out", "operators.txt"];
    let said = say(folder.path(), &[], args).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let keys = said.json();
    assert!(keys["recipients"][0].as_str().unwrap().starts_with("age1"));
    assert!(keys["identity"].is_null(), "it is in the file");
    let file = folder.path().join("operators.txt");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("AGE-SECRET-KEY-1"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = say(folder.path(), &[], args).await;
    assert_eq!(again.code, Some(1), "a file that is there is never written over: {again:?}");
}
