//! One job: everything that is known of it, and stopping it while another process runs it.

use super::{Desk, KEY};
use crate::engine::support::{LONG, claim_as, info};
use secrecy::ExposeSecret;
use serde_json::Value;
use switchyard_queue::JobStore;
use switchyard_store::PgJobStore;
use switchyard_tests::fakes::{FakeReceiver, HttpStep};
use switchyard_tests::program::{Running, say, until};
use switchyard_tests::redis_url;
use uuid::Uuid;

#[tokio::test]
async fn a_job_is_shown_with_everything_that_rules_it() {
    let desk = Desk::new().await;
    let id: Uuid = sqlx::query_scalar(
        "select id from engine.enqueue('k', queue => 'q', partition => 'p', priority => -3,
           timeout => '90 seconds', unique_key => 'one', limit_key => 'crm',
           tenant => '01900000-0000-7000-8000-000000000001')",
    )
    .fetch_one(&mut desk.test.owner().await)
    .await
    .unwrap();
    let id = id.to_string();
    let lines = async || -> Vec<String> {
        let said = desk.say(&["jobs", "show", &id]).await;
        said.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let waiting = lines().await;
    let facts = [
        "queue q p",
        "priority -3",
        "limit key crm",
        "unique key k \"one\"",
        "tenant 01900000-0000-7000-8000-000000000001",
        "timeout 90 s",
        "worker -",
    ];
    for fact in facts {
        assert!(waiting.iter().any(|l| l == fact), "`{fact}` is missing: {waiting:#?}");
    }
    let store = PgJobStore::new(&desk.test.db);
    let presence = store.register(&info()).await.unwrap();
    assert_eq!(claim_as(&store, presence.id, 1, LONG, &[]).await.len(), 1);
    let running = lines().await;
    assert!(running.contains(&format!("worker {}", presence.id.0)), "{running:#?}");
    let json = desk.say(&["--json", "jobs", "show", &id]).await.json();
    assert_eq!(json["row"]["limit_key"], "crm");
}

/// A worker calls somebody who does not answer, and never renews its lease while a test lasts.
async fn cancel_from_outside(more: &[(&str, &str)]) {
    let desk = Desk::new().await;
    let receiver = FakeReceiver::start().await;
    receiver.script().push([HttpStep::AcceptLate { ms: 600_000 }]);
    let environment = [
        ("DATABASE_URL", desk.test.url.expose_secret()),
        ("SWITCHYARD_SECRET_KEY", KEY),
        ("SWITCHYARD_OUTBOUND__ALLOW_PRIVATE", "127.0.0.0/8"),
        ("SWITCHYARD_WORKER__LEASE", "60m"),
    ];
    let outside = [&environment[..], more].concat();
    let json = async |args: &[&str]| -> Value {
        let said = say(desk.folder.path(), &outside, [&["--json"], args].concat()).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.json()
    };
    let endpoint = json(&["endpoints", "add", &receiver.url()]).await;
    json(&["endpoints", "test", endpoint["id"].as_str().unwrap()]).await;
    let worker = Running::start(desk.folder.path(), "worker", &environment, &["work"]);
    receiver.record().wait_for(1).await;
    let running = json(&["jobs", "list", "--state", "running", "--kind", "webhook.send"]).await;
    let id = running["jobs"][0]["id"].as_str().unwrap().to_owned();
    let asked = json(&["jobs", "cancel", &id]).await;
    assert_eq!(asked["job"]["cancel_requested"], true);
    let row = until("the job is cancelled", async || {
        let row = json(&["jobs", "show", &id]).await["row"].clone();
        (row["state"] == "cancelled").then_some(row)
    })
    .await;
    // Had the worker not heard of it, the call would have come to its own end first.
    let why = "cancelled by an operator; it did not stop by itself and was dropped";
    assert_eq!(row["error"], why);
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test]
async fn a_job_is_cancelled_while_another_process_runs_it() {
    cancel_from_outside(&[]).await;
}

/// The command sends its wake-up over Redis, where the worker does not listen.
#[tokio::test]
async fn a_job_is_cancelled_though_its_worker_hears_no_wake_up() {
    let prefix = format!("cancel-{}", Uuid::new_v4().simple());
    let redis = redis_url();
    cancel_from_outside(&[("REDIS_URL", &redis), ("SWITCHYARD_REDIS__PREFIX", &prefix)]).await;
}
