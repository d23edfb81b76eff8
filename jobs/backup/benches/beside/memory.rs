//! How much memory this process and the server's backends take.

use crate::support::Server;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the backends are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Watches from its making on.
pub struct Watch {
    over: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
    anew: bool,
}

impl Watch {
    /// Begins. The peak of this process is counted anew where the kernel lets it (`clear_refs`).
    pub fn begin(server: &Server) -> Self {
        let anew = fs::write("/proc/self/clear_refs", "5").is_ok();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, first) = (Arc::clone(&over), server.process());
        let looking = std::thread::spawn(move || {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(largest_backend(first));
                std::thread::sleep(LOOK);
            }
            most
        });
        Self { over, looking, anew }
    }

    /// The peaks since the beginning, for a report: of this process, and of the largest backend without the
    /// buffers that all share.
    pub fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        let backend = self.looking.join().expect("it looks on") >> 10;
        let since = if self.anew { "" } else { " since the start" };
        let own = of("self", "VmHWM:") >> 10;
        format!("memory {own} MiB{since}, of a backend {backend} MiB")
    }
}

/// A line of a process's state, in KiB.
fn of(process: &str, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    found.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What the largest of the server's backends has for itself, in KiB. Background processes are none.
fn largest_backend(first: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    let children = children.unwrap_or_default();
    let backends = children.split_whitespace().filter(|pid| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&title).contains("[local]")
    });
    backends.map(|pid| of(pid, "RssAnon:")).max().unwrap_or(0)
}
