//! The real program as tests run it: with a clean environment, and ended with the test.
//!
//! Cargo builds it in every test run of the workspace, because the package `switchyard` has a test
//! of its own (`ops/tests/program.rs`); it then stands beside the folder of the test binaries.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest time for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program's file.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test binary has a path");
    let deps = test.parent().expect("a test binary stands in a folder");
    let file = deps.parent().expect("target/<profile>/deps").join("switchyard");
    assert!(file.exists(), "{} is not built: run the whole workspace's tests", file.display());
    file
}

/// A command of the program in a clean environment: what is set around the test run must not reach
/// it, and `folder` is where it starts, so that no file lies about that it would read.
#[must_use]
pub fn switchyard(folder: &Path) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("SWITCHYARD_")
            || name_text == "DATABASE_URL"
            || name_text == "REDIS_URL"
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A folder that PostgreSQL's account can walk into.
#[must_use]
pub fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("switchyard-it-").tempdir().expect("a folder");
    let walk_in = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(folder.path(), walk_in).expect("our own folder");
    folder
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error stream.
    pub err: String,
}

impl Said {
    /// The standard output as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The error stream as JSON.
    #[must_use]
    pub fn err_json(&self) -> serde_json::Value {
        serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

/// Runs the program to its end.
pub async fn say<I, S>(folder: &Path, environment: &[(&str, &str)], args: I) -> Said
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = switchyard(folder);
    command.args(args).envs(environment.iter().copied());
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    said(ended.expect("the command ends").expect("the program runs"))
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Asks again and again until there is an answer. Fails the test, saying what it waited for, when
/// there is none for a minute.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The program while it runs (`up`, `api`, `work`, `schedule`). Killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where its output goes: `<name>.out` and `<name>.err`.
    log: PathBuf,
}

impl Running {
    /// Starts it; its output goes to files beside `folder`'s data.
    #[must_use]
    pub fn start(folder: &Path, name: &str, environment: &[(&str, &str)], args: &[&str]) -> Self {
        let log = folder.join(name);
        let file = |ending| std::fs::File::create(log.with_extension(ending)).expect("a log file");
        let mut command = switchyard(folder);
        command.args(args).envs(environment.iter().copied());
        command.stdout(file("out")).stderr(file("err"));
        Self { child: command.spawn().expect("the program runs"), log }
    }

    /// What it said so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The file it logs to, which outlives it.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.log.with_extension("err")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Fails the test if it has ended, showing its log.
    pub fn assert_runs(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("it ended early with {status}: {}", self.log());
        }
    }

    /// Asks it to stop and waits; gives the exit code.
    pub async fn stop(self) -> Option<i32> {
        use nix::sys::signal::{Signal, kill};
        let pid = i32::try_from(self.pid()).expect("a pid fits");
        kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        self.end().await
    }

    /// Waits for its end; gives the exit code.
    pub async fn end(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it does not stop: {}", self.log()))
            .expect("a child")
            .code()
    }

    /// Kills it as a crash would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }
}
