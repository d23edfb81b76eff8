//! Half of what an installation can take, for a while: memory, tables and latency at the beginning, in
//! the middle and at the end. What grows with the time and not with the work would show here.
//!
//! The long form, ten minutes: `tests/chaos/run soak`.

use crate::audit;
use crate::fleet::{Crew, Fleet};
use crate::traffic;
use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

const WORKERS: usize = 2;
/// Leads that come before the line is measured.
const WARM: usize = 20;
/// As many senders as this wait for their answers at most.
const SENDERS: usize = 8;
/// What is growing by its nature: history. What must not: what is open, and what counts it.
const OPEN_TABLES: [&str; 4] =
    ["engine.jobs", "engine.job_uniques", "engine.counter_deltas", "engine.workers"];
const ALL_TABLES: [&str; 7] = [
    "engine.jobs",
    "engine.job_history",
    "engine.job_attempts",
    "engine.effects",
    "switchyard.webhook_events",
    "switchyard.leads",
    "switchyard.messages",
];
/// An open table may have so much however little is in it: pages are given back by vacuum alone, which
/// runs once a minute. Bytes.
const TABLE_SLACK: i64 = 16 << 20;
/// Memory that a process may take on beyond what it had, KiB.
const MEMORY_SLACK: u64 = 48 << 10;

fn setting(name: &str) -> Option<f64> {
    std::env::var(format!("SWITCHYARD_TEST_SOAK_{name}")).ok().and_then(|n| n.parse().ok())
}

