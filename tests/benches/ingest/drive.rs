//! Drives a server with requests that are ready: as fast as its answers come, or at a rate.
//!
//! What is under way when the time is over is waited for, so the number of 2xx is exact and can be
//! compared with the rows in the database.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// How to send.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Requests a second over all connections; without it each sends when it has its answer.
    pub rate: Option<f64>,
    /// How long to begin new requests.
    pub time: Duration,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// HTTP status; 0: the connection broke.
    pub status: u16,
    /// When it was there, since the run began.
    pub at: Duration,
    /// From sending to the whole answer.
    pub took: Duration,
    /// The same by the wall clock, for comparing with rows.
    pub clock: SystemTime,
    /// What the server calls it.
    pub event: Option<Uuid>,
}

impl Answer {
    /// Was it a 2xx?
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What came back.
pub struct Outcome {
    /// Every answer, in no order.
    pub answers: Vec<Answer>,
    /// From the first request to the last answer.
    pub took: Duration,
}

/// Times to the answer, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Times {
    /// Of these durations.
    pub fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<f64> = durations.map(|d| d.as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = ((all.len().max(1) - 1) as f64 * share) as usize;
            all.get(index).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Outcome {
    /// 2xx answers.
    pub fn accepted(&self) -> u64 {
        self.answers.iter().filter(|a| a.accepted()).count() as u64
    }

    /// 2xx answers a second.
    pub fn rate(&self) -> f64 {
        self.accepted() as f64 / self.took.as_secs_f64()
    }

    /// Requests a second.
    pub fn offered(&self) -> f64 {
        self.answers.len() as f64 / self.took.as_secs_f64()
    }

    /// Times of the 2xx answers.
    pub fn times(&self) -> Times {
        Times::of(self.answers.iter().filter(|a| a.accepted()).map(|a| a.took))
    }

    /// Times of all others.
    pub fn refusals(&self) -> Times {
        Times::of(self.answers.iter().filter(|a| !a.accepted()).map(|a| a.took))
    }

    /// Answers by status, those that are not 2xx.
    pub fn errors(&self) -> BTreeMap<u16, usize> {
        let mut by_status = BTreeMap::new();
        for answer in self.answers.iter().filter(|a| !a.accepted()) {
            *by_status.entry(answer.status).or_default() += 1;
        }
        by_status
    }
}

struct Run {
    to: SocketAddr,
    pace: Pace,
    requests: Vec<Box<[u8]>>,
    next: AtomicUsize,
    begun: Instant,
}

/// Sends the requests, each at most once, until there are no more or the time is over.
pub async fn drive(
    to: SocketAddr,
    requests: Vec<Box<[u8]>>,
    pace: Pace,
) -> anyhow::Result<Outcome> {
    let next = AtomicUsize::new(0);
    let mut streams = Vec::with_capacity(pace.connections);
    for _ in 0..pace.connections {
        streams.push(connect(to).await?);
    }
    let run = Arc::new(Run { to, pace, requests, next, begun: Instant::now() });
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(connection(Arc::clone(&run), stream)))
        .collect();
    let mut answers = Vec::with_capacity(run.requests.len());
    for task in tasks {
        answers.append(&mut task.await??);
    }
    Ok(Outcome { answers, took: run.begun.elapsed() })
}

async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(to).await.context("the server is not there")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connection(run: Arc<Run>, mut stream: TcpStream) -> anyhow::Result<Vec<Answer>> {
    let mut buffer = Vec::with_capacity(4096);
    let mut answers = Vec::new();
    loop {
        let n = run.next.fetch_add(1, Ordering::Relaxed);
        if let Some(rate) = run.pace.rate {
            let due = run.begun + Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        let Some(request) = run.requests.get(n).filter(|_| run.begun.elapsed() < run.pace.time)
        else {
            return Ok(answers);
        };
        let sent = Instant::now();
        let (status, event) = match exchange(&mut stream, request, &mut buffer).await {
            Ok(answer) => answer,
            Err(_) => {
                stream = connect(run.to).await?;
                (0, None)
            }
        };
        let took = sent.elapsed();
        let at = run.begun.elapsed();
        answers.push(Answer { status, at, took, clock: SystemTime::now(), event });
    }
}

async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> anyhow::Result<(u16, Option<Uuid>)> {
    stream.write_all(request).await?;
    buffer.clear();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    let status = text.get(9..12).and_then(|s| s.parse().ok()).context("no status line")?;
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let length: usize =
        field("content-length").and_then(|n| n.parse().ok()).context("no Content-Length")?;
    let event = field("switchyard-event-id").and_then(|id| id.parse().ok());
    while buffer.len() < head + length {
        more(stream, buffer).await?;
    }
    Ok((status, event))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        bail!("the server closed the connection");
    }
    Ok(())
}
