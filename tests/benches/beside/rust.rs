//! The contestants in Rust: the program in `tests/peers/rust`, a workspace of its own, which is built
//! here. One that cannot be built, or fails, is left out with a sentence.

use super::peers::{Peers, figures, rate};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// What they are called in the table, and by the program.
pub const QUEUES: [(&str, &str); 4] = [
    ("riverqueue", "riverqueue"),
    ("graphile_worker (Rust)", "graphile"),
    ("apalis-postgres", "apalis-postgres"),
    ("apalis-redis", "apalis-redis"),
];

/// One command of theirs takes no longer; it gives up earlier if no job runs.
const AT_MOST: Duration = Duration::from_secs(600);

/// The program, if it could be built.
pub struct RustPeers<'a> {
    peers: &'a Peers,
    program: Option<PathBuf>,
}

impl<'a> RustPeers<'a> {
    /// Builds the program if it is `wanted`, for minutes the first time.
    pub async fn new(peers: &'a Peers, wanted: bool) -> Self {
        if !wanted {
            return Self { peers, program: None };
        }
        println!("building the peers in Rust");
        let program = build().await;
        if let Err(e) = &program {
            println!("the peers in Rust are left out: {e:#}");
        }
        Self { peers, program: program.ok() }
    }

    /// Processes `jobs` empty jobs, already enqueued when the clock starts; jobs a second.
    pub async fn process(&self, which: &str, jobs: u64) -> Option<f64> {
        let program = self.program.as_deref()?;
        let count = jobs.to_string();
        let measured = async {
            self.run(program, &["load", which, &count]).await?;
            rate(&self.run(program, &["work", which, &count]).await?)
        };
        or_left_out(which, measured.await)
    }

    /// Enqueues in every way that it has; jobs a second by name.
    pub async fn enqueue(&self, which: &str) -> Vec<(String, f64)> {
        let Some(program) = self.program.as_deref() else { return Vec::new() };
        let measured = async { figures(&self.run(program, &["enqueue", which]).await?) };
        or_left_out(which, measured.await).unwrap_or_default()
    }

    /// What it printed.
    async fn run(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(program);
        self.peers.at_their_servers(&mut command).args(arguments).kill_on_drop(true);
        let done = tokio::time::timeout(AT_MOST, command.output()).await;
        let done = done.with_context(|| format!("{arguments:?} took more than {AT_MOST:?}"))??;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "{arguments:?} failed: {}",
            said.lines().next().unwrap_or_default()
        );
        Ok(done.stdout)
    }
}

fn or_left_out<T>(which: &str, measured: anyhow::Result<T>) -> Option<T> {
    measured.inspect_err(|e| println!("  {which} is left out: {e:#}")).ok()
}

async fn build() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/rust/Cargo.toml");
    let target = target()?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .await
        .context("cargo is needed for the peers in Rust")?;
    ensure!(built.success(), "cargo could not build tests/peers/rust");
    Ok(target.join("release/peers"))
}

/// Beside `CARGO_TARGET_DIR`; without it inside the workspace's own, which git ignores.
fn target() -> anyhow::Result<PathBuf> {
    if let Some(ours) = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        let mut name = ours.file_name().context("CARGO_TARGET_DIR has no name")?.to_owned();
        name.push("-peers");
        return Ok(std::path::absolute(ours.with_file_name(name))?);
    }
    let me = std::env::current_exe()?;
    Ok(me.ancestors().nth(3).context("no folder")?.join("peers"))
}
