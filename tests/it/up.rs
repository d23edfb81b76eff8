//! `switchyard up` and the parts as separate processes, on servers of their own.
#![allow(clippy::unwrap_used)]

use secrecy::ExposeSecret;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use switchyard_tests::TestDb;
use switchyard_tests::program::{Running, open_folder, say, until};
use tokio::process::Command;

const UP: [&str; 6] = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];
const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Starts `up` and waits for demo.json.
async fn up(folder: &Path, name: &str, environment: &[(&str, &str)]) -> (Running, Value) {
    up_in(folder, "data", name, environment, &UP).await
}

/// The same with the data folder `data` and these arguments.
pub async fn up_in(
    folder: &Path,
    data: &str,
    name: &str,
    environment: &[(&str, &str)],
    args: &[&str],
) -> (Running, Value) {
    let file = folder.join(data).join("demo.json");
    // After a crash the last start's file is still there.
    let _ = std::fs::remove_file(&file);
    let mut running = Running::start(folder, name, environment, args);
    let demo = until("demo.json", || {
        running.assert_runs();
        let text = std::fs::read(&file).ok();
        async move { text.map(|t| serde_json::from_slice(&t).unwrap()) }
    })
    .await;
    (running, demo)
}

/// A request by curl: the status and the body.
pub async fn curl(args: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "\n%{http_code}"]).args(args);
    let output = command.output().await.expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// Signs the administrator in; gives the token.
pub async fn sign_in(demo: &Value) -> String {
    let url = format!("{}/api/admin/auth/login", demo["api"].as_str().unwrap());
    let (status, body) =
        curl(&["-H", "Content-Type: application/json", "-d", &demo["admin"].to_string(), &url])
            .await;
    assert_eq!(status, "200", "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["token"].as_str().unwrap().to_owned()
}

/// Jobs of a kind in a state, as the CLI tells them.
async fn jobs(folder: &Path, environment: &[(&str, &str)], kind: &str, state: &str) -> Vec<Value> {
    let args = ["--json", "jobs", "list", "--kind", kind, "--state", state];
    let said = say(folder, environment, args).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    said.json()["jobs"].as_array().unwrap().clone()
}

/// The processes that work in a folder: a PostgreSQL server keeps its data folder as its own.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let folder = std::fs::canonicalize(folder).unwrap();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
    })
    .collect()
}

