//! What both benches share: sizes from the environment, lines of a report, memory, and the programs that are
//! measured beside us.

#![allow(dead_code, reason = "neither bench uses all of it")]

pub mod memory;
pub mod pg;
pub mod pgbackrest;

pub use memory::Watch;
pub use pgbackrest::PgBackRest;

use std::time::Duration;

/// A number of the environment.
pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// A line of the report: what, how long, how much was stored, and the rest.
pub fn report(what: &str, took: Duration, stored: Option<u64>, more: &str) {
    let stored = stored.map_or_else(String::new, |bytes| format!("{} MiB", bytes >> 20));
    println!("{what:<46} {:>8.2} s {stored:>9}  {more}", took.as_secs_f64());
}

/// The bytes of all files below a folder.
pub fn tree_size(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|e| match e.metadata() {
        Ok(m) if m.is_dir() => tree_size(&e.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// How long ten billion bytes take at the pace of so many, in seconds.
pub fn ten_gigabytes(took: Duration, bytes: i64) -> f64 {
    took.as_secs_f64() * 1e10 / bytes.max(1) as f64
}
