//! Switchyard in the same disciplines, on the same PostgreSQL server.

use super::load::{Load, Outcome};
use super::peers::{free_port, wait_for};
use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The program, a database of its own, the key of the demo portal and where it has territories.
pub struct Ours {
    program: PathBuf,
    folder: PathBuf,
    url: SecretString,
    portal_key: String,
    postal_codes: Vec<String>,
    secret_key: String,
}

impl Ours {
    /// Makes, migrates and seeds the database `name` on this server.
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
            portal_key: String::new(),
            postal_codes: Vec::new(),
            secret_key: base64::engine::general_purpose::STANDARD.encode([7_u8; 32]),
        };
        ensure!(ours.command(&["migrate"]).status().await?.success(), "migrate failed");
        let seeded = ours.command(&["seed", "--json"]).output().await?;
        ensure!(seeded.status.success(), "seed failed");
        let told: Value = serde_json::from_slice(&seeded.stdout)?;
        let portals = told["portals"].as_array().context("seed tells of no portals")?;
        let demo = portals.iter().find(|p| p["code"] == "demo").context("no demo portal")?;
        ours.portal_key = demo["api_key"].as_str().context("no key")?.to_owned();
        let agencies = told["agencies"].as_array().context("seed tells of no agencies")?;
        let codes = agencies.iter().filter_map(|a| a["postal_codes"].as_array()).flatten();
        ours.postal_codes = codes.filter_map(|c| c.as_str().map(str::to_owned)).collect();
        ensure!(!ours.postal_codes.is_empty(), "seed tells of no territories");
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
            .kill_on_drop(true);
        command
    }

    async fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(arguments).stdout(Stdio::null()).spawn()?)
    }

    /// The API alone takes webhooks, as the peers' servers do. Fails unless the rows equal the
    /// answers.
    pub async fn ingest(&self, connections: usize, time: Duration) -> anyhow::Result<Outcome> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let before = self.count("select count(*) from switchyard.webhook_events").await?;
        let mut api = self.start(&["api", "--listen", &address.to_string()]).await?;
        wait_for(address).await?;
        let key = self.portal_key.clone();
        let load = Load {
            address,
            path: "/api/webhooks/demo",
            key,
            connections,
            time,
            at_most: u64::MAX,
            postal_codes: self.postal_codes.clone(),
        };
        let outcome = load.run().await?;
        api.kill().await?;
        let rows = self.count("select count(*) from switchyard.webhook_events").await? - before;
        ensure!(rows == outcome.accepted, "{} accepted, {rows} rows", outcome.accepted);
        Ok(outcome)
    }

    /// Takes `leads` webhooks in, then runs one worker until every one of them is a lead whose
    /// messages are in the capture box; leads a second. Every lead is three jobs at least. With
    /// `spread` they go round the territories of the demo, else none has a postal code and all
    /// take turns in one place.
    pub async fn line(&self, leads: u64, spread: bool) -> anyhow::Result<f64> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut api = self.start(&["api", "--listen", &address.to_string()]).await?;
        wait_for(address).await?;
        let load = Load {
            address,
            path: "/api/webhooks/demo",
            key: self.portal_key.clone(),
            connections: 32,
            time: Duration::from_secs(600),
            at_most: leads,
            postal_codes: if spread { self.postal_codes.clone() } else { vec![String::new()] },
        };
        let sent = load.run().await?;
        api.kill().await?;
        let made = "select count(*) from switchyard.leads";
        let before = self.count(made).await?;
        let begun = Instant::now();
        let mut worker = self.start(&["work"]).await?;
        let open = "select count(*) from engine.jobs where stage < 2";
        while self.count(open).await? > 0 {
            ensure!(begun.elapsed() < Duration::from_secs(900), "the line does not come to an end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = begun.elapsed();
        worker.kill().await?;
        let made = self.count(made).await? - before;
        ensure!(made == sent.accepted, "{} accepted, {made} leads", sent.accepted);
        let unsent = "select count(*) from switchyard.messages where state <> 'sent'";
        ensure!(self.count(unsent).await? == 0, "some messages were not sent");
        Ok(made as f64 / took.as_secs_f64())
    }

    async fn count(&self, sql: &'static str) -> anyhow::Result<u64> {
        let mut owner = PgConnection::connect(self.url.expose_secret()).await?;
        let n: i64 = sqlx::query_scalar(sql).fetch_one(&mut owner).await?;
        Ok(n.unsigned_abs())
    }

    /// Where its database is.
    pub fn url(&self) -> &SecretString {
        &self.url
    }
}
