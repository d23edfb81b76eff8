//! One server process: a child of ours, or one that a crashed run of ours left behind.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

/// A running server.
#[derive(Debug)]
pub(super) enum Process {
    /// Started by us.
    Child(Child),
    /// Found running in our folder. `born` (start time in clock ticks since boot, proc(5)) tells it
    /// from a later process with the same number.
    Adopted {
        /// Its process id.
        pid: i32,
        /// Its start time.
        born: u64,
    },
}

impl Process {
    /// Takes over a process that runs already.
    pub(super) fn adopt(pid: i32) -> Option<Self> {
        Some(Self::Adopted { pid, born: born(pid)? })
    }

    /// Its process id; `None` once it is known to be gone.
    pub(super) fn pid(&self) -> Option<i32> {
        match self {
            Self::Child(child) => child.id().and_then(|id| i32::try_from(id).ok()),
            Self::Adopted { pid, born: b } => (born(*pid) == Some(*b)).then_some(*pid),
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.wait().await.ok(),
            Self::Adopted { .. } => {
                while self.pid().is_some() {
                    sleep(Duration::from_millis(100)).await;
                }
                None
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Self::Adopted { .. } => self.pid().is_none(),
        }
    }

    /// Sends a signal; one to a process that is gone is no error.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid() else { return };
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => tracing::warn!(pid, %signal, error = %e, "a signal could not be sent"),
        }
    }

    /// Asks ever more firmly until it has ended.
    pub(super) async fn stop(&mut self, steps: &[(Signal, Duration)]) {
        for (signal, patience) in steps {
            if self.has_ended() {
                return;
            }
            self.signal(*signal);
            if timeout(*patience, self.wait()).await.is_ok() {
                return;
            }
        }
        self.signal(Signal::SIGKILL);
        self.wait().await;
    }
}

/// A child that nobody stopped (the start was interrupted, a test panicked) is asked to end, and
/// waited for briefly: SIGINT is PostgreSQL's fast shutdown, and Redis ends on it too.
impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self, Self::Child(_)) || self.has_ended() {
            return;
        }
        self.signal(Signal::SIGINT);
        for _ in 0..200 {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether the process of that number has one of these names and works in `folder`. After a crash a
/// number that was written down may belong to anybody.
pub(super) fn works_in(pid: i32, folder: &Path, names: &[&str]) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let same_folder = match (fs::read_link(proc.join("cwd")), fs::canonicalize(folder)) {
        (Ok(cwd), Ok(folder)) => cwd == folder,
        _ => false,
    };
    let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
    same_folder && names.contains(&name.trim())
}

/// Field 22 of `/proc/PID/stat`; the second field is in parentheses and may hold blanks.
fn born(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A zombie has ended; only its parent has not asked yet.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
