//! A private Redis: wake-ups, counters and caches for one run. It keeps nothing.

use super::free_port;
use super::process::Process;
use super::random_password;
use crate::Fault;
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::sleep;

const START_PATIENCE: Duration = Duration::from_secs(10);

/// A running private server. Dropped without [`Redis::stop`], it is killed: it keeps nothing.
#[derive(Debug)]
pub struct Redis {
    url: SecretString,
    process: Process,
}

impl Redis {
    /// Starts one on a free port of 127.0.0.1 behind a random password, working in `folder`.
    ///
    /// # Errors
    /// If Redis is not installed, or does not come up.
    pub async fn start(folder: &Path) -> Result<Self, Fault> {
        let program = find().ok_or_else(|| {
            Fault::new("no_redis", "Redis is not installed").remedy(
                "install the package `redis-server`, set REDIS_URL to a server of yours, or do \
                 without: Redis is not needed on one machine",
            )
        })?;
        let mut tries = 0;
        loop {
            tries += 1;
            let port = free_port()?;
            match launch(&program, folder, port).await {
                Ok(server) => return Ok(server),
                Err(_) if tries < 4 && !super::is_free(port) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Its address, with the password.
    #[must_use]
    pub fn url(&self) -> SecretString {
        self.url.clone()
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.process.stop(&[(Signal::SIGTERM, Duration::from_secs(5))]).await;
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    folders.map(|f| f.join("redis-server")).find(|p| p.exists())
}

async fn launch(program: &Path, folder: &Path, port: u16) -> Result<Redis, Fault> {
    let password = random_password();
    let failed =
        |what: &str| Fault::new("redis_start", format!("Redis could not be started: {what}"));
    let settings = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {}\ndir \"{}\"\nsave \"\"\nappendonly no\n\
         daemonize no\nlogfile \"\"\n",
        password.expose_secret(),
        folder.display()
    );
    let mut command = Command::new(program);
    // The settings come over the standard input, so that no other user reads the password in the
    // list of processes.
    command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| failed("it did not run").caused_by(e))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(settings.as_bytes())
            .await
            .map_err(|e| failed("it took no settings").caused_by(e))?;
    }
    let mut process = Process::Child(child);
    let since = Instant::now();
    loop {
        if process.has_ended() {
            return Err(failed("it ended at once"));
        }
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            let password = password.expose_secret();
            let url = SecretString::from(format!("redis://default:{password}@127.0.0.1:{port}"));
            return Ok(Redis { url, process });
        }
        if since.elapsed() > START_PATIENCE {
            return Err(failed("nobody answers on its port"));
        }
        sleep(Duration::from_millis(10)).await;
    }
}
