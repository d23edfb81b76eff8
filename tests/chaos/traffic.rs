//! A portal that does not give up: it sends each lead until somebody answers with 2xx.

use anyhow::Context;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Sends leads `chaos-0..n` over `connections` connections; gives their event ids in order.
///
/// A refused connection, a broken one or a 5xx is tried again with the same body, as portals do: the
/// first try may have been committed.
pub async fn send(
    url: String,
    key: String,
    leads: usize,
    connections: usize,
) -> anyhow::Result<Vec<String>> {
    send_at(None, url, key, 0..leads, connections).await
}

/// The same for these leads, so many a second if a rate is given.
pub async fn send_at(
    rate: Option<f64>,
    url: String,
    key: String,
    leads: Range<usize>,
    connections: usize,
) -> anyhow::Result<Vec<String>> {
    let begun = Instant::now();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let next = Arc::new(AtomicUsize::new(leads.start));
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (client, next) = (client.clone(), Arc::clone(&next));
            let (url, key, leads) = (url.clone(), key.clone(), leads.clone());
            tokio::spawn(async move {
                let mut events = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= leads.end {
                        return anyhow::Ok(events);
                    }
                    if let Some(rate) = rate {
                        let due = Duration::from_secs_f64((n - leads.start) as f64 / rate);
                        tokio::time::sleep_until((begun + due).into()).await;
                    }
                    events.push((n, send_one(&client, &url, &key, n).await?));
                }
            })
        })
        .collect();
    let mut events = Vec::new();
    for sender in senders {
        events.extend(sender.await??);
    }
    events.sort_unstable();
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

async fn send_one(
    client: &reqwest::Client,
    url: &str,
    key: &str,
    n: usize,
) -> anyhow::Result<String> {
    let lead = json!({
        "id": format!("chaos-{n}"), "first_name": "Ada", "last_name": format!("Number {n}"),
        "email": format!("ada.{n}@example.com"), "phone": "+48512345678",
        "postal_code": "00-950", "country": "PL", "product": "Flat", "message": "When?",
    });
    for _ in 0..600 {
        let sent = client
            .post(format!("{url}/api/webhooks/demo"))
            .header("x-api-key", key)
            .json(&lead)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                let body: Value = answer.json().await?;
                return body["data"]["event_id"]
                    .as_str()
                    .map(str::to_owned)
                    .with_context(|| format!("an answer without the event's id: {body}"));
            }
            Ok(answer) if !answer.status().is_server_error() => {
                anyhow::bail!("{}: {}", answer.status(), answer.text().await?)
            }
            // Away, or overloaded.
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    anyhow::bail!("lead {n} was not accepted in half a minute")
}
