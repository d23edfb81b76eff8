//! A backup is read with what every machine has: age, gunzip, sha256sum, psql's text.

use crate::kit::{kit, whole_archive};
use secrecy::{ExposeSecret, SecretString};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use switchyard_backup::keys::{PASSPHRASE_KEY, seal_passphrase};
use switchyard_backup::model::Kind;

/// A line of a shell, in a folder. Its output.
fn shell(folder: &Path, line: &str) -> String {
    let run = Command::new("bash")
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{line}: {told} (`ops/test` installs age)");
    String::from_utf8(run.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn age_and_gunzip_read_every_file_by_its_manifest() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let folder = kit.folder.path();
    let key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key.as_file(), "{}", kit.identity.reveal().expose_secret()).unwrap();
    let open =
        |file: &str| shell(folder, &format!("age -d -i {} {file} | gunzip", key.path().display()));
    for manifest in &written {
        for object in manifest.objects() {
            let sum = shell(folder, &format!("sha256sum {}", object.key));
            assert!(sum.starts_with(&object.sha256), "{sum}");
            let plain = open(&object.key);
            assert_eq!(plain.len() as u64, object.plain_bytes);
            assert_eq!(plain.lines().count() as u64, object.rows);
        }
    }
    let Kind::Full { schema_before, tables, .. } = &written[0].kind else { panic!() };
    assert_eq!(open(&schema_before.key), "create schema app;\n");
    let files: Vec<String> = tables[0].objects.iter().map(|o| open(&o.key)).collect();
    let rows: String = (0..4000).map(|row| format!("{row}\tname {row}\t\\N\n")).collect();
    assert_eq!(files.concat(), rows);
    let lines = open(&written[1].objects().next().unwrap().key);
    assert!(lines.contains(r#"{"u":16400,"k":["1"],"v":["2",false]}"#), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_of_a_manifest_names_the_files_to_every_reader_of_json() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let first = format!("full/{}/manifest.json", written[0].id);
    let line = shell(kit.folder.path(), &format!("head -n 1 {first}"));
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["kind"], "full");
    assert_eq!(json["tables"][0]["objects"][0]["rows"], written[0].objects().nth(2).unwrap().rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn age_opens_the_passphrases_identity() {
    let kit = kit();
    let passphrase = SecretString::from("correct horse battery staple");
    let recipient = seal_passphrase(&kit.vault, passphrase.clone()).await.unwrap();
    // age asks a terminal; `script` is one.
    let command = format!("age -d {PASSPHRASE_KEY}");
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(kit.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", passphrase.expose_secret()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&format!("# public key: {recipient}")), "{told}");
}
