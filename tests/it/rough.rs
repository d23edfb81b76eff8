//! `switchyard up` where things are not as they should be: starts that are cut off, folders in odd
//! places, servers that die, databases that are somebody else's. Each says what to do.
#![allow(clippy::unwrap_used)]

use crate::up::{curl, postmaster, processes_in, sign_in, up_in};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use switchyard_tests::TestDb;
use switchyard_tests::program::{Running, open_folder, say, until};

fn signal(running: &Running, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(running.pid()).unwrap()), signal).unwrap();
}

/// The private Redis's process, as its folder tells it.
fn redis(data: &Path) -> Option<i32> {
    let text = std::fs::read(data.join("redis.json")).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?["pid"].as_i64()?.try_into().ok()
}

async fn deliver(demo: &Value, id: &str) {
    let api = demo["api"].as_str().unwrap();
    let key = demo["portals"].as_array().unwrap().iter().find(|p| p["code"] == "demo").unwrap();
    let key = format!("X-API-Key: {}", key["api_key"].as_str().unwrap());
    let url = format!("{api}/api/webhooks/demo");
    let lead = json!({"id": id, "first_name": "Ada", "email": "ada@example.com",
        "postal_code": "00-950", "country": "PL", "product": "Flat"});
    let json = "Content-Type: application/json";
    let (status, body) = curl(&["-H", json, "-H", &key, "-d", &lead.to_string(), &url]).await;
    assert_eq!(status, "202", "{body}");
}

