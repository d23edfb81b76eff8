//! Booking and recomputing commissions on a durable PostgreSQL of its own:
//! `cargo bench --profile demo --workspace --bench commissions`.
//!
//! First bookings by 8 workers (slots of one process), of 5,000 agents in 50 agencies: every entry posts
//! to the platform's accounts, which are hot. Then all deals of one agent, who is hot as well. Then as many
//! conversions as are wanted are recomputed from their events, by a process of its own, whose memory is
//! told. Between them the leaderboard is read, with the last bookings' postings not yet folded into
//! balances (a job does that every ten seconds) and afterwards. The run fails unless every event
//! is booked once, all accounts sum to zero, and the recomputation finds no difference.
//!
//! `SWITCHYARD_BENCH_BOOKINGS` (40,000), `SWITCHYARD_BENCH_CONVERSIONS` (1,000,000),
//! `SWITCHYARD_BENCH_WORKERS` (8).
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Duration as Span, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard::local::postgres::{Postgres, Tuning};
use switchyard_catalog::{BookCommission, Platform, recompute};
use switchyard_domain::commission::{CommissionEvent, EventKind};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_providers::Providers;
use switchyard_queue::{NewJob, SystemClock, SystemEntropy};
use switchyard_store::commissions::{self, NewAssignment, NewPlan, NewVersion};
use switchyard_store::payouts::{StandingFilter, standings};
use switchyard_store::{Db, DbConfig, PgJobStore, PgWake, Scope, ledger};
use switchyard_workers::WorkerConfig;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells a copy of this program to recompute this database.
const RECOMPUTE: &str = "SWITCHYARD_BENCH_RECOMPUTE_OF";
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(200);
const AGENCIES: u64 = 50;
const AGENTS: u64 = 5_000;
/// Events of a transaction that are recorded before anything is measured.
const BATCH: u64 = 1_000;
/// One job books up to so many events of its agency; filling up needs no job for each.
const BOOKED_AT_ONCE: usize = 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Ok(url) = std::env::var(RECOMPUTE) {
        return recompute_here(url.into()).await;
    }
    let folder = tempfile::Builder::new().prefix("switchyard-bench-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    // Durable as in production: the figures mean nothing otherwise.
    let tuning = Tuning { durable: true, connections: 100 };
    let server = Postgres::start(folder.path(), tuning)
        .await
        .map_err(|f| anyhow::anyhow!("{}", f.chain()))?;
    let result = measure(&server.owner_url()).await;
    server.stop().await;
    result
}

async fn measure(url: &SecretString) -> anyhow::Result<()> {
    switchyard_store::migrate(url).await?;
    let bench = Bench::new(url).await?;
    let bookings = setting("SWITCHYARD_BENCH_BOOKINGS", 40_000);
    let agents = bench.agents.clone();
    bench.record(&agents, 0, bookings, true).await?;
    bench.tell("bookings/s, 5,000 agents", bookings, bench.work().await?);
    bench.record(&agents[..1], 1, bookings / 4, true).await?;
    bench.tell("bookings/s, one agent", bookings / 4, bench.work().await?);
    bench.leaderboard("nothing of these bookings folded").await?;
    let mut tx = bench.db.begin(Scope::Platform).await?;
    ledger::fold(&mut tx).await?;
    tx.commit().await?;
    bench.leaderboard("folded").await?;
    let wanted = setting("SWITCHYARD_BENCH_CONVERSIONS", 1_000_000);
    let missing = wanted.saturating_sub(bookings + bookings / 4);
    bench.record(&agents, 2, missing, false).await?;
    let took = bench.work().await? + bench.book_rest().await?;
    bench.tell("bookings/s, a job for every sixty", missing, took);
    bench.check().await?;
    let program = std::env::current_exe()?;
    let told = tokio::process::Command::new(program)
        .env(RECOMPUTE, url.expose_secret())
        .stdout(Stdio::inherit())
        .status()
        .await?;
    ensure!(told.success(), "the recomputation failed");
    Ok(())
}

struct Bench {
    url: SecretString,
    db: Db,
    wake: Arc<PgWake>,
    agents: Vec<(AgencyId, AgentId)>,
}

