//! How long a search takes over a long history:
//! `cargo bench --profile demo --workspace --bench search`
//!
//! It fills a private PostgreSQL with finished jobs: whole days, which it seals as the scheduler
//! does, and a part of today, which is not. `SWITCHYARD_BENCH_ROWS` (10,000,000; about 1 GB a
//! million) over `SWITCHYARD_BENCH_DAYS` (10); `SWITCHYARD_BENCH_ROUNDS` questions of each sort (60).
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard::local::postgres::{Postgres, Tuning};
use switchyard_queue::{Wake, WakeToken};
use switchyard_store::jobs::{self, Filter, filter_of};
use switchyard_store::{Db, DbConfig, maintenance, migrate};
use tokio::sync::broadcast;

const PAGE: u32 = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("switchyard-bench-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    let tuning = Tuning { durable: false, connections: 50 };
    let server = Postgres::start(folder.path(), tuning)
        .await
        .map_err(|f| anyhow::anyhow!("{}", f.chain()))?;
    let result = measure(&server).await;
    server.stop().await;
    result
}

async fn measure(server: &Postgres) -> anyhow::Result<()> {
    let (rows, days) =
        (setting("SWITCHYARD_BENCH_ROWS", 10_000_000), setting("SWITCHYARD_BENCH_DAYS", 10));
    migrate(&server.owner_url()).await?;
    let db = Db::connect(DbConfig::new(server.owner_url()), Arc::new(Silence))?;
    let mut owner = PgConnection::connect(server.owner_url().expose_secret()).await?;
    fill(&mut owner, &db, rows, days).await?;
    let (size, max): (String, DateTime<Utc>) = sqlx::query_as(
        "select pg_size_pretty(pg_database_size(current_database())),
           (select max(finished_at) from engine.job_history)",
    )
    .fetch_one(&mut owner)
    .await?;
    println!("{rows} finished jobs, {size}, the last at {max}");
    println!("\n| question | median ms | p99 ms | highest ms | jobs found | complete |");
    println!("|---|---|---|---|---|---|");
    let last = i64::try_from(rows)?;
    for question in Question::all(last, max) {
        question.ask(&db).await?;
    }
    ids(&db, &mut owner).await
}

/// Finished jobs, `rows` of them over whole days and a twentieth of a day's worth today.
async fn fill(owner: &mut PgConnection, db: &Db, rows: u64, days: u64) -> anyhow::Result<()> {
    let (days, rows) = (i32::try_from(days)?, i64::try_from(rows)?);
    sqlx::query("select engine.ensure_slices(current_date - $1, $1 + 8)")
        .bind(days)
        .execute(&mut *owner)
        .await?;
    sqlx::raw_sql(
        "insert into engine.queues select 'bench';
         insert into engine.lanes (queue, partition) select 'bench', i::text from generate_series(1, 50) i",
    )
    .execute(&mut *owner)
    .await?;
    let a_day = rows / i64::from(days);
    for day in (0..=days).rev() {
        let n = if day == 0 { a_day / 20 } else { a_day };
        let began = Instant::now();
        sqlx::query(FILL)
            .bind(i64::from(days - day) * a_day)
            .bind(n)
            .bind(day)
            .execute(&mut *owner)
            .await?;
        println!("day -{day}: {n} jobs in {:.0?}", began.elapsed());
    }
    sqlx::raw_sql("vacuum analyze engine.job_history").execute(&mut *owner).await?;
    let began = Instant::now();
    while maintenance::seal_slice(db).await? > 0 {}
    println!("sealed in {:.0?}", began.elapsed());
    Ok(())
}

/// Row n: one of eight kinds, a lead of its own, one of 2,000 agencies; every 25th failed once,
/// every 200th was cancelled.
const FILL: &str = "
    insert into engine.job_history
      (id, lane, kind, priority, outcome, attempt, max_attempts, crashes, timeout_ms, worker, tenant, args,
       error, trace, request_id, created_at, run_at, started_at, finished_at)
    select left(encode(sha256(('job' || n)::bytea), 'hex'), 32)::uuid, 1 + n % 50,
      (array['lead.distribute', 'notify.email', 'notify.whatsapp', 'webhook.process', 'notify.push',
             'commission.book', 'lead.expire', 'backup.verify'])[1 + least(n % 23, n % 8)],
      0, case when n % 200 = 7 then 9 else 8 end, 1, 12, 0, 30000, 1 + n % 40, left(encode(sha256(('agency' || n % 2000)::bytea), 'hex'), 32)::uuid,
      jsonb_build_object('lead', left(encode(sha256(('lead' || n)::bytea), 'hex'), 32)::uuid, 'agency', left(encode(sha256(('agency' || n % 2000)::bytea), 'hex'), 32)::uuid,
        'channel', (array['email', 'whatsapp', 'push'])[1 + n % 3],
        'address', jsonb_build_object('zip', lpad((n % 99999)::text, 5, '0'), 'country', 'PL')),
      case when n % 25 = 7 then (array[
        'error: the provider answered 503 to message ', 'error: smtp_550 mailbox unavailable for message ',
        'timeout: no answer after 30 s for message '])[1 + n % 3] || left(encode(sha256(('message' || n)::bytea), 'hex'), 32) end,
      '00-' || md5('trace' || n) || '-' || left(md5('span' || n), 16) || '-01', 'req-' || (n / 4),
      t - interval '3 s', t - interval '2 s', t - interval '1 s', t
    from (select n, (current_date - $3)::timestamptz + (n - $1) * (interval '1 day' / greatest($2, 1))
                    * case when $3 = 0 then least(1.0, extract(epoch from now() - current_date) / 86400) else 1 end t
          from generate_series($1, $1 + $2 - 1) n) s";

