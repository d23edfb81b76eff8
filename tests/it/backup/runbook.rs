//! The runbook of a disaster, run as it is printed: the old machine is gone with its signing key, and what
//! is left is the archive and what operators kept.

use super::s3_server::{self as s3, ACCESS_KEY, BUCKET, SECRET_KEY};
use super::support::{administrator, beside};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use switchyard_tests::TestDb;
use switchyard_tests::program::{open_folder, program, say, switchyard};

const RUNBOOK: &str = include_str!("../../../ops/runbooks/restore.md");
const MASTER_KEY: &str = "bWFzdGVyLWtleS1vZi10aGUtdGVzdHMtMzItYnl0ZXM=";
/// Starting, restoring and looking, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(300);

/// The shell's blocks below a heading, up to the next one.
fn blocks(heading: &str) -> Vec<String> {
    let (_, below) = RUNBOOK.split_once(heading).expect("the heading");
    let section = below.split_once("\n## ").map_or(below, |(section, _)| section);
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split_once("```").expect("its end").0.to_owned()).collect()
}

/// Puts a reader's own text in for what the page shows; the page must show it.
fn put(script: &str, shown: &str, own: &str) -> String {
    assert!(script.contains(shown), "`{shown}` is not in {script}");
    script.replace(shown, own)
}

/// Sets a variable that the page sets, or leaves its line out.
fn set(script: &str, name: &str, own: Option<&str>) -> String {
    let begin = format!("export SWITCHYARD_{name}=");
    assert_eq!(script.matches(&begin).count(), 1, "{name} in {script}");
    let line = |line: &str| match (line.starts_with(&begin), own) {
        (false, _) => Some(format!("{line}\n")),
        (true, own) => own.map(|own| format!("{begin}'{own}'\n")),
    };
    script.lines().filter_map(line).collect()
}

/// Where the archive is, as settings: place, endpoint, sign-in.
struct Store {
    place: String,
    endpoint: Option<String>,
}

impl Store {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![("SWITCHYARD_BACKUP__ARCHIVE", self.place.clone())];
        settings.extend(self.way_in());
        settings
    }

    fn way_in(&self) -> Vec<(&'static str, String)> {
        let Some(endpoint) = &self.endpoint else { return Vec::new() };
        vec![
            ("SWITCHYARD_BACKUP__ARCHIVE_ENDPOINT", endpoint.clone()),
            ("SWITCHYARD_BACKUP__ARCHIVE_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("SWITCHYARD_BACKUP__ARCHIVE_SECRET_KEY", SECRET_KEY.to_owned()),
        ]
    }
}

fn as_given<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The old machine: keys, a full backup, an increment with a row of its own, each by the program.
struct Old {
    keys: Value,
    /// Between the full backup and the increment.
    moment: String,
    /// The operators' identity.
    identity: String,
}

async fn old_machine(test: &TestDb, store: &Store) -> Old {
    let folder = open_folder();
    let args = ["--json", "backup", "keygen", "--out", "operators.txt"];
    let keys = say(folder.path(), &[], args).await.json();
    let identity = std::fs::read_to_string(folder.path().join("operators.txt")).unwrap();
    let text = |key: &str| keys[key].as_str().unwrap().to_owned();
    let mut settings = store.settings();
    settings.extend([
        ("DATABASE_URL", test.url.expose_secret().to_owned()),
        ("SWITCHYARD_BACKUP__RECIPIENTS", keys["recipients"][0].as_str().unwrap().to_owned()),
        ("SWITCHYARD_BACKUP__SIGNING_KEY", text("signing_key")),
        ("SWITCHYARD_BACKUP__DRILL_IDENTITY", text("drill_identity")),
    ]);
    let settings = as_given(&settings);
    let full = say(folder.path(), &settings, ["backup", "now", "full"]).await;
    assert_eq!(full.code, Some(0), "{full:?}");
    let moment = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    administrator(&test.db, "late@example.com").await;
    let increment = say(folder.path(), &settings, ["backup", "now"]).await;
    assert_eq!(increment.code, Some(0), "{increment:?}");
    Old { keys, moment, identity }
}