#[tokio::test]
async fn a_private_redis_lives_and_ends_with_its_up_wherever_the_folder_is() {
    let folder = open_folder();
    let odd = r#"it's a "data" folder, žółty 100%s"#;
    let data = folder.path().join(odd);
    let up = ["up", "--demo", "--redis", "--data-dir", odd, "--listen", "127.0.0.1:0"];
    let (running, demo) = up_in(folder.path(), odd, "first", &[], &up).await;
    deliver(&demo, "r-1").await;
    let beside = ["--json", "--data-dir", odd];
    until("the e-mail", async || {
        let list = ["jobs", "list", "--kind", "notify.email", "--state", "completed"];
        let said = say(folder.path(), &[], [&beside[..], &list].concat()).await;
        (!said.json()["jobs"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    let said = say(folder.path(), &[], [&beside[..], &["doctor"]].concat()).await.json();
    let found = said["findings"].as_array().unwrap().iter().find(|f| f["check"] == "redis");
    assert!(found.unwrap()["found"].as_str().unwrap().starts_with("version "), "{said}");

    // One that dies is started again, where it was.
    let first = redis(&data).unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let ready = format!("{}/health/ready", demo["api"].as_str().unwrap());
    until("the next Redis", async || {
        let next = redis(&data).is_some_and(|pid| pid != first);
        (next && curl(&[&ready]).await.1.contains(r#""name":"redis","status":"ok""#)).then_some(())
    })
    .await;

    // One that outlived its `up` is ended by the next, even if that one wants none.
    let left = redis(&data).unwrap();
    running.kill().await;
    assert!(processes_in(&data).contains(&left), "it outlived the crash");
    let without = ["up", "--demo", "--data-dir", odd, "--listen", "127.0.0.1:0"];
    let (running, _) = up_in(folder.path(), odd, "second", &[], &without).await;
    assert!(!processes_in(&data).contains(&left));
    assert_eq!(running.stop().await, Some(0));
    assert_eq!(processes_in(&data), Vec::<i32>::new());
}

/// `initdb` runs servers of its own. They must not go on in a folder that the next start makes anew.
#[tokio::test]
async fn a_first_start_that_is_cut_off_does_not_stand_in_the_way_of_the_next() {
    let folder = open_folder();
    let data = folder.path().join("data");
    let up = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    for (name, by) in [("asked", Signal::SIGTERM), ("killed", Signal::SIGKILL)] {
        let running = Running::start(folder.path(), name, &[], &up);
        // `base` is made early, and filled for the greater part of the time.
        until("initdb's work", async || data.join("postgres.new/base/1").exists().then_some(()))
            .await;
        signal(&running, by);
        let code = running.end().await;
        if by == Signal::SIGTERM {
            assert_eq!(code, Some(1));
            assert!(!data.join("postgres.password").exists(), "a password was left behind");
        }
    }
    let (running, demo) = up_in(folder.path(), "data", "third", &[], &up).await;
    sign_in(&demo).await;
    assert_eq!(running.stop().await, Some(0));
}

#[tokio::test]
async fn the_second_signal_ends_at_once_and_the_next_start_goes_on() {
    // A mail server that takes connections and says nothing: the attempt lasts.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let environment = [
        ("SWITCHYARD_PROVIDERS__EMAIL", "smtp"),
        ("SWITCHYARD_PROVIDERS__SMTP__HOST", "127.0.0.1"),
        ("SWITCHYARD_PROVIDERS__SMTP__PORT", port.as_str()),
        ("SWITCHYARD_PROVIDERS__SMTP__FROM", "a@example.com"),
        ("SWITCHYARD_PROVIDERS__SMTP__TLS", "none"),
    ];
    let folder = open_folder();
    let data = folder.path().join("data");
    let up = ["up", "--demo", "--redis", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let (running, demo) = up_in(folder.path(), "data", "first", &environment, &up).await;
    deliver(&demo, "s-1").await;
    let mails = async |state: &str| -> usize {
        let list = ["--json", "jobs", "list", "--kind", "notify.email", "--state", state];
        let said = say(folder.path(), &[], list).await;
        said.json()["jobs"].as_array().unwrap().len()
    };
    until("a long job", async || (mails("running").await > 0).then_some(())).await;

    signal(&running, Signal::SIGINT);
    until("the drain", async || running.log().contains("once more to force it").then_some(()))
        .await;
    assert!(!processes_in(&data).is_empty(), "it drains");
    let since = Instant::now();
    signal(&running, Signal::SIGINT);
    let log = running.log_file();
    assert_eq!(running.end().await, Some(1));
    // The attempt would go on for twenty seconds, the drain for thirty.
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(std::fs::read_to_string(log).unwrap().contains("the end was forced"));
    assert_eq!(processes_in(&data), Vec::<i32>::new());

    let (running, _) = up_in(folder.path(), "data", "second", &environment, &up).await;
    until("the cut-off mails", async || (mails("cancelled").await > 0).then_some(())).await;
    assert_eq!(mails("running").await, 0);
    // What is there already is no news.
    assert!(!running.log().contains("already"), "{}", running.log());
    assert_eq!(running.stop().await, Some(0));
}

/// Below a closed folder root's server lives at another place, which must not haunt a new start.
#[tokio::test]
async fn a_data_folder_that_was_removed_is_made_anew() {
    use std::os::unix::fs::PermissionsExt;
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let up = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let (running, first) = up_in(closed.path(), "data", "first", &[], &up).await;
    let text = std::fs::read(closed.path().join("data/postgres.json")).unwrap();
    let stored: Value = serde_json::from_slice(&text).unwrap();
    let place = Path::new(stored["data"].as_str().unwrap()).parent().unwrap().to_owned();
    assert_eq!(running.stop().await, Some(0));

    std::fs::remove_dir_all(closed.path().join("data")).unwrap();
    let (running, second) = up_in(closed.path(), "data", "second", &[], &up).await;
    assert_ne!(first["admin"]["password"], second["admin"]["password"]);
    sign_in(&second).await;
    let elsewhere = !place.starts_with(closed.path());
    if elsewhere {
        let kept = std::fs::read_dir(&place).unwrap().flatten();
        let kept = kept.filter(|e| e.file_name().to_string_lossy().starts_with("postgres.before-"));
        assert_eq!(kept.count(), 1, "the old database is kept");
    }
    assert_eq!(running.stop().await, Some(0));

    // A folder that lost its credentials only is not new, and its database is not set aside.
    std::fs::remove_file(closed.path().join("data/postgres.json")).unwrap();
    let refused = say(closed.path(), &[], up).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("put the file back from your backup"), "{}", refused.err);
    if elsewhere {
        std::fs::remove_dir_all(&place).unwrap();
    }
}

/// The address of another database of the tests' server, with or without another login.
fn other(test: &TestDb, database: &str, login: Option<&str>) -> String {
    let mut url = url::Url::parse(test.url.expose_secret()).unwrap();
    url.set_path(database);
    if let Some(login) = login {
        url.set_username(login).unwrap();
    }
    url.to_string()
}

#[tokio::test]
async fn every_database_that_will_not_do_says_why_and_what_to_do() {
    let (folder, test) = (open_folder(), TestDb::new().await);
    let run = async |sql: &str| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut test.owner().await).await
    };
    let refused = async |url: &str, remedy: &str| {
        let environment = [("DATABASE_URL", url)];
        let said = say(folder.path(), &environment, ["--json", "migrate"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let error = said.err_json()["error"].clone();
        let told = error["remedy"].as_str().unwrap_or_default();
        assert!(told.contains(remedy), "{error}");
        let message = error["message"].as_str().unwrap();
        let parts: Vec<&str> = message.split(": ").collect();
        let twice = parts.windows(2).any(|two| two[0] == two[1]);
        assert!(!twice, "it says things twice: {message}");
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&format!("postgres://u:p@{free}/x"), "start PostgreSQL there").await;
    refused(&other(&test, "there_is_none", None), "make the database first").await;
    refused(&other(&test, "postgres", Some("nobody_here")), "mend the login").await;

    let newer = "insert into _sqlx_migrations select 9999, 'later', now(), true, checksum, 1
                 from _sqlx_migrations limit 1";
    run(newer).await.unwrap();
    refused(test.url.expose_secret(), "run the newer Switchyard").await;
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let environment = [("DATABASE_URL", test.url.expose_secret()), ("SWITCHYARD_SECRET_KEY", key)];
    let doctor = say(folder.path(), &environment, ["--json", "doctor"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let found = doctor.json()["findings"].clone();
    let found = found.as_array().unwrap().iter().find(|f| f["check"] == "migrations").unwrap();
    assert_eq!(found["level"], "fail");

    run("delete from _sqlx_migrations where version = 9999;
         update _sqlx_migrations set checksum = '\\x00' where version = 1")
    .await
    .unwrap();
    refused(test.url.expose_secret(), "the build of Switchyard that made this").await;
    // Another program's tables of the same names.
    run("drop table _sqlx_migrations").await.unwrap();
    refused(test.url.expose_secret(), "another program's tables").await;
    run("drop schema engine cascade; drop schema switchyard cascade").await.unwrap();
    for command in [vec!["jobs", "list"], vec!["admin", "create", "a@example.com"]] {
        let said = say(folder.path(), &environment, command).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("run `switchyard migrate`"), "{}", said.err);
    }
    // The parts go on trying, and their logs say once what is the matter.
    let part = Running::start(folder.path(), "work", &environment, &["work"]);
    until("the remedy", async || part.log().contains("run `switchyard migrate`").then_some(()))
        .await;
    assert_eq!(part.stop().await, Some(0));
}

#[tokio::test]
async fn a_folder_whose_credentials_cannot_be_read_is_a_fault_of_the_configuration() {
    let folder = open_folder();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/postgres.json"), "oops").unwrap();
    let said = say(folder.path(), &[], ["jobs", "list"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("postgres.json cannot be read"), "{}", said.err);
    // An address from elsewhere needs none of it.
    let environment = [("DATABASE_URL", "postgres://u:p@127.0.0.1:1/x")];
    assert_eq!(say(folder.path(), &environment, ["config"]).await.code, Some(0));
    let file = folder.path().join("data/postgres.json");
    let said = say(folder.path(), &[], ["up", "--data-dir", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("choose another folder with --data-dir"), "{}", said.err);
}

/// `ops/up` names a folder before the arguments that it was given.
#[tokio::test]
async fn of_two_data_folders_the_last_one_counts() {
    let folder = open_folder();
    let args = ["--json", "--data-dir", "data", "config", "--data-dir", "other"];
    let twice = ["--json", "config", "--data-dir", "data", "--data-dir", "other"];
    for args in [args, twice] {
        let said = say(folder.path(), &[], args).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let all = said.json();
        let entry = all.as_array().unwrap().iter().find(|e| e["key"] == "data_dir").unwrap();
        assert_eq!(entry["value"], "other");
    }
}

/// A server that accepts and says nothing must not hold the start up for good.
#[tokio::test]
async fn a_database_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:p@{}/x", silent.local_addr().unwrap());
    let folder = open_folder();
    let said = say(folder.path(), &[("DATABASE_URL", &url)], ["migrate"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("start PostgreSQL there"), "{}", said.err);
}

/// The scheduler's leader must not cry that it lost the lead when it is asked to stop.
#[tokio::test]
async fn an_orderly_end_has_no_warnings() {
    let folder = open_folder();
    let up = ["up", "--demo", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let (running, _) = up_in(folder.path(), "data", "first", &[], &up).await;
    assert!(postmaster(folder.path()) > 0);
    until("the lead", async || running.log().contains("this scheduler leads").then_some(())).await;
    let log = running.log_file();
    assert_eq!(running.stop().await, Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