/// One look at everything.
struct Reading {
    when: &'static str,
    /// KiB by process.
    memory: Vec<(&'static str, u32, u64)>,
    /// Bytes with indexes, and dead rows, by table.
    tables: Vec<(String, i64, i64)>,
    /// From the receipt of an event to the assignment of its lead since the reading's span began, and of
    /// how many; milliseconds.
    latency: (f64, f64, i64),
}

/// Memory that a process has resident, KiB.
fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Size of a table with its partitions and indexes, and how many of its rows are dead.
async fn table(owner: &mut PgConnection, name: &str) -> anyhow::Result<Option<(i64, i64)>> {
    let found: (Option<i64>, Option<i64>) = sqlx::query_as(
        "select sum(pg_total_relation_size(t.relid))::int8, sum(s.n_dead_tup)::int8
         from pg_partition_tree(to_regclass($1)) t left join pg_stat_all_tables s on s.relid = t.relid",
    )
    .bind(name)
    .fetch_one(&mut *owner)
    .await?;
    let plain: Option<(i64, i64)> = sqlx::query_as(
        "select pg_total_relation_size(relid), n_dead_tup from pg_stat_all_tables
         where relid = to_regclass($1)",
    )
    .bind(name)
    .fetch_optional(owner)
    .await?;
    Ok(match found {
        (Some(bytes), dead) => Some((bytes, dead.unwrap_or_default())),
        _ => plain,
    })
}

async fn read(when: &'static str, fleet: &Fleet, span: Duration) -> anyhow::Result<Reading> {
    let mut memory = Vec::new();
    for (what, pid) in fleet.processes() {
        memory.push((what, pid, resident(pid)?));
    }
    let mut owner = fleet.owner().await?;
    let mut tables = Vec::new();
    for name in ALL_TABLES.iter().chain(OPEN_TABLES.iter().skip(1)) {
        if let Some((bytes, dead)) = table(&mut owner, name).await? {
            tables.push(((*name).to_owned(), bytes, dead));
        }
    }
    let latency: (Option<f64>, Option<f64>, i64) = sqlx::query_as(
        "select percentile_cont(0.5) within group (order by took),
           percentile_cont(0.99) within group (order by took), count(*)
         from (
           select extract(epoch from a.assigned_at - e.received_at)::float8 * 1000 as took
           from switchyard.webhook_events e join switchyard.leads l on l.event_id = e.id
           join switchyard.lead_assignments a on a.lead_id = l.id
           where e.received_at > now() - make_interval(secs => $1)) t",
    )
    .bind(span.as_secs_f64())
    .fetch_one(&mut owner)
    .await?;
    let (p50, p99, n) = latency;
    let latency = (p50.unwrap_or_default(), p99.unwrap_or_default(), n);
    Ok(Reading { when, memory, tables, latency })
}

fn print(readings: &[Reading]) {
    for Reading { when, memory, tables, latency: (p50, p99, n) } in readings {
        println!("soak, {when}:");
        let memory: Vec<String> =
            memory.iter().map(|(what, _, kib)| format!("{what} {} MiB", kib >> 10)).collect();
        println!("  memory   {}", memory.join(", "));
        println!("  latency  p50 {p50:.0} ms, p99 {p99:.0} ms of {n} leads, 202 to assigned");
        for (name, bytes, dead) in tables {
            println!("  table    {name:<28} {:>8} KiB, {dead} dead rows", bytes >> 10);
        }
    }
}

/// What grew though nothing that it stands for did.
fn growth(first: &Reading, last: &Reading) -> Vec<String> {
    let mut grown = Vec::new();
    for (what, pid, before) in &first.memory {
        let now = last.memory.iter().find(|(_, p, _)| p == pid).map(|(_, _, kib)| *kib);
        match now {
            None => grown.push(format!("{what} {pid} has ended")),
            Some(now) if now > before + before / 2 + MEMORY_SLACK => {
                grown.push(format!("{what} {pid} had {before} KiB and has {now}"));
            }
            Some(_) => {}
        }
    }
    for (name, before, _) in first.tables.iter().filter(|t| OPEN_TABLES.contains(&t.0.as_str())) {
        let now = last.tables.iter().find(|t| t.0 == *name).map_or(0, |t| t.1);
        if now > before * 2 + TABLE_SLACK {
            grown.push(format!("{name} had {before} bytes and has {now}"));
        }
    }
    grown
}

/// How many leads a second go through the whole line: these, from their first webhook to the end of the
/// last job about them.
async fn capacity(
    fleet: &Fleet,
    leads: Range<usize>,
    events: &mut Vec<String>,
) -> anyhow::Result<f64> {
    let began: DateTime<Utc> =
        sqlx::query_scalar("select now()").fetch_one(&mut fleet.owner().await?).await?;
    let (key, n) = (fleet.portal_key.clone(), leads.len());
    events.extend(traffic::send_at(None, fleet.url(), key, leads, SENDERS).await?);
    audit::settle(fleet, crate::PATIENCE).await?;
    let took: f64 = sqlx::query_scalar(
        "select extract(epoch from max(finished_at) - $1)::float8 from engine.job_history
         where kind in ('webhook.process', 'lead.distribute') or kind like 'notify.%'",
    )
    .bind(began)
    .fetch_one(&mut fleet.owner().await?)
    .await?;
    Ok(n as f64 / took)
}

async fn soak(fleet: &Fleet, time: Duration) -> anyhow::Result<(Vec<String>, Vec<Reading>)> {
    let burst = if time > Duration::from_secs(60) { 2_000 } else { 100 };
    let mut events = Vec::new();
    // Connections, plans and tables are there when it counts.
    capacity(fleet, 0..WARM, &mut events).await?;
    let able = capacity(fleet, WARM..WARM + burst, &mut events).await?;
    let rate = setting("RATE").unwrap_or(able / 2.0).max(1.0);
    println!("soak: the line takes {able:.0} leads/s; {rate:.0} leads/s for {time:?}");
    let first = WARM + burst;
    let leads = first..first + (rate * time.as_secs_f64()).ceil() as usize;
    let (url, key) = (fleet.url(), fleet.portal_key.clone());
    let begun = Instant::now();
    let sending = tokio::spawn(traffic::send_at(Some(rate), url, key, leads, SENDERS));
    let mut readings = Vec::new();
    for (when, share) in [("beginning", 0.1), ("middle", 0.55), ("end", 1.0)] {
        sleep_until((begun + time.mul_f64(share)).into()).await;
        readings.push(read(when, fleet, time.mul_f64(0.1)).await?);
    }
    events.extend(sending.await??);
    ensure!(readings.iter().any(|r| r.latency.2 > 0), "no lead was assigned in time");
    audit::settle(fleet, crate::PATIENCE).await?;
    Ok((events, readings))
}

#[tokio::test]
async fn under_half_load_nothing_grows_but_history() {
    let time = Duration::from_secs_f64(setting("SECONDS").unwrap_or(8.0));
    let fleet = Fleet::with(Crew { workers: WORKERS, schedulers: 1, redis: true }).await.unwrap();
    let (events, readings) = soak(&fleet, time).await.unwrap();
    print(&readings);
    let findings = audit::audit(&fleet, &events).await.unwrap();
    fleet.stop().await;
    findings.judge("soak");
    assert_eq!(findings.unknown, 0, "nobody was harmed");
    let [first, .., last] = &readings[..] else { panic!("three readings") };
    assert_eq!(growth(first, last), [] as [String; 0]);
}
