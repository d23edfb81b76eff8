//! A private PostgreSQL in a data folder: made at the first start, supervised while this program
//! runs, stopped by its own process.

use super::account::Account;
use super::pid_file::PidFile;
pub use super::postgres_setup::Tuning;
use super::postgres_setup::{self as setup, Credentials, LOGIN, OWNER};
use super::process::Process;
use super::{free_port, is_free};
use crate::Fault;
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The name of the database.
const DATABASE: &str = "switchyard";
/// Recovery after a crash may take a while; an ordinary start takes a quarter of a second.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How to end a server: SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one
/// (<https://www.postgresql.org/docs/15/server-shutdown.html>).
const ORDERLY: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(30)), (Signal::SIGQUIT, Duration::from_secs(5))];

/// At once: what was committed is safe, the next start recovers it.
const HASTY: [(Signal, Duration); 1] = [(Signal::SIGQUIT, Duration::from_secs(5))];

/// How to end.
type Steps = &'static [(Signal, Duration)];

/// A running private server.
#[derive(Debug)]
pub struct Postgres {
    owner_url: SecretString,
    login_url: SecretString,
    stop: Option<oneshot::Sender<Steps>>,
    supervisor: JoinHandle<()>,
}

impl Postgres {
    /// Starts the server of `folder`, which must exist; makes its data folder at the first start.
    /// One that a crashed run left behind is taken over.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or the server does not come up.
    pub async fn start(folder: &Path, tuning: Tuning) -> Result<Self, Fault> {
        let folder = fs::canonicalize(folder).map_err(|e| {
            Fault::new("data_folder", format!("{} cannot be used", folder.display())).caused_by(e)
        })?;
        let account = Account::for_postgres()?;
        let file = folder.join("postgres.json");
        let stored = match Credentials::load(&file)? {
            Some(c) if c.data.join("PG_VERSION").exists() => Some(c),
            _ => None,
        };
        let mut credentials = match stored {
            Some(credentials) => credentials,
            None => setup::init(&folder, &file, account, tuning).await?,
        };
        let mut launch = Launch {
            data: credentials.data.clone(),
            log: folder.join(setup::LOG),
            account,
            tuning,
            port: credentials.port,
        };
        let process = launch.start().await?;
        if credentials.port != launch.port {
            credentials.port = launch.port;
            credentials.save(&file)?;
        }
        let port = launch.port.unwrap_or_default();
        let (owner_url, login_url) = urls(&credentials, port);
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(launch, process, stopped));
        let server = Self { owner_url, login_url, stop: Some(stop), supervisor };
        server.make_database().await?;
        Ok(server)
    }

    async fn make_database(&self) -> Result<(), Fault> {
        let server = url(OWNER, &self.owner_url, "postgres");
        switchyard_store::create_database(&server, DATABASE).await.map_err(|e| {
            Fault::new("create_database", "the database could not be made").caused_by(e)
        })?;
        Ok(())
    }

    /// Makes the everyday login, a member of the two roles that the migrations made and of nothing
    /// else.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn grant_login(&self) -> Result<(), Fault> {
        let password = password_of(&self.login_url);
        switchyard_store::grant_login(&self.owner_url, LOGIN, &password)
            .await
            .map_err(|e| Fault::new("grant_login", "the login could not be made").caused_by(e))
    }

    /// With the owner's rights: migrations, backups.
    #[must_use]
    pub fn owner_url(&self) -> SecretString {
        self.owner_url.clone()
    }

    /// With the rights that the program needs every day.
    #[must_use]
    pub fn login_url(&self) -> SecretString {
        self.login_url.clone()
    }

    /// Stops the server in good order: what was committed is on disk, no recovery at the next start.
    pub async fn stop(self) {
        self.end(&ORDERLY).await;
    }

    /// Stops the server at once, cutting off whoever is connected.
    pub async fn stop_now(self) {
        self.end(&HASTY).await;
    }

    async fn end(mut self, steps: Steps) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(steps);
        }
        let _ = (&mut self.supervisor).await;
    }
}

/// The addresses of the server that runs (or last ran) in a data folder: owner and login.
/// `None`: there never was one.
///
/// # Errors
/// If the folder's credentials cannot be read.
pub fn stored_urls(folder: &Path) -> Result<Option<(SecretString, SecretString)>, Fault> {
    let stored = Credentials::load(&folder.join("postgres.json"))?;
    Ok(stored.and_then(|c| c.port.map(|port| urls(&c, port))))
}

fn urls(credentials: &Credentials, port: u16) -> (SecretString, SecretString) {
    let of = |user: &str, password: &SecretString| {
        let password = password.expose_secret();
        SecretString::from(format!("postgres://{user}:{password}@127.0.0.1:{port}/{DATABASE}"))
    };
    (of(OWNER, &credentials.owner_password()), of(LOGIN, &credentials.login_password()))
}