impl Bench {
    async fn new(url: &SecretString) -> anyhow::Result<Self> {
        let config = DbConfig::new(url.clone());
        let wake = PgWake::start(&config, CancellationToken::new())?;
        let db = Db::connect(config, wake.clone())?;
        let mut owner = PgConnection::connect(url.expose_secret()).await?;
        let mut agents = Vec::new();
        for a in 0..AGENCIES {
            let agency = AgencyId::new();
            sqlx::query("insert into switchyard.agencies (id, name, email, password_hash) values ($1, $2, $2, 'x')")
                .bind(agency.0)
                .bind(format!("agency-{a}@example.test"))
                .execute(&mut owner)
                .await?;
            let own: Vec<Uuid> = (0..AGENTS / AGENCIES).map(|_| AgentId::new().0).collect();
            sqlx::query("insert into switchyard.agents (id, agency_id, name) select id, $1, 'a' from unnest($2::uuid[]) id")
                .bind(agency.0)
                .bind(&own)
                .execute(&mut owner)
                .await?;
            agents.extend(own.into_iter().map(|id| (agency, AgentId(id))));
        }
        let mut tx = db.begin(Scope::Platform).await?;
        let new = NewPlan { agency: None, code: "bench".into(), name: "Bench".into() };
        let plan = commissions::create(&mut tx, &new).await?;
        let document = serde_json::json!({
            "format": 1, "name": "bench", "version": 1, "currencies": ["EUR"], "measure": "volume",
            "mode": "marginal", "window": "month",
            "tiers": [
                {"name": "bronze", "from": 0, "rate": "5"},
                {"name": "silver", "from": {"EUR": "50000"}, "rate": "8"},
                {"name": "gold", "from": {"EUR": "200000"}, "rate": "12"},
                {"name": "platinum", "from": {"EUR": "1000000"}, "rate": "15"}
            ],
            "split": [
                {"to": "agent", "percent": "70"}, {"to": "agency", "percent": "20"},
                {"to": "platform", "percent": "10"}
            ]
        });
        let rules = serde_json::from_value(document)?;
        let version =
            NewVersion { plan, rules, valid_from: DateTime::UNIX_EPOCH, by: "bench".into() };
        commissions::add_version(&mut tx, &version).await?;
        commissions::assign(&mut tx, plan, &NewAssignment::default()).await?;
        tx.commit().await?;
        Ok(Self { url: url.clone(), db, wake, agents })
    }

