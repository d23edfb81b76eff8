//! The API is killed under load. Whatever it answered 202 before must be in the database, as one row with
//! one job that processes it; and what was sent again, because the answer was lost, must not be there
//! twice.
//!
//! Nobody works and nobody plans here, so every job stays to be counted. The long form:
//! `tests/chaos/run accepted`.

use crate::fleet::{Crew, Fleet};
use anyhow::{Context, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac};
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use switchyard_queue::{Entropy, SeededEntropy};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

const SENDERS: usize = 16;
const SEED: u64 = 202;
/// So many more answers with 202 come between two kills, and up to as many again.
const BETWEEN: usize = 30;
/// Longest time for an answer that a test waits for: a process has to come up meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

const API_KEY: &str = "the-key-of-the-signing-portal";
const SIGNING_SECRET: &str = "what-both-sides-agreed-on";
const PORTAL: &str = r#"
code: signing
api_key: {in: header, name: X-API-Key}
signature: {scheme: github}
delivery_id: {path: id}
mapping:
  fields:
    external_id: {from: id, required: true}
    email: {from: email, required: true}
secrets:
  api_key: the-key-of-the-signing-portal
  signing: what-both-sides-agreed-on
"#;

/// How often the API is killed.
fn kills() -> usize {
    let set = std::env::var("SWITCHYARD_TEST_ACCEPTED_KILLS");
    set.ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// What the senders heard.
#[derive(Default)]
struct Heard {
    next: AtomicUsize,
    /// Answers with 202.
    fresh: AtomicUsize,
    /// Answers with 200: sent again, and known.
    known: AtomicUsize,
    /// Requests that got no answer.
    broken: AtomicUsize,
    over: AtomicBool,
    /// The event that a delivery became, as its sender was told.
    told: Mutex<BTreeMap<usize, Uuid>>,
}

/// Each differs from all others.
fn body(n: usize) -> Vec<u8> {
    let lead = serde_json::json!({
        "id": format!("delivery-{n}"), "email": format!("sender.{n}@example.com"),
        "message": "When can I see it? ".repeat(n % 7),
    });
    lead.to_string().into_bytes()
}

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// One sender, on one connection that is kept as long as the other side keeps it.
async fn sender(heard: Arc<Heard>, url: String) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(1)
        .timeout(Duration::from_secs(10))
        .build()?;
    while !heard.over.load(Ordering::SeqCst) {
        let n = heard.next.fetch_add(1, Ordering::SeqCst);
        deliver(&heard, &client, &url, n).await?;
    }
    Ok(())
}

