//! Switchyard as separate processes beside servers of its own, so that any of them can be killed.

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use switchyard::local::postgres::{Postgres, Tuning};
use switchyard_tests::fakes::{FakeSmtp, FakeStripe, FakeTwilio};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How many of each to begin with, beside the one API.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    /// Workers.
    pub workers: usize,
    /// Schedulers; one of them leads.
    pub schedulers: usize,
    /// Whether there is a Redis.
    pub redis: bool,
}

/// One whole installation.
pub struct Fleet {
    folder: tempfile::TempDir,
    postgres: Postgres,
    redis: Option<(u16, Child)>,
    /// The providers' sockets, where duplicates are counted.
    pub smtp: FakeSmtp,
    /// The other one.
    pub twilio: FakeTwilio,
    /// Where commissions are paid out.
    pub stripe: FakeStripe,
    api: Child,
    address: SocketAddr,
    workers: Vec<Child>,
    schedulers: Vec<Child>,
    /// The demo portal's key.
    pub portal_key: String,
    /// Which worker process was killed, and when.
    pub killed: Vec<(u32, Instant)>,
}

impl Fleet {
    /// PostgreSQL (durable), Redis if wanted, one API, `workers` workers, two schedulers.
    pub async fn start(workers: usize, with_redis: bool) -> anyhow::Result<Self> {
        Self::with(Crew { workers, schedulers: 2, redis: with_redis }).await
    }

    /// PostgreSQL (durable), one API, and these.
    pub async fn with(crew: Crew) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("switchyard-chaos-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        let tuning = Tuning { durable: true, connections: 300 };
        let postgres = Postgres::start(folder.path(), tuning)
            .await
            .map_err(|f| anyhow::anyhow!("{}", f.chain()))?;
        let redis = if crew.redis {
            let port = free_port()?;
            Some((port, start_redis(port).await?))
        } else {
            None
        };
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut fleet = Self {
            smtp: FakeSmtp::start().await,
            twilio: FakeTwilio::start().await,
            stripe: FakeStripe::start().await,
            // Replaced below; a process has to stand here.
            api: Command::new("true").spawn()?,
            folder,
            postgres,
            redis,
            address,
            workers: Vec::new(),
            schedulers: Vec::new(),
            portal_key: String::new(),
            killed: Vec::new(),
        };
        fleet.portal_key = fleet.seed().await?;
        fleet.api = fleet.spawn(&["api", "--listen", &address.to_string()])?;
        wait_for(address).await?;
        for _ in 0..crew.schedulers {
            fleet.schedulers.push(fleet.spawn(&["schedule"])?);
        }
        for _ in 0..crew.workers {
            fleet.workers.push(fleet.spawn(&["work", "--concurrency", "16"])?);
        }
        Ok(fleet)
    }

