//! The program itself, killed (SIGKILL) in the middle of backups and restores by hand. Every single step is
//! killed in the tests of the crate (`jobs/backup/tests/killed.rs`); here it is at moments all over, with the
//! records and locks of the platform in play.

use super::support::beside;
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::path::Path;
use std::time::{Duration, Instant};
use switchyard_tests::TestDb;
use switchyard_tests::program::{open_folder, say, switchyard, until};

/// When a run is killed, as a part of the time that one takes which is not: all over it, and in an order
/// that does not go along with anything. A backup's time is counted from the moment its record is there.
const MOMENTS: [f64; 5] = [0.55, 0.92, 0.35, 0.15, 0.8];

type Environment<'a> = Vec<(&'a str, &'a str)>;

/// Rows of a table of our own: how many, and what they are. The platform's own change with every run.
async fn kept(url: &str) -> (i64, String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "select count(*), coalesce(md5(string_agg(t, ',' order by id)), '') from public.kept";
    sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap()
}

/// Starts a backup and kills it at a part of the time that the one before took; it may have ended by then.
async fn backup_killed(
    at: &Path,
    environment: &Environment<'_>,
    owner: &mut PgConnection,
    what: &str,
    moment: f64,
) {
    let took =
        "select extract(epoch from finished_at - began_at)::float8 from switchyard.backup_runs
                where kind = $1 and state = 'succeeded' order by began_at desc limit 1";
    let took: f64 = sqlx::query_scalar(took).bind(what).fetch_one(&mut *owner).await.unwrap();
    let mut child = started(at, environment, &["--json", "backup", "now", what]);
    let begun =
        "select exists (select from switchyard.backup_runs where kind = $1 and state = 'running'
                   and began_at > now() - interval '1 second')";
    while child.try_wait().unwrap().is_none() {
        if sqlx::query_scalar(begun).bind(what).fetch_one(&mut *owner).await.unwrap() {
            tokio::time::sleep(Duration::from_secs_f64(took * moment)).await;
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let _ = child.kill().await;
}

fn started(at: &Path, environment: &Environment<'_>, args: &[&str]) -> tokio::process::Child {
    let mut command = switchyard(at);
    command.args(args).envs(environment.iter().copied());
    let output = || std::process::Stdio::null();
    command.stdout(output()).stderr(output()).spawn().unwrap()
}

/// Starts the program and kills it after a while; it may have ended by then.
async fn killed_after(at: &Path, environment: &Environment<'_>, args: &[&str], while_: Duration) {
    let mut child = started(at, environment, args);
    tokio::time::sleep(while_).await;
    child.kill().await.unwrap();
}

async fn backups(at: &Path, environment: &Environment<'_>) -> usize {
    let list = say(at, environment, ["--json", "backup", "list"]).await.json();
    assert_eq!(list["problems"], serde_json::json!([]), "{list}");
    list["backups"].as_array().unwrap().len()
}

/// Takes an increment, as soon as the servers have seen that the process before is dead.
async fn goes_on(at: &Path, environment: &Environment<'_>) {
    until("the next increment", || async {
        let said = say(at, environment, ["--json", "backup", "now"]).await;
        let waits = ["another", "being read", "under way"].iter().any(|w| said.err.contains(w));
        assert!(said.code == Some(0) || waits, "{said:?}");
        (said.code == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_killed_at_any_moment_goes_on_and_the_last_finished_increment_restores() {
    let test = TestDb::new().await;
    let url = test.url.expose_secret();
    let mut owner = test.owner().await;
    let table =
        "create table public.kept (id int generated always as identity primary key, t text)";
    sqlx::raw_sql(table).execute(&mut owner).await.unwrap();
    let folder = open_folder();
    let at = folder.path();
    let keys: Value = say(at, &[], ["--json", "backup", "keygen"]).await.json();
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    let archive = at.join("archive").display().to_string();
    let (recipient, signing, drill) = (
        keys["recipients"][0].as_str().unwrap().to_owned(),
        key("signing_key"),
        key("drill_identity"),
    );
    let environment: Environment<'_> = vec![
        ("DATABASE_URL", url),
        ("SWITCHYARD_BACKUP__ARCHIVE", &archive),
        ("SWITCHYARD_BACKUP__RECIPIENTS", &recipient),
        ("SWITCHYARD_BACKUP__SIGNING_KEY", &signing),
        ("SWITCHYARD_BACKUP__DRILL_IDENTITY", &drill),
    ];
    for what in ["full", "incremental"] {
        let said = say(at, &environment, ["--json", "backup", "now", what]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let add = "insert into public.kept (t) select md5(random()::text) from generate_series(1, 500)";
    let mut finished = kept(url).await;
    let mut there = backups(at, &environment).await;
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        sqlx::raw_sql(add).execute(&mut owner).await.unwrap();
        let what = if round % 3 == 2 { "full" } else { "incremental" };
        backup_killed(at, &environment, &mut owner, what, moment).await;
        // Whole or not at all.
        let now = backups(at, &environment).await;
        assert!(now == there || now == there + 1, "round {round}: {there} became {now}");
        if now > there {
            finished = kept(url).await;
        }
        if round % 3 == 0 {
            let (_, to) = beside(&test.url);
            restored(at, &environment, to.expose_secret()).await;
            assert_eq!(kept(to.expose_secret()).await, finished, "round {round}");
        }
        goes_on(at, &environment).await;
        finished = kept(url).await;
        there = backups(at, &environment).await;
    }

    let (_, to) = beside(&test.url);
    let since = Instant::now();
    restored(at, &environment, to.expose_secret()).await;
    let longest = since.elapsed();
    for moment in [0.4, 0.8] {
        let (_, to) = beside(&test.url);
        let args = ["--json", "restore", "--to", to.expose_secret()];
        killed_after(at, &environment, &args, longest.mul_f64(moment)).await;
        // It is there whole, or it is not there under its name; then the same command makes it. What the
        // process asked for last the server still does.
        until("the last statement", || async {
            let renames = "select count(*) from pg_stat_activity
                 where state = 'active' and query ilike 'alter database%'";
            let n: i64 =
                sqlx::query_scalar(renames).fetch_one(&mut test.owner().await).await.unwrap();
            (n == 0).then_some(())
        })
        .await;
        if PgConnection::connect(to.expose_secret()).await.is_err() {
            restored(at, &environment, to.expose_secret()).await;
        }
        assert_eq!(kept(to.expose_secret()).await, finished, "killed at {moment}");
    }
    // The records of the runs that were killed say so, and none counts as under way.
    let sql = "select count(*) filter (where error like 'the process that ran it ended%'),
                 count(*) filter (where state = 'running' and kind = 'incremental')
               from switchyard.backup_runs";
    let (ended, running): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut owner).await.unwrap();
    assert!(ended > 0 && running == 0, "{ended} {running}");
}

async fn restored(at: &Path, environment: &Environment<'_>, to: &str) {
    let said = say(at, environment, ["--json", "restore", "--to", to]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}