/// One sort of question with many values.
struct Question {
    what: &'static str,
    filter: Box<dyn Fn(i64) -> Filter>,
}

impl Question {
    fn new<const N: usize>(
        what: &'static str,
        pairs: impl Fn(i64) -> [(&'static str, String); N] + 'static,
    ) -> Self {
        let filter = move |n| filter_of(pairs(n)).unwrap_or_else(|e| panic!("{what}: {e}"));
        Self { what, filter: Box::new(filter) }
    }

    fn all(last: i64, newest: DateTime<Utc>) -> Vec<Self> {
        // Values from all over the history, none twice.
        let row = move |n: i64| (n * 7_919 * 1_009 + 13) % last;
        let hash = |what: &str, n: i64| dashed(&hex_of(&format!("{what}{n}")));
        let hours = move |n: i64| newest - TimeDelta::hours(5 + (n * 7) % 200);
        vec![
            Self::new("argument, one job has it", move |n| {
                [("arg", format!("lead={}", hash("lead", row(n))))]
            }),
            Self::new("argument, one job in 2,000", move |n| {
                [("arg", format!("agency={}", hash("agency", n % 2000)))]
            }),
            Self::new("argument, every third job", |n| {
                [("arg", format!("channel={}", ["email", "push"][usize::from(n % 2 == 0)]))]
            }),
            Self::new("nested argument, one in 100,000", |n| {
                [("arg", format!("address.zip=\"{:05}\"", n * 61 % 99_999))]
            }),
            Self::new("argument that no job has", |n| [("arg", format!("lead=nobody-{n}"))]),
            Self::new("error text, one job has it", move |n| {
                let n = row(n) / 25 * 25 + 7;
                [("error", hex_of(&format!("message{n}"))[..20].to_owned())]
            }),
            Self::new("error text, one job in 75", |_| [("error", "smtp_550".to_owned())]),
            Self::new("error text that no job has", |n| [("error", format!("disk {n} is full"))]),
            Self::new("kind, state and time", move |n| {
                [
                    ("kind", ["notify.email", "lead.expire"][usize::from(n % 2 == 0)].to_owned()),
                    ("state", "completed".to_owned()),
                    ("finished_to", hours(n).to_rfc3339()),
                    ("finished_from", (hours(n) - TimeDelta::hours(2)).to_rfc3339()),
                ]
            }),
            Self::new("kind, cancelled, time", move |n| {
                [
                    ("kind", "notify.push".to_owned()),
                    ("state", "cancelled".to_owned()),
                    ("finished_to", hours(n).to_rfc3339()),
                ]
            }),
            Self::new("request id", move |n| [("request_id", format!("req-{}", row(n) / 4))]),
            Self::new("agency, kind, error and time", move |n| {
                [
                    ("arg", format!("agency={}", hash("agency", n % 2000))),
                    ("kind", "lead.distribute".to_owned()),
                    ("error", "message".to_owned()),
                    ("finished_to", hours(n).to_rfc3339()),
                ]
            }),
            Self::new("tenant alone (no index)", move |n| [("tenant", hash("agency", n % 2000))]),
            Self::new("nothing: the newest", |_| []),
        ]
    }

    async fn ask(&self, db: &Db) -> anyhow::Result<()> {
        let mut times = Vec::new();
        let (mut found, mut complete) = (0, 0);
        for n in 0..i64::try_from(rounds())? {
            let filter = (self.filter)(n);
            let began = Instant::now();
            let page = jobs::search(db, &filter, None, PAGE).await?;
            times.push(began.elapsed());
            found += page.rows.len();
            complete += usize::from(page.looked_back_to.is_none());
        }
        report(self.what, times, found, complete);
        Ok(())
    }
}

/// The look-up of one job.
async fn ids(db: &Db, owner: &mut PgConnection) -> anyhow::Result<()> {
    let all: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from engine.job_history tablesample system (0.05) limit 60")
            .fetch_all(owner)
            .await?;
    let mut times = Vec::new();
    for id in &all {
        let began = Instant::now();
        jobs::find(db, switchyard_queue::JobId(*id)).await?;
        times.push(began.elapsed());
    }
    report("one job by its id", times, all.len(), all.len());
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>, found: usize, complete: usize) {
    times.sort_unstable();
    let ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let n = times.len();
    println!(
        "| {what} | {:.1} | {:.1} | {:.1} | {:.1} | {complete} of {n} |",
        ms(0.5),
        ms(0.99),
        ms(1.0),
        found as f64 / n as f64,
    );
}

fn hex_of(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

/// 32 hexadecimal digits as PostgreSQL writes an id.
fn dashed(hex: &str) -> String {
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

fn rounds() -> u64 {
    setting("SWITCHYARD_BENCH_ROUNDS", 60)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Wake-ups that reach nobody.
struct Silence;

impl Wake for Silence {
    fn send(&self, _: &[WakeToken]) {}

    fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
        broadcast::channel(1).1
    }
}
