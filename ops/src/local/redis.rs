//! A private Redis: wake-ups, counters and caches for one run. It keeps nothing, so one that ends is
//! simply started again, and one that a crashed run left behind is ended.

use super::process::{Process, works_in};
use super::{free_port, is_free, random_password, write_private};
use crate::Fault;
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const START_PATIENCE: Duration = Duration::from_secs(10);
/// Time between the end of a server and the start of the next.
const PAUSE: Duration = Duration::from_millis(500);
/// It keeps nothing that an orderly end would save.
const STEPS: [(Signal, Duration); 1] = [(Signal::SIGTERM, Duration::from_secs(2))];
/// Where the address of the one that runs is written.
const FILE: &str = "redis.json";

/// The one that runs in a folder; readable to its owner only.
#[derive(Serialize, Deserialize)]
struct Stored {
    pid: i32,
    port: u16,
    password: String,
}

impl Stored {
    /// The folder's, if its process still runs.
    fn running(folder: &Path) -> Option<Self> {
        let text = fs::read(folder.join(FILE)).ok()?;
        let stored: Self = serde_json::from_slice(&text).ok()?;
        works_in(stored.pid, folder, &["redis-server"]).then_some(stored)
    }

    fn url(&self) -> SecretString {
        let Self { port, password, .. } = self;
        SecretString::from(format!("redis://default:{password}@127.0.0.1:{port}"))
    }
}

/// A running private server.
#[derive(Debug)]
pub struct Redis {
    url: SecretString,
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<()>,
}

impl Redis {
    /// Starts one on a free port of 127.0.0.1 behind a random password, working in `folder`, and
    /// keeps it running.
    ///
    /// # Errors
    /// If Redis is not installed, or does not come up.
    pub async fn start(folder: &Path) -> Result<Self, Fault> {
        let folder = fs::canonicalize(folder).map_err(|e| {
            Fault::new("data_folder", format!("{} cannot be used", folder.display())).caused_by(e)
        })?;
        clear(&folder).await;
        let program = find().ok_or_else(|| {
            Fault::new("no_redis", "Redis is not installed").remedy(
                "install the package `redis-server`, set REDIS_URL to a server of yours, or do \
                 without: Redis is not needed on one machine",
            )
        })?;
        let mut launch = Launch { program, folder, port: 0, password: random_password() };
        let mut tries = 0;
        let process = loop {
            tries += 1;
            launch.port = free_port()?;
            match launch.run().await {
                Ok(process) => break process,
                // Between the look for a free port and the server's own bind somebody took it.
                Err(_) if tries < 4 && !is_free(launch.port) => {}
                Err(e) => return Err(e),
            }
        };
        let url = launch.stored(0).url();
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(launch, process, stopped));
        Ok(Self { url, stop: Some(stop), supervisor })
    }

    /// Its address, with the password.
    #[must_use]
    pub fn url(&self) -> SecretString {
        self.url.clone()
    }

    /// Stops it.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.supervisor).await;
    }
}

/// The address of the server that runs in a data folder. `None`: none does.
#[must_use]
pub fn stored_url(folder: &Path) -> Option<SecretString> {
    Stored::running(folder).map(|stored| stored.url())
}

/// Ends a server that a crashed run left in this folder.
pub async fn clear(folder: &Path) {
    if let Some(mut process) = Stored::running(folder).and_then(|s| Process::adopt(s.pid)) {
        process.stop(&STEPS).await;
    }
    let _ = fs::remove_file(folder.join(FILE));
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    folders.map(|f| f.join("redis-server")).find(|p| p.exists())
}

/// What is needed to start it again, on the same port with the same password.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    password: SecretString,
}

impl Launch {
    fn stored(&self, pid: i32) -> Stored {
        Stored { pid, port: self.port, password: self.password.expose_secret().to_owned() }
    }

    async fn run(&self) -> Result<Process, Fault> {
        let log_file = self.folder.join("redis.log");
        let failed = |what: &str| {
            Fault::new("redis_start", format!("Redis could not be started: {what}"))
                .remedy(format!("{} says why", log_file.display()))
        };
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log_file);
        let log = log.map_err(|e| failed("its log cannot be written").caused_by(e))?;
        let settings = format!(
            "bind 127.0.0.1\nport {}\nrequirepass {}\nsave \"\"\nappendonly no\ndaemonize no\n\
             logfile \"\"\n",
            self.port,
            self.password.expose_secret(),
        );
        let mut command = Command::new(&self.program);
        // The settings come over the standard input, so that no other user reads the password in
        // the list of processes. The folder is not among them: its name may hold anything.
        command.arg("-").current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(log).stderr(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| failed("it did not run").caused_by(e))?;
        if let Some(mut input) = child.stdin.take() {
            let written = input.write_all(settings.as_bytes()).await;
            written.map_err(|e| failed("it took no settings").caused_by(e))?;
        }
        let mut process = Process::Child(child);
        let since = Instant::now();
        loop {
            if process.has_ended() {
                return Err(failed("it ended at once"));
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                break;
            }
            if since.elapsed() > START_PATIENCE {
                return Err(failed("nobody answers on its port"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        let stored = serde_json::to_vec(&self.stored(process.pid().unwrap_or_default()));
        write_private(&self.folder.join(FILE), &stored.unwrap_or_default())
            .map_err(|e| failed("its address cannot be written down").caused_by(e))?;
        Ok(process)
    }
}

/// Starts the server again whenever it ends without our asking.
async fn supervise(launch: Launch, mut process: Process, mut stopped: oneshot::Receiver<()>) {
    'runs: loop {
        tokio::select! {
            _ = &mut stopped => break,
            status = process.wait() => {
                tracing::error!(?status, "the private Redis ended; starting it again");
            }
        }
        process = loop {
            tokio::select! {
                _ = &mut stopped => break 'runs,
                () = sleep(PAUSE) => {}
            }
            match launch.run().await {
                Ok(process) => break process,
                Err(e) => tracing::error!(error = e.chain(), "Redis did not start"),
            }
        };
    }
    process.stop(&STEPS).await;
    let _ = fs::remove_file(launch.folder.join(FILE));
}
