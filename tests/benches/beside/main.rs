//! Switchyard beside what one would use instead, on the same servers, interleaved, medians:
//! `cargo bench -p switchyard-tests --bench beside` (needs Node.js, npm and redis-server).
//!
//! Rounds and seconds can be changed: `SWITCHYARD_BENCH_ROUNDS` (3), `SWITCHYARD_BENCH_SECONDS` (8);
//! one discipline alone: `SWITCHYARD_BENCH_ONLY` (`ingest`, `line` or `process`); `SWITCHYARD_BENCH_JOBS`
//! empty jobs (50,000).
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

mod load;
mod ours;
mod peers;

use load::Outcome;
use ours::Ours;
use peers::Peers;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchyard::local::postgres::{Postgres, Tuning};

/// Webhooks taken in before the whole line is run.
const LEADS: u64 = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let rounds = setting("SWITCHYARD_BENCH_ROUNDS", 3);
    let time = Duration::from_secs(setting("SWITCHYARD_BENCH_SECONDS", 8));
    let folder = tempfile::Builder::new().prefix("switchyard-bench-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    // Durable as in production: the figures mean nothing otherwise.
    let tuning = Tuning { durable: true, connections: 200 };
    let server = Postgres::start(folder.path(), tuning)
        .await
        .map_err(|f| anyhow::anyhow!("{}", f.chain()))?;
    let result = measure(folder.path(), server.owner_url().expose_secret(), rounds, time).await;
    server.stop().await;
    result
}

async fn measure(folder: &Path, server: &str, rounds: u64, time: Duration) -> anyhow::Result<()> {
    let peers = Peers::new(folder, server).await?;
    let ours = Ours::new(program()?, folder, server, "switchyard_ingest").await?;
    let mut figures = Figures::default();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for connections in [32, 128].into_iter().filter(|_| wanted("ingest")) {
            figures.ingest("Switchyard", connections, &ours.ingest(connections, time).await?);
            let durable = peers.ingest(true, connections, time).await?;
            figures.ingest("Express + PostgreSQL + BullMQ", connections, &durable);
            let redis_only = peers.ingest(false, connections, time).await?;
            figures.ingest("Express + BullMQ (Redis only)", connections, &redis_only);
        }
        let mixes = [("the demo's territories", true), ("all on one sequence", false)];
        for (mix, spread) in mixes.into_iter().filter(|_| wanted("line")) {
            let line = Ours::new(program()?, folder, server, "switchyard_line").await?;
            let rate = line.line(LEADS, spread).await?;
            figures.add(&format!("the whole line, {mix}, leads/s: Switchyard"), rate);
        }
        if !wanted("process") {
            continue;
        }
        let empty = Ours::new(program()?, folder, server, "switchyard_process").await?;
        let jobs = setting("SWITCHYARD_BENCH_JOBS", 50_000);
        let (enqueued, processed) = empty.process(jobs).await?;
        figures.add("enqueue in batches of 1,000, jobs/s: Switchyard", enqueued);
        figures.add("process empty jobs, jobs/s: Switchyard", processed);
        for (name, which, tuning) in [
            ("BullMQ", "bullmq", &["50"][..]),
            ("graphile-worker", "graphile", &["10", "500"]),
            ("pg-boss", "pgboss", &["1000", "loop"]),
        ] {
            let rate = peers.process(which, jobs, tuning).await?;
            figures.add(&format!("process empty jobs, jobs/s: {name}"), rate);
        }
    }
    figures.print();
    Ok(())
}

/// Everything measured, by name.
#[derive(Default)]
struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    fn ingest(&mut self, who: &str, connections: usize, outcome: &Outcome) {
        println!("  {who}, {connections} connections: {outcome:.1?}");
        let name = |what| format!("ingest, {connections} connections, {what}: {who}");
        self.add(&name("requests/s"), outcome.rate);
        self.add(&name("p50 ms"), outcome.p50_ms);
        self.add(&name("p99 ms"), outcome.p99_ms);
    }

    fn add(&mut self, name: &str, value: f64) {
        println!("  {name}: {value:.1}");
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn print(mut self) {
        println!("\n| what | median | lowest | highest |\n|---|---|---|---|");
        for (name, values) in &mut self.0 {
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[values.len() - 1]);
            println!("| {name} | {:.1} | {low:.1} | {high:.1} |", values[values.len() / 2]);
        }
    }
}

/// Whether this discipline is asked for.
fn wanted(discipline: &str) -> bool {
    std::env::var("SWITCHYARD_BENCH_ONLY").is_ok_and(|only| only == discipline)
        || std::env::var_os("SWITCHYARD_BENCH_ONLY").is_none()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// The program, built with the profile of the bench: it lies beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().and_then(Path::parent).ok_or_else(|| anyhow::anyhow!("no folder"))?;
    let program = folder.join("switchyard");
    anyhow::ensure!(
        program.exists(),
        "{} is missing: build it first with `cargo build --release -p switchyard`",
        program.display()
    );
    Ok(program)
}
