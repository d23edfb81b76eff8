//! Settings that cannot be kept are refused before anything runs.

use switchyard_tests::program::{open_folder, say};

async fn faults(settings: &[(&str, &str)]) -> String {
    let folder = open_folder();
    let said = say(folder.path(), settings, ["config"]).await;
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
    let said = faults(&settings).await;
    assert!(said.contains("backup.rpo") && said.contains("incremental_interval"), "{said}");
}

#[tokio::test]
async fn an_archive_without_keys_is_refused() {
    let said = faults(&[("SWITCHYARD_BACKUP__ARCHIVE", "s3://bucket/prefix")]).await;
    assert!(said.contains("backup.recipients") && said.contains("backup.signing_key"), "{said}");
    assert!(said.contains("keygen"), "it says what to do: {said}");
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
