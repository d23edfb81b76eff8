//! Switchyard: one database, one portal that signs, and the processes as they are run in production.

use super::bodies::{API_KEY, SIGNING_SECRET};
use super::drive::Answer;
use super::peers::{free_port, wait_for};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Where the deliveries go.
pub const PATH: &str = "/api/webhooks/bench";

/// Everything on: key, signature, the sender's id, a limit, persons who asked before.
const PORTAL: &str = r#"
code: bench
api_key: {in: header, name: X-API-Key}
signature: {scheme: github}
delivery_id: {path: id}
limits: {rate: "1000000/s"}
duplicates: {policy: link}
mapping:
  fields:
    external_id: {from: id, required: true}
    first_name: first_name
    last_name: last_name
    company: company
    email: email
    phone: phone
    postal_code: postal_code
    country: country
    interest: product
    message: message
    source: source
secrets:
  api_key: {env: BENCH_KEY}
  signing: {env: BENCH_SECRET}
"#;

/// The program, a database of its own, and where the demo's agencies have territories.
pub struct Ours {
    program: PathBuf,
    folder: PathBuf,
    url: SecretString,
    secret_key: String,
    /// In which postal codes somebody waits for leads.
    pub codes: Vec<String>,
}

impl Ours {
    /// Makes, migrates and seeds the database `name` on this server, and applies the portal's file.
    pub async fn new(
        program: PathBuf,
        folder: &Path,
        server: &str,
        name: &'static str,
    ) -> anyhow::Result<Self> {
        use base64::Engine;
        let mut admin = PgConnection::connect(server).await?;
        let create = format!("drop database if exists {name}; create database {name}");
        for sql in create.split(';') {
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await?;
        }
        let mut url = reqwest::Url::parse(server)?;
        url.set_path(name);
        let mut ours = Self {
            program,
            folder: folder.join(name),
            url: SecretString::from(String::from(url)),
            secret_key: base64::engine::general_purpose::STANDARD.encode([7_u8; 32]),
            codes: Vec::new(),
        };
        ensure!(ours.command(&["migrate"]).status().await?.success(), "migrate failed");
        let seeded = ours.command(&["seed", "--json"]).output().await?;
        ensure!(seeded.status.success(), "seed failed");
        let told: Value = serde_json::from_slice(&seeded.stdout)?;
        let agencies = told["agencies"].as_array().context("seed tells of no agencies")?;
        let codes = agencies.iter().filter_map(|a| a["postal_codes"].as_array()).flatten();
        ours.codes = codes.filter_map(|c| c.as_str().map(str::to_owned)).collect();
        ensure!(!ours.codes.is_empty(), "seed tells of no territories");
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, PORTAL)?;
        let file = file.to_string_lossy().into_owned();
        let applied = ours.command(&["portals", "apply", &file]).output().await?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        if let Ok(sql) = std::env::var("SWITCHYARD_BENCH_SQL") {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut ours.owner().await?).await?;
        }
        Ok(ours)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Our own settings are none of the program's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SWITCHYARD_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.folder)
            .env("DATABASE_URL", self.url.expose_secret())
            .env("SWITCHYARD_SECRET_KEY", &self.secret_key)
            .env("SWITCHYARD_LOG__FILTER", "warn")
            .env("BENCH_KEY", API_KEY)
            .env("BENCH_SECRET", SIGNING_SECRET)
            .kill_on_drop(true);
        command
    }

    /// The API alone.
    pub async fn api(&self) -> anyhow::Result<Process> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let listen = address.to_string();
        let child = self.command(&["api", "--listen", &listen]).stdout(Stdio::null()).spawn()?;
        wait_for(address).await?;
        Ok(Process { child, address })
    }

    /// A worker or a scheduler beside it.
    pub fn beside(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(arguments).stdout(Stdio::null()).spawn()?)
    }

    async fn owner(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(self.url.expose_secret()).await?)
    }

    /// How many events there are.
    pub async fn events(&self) -> anyhow::Result<u64> {
        let n: i64 = sqlx::query_scalar("select count(*) from switchyard.webhook_events")
            .fetch_one(&mut self.owner().await?)
            .await?;
        Ok(n.unsigned_abs())
    }

    /// Fails unless every event that was answered with 2xx is there.
    pub async fn audit(&self, answers: &[Answer]) -> anyhow::Result<()> {
        let ids: Vec<Uuid> =
            answers.iter().filter(|a| a.accepted()).filter_map(|a| a.event).collect();
        let accepted = answers.iter().filter(|a| a.accepted()).count();
        ensure!(ids.len() == accepted, "{accepted} accepted, {} named", ids.len());
        let mut owner = self.owner().await?;
        let mut there = 0;
        for ids in ids.chunks(10_000) {
            there += sqlx::query_scalar::<_, i64>(
                "select count(*) from switchyard.webhook_events where id = any($1)",
            )
            .bind(ids)
            .fetch_one(&mut owner)
            .await?;
        }
        ensure!(there.unsigned_abs() == accepted as u64, "{accepted} accepted, {there} kept");
        Ok(())
    }

    /// From each 2xx to the end of the job that gave the lead to an agency. Waits until all are given out.
    pub async fn assigned_after(&self, answers: &[Answer]) -> anyhow::Result<Vec<Duration>> {
        let mut owner = self.owner().await?;
        let begun = Instant::now();
        let open = "select exists (select from switchyard.webhook_events where state = 'received')
                    or exists (select from switchyard.leads where state = 'new')";
        while sqlx::query_scalar::<_, bool>(open).fetch_one(&mut owner).await? {
            ensure!(begun.elapsed() < Duration::from_secs(300), "some leads are not given out");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let rows: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
            "select l.event_id, min(coalesce(h.finished_at, a.assigned_at)) from switchyard.leads l
             join switchyard.lead_assignments a on a.lead_id = l.id
             left join engine.job_history h on h.id = a.job_id group by 1",
        )
        .fetch_all(&mut owner)
        .await?;
        let assigned: std::collections::HashMap<_, _> = rows.into_iter().collect();
        let after = |a: &Answer| {
            let at = assigned.get(&a.event?)?;
            Some((*at - DateTime::<Utc>::from(a.clock)).to_std().unwrap_or_default())
        };
        let answers: Vec<_> = answers.iter().filter(|a| a.accepted()).collect();
        let times: Vec<_> = answers.iter().filter_map(|a| after(a)).collect();
        ensure!(times.len() == answers.len(), "{} of {} assigned", times.len(), answers.len());
        Ok(times)
    }
}

/// A server under load.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Memory that it has resident now, and the most that it ever had, MiB.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(self.file("status")?)?;
        let of = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).context("no memory")?;
            let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kib / 1024.0)
        };
        Ok((of("VmRSS")?, of("VmHWM")?))
    }

    /// Processor time that it has used.
    pub fn processor(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(self.file("stat")?)?;
        // The name in parentheses may hold blanks; user and system time are the 12th and 13th after it.
        let (_, after) = stat.rsplit_once(')').context("no processor time")?;
        let ticks: Vec<u64> =
            after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        // Linux counts in hundredths of a second on every architecture that we know.
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
    }

    fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let id = self.child.id().context("it has ended")?;
        Ok(PathBuf::from(format!("/proc/{id}/{name}")))
    }

    /// Ends it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
