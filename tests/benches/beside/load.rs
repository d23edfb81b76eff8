//! A closed-loop HTTP/1.1 load generator: every connection sends a request, waits for the whole
//! answer, sends the next. When the time is up it finishes what is under way, so the number of
//! answers is exact and can be compared with the rows in the database.

use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What to send where.
pub struct Load {
    /// Server.
    pub address: SocketAddr,
    /// Request path.
    pub path: &'static str,
    /// `X-API-Key`.
    pub key: String,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// How long to begin new requests.
    pub time: Duration,
    /// How many requests to send at most.
    pub at_most: u64,
    /// The leads' postal codes, in turns; an empty one is left out.
    pub postal_codes: Vec<String>,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Outcome {
    /// 2xx answers.
    pub accepted: u64,
    /// All others.
    pub refused: u64,
    /// Answers a second.
    pub rate: f64,
    /// Median time to the answer, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// The slowest, milliseconds.
    pub max_ms: f64,
}

impl Load {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let load = Arc::new(self);
        let begun = Instant::now();
        // Unique over all rounds of all runs.
        let run = uuid::Uuid::new_v4().simple().to_string();
        let count = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..load.connections)
            .map(|n| {
                tokio::spawn(connection(
                    Arc::clone(&load),
                    format!("{run}-{n}"),
                    begun,
                    Arc::clone(&count),
                ))
            })
            .collect();
        let mut times = Vec::new();
        let mut outcome = Outcome::default();
        for task in tasks {
            let (accepted, refused, mut taken) = task.await??;
            outcome.accepted += accepted;
            outcome.refused += refused;
            times.append(&mut taken);
        }
        outcome.rate = times.len() as f64 / begun.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |share: f64| -> f64 {
            let index = ((times.len().max(1) - 1) as f64 * share) as usize;
            times.get(index).map_or(0.0, |us| f64::from(*us) / 1e3)
        };
        outcome.p50_ms = at(0.5);
        outcome.p99_ms = at(0.99);
        outcome.max_ms = at(1.0);
        Ok(outcome)
    }
}

async fn connection(
    load: Arc<Load>,
    prefix: String,
    begun: Instant,
    sent_so_far: Arc<AtomicU64>,
) -> anyhow::Result<(u64, u64, Vec<u32>)> {
    let mut stream = TcpStream::connect(load.address).await.context("the server is not there")?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8192);
    let (mut accepted, mut refused, mut times) = (0, 0, Vec::with_capacity(1 << 14));
    let mut n = 0_u64;
    while begun.elapsed() < load.time && sent_so_far.fetch_add(1, Ordering::Relaxed) < load.at_most
    {
        n += 1;
        let code = &load.postal_codes[n as usize % load.postal_codes.len()];
        let request = request(&load, &format!("{prefix}-{n}"), code);
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let status = answer(&mut stream, &mut buffer).await?;
        times.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        if (200..300).contains(&status) { accepted += 1 } else { refused += 1 }
    }
    Ok((accepted, refused, times))
}

/// A lead of about 1 KB, with an id and an e-mail address of its own, and the fields that each of
/// the contestants demands.
fn request(load: &Load, id: &str, postal_code: &str) -> String {
    let fields: Vec<String> =
        (1..=8).map(|i| format!("\"field_{i}\":\"value number {i} of the lead form\"")).collect();
    let place = match postal_code {
        "" => String::new(),
        code => format!("\"postal_code\":\"{code}\",\"country\":\"PL\","),
    };
    let body = format!(
        concat!(
            r#"{{"event":"lead.created","id":"{id}","email":"jane.{id}@example.com","name":"Jane Doe","#,
            r#""first_name":"Jane","last_name":"Doe","phone":"+14155550100",{place}"#,
            r#""product":"Windows","company":"Example Corp","source":"landing-page","#,
            r#""tags":["inbound","demo","q3"],"utm":{{"source":"google","medium":"cpc","campaign":"spring"}},"#,
            r#""fields":{{{fields}}},"message":"{message}"}}"#
        ),
        id = id,
        place = place,
        fields = fields.join(","),
        message = "I would like to know more. ".repeat(8).trim_end(),
    );
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n{}",
        load.path,
        load.address,
        load.key,
        body.len(),
        body
    )
}

/// Reads one whole answer and gives its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).context("no status line")?;
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .context("an answer without Content-Length")?;
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection in the middle of an answer");
        }
    }
    Ok(status)
}
