//! The commands of the real program: exit codes, the shape of the JSON, and what is said about
//! mistakes.
#![allow(clippy::unwrap_used)]

mod commission;
mod drain;
mod enqueue;
mod events;
mod jobs;
mod plans;
mod portals;
mod search;
mod steer;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::secrets::MasterKey;
use switchyard_queue::{ArgsCipher, NewJob, Options, Workflow};
use switchyard_store::{Keyring, Scope};
use switchyard_tests::TestDb;
use switchyard_tests::program::{Said, open_folder, say};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A database and a folder to run in.
struct Desk {
    test: TestDb,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        Self { test: TestDb::new().await, folder: open_folder() }
    }

    async fn say(&self, args: &[&str]) -> Said {
        let url = self.test.url.expose_secret();
        let environment = [("DATABASE_URL", url), ("SWITCHYARD_SECRET_KEY", KEY)];
        say(self.folder.path(), &environment, args).await
    }

    /// Enqueues something that nobody will run; gives its id.
    async fn enqueue(&self, more: &[&str]) -> String {
        let args = [&["--json", "enqueue", "leads.rescan_unassigned"], more].concat();
        let said = self.say(&args).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.json()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn all_configuration_faults_come_at_once_with_exit_code_2() {
    let folder = open_folder();
    std::fs::write(folder.path().join("switchyard.toml"), "[scheduler]\ntick = \"soon\"\n")
        .unwrap();
    let environment = [
        ("SWITCHYARD_WORKER__CONCURRENCY", "many"),
        ("SWITCHYARD_WORKER__CONCURENCY", "3"),
        ("DATABASE_URL", "mysql://root:hunter2@h/db"),
    ];
    let said = say(folder.path(), &environment, ["work"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in [
        "4 faults",
        "worker.concurrency (from environment variable SWITCHYARD_WORKER__CONCURRENCY)",
        "did you mean `worker.concurrency`?",
        "scheduler.tick (from file switchyard.toml)",
        "database.url (from environment variable DATABASE_URL)",
    ] {
        assert!(said.err.contains(part), "`{part}` is missing: {}", said.err);
    }
    assert!(!said.err.contains("hunter2"), "a password is told: {}", said.err);

    let said = say(folder.path(), &environment, ["--json", "work"]).await;
    assert_eq!(said.code, Some(2));
    let error = &said.err_json()["error"];
    assert_eq!(error["code"], "configuration");
    let faults = error["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 4);
    for fault in faults {
        let keys: Vec<&String> = fault.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["key", "from", "problem", "remedy"]);
    }
}

#[tokio::test]
async fn what_is_missing_is_a_fault_of_the_configuration() {
    let folder = open_folder();
    let said = say(folder.path(), &[], ["--json", "api"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    let keys: Vec<Value> = said.err_json()["error"]["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["key"].clone())
        .collect();
    assert_eq!(keys, [json!("database.url"), json!("secret_key")]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_a_fault() {
    let folder = open_folder();
    let said = say(folder.path(), &[], ["--config", "absent.toml", "config"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("absent.toml"), "{}", said.err);
    std::fs::write(folder.path().join("broken.toml"), "[worker\n").unwrap();
    let said = say(folder.path(), &[], ["--config", "broken.toml", "config"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("is no TOML"), "{}", said.err);
}

#[tokio::test]
async fn the_effective_configuration_names_sources_and_hides_secrets() {
    let folder = open_folder();
    let environment = [
        ("DATABASE_URL", "postgres://u:hunter2@h/db"),
        ("SWITCHYARD_SECRET_KEY", KEY),
        ("SWITCHYARD_WORKER__LEASE", "45s"),
    ];
    let said = say(folder.path(), &environment, ["--json", "config"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let entries = said.json();
    let of = |key: &str| {
        entries.as_array().unwrap().iter().find(|e| e["key"] == key).unwrap_or(&Value::Null).clone()
    };
    assert_eq!(of("worker.lease")["value"], "45s");
    assert_eq!(of("worker.lease")["from"], "environment variable SWITCHYARD_WORKER__LEASE");
    assert_eq!(of("worker.concurrency")["from"], "default");
    assert_eq!(of("secret_key")["value"], "(set)");
    assert_eq!(of("database.url")["value"], "postgres://u:***@h/db");
    let people = say(folder.path(), &environment, ["config"]).await;
    for said in [&said.out, &people.out] {
        assert!(!said.contains("hunter2") && !said.contains(KEY), "a secret is told: {said}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_code_2() {
    let desk = Desk::new().await;
    for (args, part) in [
        (vec!["fly"], "unrecognized subcommand"),
        (vec!["jobs", "show", "7"], "invalid value"),
        (vec!["jobs", "list", "--state", "lost"], "the states are"),
        (vec!["enqueue", "lead.distribute", "{oops"], "no JSON"),
        (vec!["enqueue", "lead.distribute", "{}"], "missing field `lead`"),
        (vec!["enqueue", "lead.fry"], "known are"),
        (vec!["enqueue", "leads.rescan_unassigned", "--in", "soon"], "no duration"),
        (vec!["admin", "create", "nobody"], "no e-mail address"),
        (vec!["limits", "set", "--queue", "leads"], "--max-running"),
        (vec!["limits", "set", "--max-running", "2"], "--queue"),
        (
            vec!["limits", "set", "--queue", "leads", "--key", "k", "--rate", "1/s"],
            "cannot be used",
        ),
        (vec!["limits", "set", "--queue", "leads", "--rate", "often"], "10/s, 600/min"),
        (vec!["limits", "set", "--queue", "No Queue", "--max-running", "2"], "lower-case"),
        (vec!["limits", "set", "--queue", "leads", "--max-running", "0"], "0 is not in"),
        (vec!["limits", "remove", "--partition", "a"], "--queue"),
        (vec!["queues", "weight", "leads", "1001"], "1001 is not in"),
    ] {
        let said = desk.say(&args).await;
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(part), "{args:?}: `{part}` is missing: {}", said.err);
    }
}

#[tokio::test]
async fn a_job_goes_through_the_hands_of_an_operator() {
    let desk = Desk::new().await;
    let id = desk.enqueue(&["--in", "1h", "--priority", "3"]).await;

    let listed = desk.say(&["--json", "jobs", "list", "--state", "scheduled"]).await.json();
    let jobs = listed["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!((&jobs[0]["id"], &jobs[0]["priority"]), (&json!(id), &json!(3)));

    let shown = desk.say(&["--json", "jobs", "show", &id]).await.json();
    assert_eq!(shown["row"]["state"], "scheduled");
    assert_eq!(shown["args"], json!({}));
    assert_eq!(shown["attempts"], json!([]));

    let why = desk.say(&["--json", "jobs", "why", &id]).await.json();
    assert_eq!(why["verdict"], "stuck");
    let reasons = why["reasons"].as_array().unwrap();
    let codes: Vec<_> = reasons.iter().map(|r| r["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["scheduled", "no_scheduler", "queue_unserved", "kind_unknown"]);
    for reason in reasons {
        assert!(reason["message"].is_string() && reason["remedy"].is_string(), "{reason}");
    }
    let people = desk.say(&["jobs", "why", &id]).await.out;
    assert!(
        people.contains("until somebody acts") && people.contains("switchyard work"),
        "{people}"
    );

    let retried = desk.say(&["--json", "jobs", "retry", &id]).await.json();
    assert_eq!(retried["job"]["state"], "available");
    let cancelled = desk.say(&["--json", "jobs", "cancel", &id]).await.json();
    assert_eq!(cancelled["job"]["state"], "cancelled");

    let again = desk.say(&["--json", "jobs", "cancel", &id]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(again.err_json()["error"]["code"], "wrong_state");
    let refused = desk.say(&["--json", "jobs", "discard", &id]).await;
    assert_eq!(refused.err_json()["error"]["code"], "wrong_state");

    let people = desk.say(&["jobs", "list"]).await.out;
    assert!(people.starts_with("JOB") && people.contains(&id), "{people}");
    let people = desk.say(&["jobs", "show", &id]).await.out;
    assert!(people.contains("cancelled") && people.contains("ATTEMPT"), "{people}");
}

#[tokio::test]
async fn a_job_that_is_not_there_is_exit_code_1() {
    let desk = Desk::new().await;
    let id = "01a20443-0000-7000-8000-000000000000";
    for action in ["show", "why", "retry", "cancel", "discard"] {
        let said = desk.say(&["--json", "jobs", action, id]).await;
        assert_eq!(said.code, Some(1), "{action}: {said:?}");
        assert_eq!(said.err_json()["error"]["code"], "not_found", "{action}");
    }
}

#[tokio::test]
async fn failures_are_grouped_and_their_dead_letters_steered() {
    let desk = Desk::new().await;
    let group = desk.test.fail_for_good("leads.rescan_unassigned", 2).await;
    let listed = desk.say(&["--json", "jobs", "errors"]).await.json();
    let first = &listed["errors"][0];
    assert_eq!((&first["fingerprint"], &first["dead_letters"]), (&json!(group), &json!(2)));
    let people = desk.say(&["jobs", "errors", "--limit", "1"]).await.out;
    assert!(
        people.starts_with("FINGERPRINT") && people.contains("try <n> had no answer"),
        "{people}"
    );
    let retried = desk.say(&["--json", "jobs", "errors", "--retry", &group]).await.json();
    assert_eq!(retried, json!({"done": 2, "kept": 0}));
    desk.test.fail_for_good("leads.rescan_unassigned", 0).await;
    let cancelled = desk.say(&["jobs", "errors", "--cancel", &group]).await;
    assert!(cancelled.out.starts_with("given up: 2"), "{cancelled:?}");
    let none = desk.say(&["--json", "jobs", "errors", "--retry", "none"]).await;
    assert_eq!((none.code, &none.err_json()["error"]["code"]), (Some(1), &json!("not_found")));
    let both = desk.say(&["jobs", "errors", "--retry", "a", "--cancel", "b"]).await;
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[tokio::test]
async fn a_workflow_is_listed_shown_and_cancelled() {
    let desk = Desk::new().await;
    let job = || {
        let (kind, timeout) = ("nobody.knows", std::time::Duration::from_secs(30));
        NewJob::raw(kind, "maintenance", timeout, json!({}), Options::new())
    };
    let flow = Workflow::new("onboard").add("fetch", job()).add_after("merge", job(), ["fetch"]);
    let mut tx = desk.test.db.begin(Scope::Platform).await.unwrap();
    let id = tx.start_workflow(flow).await.unwrap().id.to_string();
    tx.commit().await.unwrap();
    let listed = desk.say(&["--json", "workflows", "list", "--state", "running"]).await.json();
    let first = &listed["workflows"][0];
    assert_eq!((&first["id"], &first["total"]), (&json!(id), &json!(2)));
    let people = desk.say(&["workflows", "show", &id]).await.out;
    let line = people.lines().find(|l| l.starts_with("  merge")).unwrap();
    assert!(line.contains("pending") && line.contains("fetch"), "{people}");
    let shown = desk.say(&["--json", "workflows", "show", &id]).await.json();
    assert_eq!(shown["edges"], json!([{"parent": 0, "child": 1}]));
    let cancelled = desk.say(&["workflows", "cancel", &id]).await;
    assert_eq!(cancelled.out.trim(), format!("{id} is cancelled"));
    let again = desk.say(&["--json", "workflows", "cancel", &id]).await;
    assert_eq!((again.code, &again.err_json()["error"]["code"]), (Some(1), &json!("wrong_state")));
    let none = "0198c0de-0000-7000-8000-000000000001";
    for verb in ["show", "cancel"] {
        let said = desk.say(&["--json", "workflows", verb, none]).await;
        assert_eq!(said.err_json()["error"]["code"], "not_found");
    }
}

#[tokio::test]
async fn a_unique_job_is_enqueued_once() {
    let desk = Desk::new().await;
    let first = desk.enqueue(&["--in", "1h"]).await;
    let said = desk.say(&["--json", "enqueue", "leads.rescan_unassigned"]).await.json();
    assert_eq!(said, json!({ "id": first, "inserted": false, "outcome": "standing" }));
}

#[tokio::test]
async fn administrators_are_made_once_and_get_new_passwords() {
    let desk = Desk::new().await;
    let said = desk.say(&["--json", "admin", "create", "ada@example.com"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let first = said.json();
    assert_eq!((&first["email"], &first["created"]), (&json!("ada@example.com"), &json!(true)));
    assert!(first["password"].as_str().unwrap().len() >= 20);

    let twice = desk.say(&["--json", "admin", "create", "ADA@example.com"]).await;
    assert_eq!(twice.code, Some(1));
    assert_eq!(twice.err_json()["error"]["code"], "email_taken");

    let reset = desk.say(&["--json", "admin", "create", "ada@example.com", "--reset"]).await.json();
    assert_eq!(reset["created"], false);
    assert_ne!(reset["password"], first["password"]);
}

#[tokio::test]
async fn a_healthy_installation_has_no_failure() {
    let desk = Desk::new().await;
    let said = desk.say(&["--json", "doctor"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = said.json();
    assert_eq!(report["healthy"], true);
    let level = |check: &str| {
        let all = report["findings"].as_array().unwrap();
        all.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("no {check}"))["level"]
            .clone()
    };
    for check in ["configuration", "database", "clock", "migrations", "redis", "queues"] {
        assert_eq!(level(check), "ok", "{check}: {report}");
    }
    // Nobody works or schedules here, and tests are superusers.
    for check in ["scheduler", "workers", "roles"] {
        assert_eq!(level(check), "warn", "{check}: {report}");
    }
}

#[tokio::test]
async fn a_sick_installation_is_told_what_to_do() {
    let folder = open_folder();
    let environment = [
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/db"),
        ("SWITCHYARD_SECRET_KEY", KEY),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ];
    let said = say(folder.path(), &environment, ["--json", "doctor"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let report = said.json();
    assert_eq!(report["healthy"], false);
    for (check, level) in [("database", "fail"), ("redis", "warn")] {
        let finding = report["findings"].as_array().unwrap().iter().find(|f| f["check"] == check);
        let finding = finding.unwrap();
        assert_eq!(finding["level"], level);
        assert!(finding["remedy"].as_str().is_some_and(|r| r.len() > 10), "{finding}");
    }
    assert!(!said.out.contains("hunter2"), "a password is told: {}", said.out);

    let said = say(folder.path(), &[("DATABASE_URL", "nonsense")], ["--json", "doctor"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    let checks: Vec<Value> =
        said.json()["findings"].as_array().unwrap().iter().map(|f| f["check"].clone()).collect();
    assert_eq!(
        checks,
        [json!("configuration"), json!("configuration")],
        "database.url, secret_key"
    );
}

#[tokio::test]
async fn nobody_home_is_not_alive() {
    let folder = open_folder();
    let said =
        say(folder.path(), &[("SWITCHYARD_LISTEN", "127.0.0.1:1")], ["doctor", "--live"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[tokio::test]
async fn migrate_says_what_is_in_place() {
    let desk = Desk::new().await;
    let said = desk.say(&["--json", "migrate"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let status = said.json();
    assert!(status["known"].as_u64().unwrap() >= 2);
    assert_eq!(status["known"], status["applied"]);
}

#[tokio::test]
async fn secret_arguments_are_revealed_only_on_request_and_keys_are_rotated() {
    const NEW: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";
    let desk = Desk::new().await;
    let ring = Keyring::new([MasterKey::parse(KEY).unwrap()]).unwrap();
    let old = ring.keys().remove(0);
    let db = desk.test.db.clone().sealing_with(Some(Arc::new(ring)));
    let args = json!({"word": "xyzzy"});
    let mut job = NewJob::raw("secret.kind", "q", Duration::from_secs(9), args, Options::new());
    job.encrypted = true;
    let id = job.id.to_string();
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job).await.unwrap();
    tx.commit().await.unwrap();

    let said = desk.say(&["jobs", "show", &id]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(&old) && !said.out.contains("xyzzy"), "{said:?}");
    let said = desk.say(&["jobs", "show", "--reveal", &id]).await;
    assert!(said.out.contains("xyzzy"), "{said:?}");
    assert!(said.err.contains("revealed") && said.err.contains(&id), "it is logged: {said:?}");
    assert!(!said.err.contains("xyzzy"), "{said:?}");

    let rotated = async |keys: &[(&str, &str)], args: &[&str]| {
        let url = desk.test.url.expose_secret();
        let environment = [&[("DATABASE_URL", url)], keys].concat();
        say(desk.folder.path(), &environment, args).await
    };
    let both = [("SWITCHYARD_SECRET_KEY", KEY), ("SWITCHYARD_ENCRYPTION__KEYS", NEW)];
    let only_new = [("SWITCHYARD_ENCRYPTION__KEYS", NEW)];
    let said = rotated(&only_new, &["--json", "jobs", "show", "--reveal", &id]).await;
    assert_eq!((said.code, &said.err_json()["error"]["code"]), (Some(1), &json!("sealed")));
    let said = rotated(&both, &["keys", "list"]).await;
    assert!(said.out.contains("keys rotate"), "the old key is needed: {said:?}");
    let said = rotated(&both, &["--json", "keys", "rotate"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let answer = said.json();
    assert_eq!(answer["resealed"], json!({"done": 1, "failed": 0}));
    let open = |n: usize| answer["keys"][n]["open"].clone();
    assert_eq!((open(0), open(1)), (json!(1), json!(0)), "{answer}");
    let said = rotated(&only_new, &["jobs", "show", "--reveal", &id]).await;
    assert!(said.out.contains("xyzzy"), "the new key is enough: {said:?}");
    let said = rotated(&[("SWITCHYARD_SECRET_KEY", KEY)], &["--json", "doctor"]).await;
    let findings = said.json()["findings"].as_array().unwrap().clone();
    let keys = findings.iter().find(|f| f["check"] == "keys").unwrap();
    assert_eq!(keys["level"], "warn", "{keys}");
    let said = rotated(&[("SWITCHYARD_ENCRYPTION__KEYS", "c2hvcnQ=,x")], &["keys", "list"]).await;
    assert!(said.code == Some(2) && said.err.contains("encryption.keys"), "{said:?}");
    assert!(!said.err.contains("c2hvcnQ"), "{said:?}");
}