    async fn seed(&self) -> anyhow::Result<String> {
        ensure!(self.command(&["migrate"]).status().await?.success(), "migrate failed");
        let seeded = self.command(&["seed", "--json"]).output().await?;
        ensure!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
        let told: Value = serde_json::from_slice(&seeded.stdout)?;
        let portals = told["portals"].as_array().context("seed tells of no portals")?;
        let demo = portals.iter().find(|p| p["code"] == "demo").context("no demo portal")?;
        Ok(demo["api_key"].as_str().context("no key")?.to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let twilio = self.twilio.config().twilio;
        let mut command = Command::new(program());
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .env("DATABASE_URL", self.postgres.owner_url().expose_secret())
            .env("SWITCHYARD_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
            .env("SWITCHYARD_PROVIDERS__EMAIL", "smtp")
            .env("SWITCHYARD_PROVIDERS__SMTP__HOST", "127.0.0.1")
            .env("SWITCHYARD_PROVIDERS__SMTP__PORT", self.smtp.addr().port().to_string())
            .env("SWITCHYARD_PROVIDERS__SMTP__TLS", "none")
            .env("SWITCHYARD_PROVIDERS__SMTP__FROM", "Switchyard <leads@example.com>")
            .env("SWITCHYARD_PROVIDERS__WHATSAPP", "twilio")
            .env("SWITCHYARD_PROVIDERS__TWILIO__BASE_URL", twilio.base_url)
            .env("SWITCHYARD_PROVIDERS__TWILIO__ACCOUNT_SID", twilio.account_sid)
            .env("SWITCHYARD_PROVIDERS__TWILIO__FROM", twilio.from)
            .env("SWITCHYARD_LOG__FILTER", "error")
            .kill_on_drop(true);
        let stripe = self.stripe.config();
        command.env("SWITCHYARD_PROVIDERS__STRIPE__BASE_URL", stripe.base_url);
        if let Some(key) = stripe.secret_key {
            command.env("SWITCHYARD_PROVIDERS__STRIPE__SECRET_KEY", key.expose_secret());
        }
        if let Some(token) = twilio.auth_token {
            command.env("SWITCHYARD_PROVIDERS__TWILIO__AUTH_TOKEN", token.expose_secret());
        }
        if let Some((port, _)) = &self.redis {
            command.env("REDIS_URL", format!("redis://127.0.0.1:{port}"));
        }
        command
    }

    fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
    }

    /// Where the API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its database is, with the owner's rights.
    pub fn database(&self) -> SecretString {
        self.postgres.owner_url()
    }

    /// A connection that sees everything. Waits while the server is away.
    pub async fn owner(&self) -> anyhow::Result<PgConnection> {
        let url = self.postgres.owner_url();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match PgConnection::connect(url.expose_secret()).await {
                Ok(connection) => return Ok(connection),
                Err(e) if Instant::now() > until => return Err(e.into()),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Makes a portal of what this file says.
    pub async fn apply(&self, portal: &str) -> anyhow::Result<()> {
        let file = self.folder.path().join("portal.yaml");
        std::fs::write(&file, portal)?;
        let applied = self.command(&["portals", "apply", &file.to_string_lossy()]).output().await?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        Ok(())
    }

    /// The processes and what they are.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let of = |what: &'static str, children: &[Child]| -> Vec<(&'static str, u32)> {
            children.iter().filter_map(Child::id).map(|pid| (what, pid)).collect()
        };
        let mut all = of("api", std::slice::from_ref(&self.api));
        all.extend(of("worker", &self.workers));
        all.extend(of("scheduler", &self.schedulers));
        all
    }

    /// Kills one worker with SIGKILL and starts another.
    pub async fn kill_worker(&mut self, which: usize) -> anyhow::Result<()> {
        let at = which % self.workers.len();
        let mut victim = self.workers.remove(at);
        let pid = victim.id().context("the worker is gone already")?;
        victim.start_kill()?;
        self.killed.push((pid, Instant::now()));
        victim.wait().await?;
        let next = self.spawn(&["work", "--concurrency", "16"])?;
        self.workers.push(next);
        Ok(())
    }

    /// Kills the worker with this process id; `false` if it is none of ours, or gone already.
    pub async fn kill_worker_of(&mut self, pid: u32) -> anyhow::Result<bool> {
        match self.workers.iter().position(|w| w.id() == Some(pid)) {
            Some(at) => self.kill_worker(at).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Kills the API with SIGKILL and starts it again at the same address.
    pub async fn kill_api(&mut self) -> anyhow::Result<()> {
        self.api.kill().await?;
        self.api = self.spawn(&["api", "--listen", &self.address.to_string()])?;
        wait_for(self.address).await
    }

    /// Kills one of the two schedulers and starts another: one of them led.
    pub async fn kill_scheduler(&mut self) -> anyhow::Result<()> {
        let mut victim = self.schedulers.remove(0);
        victim.kill().await?;
        let next = self.spawn(&["schedule"])?;
        self.schedulers.push(next);
        Ok(())
    }

    /// Flushes Redis, kills it, starts an empty one at the same place.
    pub async fn wreck_redis(&mut self) -> anyhow::Result<()> {
        let (port, mut server) = self.redis.take().context("there is no Redis")?;
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL").exec_async(&mut connection).await?;
        server.kill().await?;
        self.redis = Some((port, start_redis(port).await?));
        Ok(())
    }

    /// Ends PostgreSQL with this signal (SIGINT: fast shutdown, SIGQUIT: as after a crash); its
    /// keeper starts it again.
    pub async fn end_postgres(&self, signal: Signal) -> anyhow::Result<()> {
        let stored = std::fs::read(self.folder.path().join("postgres.json"))?;
        let stored: Value = serde_json::from_slice(&stored)?;
        let data = PathBuf::from(stored["data"].as_str().context("no data folder")?);
        let pid_file = std::fs::read_to_string(data.join("postmaster.pid"))?;
        let pid = pid_file.lines().next().context("an empty pid file")?.trim().parse()?;
        kill(Pid::from_raw(pid), signal)?;
        Ok(())
    }

    /// Stops everything.
    pub async fn stop(mut self) {
        for mut child in self.workers.drain(..).chain(self.schedulers.drain(..)) {
            let _ = child.kill().await;
        }
        let _ = self.api.kill().await;
        self.postgres.stop().await;
    }
}

async fn start_redis(port: u16) -> anyhow::Result<Child> {
    let server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server is missing: `ops/test` installs it")?;
    wait_for(([127, 0, 0, 1], port).into()).await?;
    Ok(server)
}

/// The program lies beside the test's own folder.
fn program() -> PathBuf {
    switchyard_tests::program::program()
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("nobody listens on {address}")
}
