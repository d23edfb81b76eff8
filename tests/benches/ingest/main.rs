//! Webhooks taken in, beside Express with BullMQ: `cargo bench --profile demo --workspace --bench ingest`
//! (after `cargo build --profile demo --workspace`; needs Node.js, npm and redis-server).
//!
//! Every delivery differs from all others and is signed before the clock starts; both sides get the same
//! bytes. Ours checks key, signature, limit and duplicates. After each run every 2xx must be a row, or the
//! run fails.
//!
//! `SWITCHYARD_BENCH_ONLY` picks parts (of `ingest,checkpoint,pace,line,overload`),
//! `SWITCHYARD_BENCH_ROUNDS` (3) and `SWITCHYARD_BENCH_SECONDS` (5) say how often and how long,
//! `SWITCHYARD_BENCH_PEERS=0` leaves the peers out; `SWITCHYARD_BENCH_RATE` (500) and
//! `SWITCHYARD_BENCH_LINE_SECONDS` (60) are the line's, `SWITCHYARD_BENCH_PACE` (1000) is both sides' in
//! `pace`. `SWITCHYARD_BENCH_SQL` is run in our database beforehand, to try something out.
//! `SWITCHYARD_BENCH_SHORT=1` is one round of a second each, and five of the line.
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

mod bodies;
mod drive;
#[allow(dead_code)] // the other bench's, for the peers
#[path = "../beside/load.rs"]
mod load;
mod ours;
#[allow(dead_code)] // ingest is one of their disciplines
#[path = "../beside/peers.rs"]
mod peers;
mod report;

use bodies::Leads;
use drive::{Answer, Outcome, Pace, Times, drive};
use ours::{Ours, PATH};
use peers::Peers;
use report::Figures;
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchyard::local::postgres::{Postgres, Tuning};

/// More requests a second than anybody answers on two cores: so many are made before the clock starts.
const MOST: usize = 25_000;
/// Connections of an overload. Each waits for its answer, so this is what can be under way at once.
const CROWD: usize = 4_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("switchyard-bench-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    let tuning = Tuning { durable: true, connections: 200 };
    let server = Postgres::start(folder.path(), tuning)
        .await
        .map_err(|f| anyhow::anyhow!("{}", f.chain()))?;
    let result = measure(folder.path(), server.owner_url().expose_secret()).await;
    server.stop().await;
    result
}

async fn measure(folder: &Path, server: &str) -> anyhow::Result<()> {
    let short = setting("SHORT", 0) != 0;
    let rounds = setting("ROUNDS", if short { 1 } else { 3 });
    let time = Duration::from_secs(setting("SECONDS", if short { 1 } else { 5 }));
    let with_peers = setting("PEERS", 1) != 0;
    let beside = ["ingest", "checkpoint", "pace"].into_iter().any(wanted);
    let peers = if with_peers && beside { Some(Peers::new(folder, server).await?) } else { None };
    let ours = Ours::new(program()?, folder, server, "switchyard_ingest").await?;
    let mut bench =
        Bench { ours, peers, server: server.to_owned(), time, figures: Figures::default() };
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for connections in [32, 128] {
            let pace = Pace { connections, rate: None, time };
            if wanted("ingest") {
                bench.turns(&format!("{connections} connections"), pace, false).await?;
            }
            if wanted("checkpoint") {
                let name = format!("{connections} connections, a checkpoint meanwhile");
                bench.turns(&name, pace, true).await?;
            }
        }
        if wanted("pace") {
            let rate = setting("PACE", 1_000);
            let pace = Pace { connections: 64, rate: Some(rate as f64), time };
            bench.turns(&format!("{rate} a second"), pace, false).await?;
        }
    }
    if wanted("overload") {
        bench.overload().await?;
    }
    if wanted("line") {
        let line = Ours::new(program()?, folder, server, "switchyard_line").await?;
        let seconds = setting("LINE_SECONDS", if short { 5 } else { 60 });
        let pace = Pace {
            connections: 64,
            rate: Some(setting("RATE", 500) as f64),
            time: Duration::from_secs(seconds),
        };
        line_of(&line, pace, &mut bench.figures).await?;
    }
    bench.figures.print();
    Ok(())
}

struct Bench {
    ours: Ours,
    peers: Option<Peers>,
    server: String,
    time: Duration,
    figures: Figures,
}

impl Bench {
    /// Each contestant once, in turns.
    async fn turns(&mut self, name: &str, pace: Pace, checkpoint: bool) -> anyhow::Result<()> {
        let outcome = self.us(name, pace, checkpoint).await?;
        self.figures.run(name, "Switchyard", &outcome);
        if self.peers.is_some() {
            for (who, durable) in
                [("Express + PostgreSQL + BullMQ", true), ("Express + BullMQ (Redis only)", false)]
            {
                let outcome = self.them(durable, pace, checkpoint).await?;
                self.figures.run(name, who, &outcome);
            }
        }
        Ok(())
    }

    async fn us(&mut self, name: &str, pace: Pace, checkpoint: bool) -> anyhow::Result<Outcome> {
        let before = self.ours.events().await?;
        let api = self.ours.api().await?;
        let requests = Leads::new(&self.ours.codes).requests(api.address, PATH, 0, wanted_by(pace));
        let outcome = self.meanwhile(drive(api.address, requests, pace), checkpoint).await?;
        let (_, most) = api.memory()?;
        let each = api.processor()?.as_secs_f64() * 1e6 / outcome.answers.len().max(1) as f64;
        api.stop().await?;
        let rows = self.ours.events().await? - before;
        anyhow::ensure!(rows == outcome.accepted(), "{} accepted, {rows} rows", outcome.accepted());
        self.ours.audit(&outcome.answers).await?;
        self.figures.add(&format!("{name}: the API's memory at most, MiB"), most);
        self.figures.add(&format!("{name}: the API's processor time a request, µs"), each);
        Ok(outcome)
    }

