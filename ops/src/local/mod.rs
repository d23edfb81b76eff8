//! Private servers: a PostgreSQL and a Redis that belong to one data folder (or to one test run),
//! on free ports of 127.0.0.1. A server that somebody else runs is never touched.

mod account;
mod pid_file;
pub mod postgres;
mod postgres_setup;
mod process;
pub mod redis;

use crate::Fault;
use secrecy::SecretString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A port of 127.0.0.1 that nobody listens on at this moment.
fn free_port() -> Result<u16, Fault> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
    bound.map(|a| a.port()).map_err(|e| Fault::new("no_port", "no free port").caused_by(e))
}

/// Whether nobody listens on this port of 127.0.0.1.
fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A password of 192 random bits, safe in a URL.
#[must_use]
pub fn random_password() -> SecretString {
    let bytes: [u8; 24] = rand::random();
    SecretString::from(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// If the folder cannot be written to.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let next = path.with_file_name(name);
    // A leftover of a crash may have other rights; a fresh file has ours.
    match fs::remove_file(&next) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)
}