/// What the page prints from step 2 on, with a reader's own addresses.
fn script(store: &Store, old: &Old, to: &SecretString, table_to: &SecretString) -> String {
    let find = |heading| blocks(heading).into_iter().next().expect("a block");
    let signatures = old.identity.lines().find_map(|l| l.strip_prefix("# signatures: ")).unwrap();
    let mut look = set(&find("## 2. "), "BACKUP__ARCHIVE", Some(&store.place));
    look = set(&look, "BACKUP__RECIPIENTS", old.keys["recipients"][0].as_str());
    look = set(&look, "BACKUP__TRUSTED", Some(signatures));
    for (name, own) in [
        ("BACKUP__ARCHIVE_ENDPOINT", store.endpoint.as_deref()),
        ("BACKUP__ARCHIVE_ACCESS_KEY", store.endpoint.as_ref().map(|_| ACCESS_KEY)),
        ("BACKUP__ARCHIVE_SECRET_KEY", store.endpoint.as_ref().map(|_| SECRET_KEY)),
    ] {
        look = set(&look, name, own);
    }
    let owner = "postgres://owner:password@new-server/switchyard";
    let restore = put(&blocks("## 3. ").concat(), owner, to.expose_secret());
    let leads = "postgres://owner:password@server/leads_of_yesterday";
    let restore = put(&restore, leads, table_to.expose_secret());
    let restore = put(&restore, "--at 2026-11-22T23:00", &format!("--at {}", old.moment));
    let paused = put(&blocks("## 5. ").concat(), owner, to.expose_secret());
    let mut login = url::Url::parse(to.expose_secret()).unwrap();
    login.set_username(&format!("sy_login_{}", uuid::Uuid::new_v4().simple())).unwrap();
    login.set_password(Some("a-password-of-the-tests")).unwrap();
    let shown = "postgres://login:password@new-server/switchyard";
    let paused = put(&paused, shown, login.as_str());
    let paused = set(&paused, "SECRET_KEY", Some(MASTER_KEY));
    // Nothing runs yet, which the doctor says; a fault of the configuration is another code.
    let paused = put(&paused, "switchyard doctor", "switchyard doctor || test $? -eq 1");
    let up = "switchyard up --listen 127.0.0.1:0 >up.out 2>&1 & up=$!\n\
              for _ in $(seq 600); do grep -q 'is ready' up.out && break; kill -0 $up || break; sleep 0.1; done\n\
              grep -q 'is ready' up.out || { cat up.out >&2; exit 9; }\ntrue ";
    let paused = put(&paused, "switchyard up  ", up);
    let release =
        put(&find("## 6. "), "switchyard release", "switchyard release --confirm release");
    let stop = "kill $up; wait $up";
    [look, restore, find("## 4. "), paused, stop.to_owned(), release].join("\n")
}

/// What the new machine does from then on: backups under its own signature, proven.
const GOES_ON: &str = "switchyard backup now full; switchyard backup now incremental; \
                       switchyard backup now drill; switchyard --json backup list > list.json";

async fn bash(folder: &Path, script: &str) {
    // The program's own clean environment, for a shell.
    let clean = switchyard(folder);
    let mut bash = tokio::process::Command::new("bash");
    for (name, _) in clean.as_std().get_envs().filter(|(_, value)| value.is_none()) {
        bash.env_remove(name);
    }
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program().parent().unwrap().display());
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(folder).env("PATH", path);
    bash.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, bash.output()).await.expect("it ends").unwrap();
    let (out, err) = (ended.stdout, ended.stderr);
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert!(ended.status.success(), "{}: {out}\n{err}\n{script}", ended.status);
    assert!(out.contains("THIS SYSTEM WAS RESTORED"), "{out}");
}

async fn comes_back(store: Store) {
    let test = TestDb::new().await;
    let old = old_machine(&test, &store).await;
    let ((_, to), (_, table_to)) = (beside(&test.url), beside(&test.url));
    let new = open_folder();
    std::fs::write(new.path().join("operators.txt"), &old.identity).unwrap();
    let script = script(&store, &old, &to, &table_to);
    bash(new.path(), &format!("{script}\n{GOES_ON}")).await;

    let restored = TestDb::at(to);
    let found: i64 = sqlx::query_scalar(
        "select count(*) from switchyard.administrators where email = 'late@example.com'",
    )
    .fetch_one(&mut restored.owner().await)
    .await
    .unwrap();
    assert_eq!(found, 1, "the newest increment was restored, too");
    let list = std::fs::read(new.path().join("list.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["backups"].as_array().unwrap().len(), 4, "the old ones and the new: {list}");
    assert_eq!(list["problems"], serde_json::json!([]), "both signatures are trusted: {list}");

    // With `--from` and no archive of its own, the way in is that of backup.archive_*. Both
    // identities together tell which backup is the newest.
    let (_, again) = beside(&test.url);
    let settings = store.way_in();
    let args = ["--json", "restore", "--from", &store.place, "--identity", "operators.txt"];
    let more = ["--identity", "operators-new.txt", "--to", again.expose_secret()];
    let args = args.into_iter().chain(more);
    let said = say(new.path(), &as_given(&settings), args).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn the_runbook_brings_a_lost_machine_back_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("archive").display().to_string();
    comes_back(Store { place, endpoint: None }).await;
}

#[tokio::test]
async fn the_runbook_brings_a_lost_machine_back_from_an_s3_server() {
    let server = s3::moto();
    let endpoint = Some(format!("http://{}", server.address));
    comes_back(Store { place: format!("s3://{BUCKET}/yard"), endpoint }).await;
}