/// Sends one delivery until it is answered with 2xx.
async fn deliver(
    heard: &Heard,
    client: &reqwest::Client,
    url: &str,
    n: usize,
) -> anyhow::Result<()> {
    let (body, begun) = (body(n), Instant::now());
    let signature = signature(&body);
    while begun.elapsed() < PATIENCE {
        let sent = client
            .post(format!("{url}/api/webhooks/signing"))
            .header("content-type", "application/json")
            .header("x-api-key", API_KEY)
            .header("x-hub-signature-256", &signature)
            .body(body.clone())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                let status = answer.status();
                let event = answer.headers().get("switchyard-event-id");
                let event = event.context("an answer that names no event")?.to_str()?;
                let event: Uuid = event.parse()?;
                heard.told.lock().unwrap().insert(n, event);
                let counted = match status {
                    StatusCode::ACCEPTED => &heard.fresh,
                    StatusCode::OK => &heard.known,
                    other => bail!("delivery {n} was answered {other}"),
                };
                counted.fetch_add(1, Ordering::SeqCst);
                // To its end, so that the connection is kept; it may break off now.
                let _ = answer.bytes().await;
                return Ok(());
            }
            Ok(answer) if !answer.status().is_server_error() => {
                bail!("delivery {n}: {}: {}", answer.status(), answer.text().await?)
            }
            // Overloaded, or without its database.
            Ok(_) => {}
            Err(_) => {
                heard.broken.fetch_add(1, Ordering::SeqCst);
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    bail!("delivery {n} was not accepted in a minute")
}

struct Attack {
    fleet: Fleet,
    heard: Arc<Heard>,
    senders: JoinSet<anyhow::Result<()>>,
    dice: SeededEntropy,
}

impl Attack {
    async fn begin() -> anyhow::Result<Self> {
        let fleet = Fleet::with(Crew { workers: 0, schedulers: 0, redis: false }).await?;
        fleet.apply(PORTAL).await?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let heard = Arc::new(Heard::default());
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(sender(Arc::clone(&heard), fleet.url()));
        }
        Ok(Self { fleet, heard, senders, dice: SeededEntropy::new(SEED) })
    }

    /// Waits until it is under load again: until so many more deliveries were answered with 202.
    async fn load(&mut self) -> anyhow::Result<()> {
        let more = BETWEEN + (self.dice.unit() * BETWEEN as f64) as usize;
        let (before, begun) = (self.heard.fresh.load(Ordering::SeqCst), Instant::now());
        while self.heard.fresh.load(Ordering::SeqCst) < before + more {
            if let Some(ended) = self.senders.try_join_next() {
                ended??;
            }
            ensure!(begun.elapsed() < PATIENCE, "nothing is accepted any more");
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Lets every sender finish what it has in hand.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.heard.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.senders.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A row: its event, its body, and how many jobs process it.
type Row = (Uuid, Vec<u8>, i64);

/// What is not as the senders were told.
async fn audit(fleet: &Fleet, told: &BTreeMap<usize, Uuid>) -> anyhow::Result<Vec<String>> {
    let mut owner = fleet.owner().await?;
    let rows: Vec<Row> = sqlx::query_as(
        "select e.id, e.body, count(j.id) from switchyard.webhook_events e
         left join engine.jobs j on j.kind = 'webhook.process' and j.args->>'event' = e.id::text
         group by e.id, e.body",
    )
    .fetch_all(&mut owner)
    .await?;
    let jobs: i64 =
        sqlx::query_scalar("select count(*) from engine.jobs where kind = 'webhook.process'")
            .fetch_one(&mut owner)
            .await?;
    let mut faults = Vec::new();
    if jobs != rows.len() as i64 {
        faults.push(format!("{jobs} jobs for {} events", rows.len()));
    }
    let mut by_body: HashMap<&[u8], usize> = HashMap::new();
    for (event, body, jobs) in &rows {
        *by_body.entry(body.as_slice()).or_default() += 1;
        if *jobs != 1 {
            faults.push(format!("event {event} has {jobs} jobs"));
        }
    }
    let stored: HashMap<Uuid, &[u8]> = rows.iter().map(|(id, b, _)| (*id, b.as_slice())).collect();
    for (n, event) in told {
        let body = body(*n);
        match stored.get(event) {
            None => faults.push(format!("lost: delivery {n}, accepted as {event}")),
            Some(other) if *other != body => faults.push(format!("{event} has another body")),
            Some(_) => {}
        }
        match by_body.get(body.as_slice()) {
            Some(1) | None => {}
            Some(times) => faults.push(format!("delivery {n} is there {times} times")),
        }
    }
    // Every sender went on until it had an answer, so nothing is there that nobody was told of.
    if rows.len() != told.len() {
        faults.push(format!("{} rows for {} deliveries", rows.len(), told.len()));
    }
    Ok(faults)
}

#[tokio::test]
async fn whatever_the_api_answered_202_before_it_was_killed_is_in_the_database() {
    let kills = kills();
    let mut attack = Attack::begin().await.unwrap();
    for kill in 0..kills {
        attack.load().await.unwrap();
        if kill == kills / 2 {
            // As after a crash; it is back when it answers.
            attack.fleet.end_postgres(Signal::SIGQUIT).await.unwrap();
            attack.fleet.owner().await.unwrap();
            attack.load().await.unwrap();
        }
        attack.fleet.kill_api().await.unwrap();
    }
    attack.load().await.unwrap();
    attack.end().await.unwrap();

    let told = attack.heard.told.lock().unwrap().clone();
    let faults = audit(&attack.fleet, &told).await.unwrap();
    let Attack { fleet, heard, .. } = attack;
    fleet.stop().await;
    let count = |n: &AtomicUsize| n.load(Ordering::SeqCst);
    println!(
        "the API was killed {kills} times and PostgreSQL once: {} answered 202, {} answered 200 when sent \
         again, {} requests without an answer, {} faults",
        count(&heard.fresh),
        count(&heard.known),
        count(&heard.broken),
        faults.len(),
    );
    assert!(faults.is_empty(), "{:#?}", &faults[..faults.len().min(10)]);
    assert!(count(&heard.fresh) >= (kills + 2) * BETWEEN, "it was under load before each kill");
    assert!(count(&heard.broken) >= kills, "kills cut requests off");
}
