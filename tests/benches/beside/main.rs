//! Switchyard beside what one would use instead, on the same servers, interleaved, medians:
//! `cargo bench -p switchyard-tests --bench beside` (needs Node.js, npm, redis-server and cargo).
//!
//! Rounds and seconds can be changed: `SWITCHYARD_BENCH_ROUNDS` (3), `SWITCHYARD_BENCH_SECONDS` (8);
//! some disciplines alone: `SWITCHYARD_BENCH_ONLY` (of `ingest,line,process,enqueue,delay,snapshot,
//! backlog,fairness,scale`; with `rust` beside `process` and `enqueue` the peers in Rust as well);
//! `SWITCHYARD_BENCH_JOBS` empty jobs (50,000); `SWITCHYARD_BENCH_BACKLOG` jobs that wait meanwhile
//! (5,000,000), `SWITCHYARD_BENCH_HISTORY` jobs that have ended before (1,000,000); with 0 that
//! part of `backlog` is left out.
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

mod engine;
mod load;
mod ours;
mod peers;
mod rust;

use engine::{Engine, Mix};
use load::Outcome;
use ours::Ours;
use peers::Peers;
use rust::RustPeers;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchyard::local::postgres::{Postgres, Tuning};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Webhooks taken in before the whole line is run.
const LEADS: u64 = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    if let Ok(url) = std::env::var(engine::WORKER_OF) {
        return engine::be_a_worker(url).await;
    }
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
    let rust = RustPeers::new(&peers, wanted("rust")).await;
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
        engine_alone(folder, server, (&peers, &rust), &mut figures).await?;
    }
    figures.print();
    Ok(())
}

/// One round of what needs no API.
async fn engine_alone(
    folder: &Path,
    server: &str,
    (peers, rust): (&Peers, &RustPeers<'_>),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let jobs = setting("SWITCHYARD_BENCH_JOBS", 50_000);
    let fresh = async |name| -> anyhow::Result<Engine> {
        Engine::connect(Ours::new(program()?, folder, server, name).await?.url())
    };
    if wanted("process") {
        let engine = fresh("switchyard_process").await?;
        let rate = engine.process(jobs, Mix::default()).await?;
        figures.add("process empty jobs, jobs/s: Switchyard", rate);
        engine.close().await;
        let engine = fresh("switchyard_features").await?;
        let all = Mix { partitions: 1000, limited: 100, unique: true, priorities: false };
        let rate = engine.process(jobs, all).await?;
        let name =
            "process empty jobs, jobs/s: Switchyard, 1,000 partitions, 100 limited, all unique";
        figures.add(name, rate);
        engine.close().await;
        for (name, which, tuning) in [
            ("BullMQ", "bullmq", &["50"][..]),
            ("graphile-worker", "graphile", &["10", "500"]),
            ("pg-boss", "pgboss", &["1000", "loop"]),
        ] {
            let rate = peers.process(which, jobs, tuning).await?;
            figures.add(&format!("process empty jobs, jobs/s: {name}"), rate);
        }
        for (name, which) in rust::QUEUES {
            if let Some(rate) = rust.process(which, jobs).await {
                figures.add(&format!("process empty jobs, jobs/s: {name}"), rate);
            }
        }
    }
    if wanted("enqueue") {
        let engine = fresh("switchyard_enqueue").await?;
        let rate = engine.enqueue_batches(jobs).await?;
        figures.add("enqueue in batches of 1,000, jobs/s: Switchyard", rate);
        for callers in [1, 50] {
            let rate = engine.enqueue_singly(callers, jobs * callers / 50).await?;
            figures.add(&format!("enqueue singly, {callers} callers, jobs/s: Switchyard"), rate);
        }
        engine.close().await;
        let mut enqueued = peers.enqueue().await?;
        for (_, which) in rust::QUEUES {
            enqueued.extend(rust.enqueue(which).await);
        }
        for (name, rate) in enqueued {
            figures.add(&format!("enqueue, jobs/s: {name}"), rate);
        }
    }
    if wanted("delay") {
        let engine = fresh("switchyard_delay").await?;
        let delays = engine.delays(1000).await?;
        for (name, share) in [("p50", 50), ("p99", 99)] {
            let delay = delays[(delays.len() - 1) * share / 100] as f64 / 1000.0;
            figures.add(&format!("enqueue to start, {name} ms: Switchyard"), delay);
        }
        engine.close().await;
        for (name, which) in [("BullMQ", "bullmq"), ("graphile-worker", "graphile")] {
            let (p50, p99) = peers.delays(which).await?;
            figures.add(&format!("enqueue to start, p50 ms: {name}"), p50);
            figures.add(&format!("enqueue to start, p99 ms: {name}"), p99);
        }
    }
    if wanted("snapshot") {
        for (name, old) in [("no snapshot", false), ("an old snapshot held", true)] {
            let engine = fresh("switchyard_snapshot").await?;
            let rate = engine.process_beside_a_snapshot(jobs * 2, old).await?;
            figures.add(&format!("process, mixed priorities, half arriving, jobs/s: {name}"), rate);
            engine.close().await;
        }
    }
    if wanted("backlog") {
        let waiting = setting("SWITCHYARD_BENCH_BACKLOG", 5_000_000);
        let ended = setting("SWITCHYARD_BENCH_HISTORY", 1_000_000);
        let mut piles = vec![(0, 0), (waiting, 0), (0, ended)];
        piles.dedup();
        for (waiting, ended) in piles {
            let engine = fresh("switchyard_backlog").await?;
            engine.pile_up(waiting, ended).await?;
            let rate = engine.process(jobs, Mix::default()).await?;
            let name =
                format!("process {jobs}, {waiting} others waiting, {ended} in history, jobs/s");
            figures.add(&name, rate);
            engine.close().await;
        }
    }
    if wanted("fairness") {
        let engine = fresh("switchyard_fairness").await?;
        let (small, all) = engine.small_beside_one(999, 10, 100_000).await?;
        figures.add("999 partitions of 10 beside one of 100,000: all of the 999 done, s", small);
        figures.add("999 partitions of 10 beside one of 100,000: all done, s", all);
        engine.close().await;
    }
    if wanted("scale") {
        for processes in [1, 2, 4, 8] {
            let engine = fresh("switchyard_scale").await?;
            let (rate, memory) = engine.process_by(processes, jobs * 2).await?;
            figures.add(&format!("process by {processes} processes of 64 slots, jobs/s"), rate);
            figures.add(&format!("the largest of {processes} processes, MiB"), memory);
            engine.close().await;
        }
    }
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
    let only = std::env::var("SWITCHYARD_BENCH_ONLY");
    only.is_err() || only.is_ok_and(|only| only.split(',').any(|o| o == discipline))
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
