//! `postmaster.pid`: who runs in a PostgreSQL data folder, on which port, and whether it is ready.
//! The lines are those of `miscadmin.h`: pid, folder, start time, port, socket folder, listen
//! address, shared memory key, status.

use std::fs;
use std::path::Path;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    pub(super) port: u16,
    pub(super) ready: bool,
}

impl PidFile {
    /// Reads it. `None`: there is none, or it is not complete yet.
    pub(super) fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: lines.first()?.trim().parse().ok()?,
            port: lines.get(3)?.trim().parse().ok()?,
            ready: lines.get(7).is_some_and(|s| s.trim() == "ready"),
        })
    }

    /// Whether the process of that number is a PostgreSQL server of exactly this folder: the server
    /// keeps its data folder as its working directory. After a crash the number may belong to any
    /// process by now.
    pub(super) fn is_ours(&self, data: &Path) -> bool {
        super::process::works_in(self.pid, data, &["postgres", "postmaster"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str =
        "4711\n/d/postgres\n1763829000\n41234\n\n127.0.0.1\n  123 456\nready   \n";

    #[test]
    fn reads_a_ready_server() {
        assert_eq!(PidFile::parse(RUNNING), Some(PidFile { pid: 4711, port: 41234, ready: true }));
    }

    #[test]
    fn a_server_that_starts_is_not_ready() {
        let starting = RUNNING.replace("ready", "starting");
        assert_eq!(PidFile::parse(&starting).map(|p| p.ready), Some(false));
    }

    #[test]
    fn half_a_file_is_none() {
        assert_eq!(PidFile::parse("4711\n/d/postgres\n"), None);
    }

    #[test]
    fn our_own_process_is_no_server() {
        let me = i32::try_from(std::process::id()).expect("a pid fits");
        let file = PidFile { pid: me, port: 1, ready: true };
        let cwd = std::env::current_dir().expect("a folder");
        assert!(!file.is_ours(&cwd), "the folder is right, the program is not");
    }
}