/// The private server's process id.
pub fn postmaster(folder: &Path) -> i32 {
    let text = std::fs::read_to_string(folder.join("data/postgres/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_demo_starts_takes_the_printed_lead_and_stops_without_a_trace() {
    let folder = open_folder();
    let (running, demo) = up(folder.path(), "first", &[]).await;
    let file = folder.path().join("data/demo.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let keys: Vec<&String> = demo.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["api", "dashboard", "admin", "portals", "agencies"]);
    for (list, keys) in [
        ("portals", vec!["code", "api_key", "signing_secret"]),
        ("agencies", vec!["id", "name", "email", "password", "postal_codes"]),
    ] {
        let first = demo[list][0].as_object().unwrap();
        assert_eq!(first.keys().collect::<Vec<_>>(), keys);
    }

    let line = until("the curl line", || {
        let output = running.output();
        async move { output.lines().find(|l| l.starts_with("curl ")).map(str::to_owned) }
    })
    .await;
    let sent = Command::new("bash").args(["-c", &line]).output().await.unwrap();
    let answer = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");

    // Two agents at most two channels each: the messages are out when their jobs are done.
    for kind in ["lead.distribute", "notify.email", "notify.whatsapp"] {
        until(kind, async || {
            (!jobs(folder.path(), &[], kind, "completed").await.is_empty()).then_some(())
        })
        .await;
    }
    sign_in(&demo).await;

    assert!(!processes_in(folder.path()).is_empty(), "a private server runs");
    assert_eq!(running.stop().await, Some(0));
    assert_eq!(processes_in(folder.path().join("data/postgres").as_path()), Vec::<i32>::new());
    assert!(!file.exists(), "demo.json says that it is ready, which it is not any more");
}

#[tokio::test]
async fn a_second_start_keeps_data_and_credentials() {
    let folder = open_folder();
    let (running, first) = up(folder.path(), "first", &[]).await;
    let lead = r#"{"lead":"0198c0de-0000-7000-8000-000000000001"}"#;
    let said =
        say(folder.path(), &[], ["--json", "enqueue", "lead.distribute", lead, "--in", "1h"]).await;
    let job = said.json()["id"].clone();

    let refused = say(folder.path(), &[], UP).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("in use by another"), "{}", refused.err);
    assert_eq!(running.stop().await, Some(0));

    let (running, second) = up(folder.path(), "second", &[]).await;
    for key in ["admin", "portals", "agencies"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    sign_in(&second).await;
    let waiting = jobs(folder.path(), &[], "lead.distribute", "scheduled").await;
    assert!(waiting.iter().any(|j| j["id"] == job), "{waiting:?}");
    assert_eq!(running.stop().await, Some(0));
}

#[tokio::test]
async fn after_a_crash_the_private_server_is_taken_over() {
    let folder = open_folder();
    let (running, _) = up(folder.path(), "first", &[]).await;
    let server = postmaster(folder.path());
    running.kill().await;
    assert!(processes_in(folder.path()).contains(&server), "the server outlived the crash");

    let (running, demo) = up(folder.path(), "second", &[]).await;
    assert_eq!(postmaster(folder.path()), server, "the same server goes on");
    sign_in(&demo).await;
    assert_eq!(running.stop().await, Some(0));
    assert_eq!(processes_in(folder.path().join("data/postgres").as_path()), Vec::<i32>::new());
}

#[tokio::test]
async fn a_private_server_that_dies_is_started_again() {
    let folder = open_folder();
    let (running, demo) = up(folder.path(), "first", &[]).await;
    let server = postmaster(folder.path());
    let pid = nix::unistd::Pid::from_raw(server);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let url = format!("{}/health/ready", demo["api"].as_str().unwrap());
    until("the new server", async || {
        let file = folder.path().join("data/postgres/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let other = text.lines().next().is_some_and(|pid| pid != server.to_string());
        (other && curl(&[&url]).await.0 == "200").then_some(())
    })
    .await;
    assert_eq!(running.stop().await, Some(0));
}

#[tokio::test]
async fn with_a_database_given_it_starts_none() {
    let (folder, test) = (open_folder(), TestDb::new().await);
    let environment = [("DATABASE_URL", test.url.expose_secret())];
    let (running, demo) = up(folder.path(), "first", &environment).await;
    assert!(!folder.path().join("data/postgres").exists(), "it started one");
    sign_in(&demo).await;
    assert_eq!(running.stop().await, Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_before_anything_starts() {
    let folder = open_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = say(folder.path(), &[], ["--json", "up", "--listen", &address]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.err_json()["error"]["code"], "listen");
    assert!(!folder.path().join("data/postgres").exists(), "it started a server all the same");
}

#[tokio::test]
async fn the_parts_run_as_separate_processes() {
    let (folder, test) = (open_folder(), TestDb::new().await);
    let environment = [
        ("DATABASE_URL", test.url.expose_secret()),
        ("SWITCHYARD_SECRET_KEY", KEY),
        ("SWITCHYARD_LOG__FORMAT", "json"),
    ];
    let seeded = say(folder.path(), &environment, ["--json", "seed"]).await;
    assert_eq!(seeded.code, Some(0), "{seeded:?}");
    let portals = seeded.json()["portals"].clone();
    let demo = portals.as_array().unwrap().iter().find(|p| p["code"] == "demo").unwrap();
    let key = format!("X-API-Key: {}", demo["api_key"].as_str().unwrap());

    let api =
        Running::start(folder.path(), "api", &environment, &["api", "--listen", "127.0.0.1:0"]);
    let workers = ["work-1", "work-2"]
        .map(|name| Running::start(folder.path(), name, &environment, &["work"]));
    let scheduler = Running::start(folder.path(), "schedule", &environment, &["schedule"]);
    let address = until("the API's address", || {
        let log = api.log();
        async move {
            let lines = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
            let mut listening = lines.filter(|l| l["message"] == "listening");
            listening.next().map(|l| l["address"].as_str().unwrap().to_owned())
        }
    })
    .await;

    let url = format!("http://{address}/api/webhooks/demo");
    let lead = r#"{"id":"s-1","first_name":"Ada","last_name":"Byron","email":"ada@example.com","phone":"+48512345678","postal_code":"00-950","country":"PL","product":"Flat"}"#;
    let json = "Content-Type: application/json";
    let (status, body) = curl(&["-H", json, "-H", &key, "-d", lead, &url]).await;
    assert_eq!(status, "202", "{body}");
    until("the e-mail", async || {
        (!jobs(folder.path(), &environment, "notify.email", "completed").await.is_empty())
            .then_some(())
    })
    .await;

    let said = say(folder.path(), &environment, ["--json", "doctor"]).await;
    let findings = said.json()["findings"].clone();
    for check in ["scheduler", "workers"] {
        let finding = findings.as_array().unwrap().iter().find(|f| f["check"] == check).unwrap();
        assert_eq!(finding["level"], "ok", "{finding}");
    }
    let live = [("SWITCHYARD_LISTEN", address.as_str())];
    assert_eq!(say(folder.path(), &live, ["doctor", "--live"]).await.code, Some(0));
    for part in workers.into_iter().chain([scheduler, api]) {
        assert_eq!(part.stop().await, Some(0));
    }
}

#[tokio::test]
async fn the_demo_has_two_months_of_sales_that_are_made_once() {
    let folder = open_folder();
    let (running, demo) = up(folder.path(), "first", &[]).await;
    // Fourteen sales and a refund, as soon as the workers have booked them.
    let at = folder.path();
    let booked = move || async move {
        let said = say(at, &[], ["--json", "commission", "recompute"]).await;
        let found = said.json();
        assert_eq!(found["differing"], 0, "{found}");
        (found["events"] == 15 && found["waiting"] == 0).then_some(())
    };
    until("the demo's bookings", booked).await;
    let token = format!("Authorization: Bearer {}", sign_in(&demo).await);
    let api = demo["api"].as_str().unwrap();
    let ask = async |path: &str| {
        let (status, body) =
            curl(&["-H", &token, &format!("{api}/api/v1/commissions/{path}")]).await;
        assert_eq!(status, "200", "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["data"].clone()
    };
    let board = ask("leaderboard").await;
    let names: Vec<&str> =
        board.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 4, "{board}");
    assert_eq!(ask("analytics").await["by_month"].as_array().unwrap().len(), 2);
    let refused = say(folder.path(), &[], ["--json", "commission", "unbooked"]).await.json();
    assert_eq!(refused, serde_json::json!([]), "nothing of the demo is refused");
    assert_eq!(running.stop().await, Some(0));

    let (running, _) = up(folder.path(), "second", &[]).await;
    until("the same bookings", booked).await;
    assert_eq!(running.stop().await, Some(0));
}