/// The same server and login, another database.
fn url(user: &str, like: &SecretString, database: &str) -> SecretString {
    let like = like.expose_secret();
    debug_assert!(like.contains(user));
    let server = like.rsplit_once('/').map_or(like, |(server, _)| server);
    SecretString::from(format!("{server}/{database}"))
}

fn password_of(url: &SecretString) -> SecretString {
    let url = url.expose_secret();
    let credentials = url.strip_prefix("postgres://").and_then(|u| u.split_once('@'));
    let password = credentials.and_then(|(c, _)| c.split_once(':')).map_or("", |(_, p)| p);
    SecretString::from(password.to_owned())
}

/// What is needed to start the server again.
#[derive(Debug)]
struct Launch {
    data: PathBuf,
    log: PathBuf,
    account: Account,
    tuning: Tuning,
    port: Option<u16>,
}

impl Launch {
    /// Takes over the server that runs in our folder, or starts one and waits until it is ready.
    async fn start(&mut self) -> Result<Process, Fault> {
        if let Some(process) = self.adopt().await {
            return Ok(process);
        }
        // Between the look for a free port and the server's own bind somebody may take it.
        let mut tries = 0;
        loop {
            tries += 1;
            let port = match self.port.filter(|p| is_free(*p)) {
                Some(port) => port,
                None => free_port()?,
            };
            match self.launch(port).await {
                Ok(process) => {
                    self.port = Some(port);
                    return Ok(process);
                }
                Err(_) if tries < 4 && !is_free(port) => {}
                Err(e) => return Err(e),
            }
        }
    }

    async fn adopt(&mut self) -> Option<Process> {
        let file = PidFile::read(&self.data)?;
        if !file.is_ours(&self.data) {
            // The number belongs to a stranger by now. PostgreSQL would take it for a server.
            if Path::new("/proc").join(file.pid.to_string()).exists() {
                let _ = fs::remove_file(self.data.join("postmaster.pid"));
            }
            return None;
        }
        let mut process = Process::adopt(file.pid)?;
        let since = Instant::now();
        while since.elapsed() < START_PATIENCE && !process.has_ended() {
            if let Some(file) = PidFile::read(&self.data).filter(|f| f.ready) {
                tracing::info!(
                    pid = file.pid,
                    port = file.port,
                    "took over the private PostgreSQL"
                );
                self.port = Some(file.port);
                return Some(process);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    async fn launch(&self, port: u16) -> Result<Process, Fault> {
        let failed = |what: String| {
            Fault::new("postgres_start", what).remedy(format!("{} says why", self.log.display()))
        };
        let bin = setup::programs(setup::data_version(&self.data))?;
        setup::write_settings(&self.data, port, self.account, self.tuning)
            .map_err(|e| failed("the server's settings cannot be written".into()).caused_by(e))?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log);
        let log = log.map_err(|e| failed("the log cannot be written".into()).caused_by(e))?;
        let mut command = self.account.command(&bin.join("postgres"));
        command.arg("-D").arg(&self.data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command
            .spawn()
            .map_err(|e| failed("PostgreSQL could not be started".into()).caused_by(e))?;
        let mut process = Process::Child(child);
        let since = Instant::now();
        loop {
            let pid = process.pid();
            if PidFile::read(&self.data).is_some_and(|f| f.ready && Some(f.pid) == pid) {
                return Ok(process);
            }
            if process.has_ended() {
                return Err(failed(format!("PostgreSQL ended at once: {}", tail(&self.log))));
            }
            if since.elapsed() > START_PATIENCE {
                process.stop(&ORDERLY).await;
                return Err(failed(format!("PostgreSQL is not ready after {START_PATIENCE:?}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Starts the server again whenever it ends without our asking.
async fn supervise(
    mut launch: Launch,
    mut process: Process,
    mut stopped: oneshot::Receiver<Steps>,
) {
    let steps = loop {
        tokio::select! {
            steps = &mut stopped => break steps.unwrap_or(&ORDERLY),
            status = process.wait() => {
                tracing::error!(?status, "the private PostgreSQL ended; starting it again");
            }
        }
        process = loop {
            // Somebody may be restarting it by hand: give that a moment, then take it over.
            tokio::select! {
                _ = &mut stopped => return,
                () = sleep(Duration::from_millis(500)) => {}
            }
            match launch.start().await {
                Ok(process) => break process,
                Err(e) => tracing::error!(error = e.chain(), "PostgreSQL did not start"),
            }
        };
    };
    process.stop(steps).await;
}

/// The last lines of the log, for a person who must not go looking for it.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
