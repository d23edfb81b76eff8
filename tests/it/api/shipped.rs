//! The portals that ship, from their files to the leads: each is applied as its file stands, its
//! sender's deliveries come in over HTTP, a worker judges them, and the leads are those expected.

use super::senders::{deliveries, no_key_is_kept, read, send, senders};
use super::support::Front;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchyard_catalog::{Platform, queues, registry};
use switchyard_providers::Providers;
use switchyard_queue::{SystemClock, SystemEntropy};
use switchyard_store::PgJobStore;
use switchyard_tests::program::{open_folder, say, until};
use switchyard_tests::seed::portal_file;
use switchyard_workers::WorkerConfig;
use tokio_util::sync::CancellationToken;

#[path = "../../../jobs/domain/tests/support/expected.rs"]
mod expected;

/// A front, and the program beside it as an operator uses it.
struct Place {
    front: Front,
    folder: tempfile::TempDir,
}

impl Place {
    /// A command that must succeed, as JSON.
    async fn told(&self, secrets: &[(String, String)], args: &[&str]) -> Value {
        let url = self.front.test.url.expose_secret().to_owned();
        let key = BASE64_STANDARD.encode([7; 32]);
        let mut environment =
            vec![("DATABASE_URL", url.as_str()), ("SWITCHYARD_SECRET_KEY", key.as_str())];
        environment.extend(secrets.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let said = say(self.folder.path(), &environment, [&["--json"], args].concat()).await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.json()
    }

    /// Applies the file that ships, twice.
    async fn apply(&self, code: &str, request: &Value) {
        let secrets = secrets(code, request);
        let mut file = portal_file(code);
        if request["config"]["public_base_url"].is_string() {
            // Whoever signs the address must be told how the sender knows it; nobody can ship that.
            let mut document: Value =
                serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            document["public_base_url"] = json!(format!("https://ingest.example.test/in/{code}"));
            file = self.folder.path().join(format!("{code}.json"));
            std::fs::write(&file, document.to_string()).unwrap();
        }
        let args = ["portals", "apply", file.to_str().unwrap()];
        assert_eq!(self.told(&secrets, &args).await["created"], true, "{code}");
        assert_eq!(self.told(&secrets, &args).await["changed"], json!([]), "{code}");
    }

    /// An event, once a worker has judged it.
    async fn judged(&self, event: &str) -> Value {
        until("the event to be judged", || async {
            let shown = self.told(&[], &["events", "show", event]).await;
            (shown["state"] != "received").then_some(shown)
        })
        .await
    }

    async fn leads(&self, which: &str, of: &str) -> Vec<Value> {
        let listed = self.told(&[], &["leads", "list", which, of]).await;
        let mut leads = listed.as_array().unwrap().clone();
        leads.sort_by_key(|lead| lead["ordinal"].as_i64());
        leads
    }

    /// Sends a delivery, and looks at everything that comes of it. Gives its event.
    async fn passes(
        &self,
        code: &str,
        delivery: &Value,
        wanted: &Value,
        at: &str,
    ) -> Option<String> {
        let (event, refusal) = send(&self.front, code, delivery, wanted, at).await;
        let class = wanted["error_code_class"].as_str();
        let outcome = wanted["outcome"].as_str().unwrap();
        let Some(event) = event else {
            assert!(["rejected", "handshake"].contains(&outcome), "{at}: no event");
            assert_eq!(refusal.as_deref(), class.map(our_word), "{at}");
            return None;
        };
        let shown = self.judged(&event).await;
        let state = match outcome {
            "accepted" | "accepted_pending_enrichment" => "processed",
            other => other,
        };
        assert_eq!(shown["state"], state, "{at}: {shown}");
        assert_eq!(shown["reasons"][0]["code"].as_str(), class.map(our_word), "{at}: {shown}");
        let (leads, all) = (self.leads("--event", &event).await, wanted["leads"].as_array());
        assert_eq!(leads.len(), all.unwrap().len(), "{at}: {leads:?}");
        for (lead, wanted) in leads.iter().zip(all.unwrap()) {
            assert_eq!(expected::differences(lead, wanted), [""; 0], "{at}");
            assert_eq!(lead["warnings"], json!([]), "{at}");
            let pending = outcome == "accepted_pending_enrichment";
            assert_eq!(
                (lead["state"] == "pending", lead["fetch_url"].is_string()),
                (pending, pending),
                "{at}"
            );
        }
        Some(event)
    }

    /// What all deliveries of a sender came to.
    async fn adds_up(&self, code: &str, request: &Value, expected: &Value) {
        let all = self.leads("--portal", code).await;
        let each = deliveries(request, expected);
        let wanted: usize = each.iter().map(|(_, w)| w["leads"].as_array().unwrap().len()).sum();
        assert_eq!(all.len(), wanted, "{code}");
        for (name, total) in expected["totals"].as_object().into_iter().flatten() {
            let n = match name.as_str() {
                "leads" => all.len(),
                "persons" => all.iter().filter(|lead| lead["duplicate_of"].is_null()).count(),
                "leads_not_test" => all.iter().filter(|lead| lead["is_test"] == false).count(),
                other => panic!("{code}: what is `{other}`?"),
            };
            assert_eq!(json!(n), *total, "{code}: {name}");
        }
    }
}

/// What the file wants in the environment, from what the corpus says of the sender.
fn secrets(code: &str, request: &Value) -> Vec<(String, String)> {
    let auth = &request["auth"];
    let key = ["value", "password", "token"].iter().find_map(|name| auth[*name].as_str());
    let all = [
        ("API_KEY", key),
        ("SIGNING_SECRET", auth["secret"].as_str()),
        ("VERIFY_TOKEN", request["config"]["verify_token"].as_str()),
        ("ENRICH_TOKEN", Some("a-token-for-the-graph")),
    ];
    let named = |(name, text): (&str, Option<&str>)| {
        Some((format!("{}_{name}", code.to_uppercase()), text?.to_owned()))
    };
    all.into_iter().filter_map(named).collect()
}

/// The code that stands here for one of the corpus.
fn our_word(class: &str) -> &str {
    match class {
        "auth_invalid" => "invalid_api_key",
        "spam" => "honeypot",
        same => same,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sender_gives_the_leads_expected_of_it_by_the_file_that_ships() {
    let place = Place { front: Front::new().await, folder: open_folder() };
    let db = &place.front.test.db;
    let platform = Platform::new(db.clone(), Providers::capture(), "https://x.example/{id}");
    let dispatcher = registry().bind(platform, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let config = WorkerConfig {
        queues: queues::ALL.iter().map(|q| q.0.to_owned()).collect(),
        poll_interval: Duration::from_millis(50),
        ..WorkerConfig::default()
    };
    let leave = CancellationToken::new();
    let (store, wake) = (PgJobStore::new(db), Arc::clone(db.wake()));
    let worker =
        tokio::spawn(switchyard_workers::run(store, dispatcher, wake, config, leave.clone()));
    for code in &senders() {
        let (request, expected) = (read(code, "request.json"), read(code, "expected.json"));
        place.front.clock.set(request["clock"].as_str().unwrap().parse().unwrap());
        place.apply(code, &request).await;
        let all = deliveries(&request, &expected);
        let mut events = Vec::new();
        for (n, (delivery, wanted)) in all.iter().enumerate() {
            events.push(place.passes(code, delivery, wanted, &format!("{code}#{n}")).await);
        }
        // The sender did not hear the answer: all of it again is nothing new.
        for (n, (delivery, wanted)) in all.iter().enumerate() {
            let at = format!("{code}#{n} again");
            assert_eq!(send(&place.front, code, delivery, wanted, &at).await.0, events[n], "{at}");
        }
        place.adds_up(code, &request, &expected).await;
        no_key_is_kept(&place.front, &request["auth"]).await;
    }
    leave.cancel();
    worker.await.unwrap();
}
