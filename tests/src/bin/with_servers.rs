//! Runs a command beside a private PostgreSQL and a private Redis made for tests:
//! `with-servers cargo nextest run --workspace`. The command finds them in
//! `SWITCHYARD_TEST_DATABASE_URL` (a superuser) and `SWITCHYARD_TEST_REDIS_URL`; what is set
//! already is used and not started. Gives the command's exit code.

use anyhow::Context;
use secrecy::ExposeSecret;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use switchyard::local::postgres::{Postgres, Tuning};
use switchyard::local::redis::Redis;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

const DATABASE: &str = "SWITCHYARD_TEST_DATABASE_URL";
const REDIS: &str = "SWITCHYARD_TEST_REDIS_URL";

#[tokio::main]
async fn main() -> ExitCode {
    let command: Vec<OsString> = std::env::args_os().skip(1).collect();
    if command.is_empty() {
        eprintln!("usage: with-servers COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    }
    match run(&command).await {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("with-servers: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &[OsString]) -> anyhow::Result<u8> {
    let folder = tempfile::Builder::new().prefix("switchyard-tests-").tempdir()?;
    // PostgreSQL may run under another account, which must be able to walk in.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    let mut postgres = None;
    let mut redis = None;
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]);
    if std::env::var_os(DATABASE).is_none() {
        let server = start_postgres(folder.path()).await?;
        child.env(DATABASE, server.owner_url().expose_secret());
        postgres = Some(server);
    }
    if std::env::var_os(REDIS).is_none() {
        let server = Redis::start(folder.path()).await.map_err(explained)?;
        child.env(REDIS, server.url().expose_secret());
        redis = Some(server);
    }
    let code = run_child(child).await;
    if let Some(server) = redis {
        server.stop().await;
    }
    if let Some(server) = postgres {
        server.stop().await;
    }
    code
}

async fn start_postgres(folder: &Path) -> anyhow::Result<Postgres> {
    let tuning = Tuning { durable: false, connections: 300 };
    Postgres::start(folder, tuning).await.map_err(explained)
}

fn explained(fault: switchyard::Fault) -> anyhow::Error {
    let remedy = fault.remedy.clone().map(|r| format!(" ({r})")).unwrap_or_default();
    anyhow::anyhow!("{}{remedy}", fault.chain())
}

/// Ctrl-C reaches the command by itself, being in our process group; SIGTERM is passed on.
async fn run_child(mut command: Command) -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = command.spawn().context("the command cannot be run")?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
                    use nix::sys::signal::{Signal, kill};
                    let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
                }
            }
        }
    };
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}
