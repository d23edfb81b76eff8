//! The page for receivers says what is so, and what it shows works.

use super::support::{Hooks, key};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use switchyard_domain::outbound::{ATTEMPTS, EventType, WAITS};
use switchyard_tests::fakes::{Received, headers_of, text_of};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/outbound-webhooks.md")
}

fn text() -> String {
    std::fs::read_to_string(page()).unwrap()
}

/// What stands between two marks.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("`{from}` is not there"));
    rest.split_once(to).unwrap_or_else(|| panic!("`{to}` is not there")).0
}

fn events() -> String {
    let mut out = String::from("\n");
    for event in EventType::ALL {
        let who = if event.for_agencies() { "agencies and partners" } else { "partners" };
        let example = serde_json::to_string_pretty(&event.example()).unwrap();
        out += &format!(
            "### `{event}`\n\n{} For {who}.\n\n```json\n{example}\n```\n\n",
            event.about()
        );
    }
    out
}

/// With UPDATE_DOCS set, the list is written anew.
#[test]
fn the_list_of_events_is_the_programs_own() {
    const FROM: &str = "<!-- events: written by the test docs.rs -->\n";
    const TO: &str = "<!-- end of events -->";
    let page_text = text();
    let listed = between(&page_text, FROM, TO);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let new = page_text.replace(&format!("{FROM}{listed}"), &format!("{FROM}{}", events()));
        std::fs::write(page(), new).unwrap();
        return;
    }
    assert_eq!(listed, events(), "write it anew with UPDATE_DOCS=1");
}

#[test]
fn the_schedule_is_the_programs_own() {
    let said = |d: &Duration| match d.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    };
    let waits: Vec<_> = WAITS.iter().map(said).collect();
    let sentence = format!("{ATTEMPTS} attempts: at once, then after {}", waits.join(", "));
    assert!(text().replace('\n', " ").contains(&sentence), "{sentence}");
}

/// Runs a snippet with a little program behind it that prints what `verify` says.
async fn verdict(
    program: &str,
    file: &Path,
    secret: &str,
    came: &Received,
    body: &str,
) -> Option<bool> {
    let headers = headers_of(came);
    let value = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut child = Command::new(program)
        .arg(file)
        .args([
            secret,
            &value("webhook-id"),
            &value("webhook-timestamp"),
            &value("webhook-signature"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(body.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    Some(said.trim().parse().unwrap_or_else(|_| panic!("{program} said {said:?}")))
}

async fn a_snippet_tells_right_from_wrong(program: &str, fence: &str, ending: &str, main: &str) {
    let hooks = Hooks::new().await;
    let (endpoint, old) = hooks.endpoint(None, &["*"], false).await;
    let mut tx = hooks.tx(None).await;
    let made = switchyard_catalog::outbound::rotate(&mut tx, &key(), endpoint).await.unwrap();
    tx.commit().await.unwrap();
    hooks.tests(endpoint, 1).await;
    hooks.line.run().await;
    let came = &hooks.receiver.record().all()[0];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("verify.{ending}"));
    let page = text();
    let snippet = between(&page, &format!("```{fence}\n"), "```");
    std::fs::write(&file, format!("{snippet}\n{main}")).unwrap();
    let body = text_of(came);
    let Some(right) = verdict(program, &file, &made.secret.expose(), came, &body).await else {
        eprintln!("{program} is not here: its snippet was not tried");
        return;
    };
    assert!(right, "{program} does not know our signature");
    assert_eq!(verdict(program, &file, &old, came, &body).await, Some(true), "the old secret");
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(verdict(program, &file, other, came, &body).await, Some(false), "{program}");
    let changed = body.replace("webhook.test", "webhook.fake");
    assert_eq!(verdict(program, &file, &made.secret.expose(), came, &changed).await, Some(false));
    let mut late = came.clone();
    late.body["headers"]["webhook-timestamp"] = "1600000000".into();
    assert_eq!(verdict(program, &file, &made.secret.expose(), &late, &body).await, Some(false));
}

#[tokio::test]
async fn the_python_snippet_works() {
    let main = "import sys\nsecret, *h = sys.argv[1:]\n\
        names = ['webhook-id', 'webhook-timestamp', 'webhook-signature']\n\
        print(str(verify(secret, dict(zip(names, h)), sys.stdin.buffer.read())).lower())\n";
    a_snippet_tells_right_from_wrong("python3", "python", "py", main).await;
}

#[tokio::test]
async fn the_node_snippet_works() {
    let main = "const [secret, id, stamp, signature] = process.argv.slice(2);\n\
        const headers = { 'webhook-id': id, 'webhook-timestamp': stamp, 'webhook-signature': signature };\n\
        console.log(verify(secret, headers, require('node:fs').readFileSync(0)));\n";
    a_snippet_tells_right_from_wrong("node", "js", "js", main).await;
}
