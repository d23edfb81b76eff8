//! The files for containers and dashboards. No container engine runs here: they are parsed, and
//! checked against each other and against the program.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use switchyard_tests::program::{open_folder, say};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Value {
    let mut value: serde_norway::Value =
        serde_norway::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

/// Services that run the program.
const OURS: [&str; 4] = ["migrate", "api", "worker", "scheduler"];

#[test]
fn every_part_is_a_service_and_workers_are_scaled() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    for name in OURS.into_iter().chain(["postgres", "redis", "prometheus", "grafana"]) {
        assert!(services.contains_key(name), "{name} is missing");
    }
    assert!(services["worker"]["deploy"]["replicas"].as_u64().unwrap() >= 2);
    for (name, service) in services {
        let long_lived = service["restart"] != "no";
        assert!(
            !long_lived
                || name == "grafana"
                || name == "prometheus"
                || service["healthcheck"].is_object(),
            "{name} has no health check"
        );
        for published in service["ports"].as_array().into_iter().flatten() {
            let port = published.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port} to the whole network");
        }
    }
}

#[test]
fn the_stack_has_no_password_of_its_own() {
    let text = read("docker-compose.yml");
    for name in ["POSTGRES_PASSWORD", "SWITCHYARD_SECRET_KEY"] {
        assert!(
            text.contains(&format!("${{{name}:?")),
            "{name} must be demanded from the operator"
        );
    }
}

/// The connections of the stack fit into what its PostgreSQL allows.
#[test]
fn the_connection_budget_of_the_stack_adds_up() {
    let compose = yaml("docker-compose.yml");
    let command = compose["services"]["postgres"]["command"].to_string();
    let max: u64 = command
        .split("max_connections=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|n| n.parse().ok())
        .expect("max_connections is set");
    let replicas =
        |name: &str| compose["services"][name]["deploy"]["replicas"].as_u64().unwrap_or(1);
    let processes: u64 = ["api", "worker", "scheduler"].into_iter().map(replicas).sum();
    assert!(
        processes * 24 + 10 <= max,
        "{processes} processes of up to 24 connections, {max} allowed"
    );
}

#[tokio::test]
async fn the_program_takes_the_environment_of_the_stack() {
    let compose = yaml("docker-compose.yml");
    let folder = open_folder();
    let keys = folder.path().join("keys");
    let keep = compose["services"]["keys"]["command"].as_array().unwrap();
    let keep = keep.iter().map(|word| at_home(word.as_str().unwrap(), &keys));
    let made = say(folder.path(), &[], keep).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    for name in ["api", "worker", "scheduler"] {
        let environment = compose["services"][name]["environment"].as_object().unwrap();
        let filled = environment
            .iter()
            .map(|(k, v)| (k.clone(), at_home(&fill(v.as_str().unwrap()), &keys)));
        let filled: Vec<(String, String)> = filled.collect();
        let pairs: Vec<(&str, &str)> =
            filled.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let said = say(folder.path(), &pairs, ["--json", "config"]).await;
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
    }
}

/// The volume of keys is a folder here.
fn at_home(text: &str, keys: &Path) -> String {
    text.replacen("/keys", &keys.display().to_string(), usize::from(text.starts_with("/keys")))
}

/// Who makes backups has the archive's volume, the keys and the owner's rights, and nobody else has them.
#[test]
fn the_stack_backs_itself_up_from_its_first_minute() {
    let compose = yaml("docker-compose.yml");
    let services = &compose["services"];
    assert!(services["postgres"]["command"].to_string().contains("wal_level=logical"));
    let has = |name: &str, setting: &str| {
        !services[name]["environment"][format!("SWITCHYARD_BACKUP__{setting}")].is_null()
    };
    for name in ["api", "worker", "scheduler"] {
        let works = name == "worker";
        let volumes = services[name]["volumes"].to_string();
        assert!(has(name, "ARCHIVE"), "{name} does not know where backups are");
        assert_eq!(has(name, "KEYS_FILE"), works, "{name}");
        assert_eq!(has(name, "SOURCE_URL"), works, "{name}");
        assert_eq!(volumes.contains("keys:/keys"), works, "{name}: {volumes}");
        assert_eq!(volumes.contains("backups:/backups"), works, "{name}: {volumes}");
        let waits = &services[name]["depends_on"]["keys"]["condition"];
        assert_eq!(waits, "service_completed_successfully", "{name}");
    }
}

/// `${NAME:?text}` and `${NAME:-default}` as an operator would set them.
fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, tail) = after.split_once('}').unwrap();
        filled.push_str(before);
        filled.push_str(match inner {
            i if i.starts_with("SWITCHYARD_SECRET_KEY") => {
                "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
            }
            i if i.contains(":-") => i.split_once(":-").unwrap().1,
            _ => "an-example-of-a-value",
        });
        rest = tail;
    }
    filled + rest
}

#[test]
fn the_image_runs_as_nobody_in_particular() {
    let text = read("ops/deploy/Dockerfile");
    let stages: Vec<&str> = text.lines().filter(|l| l.starts_with("FROM ")).collect();
    assert!(stages.len() >= 2, "one stage builds, another runs: {stages:?}");
    for stage in &stages {
        let image = stage.split_whitespace().nth(1).unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image} is not pinned");
    }
    let last = &text[text.rfind("FROM ").unwrap()..];
    let user = last.lines().find_map(|l| l.strip_prefix("USER ")).expect("a user");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id >= 1000)), "{user}");
    assert!(last.contains("HEALTHCHECK") && last.contains("doctor"), "no health check");
    assert!(
        last.contains("ENTRYPOINT [\"switchyard\"]") || last.contains("ENTRYPOINT [\"/"),
        "{last}"
    );
}

#[test]
fn prometheus_and_grafana_know_each_other() {
    let prometheus = yaml("ops/deploy/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|j| j["job_name"].as_str().unwrap()).collect();
    for name in ["api", "worker", "scheduler"] {
        assert!(names.contains(&name), "{name} is not scraped: {names:?}");
    }
    let source = yaml("ops/grafana/provisioning/datasources/prometheus.yml");
    let uid = source["datasources"][0]["uid"].as_str().unwrap();
    let board: Value =
        serde_json::from_str(&read("ops/grafana/dashboards/switchyard.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    assert!(panels.len() >= 6);
    for panel in panels.iter().filter(|p| p["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], uid, "{}", panel["title"]);
        assert!(panel["targets"][0]["expr"].as_str().is_some_and(|e| !e.is_empty()));
    }
}

/// A panel that shows a metric nobody writes stays empty for ever.
#[test]
fn the_dashboard_shows_only_metrics_that_the_program_writes() {
    let board = read("ops/grafana/dashboards/switchyard.json");
    let mut written = String::new();
    let mut folders = vec![
        root().join("api"),
        root().join("workers"),
        root().join("scheduler"),
        root().join("jobs"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                written.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut shown = 0;
    for word in board.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        if !word.starts_with("switchyard_") {
            continue;
        }
        shown += 1;
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|s| word.strip_suffix(s)).unwrap_or(word);
        assert!(written.contains(&format!("\"{base}\"")), "nobody writes `{word}`");
    }
    assert!(shown >= 6, "the dashboard shows hardly anything of ours");
}
