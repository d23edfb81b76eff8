//! What the documentation shows works when it is pasted.
#![allow(clippy::unwrap_used)]

use crate::up::up_in;
use std::path::Path;
use switchyard_tests::program::{PATIENCE, open_folder};
use tokio::process::Command;

const UP: [&str; 6] = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];

/// The shell blocks of a page, one after the other.
fn shell_of(page: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs").join(page);
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_example_of_commissions_runs_as_it_stands() {
    let folder = open_folder();
    let (running, demo) = up_in(folder.path(), "data", "docs", &[], &UP).await;
    let mut script = shell_of("commissions.md");
    let email = "office@wawel.demo.switchyard.example";
    let agencies = demo["agencies"].as_array().unwrap();
    let agency = agencies.iter().find(|a| a["email"] == email).unwrap();
    // What the page asks its reader to put in, and the port.
    for (shown, own) in
        [("http://127.0.0.1:8080", &demo["api"]), ("the one that was printed", &agency["password"])]
    {
        assert_eq!(script.matches(shown).count(), 1, "`{shown}` in {script}");
        script = script.replace(shown, own.as_str().unwrap());
    }
    assert!(script.contains(email), "{script}");
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, bash.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{}: {said}\n{wrong}\n{}", ran.status, running.log());
    for part in ["650,000.00 EUR: 650,000.00 at 5 % = 32,500.00", "Piotr Lewandowski"] {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
    assert_eq!(running.stop().await, Some(0));
}