    async fn them(&self, durable: bool, pace: Pace, checkpoint: bool) -> anyhow::Result<Outcome> {
        let peers = self.peers.as_ref().ok_or_else(|| anyhow::anyhow!("no peers"))?;
        let before = peers.stored(durable).await?;
        let (mut server, address) = peers.serve(durable).await?;
        let requests = Leads::new(&[]).requests(address, "/webhooks/leads", 0, wanted_by(pace) / 2);
        let outcome = self.meanwhile(drive(address, requests, pace), checkpoint).await?;
        server.kill().await?;
        let stored = peers.stored(durable).await? - before;
        anyhow::ensure!(stored == outcome.accepted(), "{} accepted, {stored}", outcome.accepted());
        Ok(outcome)
    }

    /// A run, with a checkpoint from its first third on if one is wanted.
    async fn meanwhile(
        &self,
        run: impl Future<Output = anyhow::Result<Outcome>>,
        checkpoint: bool,
    ) -> anyhow::Result<Outcome> {
        let disturb = async {
            if checkpoint {
                tokio::time::sleep(self.time / 3).await;
                let mut owner = PgConnection::connect(&self.server).await?;
                sqlx::raw_sql("checkpoint").execute(&mut owner).await?;
            }
            anyhow::Ok(())
        };
        let (outcome, disturbed) = tokio::join!(run, disturb);
        disturbed?;
        outcome
    }

    /// Three times what it can take, then half of it.
    async fn overload(&mut self) -> anyhow::Result<()> {
        let api = self.ours.api().await?;
        let leads = Leads::new(&self.ours.codes);
        let most = Pace { connections: 128, rate: None, time: self.time };
        let all = leads.requests(api.address, PATH, 0, wanted_by(most));
        let mut sent = all.len();
        let able = drive(api.address, all, most).await?.rate();
        let flood = Pace { connections: CROWD, rate: Some(able * 3.0), time: self.time };
        let requests = leads.requests(api.address, PATH, sent, wanted_by(flood));
        sent += requests.len();
        let flooded = drive(api.address, requests, flood).await?;
        let after = Pace { connections: 128, rate: Some(able / 2.0), time: self.time };
        let requests = leads.requests(api.address, PATH, sent, wanted_by(after));
        let recovered = drive(api.address, requests, after).await?;
        let (_, memory) = api.memory()?;
        self.ours.audit(&flooded.answers).await?;
        self.ours.audit(&recovered.answers).await?;
        api.stop().await?;
        let figures = &mut self.figures;
        figures.add("overload: what it can take, requests/s", able);
        figures.add("overload: offered, requests/s", flooded.offered());
        figures.add("overload: accepted, requests/s", flooded.rate());
        figures.times("overload: accepted", flooded.times());
        figures.times("overload: refused", flooded.refusals());
        println!("  refused by status: {:?}", flooded.errors());
        figures.add("overload: the API's memory at most, MiB", memory);
        figures.add("overload: well again after, s", well_again(&recovered.answers).as_secs_f64());
        figures.times("overload: after it", recovered.times());
        Ok(())
    }
}

/// When the last answer came that was a refusal or took longer than a quarter of a second.
fn well_again(answers: &[Answer]) -> Duration {
    let ill = |a: &&Answer| !a.accepted() || a.took > Duration::from_millis(250);
    answers.iter().filter(ill).map(|a| a.at).max().unwrap_or_default()
}

/// From the 202 until an agency has the lead, with API, worker and scheduler at work.
async fn line_of(ours: &Ours, pace: Pace, figures: &mut Figures) -> anyhow::Result<()> {
    let api = ours.api().await?;
    let _worker = ours.beside(&["work"])?;
    let _scheduler = ours.beside(&["schedule"])?;
    let leads = Leads::new(&ours.codes);
    // Connections, plans and caches are there when the clock starts.
    let warm = Pace { time: Duration::from_secs(2), rate: Some(50.0), ..pace };
    drive(api.address, leads.requests(api.address, PATH, 0, wanted_by(warm)), warm).await?;
    let requests = leads.requests(api.address, PATH, 1_000_000, wanted_by(pace));
    let outcome = drive(api.address, requests, pace).await?;
    let (_, memory) = api.memory()?;
    let name = format!("line, {} a second", pace.rate.unwrap_or_default());
    figures.run(&name, "202", &outcome);
    let assigned = ours.assigned_after(&outcome.answers).await?;
    figures.times(&format!("{name}: 202 to assigned"), Times::of(assigned.into_iter()));
    figures.add(&format!("{name}: the API's memory at most, MiB"), memory);
    api.stop().await
}

/// How many requests a run may need.
fn wanted_by(pace: Pace) -> usize {
    let rate = pace.rate.map_or(MOST, |rate| rate.ceil() as usize);
    rate * usize::try_from(pace.time.as_secs()).unwrap_or(1).max(1) + pace.connections
}

/// Whether this part is asked for.
fn wanted(part: &str) -> bool {
    let only = std::env::var("SWITCHYARD_BENCH_ONLY");
    only.is_err() || only.is_ok_and(|only| only.split(',').any(|o| o == part))
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(format!("SWITCHYARD_BENCH_{name}"));
    set.ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// The program, built with the profile of the bench: it lies beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().and_then(Path::parent).ok_or_else(|| anyhow::anyhow!("no folder"))?;
    let program = folder.join("switchyard");
    anyhow::ensure!(
        program.exists(),
        "{} is missing: build it first with `cargo build --profile demo --workspace`",
        program.display()
    );
    Ok(program)
}
