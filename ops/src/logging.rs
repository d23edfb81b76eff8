//! The log: one subscriber for the process, on the standard error stream.

use crate::config::LogConfig;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// PostgreSQL's notices ("already exists, skipping") are no news to whoever starts the program.
/// A filter of the user's that names them comes later and wins.
const QUIET: &str = "sqlx::postgres::notice=warn";

/// Starts logging. The first call of a process wins.
pub fn start(config: &LogConfig) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = if config.json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_target(false).try_init()
    };
    if let Err(e) = started {
        tracing::debug!(error = %e, "a log was set up already");
    }
}
