//! The contestants that are not ours: Node programs in `tests/peers`, on the same servers. Those in
//! Rust are in `rust.rs`.

use super::load::{Load, Outcome};
use anyhow::{Context, ensure};
use redis::AsyncCommands;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Their key, as `server.js` has it.
pub const KEY: &str = "test-key-0123456789abcdef";

/// The servers that they share with us, and where their modules are installed.
pub struct Peers {
    folder: PathBuf,
    redis_port: u16,
    database: String,
    _redis: Child,
}

impl Peers {
    /// Installs their modules into `folder`, starts a Redis as durable as is usual
    /// (`appendfsync everysec`) and makes their database.
    pub async fn new(folder: &Path, server_url: &str) -> anyhow::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let folder = folder.join("peers");
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(source)? {
            let file = file?;
            if file.file_type()?.is_file() {
                std::fs::copy(file.path(), folder.join(file.file_name()))?;
            }
        }
        let npm = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .status()
            .await
            .context("npm is needed for the peers")?;
        ensure!(npm.success(), "npm could not install the peers");
        let redis_port = free_port()?;
        let redis = Command::new("redis-server")
            .args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec"])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("redis-server is needed for the peers")?;
        wait_for(([127, 0, 0, 1], redis_port).into()).await?;
        let mut admin = PgConnection::connect(server_url).await?;
        sqlx::raw_sql("create database peers").execute(&mut admin).await?;
        let mut url = reqwest::Url::parse(server_url)?;
        url.set_path("peers");
        let database = String::from(url);
        let mut peers = PgConnection::connect(&database).await?;
        sqlx::raw_sql(
            "create table webhook_events(id uuid primary key, source text not null,
               payload jsonb not null, received_at timestamptz not null default now())",
        )
        .execute(&mut peers)
        .await?;
        Ok(Self { folder, redis_port, database, _redis: redis })
    }

    fn node(&self, script: &str, arguments: &[&str]) -> Command {
        let mut node = Command::new("node");
        node.arg(script)
            .args(arguments)
            .current_dir(&self.folder)
            .env("NODE_ENV", "production")
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.at_their_servers(&mut node);
        node
    }

    /// Tells a program of theirs where their servers are.
    pub fn at_their_servers<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.env("REDIS_PORT", self.redis_port.to_string()).env("PG_URL", &self.database)
    }

    /// Express and BullMQ take webhooks; with `durable` each is first a row in PostgreSQL. Fails
    /// unless what is stored equals what was answered with 2xx.
    pub async fn ingest(
        &self,
        durable: bool,
        connections: usize,
        time: Duration,
    ) -> anyhow::Result<Outcome> {
        let before = self.stored(durable).await?;
        let (mut server, address) = self.serve(durable).await?;
        let load = Load {
            address,
            path: "/webhooks/leads",
            key: KEY.into(),
            connections,
            time,
            at_most: u64::MAX,
            postal_codes: vec!["00-950".to_owned()],
        };
        let outcome = load.run().await?;
        server.kill().await?;
        let stored = self.stored(durable).await? - before;
        ensure!(stored == outcome.accepted, "{} accepted, {stored} stored", outcome.accepted);
        Ok(outcome)
    }

    /// Their server, once it listens, and where.
    pub async fn serve(&self, durable: bool) -> anyhow::Result<(Child, SocketAddr)> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = self
            .node("server.js", &[])
            .env("PORT", port.to_string())
            .env("DURABLE", if durable { "1" } else { "0" })
            .spawn()?;
        wait_for(address).await?;
        Ok((server, address))
    }

    /// Rows, or jobs that wait where there are no rows.
    pub async fn stored(&self, durable: bool) -> anyhow::Result<u64> {
        if durable {
            let mut c = PgConnection::connect(&self.database).await?;
            let n: i64 =
                sqlx::query_scalar("select count(*) from webhook_events").fetch_one(&mut c).await?;
            return Ok(n.unsigned_abs());
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.redis_port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(connection.llen("bull:leads:wait").await?)
    }

    /// Processes `jobs` empty jobs, already enqueued when the clock starts; jobs a second.
    pub async fn process(&self, which: &str, jobs: u64, tuning: &[&str]) -> anyhow::Result<f64> {
        let count = jobs.to_string();
        let loaded = self.node("proc_load.js", &[which, &count]).status().await?;
        ensure!(loaded.success(), "{which} could not enqueue");
        let mut arguments = vec![which, &count];
        arguments.extend(tuning);
        let done = self.node("proc_work.js", &arguments).output().await?;
        rate(&done.stdout)
    }
}

impl Peers {
    /// Enqueues in every way that they have; jobs a second by name.
    pub async fn enqueue(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let done = self.node("enqueue.js", &[]).output().await?;
        let figures = figures(&done.stdout)?;
        ensure!(figures.len() >= 7, "some peers could not enqueue: {figures:?}");
        Ok(figures)
    }

    /// From enqueue to start at 100 jobs a second; p50 and p99 in ms.
    pub async fn delays(&self, which: &str) -> anyhow::Result<(f64, f64)> {
        let worker = self.node("lat_work.js", &[which, "1000"]).stdout(Stdio::piped()).spawn()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sent = self.node("lat_prod.js", &[which]).status().await?;
        ensure!(sent.success(), "{which} could not enqueue");
        let done = tokio::time::timeout(Duration::from_secs(30), worker.wait_with_output());
        let line: Value = serde_json::from_slice(&done.await??.stdout).context("no figures")?;
        let figure = |name: &str| line[name].as_f64().context("no figures");
        Ok((figure("p50")?, figure("p99")?))
    }
}

/// Jobs a second, from the line that a worker prints.
pub fn rate(printed: &[u8]) -> anyhow::Result<f64> {
    let line: Value = serde_json::from_slice(printed).context("no figures")?;
    line["jobs_s"].as_f64().context("no figures")
}

/// Medians by name, from the lines that an enqueuer prints.
pub fn figures(printed: &[u8]) -> anyhow::Result<Vec<(String, f64)>> {
    let lines = std::str::from_utf8(printed)?.lines().map(|line| {
        let line: Value = serde_json::from_str(line)?;
        let name = line["test"].as_str().context("a figure without a name")?.to_owned();
        Ok((name, line["median"].as_f64().context("no figures")?))
    });
    lines.collect()
}

/// A port that nobody uses at this moment.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until somebody listens, at most 20 s.
pub async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    for _ in 0..400 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("nobody listens on {address}")
}
