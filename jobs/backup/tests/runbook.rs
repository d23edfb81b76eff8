//! The runbook's way by hand, run as it is printed: what stands there at three in the morning must work.
#![allow(clippy::unwrap_used)]

mod support;

use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use support::kit::{Kit, contents, same};
use support::server::{Database, Server};

const RUNBOOK: &str = include_str!("../../../ops/runbooks/restore.md");

/// Rows whose text is hard on a shell, and sequences that have moved.
const ROWS: &str = r#"
    insert into switchyard.agencies (id, name, email, password_hash)
      select gen_random_uuid(), e'a "b" ''c'' $d `e` \\N \t tab \\ ' || n, 'a' || n || '@b.example', 'x'
      from generate_series(1, 50) n;
    insert into switchyard.agents (id, agency_id, name)
      select gen_random_uuid(), id, e'line\nline\r' || name from switchyard.agencies;
    insert into engine.job_history (id, class, lane, kind, priority, outcome, attempt, max_attempts,
        crashes, timeout_ms, args, created_at, run_at, finished_at)
      select gen_random_uuid(), n % 3, 1, 'a.kind', 0, 8, 1, 3, 0, 1000,
        jsonb_build_object('n', n, 'text', e'\\ " \t é 日本'), now(), now(), now() - n * interval '1 minute'
      from generate_series(1, 3000) n;
    insert into engine.counter_deltas (lane, kind, state, n) select 1, 'a.kind', 0, 1 from generate_series(1, 77)"#;

/// The shell's block below a heading.
fn block<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, below) = page.split_once(heading).expect("the heading");
    let (_, block) = below.split_once("```sh\n").expect("a block");
    block.split_once("```").expect("its end").0
}

/// Where every sequence stands.
async fn sequences(database: &Database) -> BTreeMap<String, Option<i64>> {
    let mut connection = database.connect().await;
    let sql = "select schemaname || '.' || sequencename, last_value from pg_sequences";
    let rows: Vec<(String, Option<i64>)> =
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().collect()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told} (`ops/test` installs age and jq)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_runbooks_shell_brings_a_backup_back_with_age_gunzip_and_psql_alone() {
    let kit = Kit::on(Server::shared().await, "select 1").await;
    switchyard_store::migrate(&kit.source.url()).await.expect("the migrations");
    kit.source.run(ROWS).await;
    let full = kit.full().await;

    // What an operator has: a copy of the archive under the runbook's name, and the identity.
    let shell = block(RUNBOOK, "## By hand");
    let name = shell.lines().find_map(|l| l.strip_prefix("cd ")).expect("a folder");
    let name = name.split_whitespace().next().expect("a folder");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    let archived = kit.folder.path().join("full").join(full.id.as_str());
    run(Command::new("cp").arg("-a").arg(archived).arg(&copy));
    let identity = kit.identity.reveal();
    std::fs::write(folder.path().join("operators.txt"), identity.expose_secret()).unwrap();

    // Another server, which has none of the roles.
    let server = Server::start(&[]).await;
    by_hand(folder.path(), &server, shell);
    let restored = Database { server, name: "restored".to_owned() };
    let wanted = contents(&kit.source).await;
    assert!(wanted.len() > 50 && wanted["switchyard.agents"].starts_with("50 "), "{wanted:?}");
    same(&contents(&restored).await, &wanted);
    let stands = sequences(&restored).await;
    assert!(stands.values().flatten().any(|at| *at >= 77), "{stands:?}");
    assert_eq!(stands, sequences(&kit.source).await);
}

/// As somebody types it, but that the first line that fails ends it.
fn by_hand(folder: &Path, server: &Server, shell: &str) {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", shell]).current_dir(folder);
    run(bash.env("PGHOST", server.host()).env("PGUSER", support::server::SUPERUSER));
}