    /// Records conversions that go round these agents, over the `nth` three months, with their jobs: one for
    /// each, or one for as many of an agency as a job books.
    async fn record(
        &self,
        agents: &[(AgencyId, AgentId)],
        nth: i32,
        conversions: u64,
        each: bool,
    ) -> anyhow::Result<()> {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse()?;
        let start = start + Span::days(90) * nth;
        let currency: Currency = "EUR".parse().map_err(anyhow::Error::msg)?;
        let mut jobs_of: std::collections::HashMap<AgencyId, usize> =
            std::collections::HashMap::new();
        let mut n = 0;
        while n < conversions {
            let batch = n..(n + BATCH).min(conversions);
            n = batch.end;
            let events: Vec<CommissionEvent> = batch
                .map(|i| {
                    let (agency, agent) = agents[(i * 7919) as usize % agents.len()];
                    // Deals come in the order in which they happen, as they do in life.
                    let at = start
                        + Span::milliseconds((i * 7_776_000 / conversions.max(1) * 1000) as i64);
                    let amount =
                        Some(Money::new(50_000 + (i * 104_729 % 900_000) as i64, currency));
                    CommissionEvent {
                        id: CommissionEventId::new(),
                        kind: EventKind::Converted,
                        lead: None,
                        agency,
                        agent,
                        manager: None,
                        portal: None,
                        product: None,
                        occurred_at: at,
                        received_at: at,
                        amount,
                        fee: None,
                        of: None,
                    }
                })
                .collect();
            let mut jobs = Vec::new();
            for event in &events {
                let nth = jobs_of.entry(event.agency).or_default();
                *nth += 1;
                if each || *nth % BOOKED_AT_ONCE == 1 {
                    let job = BookCommission { event: event.id, agency: event.agency };
                    jobs.push(NewJob::of(&job)?);
                }
            }
            let mut tx = self.db.begin(Scope::Platform).await?;
            commissions::record(&mut tx, &events).await?;
            tx.enqueue_all(jobs).await?;
            tx.commit().await?;
        }
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let tables = "vacuum analyze switchyard.commission_events; vacuum analyze ledger.entries;
                      vacuum analyze ledger.postings; vacuum analyze engine.jobs";
        for sql in tables.split(';') {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut owner).await?;
        }
        Ok(())
    }

    /// Lets workers book what waits, until every event is booked and every job is over.
    async fn work(&self) -> anyhow::Result<Duration> {
        let platform = Platform::new(
            self.db.for_jobs()?,
            Providers::capture(),
            "https://app.example.test/leads/{id}",
        );
        let registry = switchyard_catalog::registry();
        let dispatcher = registry.bind(platform, Arc::new(SystemClock), Arc::new(SystemEntropy));
        let concurrency = usize::try_from(setting("SWITCHYARD_BENCH_WORKERS", 8))?;
        let config = WorkerConfig { concurrency, ..WorkerConfig::default() };
        let end = CancellationToken::new();
        let begun = Instant::now();
        let store = PgJobStore::new(&self.db);
        let worker =
            switchyard_workers::run(store, dispatcher, self.wake.clone(), config, end.clone());
        let worker = tokio::spawn(worker);
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        loop {
            // A look at a table full of dead rows is dear, so it is rare: it is none of what is measured.
            let left: bool =
                sqlx::query_scalar("select exists (select from engine.jobs where stage < 2)")
                    .fetch_one(&mut owner)
                    .await?;
            if !left {
                break;
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(3600),
                "the bookings do not come to an end"
            );
            tokio::time::sleep(LOOK).await;
        }
        let took = begun.elapsed();
        end.cancel();
        worker.await?;
        Ok(took)
    }

    /// Books what is left: a job whose own event another one took along looks no further.
    async fn book_rest(&self) -> anyhow::Result<Duration> {
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let rest: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select id, agency_id from switchyard.commission_events where state = 'pending'",
        )
        .fetch_all(&mut owner)
        .await?;
        let job = |(event, agency): &(Uuid, Uuid)| {
            let event = CommissionEventId(*event);
            Ok(NewJob::of(&BookCommission { event, agency: AgencyId(*agency) })?)
        };
        let jobs = rest.iter().map(job).collect::<anyhow::Result<_>>()?;
        let mut tx = self.db.begin(Scope::Platform).await?;
        tx.enqueue_all(jobs).await?;
        tx.commit().await?;
        self.work().await
    }

    fn tell(&self, what: &str, n: u64, took: Duration) {
        println!("{what}: {:.0} ({n} in {took:.1?})", n as f64 / took.as_secs_f64());
    }

    /// Reads the first 50 of all agents, over and over.
    async fn leaderboard(&self, when: &str) -> anyhow::Result<()> {
        let filter = StandingFilter {
            currency: "EUR".parse().map_err(anyhow::Error::msg)?,
            agency: None,
            agent: None,
            limit: 50,
        };
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            let mut tx = self.db.begin(Scope::Platform).await?;
            let rows = standings(&mut tx, &filter).await?;
            tx.commit().await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(rows.len() == 50, "{} rows", rows.len());
        }
        times.sort_by(f64::total_cmp);
        println!(
            "leaderboard of {} agents, {when}: median {:.1} ms, p99 {:.1} ms",
            self.agents.len(),
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<()> {
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let (events, booked, entries): (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from switchyard.commission_events),
               (select count(*) from switchyard.commission_events where state = 'booked'),
               (select count(distinct event_id) from ledger.entries)",
        )
        .fetch_one(&mut owner)
        .await?;
        ensure!(
            events == booked && booked == entries,
            "{events} events, {booked} booked, {entries} entries"
        );
        let mut tx = self.db.begin(Scope::Platform).await?;
        let (sums, _) = ledger::out_of_balance(&mut tx).await?;
        ensure!(sums.is_empty(), "the accounts do not sum to zero: {sums:?}");
        Ok(())
    }
}

/// What a copy of this program does that is told to recompute.
async fn recompute_here(url: SecretString) -> anyhow::Result<()> {
    let config = DbConfig::new(url);
    let wake = PgWake::start(&config, CancellationToken::new())?;
    let db = Db::connect(config, wake)?;
    let begun = Instant::now();
    let found = recompute(&db, None, false, Utc::now(), |_| {}).await?;
    let took = begun.elapsed();
    ensure!(
        found.differing == 0,
        "{} differences: {:?}",
        found.differing,
        found.differences.first()
    );
    println!(
        "recompute {} events of {} agents: {took:.1?}, {:.0} MiB at most",
        found.events,
        found.agents,
        peak_memory()?
    );
    Ok(())
}

/// The largest resident set that this process ever had, in MiB.
fn peak_memory() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
