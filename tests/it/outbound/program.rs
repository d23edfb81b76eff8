//! The real program: endpoints by its commands, and a worker that is killed during a call.

use secrecy::ExposeSecret;
use serde_json::Value;
use switchyard_tests::TestDb;
use switchyard_tests::fakes::{FakeReceiver, HttpStep};
use switchyard_tests::program::{Running, Said, open_folder, say, until};

use super::support::verified;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A database, a folder to run in, and a receiver on this machine that may be called.
struct Desk {
    test: TestDb,
    folder: tempfile::TempDir,
    receiver: FakeReceiver,
}

impl Desk {
    async fn new() -> Self {
        let receiver = FakeReceiver::start().await;
        Self { test: TestDb::new().await, folder: open_folder(), receiver }
    }

    fn environment(&self) -> [(&str, &str); 3] {
        [
            ("DATABASE_URL", self.test.url.expose_secret()),
            ("SWITCHYARD_SECRET_KEY", KEY),
            ("SWITCHYARD_OUTBOUND__ALLOW_PRIVATE", "127.0.0.0/8"),
        ]
    }

    async fn say(&self, args: &[&str]) -> Said {
        say(self.folder.path(), &self.environment(), [&["--json"], args].concat()).await
    }

    async fn endpoints(&self, args: &[&str]) -> Value {
        let said = self.say(&[&["endpoints"], args].concat()).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.json()
    }

    fn work(&self, name: &str) -> Running {
        Running::start(self.folder.path(), name, &self.environment(), &["work"])
    }

    async fn delivered(&self, endpoint: &str, n: usize) {
        until("the deliveries", async || {
            let all = self.endpoints(&["deliveries", endpoint, "--state", "delivered"]).await;
            (all["deliveries"].as_array().unwrap().len() == n).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_worker_killed_during_calls_loses_no_webhook() {
    let desk = Desk::new().await;
    desk.receiver.script().push((0..3).map(|_| HttpStep::AcceptLate { ms: 600_000 }));
    let made = desk.endpoints(&["add", &desk.receiver.url()]).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(desk.endpoints(&["test", id]).await["id"].as_str().unwrap().to_owned());
    }
    let first = desk.work("first");
    desk.receiver.record().wait_for(3).await;
    first.kill().await;
    let second = desk.work("second");
    desk.delivered(id, 3).await;
    let all = desk.receiver.record().all();
    for id in &sent {
        assert!(all.iter().filter(|r| r.marker == *id).count() >= 2, "sent again with its id");
    }
    assert!(all.iter().all(|r| verified(r, secret)));
    assert_eq!(second.stop().await, Some(0));
}

#[tokio::test]
async fn endpoints_are_managed_from_the_command_line() {
    let desk = Desk::new().await;
    let url = desk.receiver.url();
    let made =
        desk.endpoints(&["add", &url, "--events", "lead.*,message.failed", "--ordered"]).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let listed = desk.endpoints(&["list", "--partners"]).await;
    assert_eq!(listed["endpoints"][0]["events"], serde_json::json!(["lead.*", "message.failed"]));
    assert!(listed["endpoints"][0].get("secret").is_none());
    assert_ne!(desk.endpoints(&["rotate", &id]).await["secret"], made["secret"]);
    assert_eq!(desk.endpoints(&["pause", &id]).await["state"], "paused");
    let refused = desk.say(&["endpoints", "test", &id]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err_json()["error"]["remedy"].as_str().unwrap().contains("endpoints resume"));
    assert_eq!(desk.endpoints(&["resume", &id]).await["state"], "active");
    let sent = desk.endpoints(&["test", &id]).await["id"].as_str().unwrap().to_owned();
    let worker = desk.work("worker");
    desk.delivered(&id, 1).await;
    desk.endpoints(&["resend", &id, &sent]).await;
    desk.receiver.record().wait_for(2).await;
    desk.endpoints(&["resend", &id, "--failed-since", "2026-01-01T00:00:00Z"]).await;
    let shown = desk.endpoints(&["show", &id]).await;
    assert_eq!((&shown["ordered"], &shown["id"]), (&Value::from(true), &Value::from(id.as_str())));
    assert_eq!(worker.stop().await, Some(0));

    let missing = desk.say(&["endpoints", "show", "00000000-0000-0000-0000-000000000000"]).await;
    assert_eq!(missing.code, Some(1));
    let wrong = desk.say(&["endpoints", "add", "http://10.0.0.1/"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    let closed = [("SWITCHYARD_OUTBOUND__ALLOW_PRIVATE", "everything")];
    let fault = say(desk.folder.path(), &closed, ["config"]).await;
    assert_eq!(fault.code, Some(2));
    assert!(fault.err.contains("outbound.allow_private"), "{fault:?}");
}
