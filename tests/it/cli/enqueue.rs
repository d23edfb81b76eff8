//! Everything that can be said of a job on the command line, jobs from a file, and workflows.

use super::Desk;
use serde_json::{Value, json};
use switchyard_store::jobs;

#[tokio::test]
async fn what_is_said_of_a_job_reaches_it() {
    let desk = Desk::new().await;
    let tenant = "0198c0de-0000-7000-8000-000000000001";
    let line = "enqueue nobody.knows {\"n\":1} --queue elsewhere --partition p --priority -5 \
        --max-attempts 3 --timeout 90s --unique-key one --at 2026-12-31T00:00:00Z --deadline 2h";
    let line = format!("{line} --tenant {tenant}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let first = desk.told(&words).await;
    assert_eq!((&first["inserted"], &first["outcome"]), (&json!(true), &json!("inserted")));
    let id = first["id"].as_str().unwrap();
    let shown = desk.told(&["jobs", "show", id]).await;
    assert_eq!(shown["args"], json!({"n": 1}));
    for (name, value) in [
        ("kind", json!("nobody.knows")),
        ("queue", json!("elsewhere")),
        ("partition", json!("p")),
        ("priority", json!(-5)),
        ("max_attempts", json!(3)),
        ("timeout_ms", json!(90_000)),
        ("run_at", json!("2026-12-31T00:00:00Z")),
        ("tenant", json!(tenant)),
    ] {
        assert_eq!(shown["row"][name], value, "{name}: {shown}");
    }
    assert!(shown["row"]["deadline"].is_string(), "{shown}");
    assert!(shown["row"]["unique_key"].as_str().unwrap().contains("one"), "{shown}");

    let again =
        ["enqueue", "nobody.knows", "{\"n\":2}", "--queue", "elsewhere", "--unique-key", "one"];
    let standing = desk.told(&again).await;
    assert_eq!(standing, json!({"id": id, "inserted": false, "outcome": "standing"}));
    assert_eq!(desk.told(&["jobs", "show", id]).await["args"], json!({"n": 1}));
    let replaces = ["--replace-args", "--replace-run-at", "--in", "1h"];
    let replaced = desk.told(&[&again[..], &replaces].concat()).await;
    assert_eq!(replaced, json!({"id": id, "inserted": false, "outcome": "replaced"}));
    let shown = desk.told(&["jobs", "show", id]).await;
    assert_eq!(shown["args"], json!({"n": 2}));
    assert_ne!(shown["row"]["run_at"], "2026-12-31T00:00:00Z", "{shown}");
}

#[tokio::test]
async fn a_key_is_held_for_its_time_whatever_becomes_of_the_job() {
    let desk = Desk::new().await;
    let line = ["enqueue", "nobody.knows", "--queue", "elsewhere", "--unique-key", "k"];
    let once = desk.told(&[&line[..], &["--unique-for", "1h"]].concat()).await;
    let id = once["id"].as_str().unwrap();
    desk.told(&["jobs", "cancel", id]).await;
    let again = desk.told(&line).await;
    assert_eq!((&again["id"], &again["outcome"]), (&once["id"], &json!("standing")));
}

#[tokio::test]
async fn a_line_that_makes_no_sense_is_refused_with_the_reason() {
    let desk = Desk::new().await;
    let usual = ["enqueue", "nobody.knows", "--queue", "q"];
    for (more, part) in [
        (&["--in", "1h", "--at", "2026-12-31T00:00:00Z"][..], "cannot be used"),
        (&["--at", "tomorrow"], "invalid value"),
        (&["--in", "500ms"], "whole seconds"),
        (&["--timeout", "25h"], "from 1 second to a day"),
        (&["--max-attempts", "0"], "at least 1"),
        (&["--unique-for", "1h"], "need a unique key"),
        (&["--replace-args"], "need a unique key"),
        (&["--file", "jobs.ndjson"], "cannot be used"),
    ] {
        let said = desk.say(&[&usual, more].concat()).await;
        assert_eq!(said.code, Some(2), "{more:?}: {said:?}");
        assert!(said.err.contains(part), "{more:?}: {}", said.err);
    }
    let none = desk.say(&["enqueue"]).await;
    assert!(none.code == Some(2) && none.err.contains("<KIND>"), "{none:?}");
    let wrong = desk.say(&["enqueue", "nobody.knows", "--queue", "No Queue"]).await;
    assert!(wrong.code == Some(2) && wrong.err.contains("lower-case"), "{wrong:?}");
    assert!(jobs::list(&desk.test.db, &jobs::JobFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_jobs_of_a_file_are_enqueued_all_or_none() {
    let desk = Desk::new().await;
    let wrong = desk.write(
        "wrong.ndjson",
        "{\"kind\": \"nobody.knows\", \"queue\": \"q\"}\n{\"kind\": \"lead.fry\"}\n\n{\"knd\": 1}\n",
    );
    let said = desk.say(&["enqueue", "--file", &wrong]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("line 2: ") && said.err.contains("line 4: unknown field"),
        "{said:?}"
    );
    assert!(!said.err.contains("line 1") && !said.err.contains("line 3"), "{said:?}");
    let said = desk.say(&["enqueue", "--file", "-"]).await;
    assert!(said.code == Some(2) && said.err.contains("1 to 10000"), "an empty input: {said:?}");
    let said = desk.say(&["enqueue", "--file", "absent"]).await;
    assert!(said.code == Some(2) && said.err.contains("absent cannot be read"), "{said:?}");
    let all = async || desk.told(&["jobs", "list"]).await["jobs"].as_array().unwrap().clone();
    assert_eq!(all().await, Vec::<Value>::new());

    let one = "{\"kind\": \"nobody.knows\", \"queue\": \"q\", \"unique_key\": \"a\", \"args\": {\"n\": 1}}";
    let file = desk.write(
        "jobs.ndjson",
        &format!("{one}\n{one}\n\n{{\"kind\": \"leads.rescan_unassigned\", \"priority\": 4}}\n"),
    );
    let told = desk.told(&["enqueue", "--file", &file]).await;
    let outcomes: Vec<&Value> =
        told["jobs"].as_array().unwrap().iter().map(|j| &j["outcome"]).collect();
    assert_eq!(outcomes, ["inserted", "standing", "inserted"], "{told}");
    let rows = all().await;
    assert_eq!(rows.len(), 2);
    let rescan = rows.iter().find(|j| j["kind"] == "leads.rescan_unassigned").unwrap();
    assert_eq!(rescan["priority"], 4);
    assert_eq!(rows[0]["request_id"], rows[1]["request_id"], "one command is one request");
}

#[tokio::test]
async fn a_workflow_is_started_from_a_file() {
    let desk = Desk::new().await;
    let job = |n: u8| json!({"kind": "nobody.knows", "queue": "q", "args": {"n": n}});
    let flow = json!({"name": "onboard", "policy": "hold", "jobs": [
        {"node": "fetch", "job": job(1)},
        {"node": "merge", "after": ["fetch"], "job": job(2)},
    ]});
    let file = desk.write("flow.json", &flow.to_string());
    let told = desk.told(&["workflows", "start", &file]).await;
    let shown = desk.told(&["workflows", "show", told["id"].as_str().unwrap()]).await;
    assert_eq!(shown["edges"], json!([{"parent": 0, "child": 1}]));
    assert_eq!(
        (&shown["row"]["name"], &shown["row"]["policy"]),
        (&json!("onboard"), &json!("hold"))
    );
    assert_eq!(shown["nodes"][1]["job"], told["jobs"][1]);
    assert_eq!(shown["nodes"][1]["state"], "pending");

    let circle = json!({"name": "c", "jobs": [
        {"node": "a", "after": ["b"], "job": job(1)}, {"node": "b", "after": ["a"], "job": job(2)},
    ]});
    let unknown = json!({"name": "u", "jobs": [{"node": "a", "job": {"kind": "lead.fry"}}]});
    let mut held = flow.clone();
    held["jobs"][0]["job"]["unique_key"] = json!("one");
    for (document, code, part) in [
        (circle.to_string(), 2, "wait for each other"),
        (unknown.to_string(), 2, "job `a`: "),
        ("{\"name\": 1}".to_owned(), 2, "holds no workflow"),
    ] {
        let file = desk.write("wrong.json", &document);
        let said = desk.say(&["workflows", "start", &file]).await;
        assert_eq!(said.code, Some(code), "{document}: {said:?}");
        assert!(said.err.contains(part), "{document}: {}", said.err);
    }
    let file = desk.write("held.json", &held.to_string());
    desk.told(&["workflows", "start", &file]).await;
    let said = desk.say(&["--json", "workflows", "start", &file]).await;
    assert_eq!((said.code, &said.err_json()["error"]["code"]), (Some(1), &json!("key_held")));
    let listed = desk.told(&["workflows", "list"]).await;
    assert_eq!(listed["workflows"].as_array().unwrap().len(), 2, "{listed}");
}
