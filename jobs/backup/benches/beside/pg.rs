//! `pg_dump -Fd -j2 -Z1` and `pg_restore -j2`.

use super::{report, tree_size};
use crate::support::server::SUPERUSER;
use crate::support::{Database, Server};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn run(program: &str, args: &[&str], folder: &Path, database: &Database) -> Duration {
    let url = database.server.url(&database.name, SUPERUSER);
    let mut command = Command::new(Server::program(program));
    command.args(args);
    match program {
        "pg_dump" => command.arg("-f").arg(folder).arg(url),
        _ => command.arg("-d").arg(url).arg(folder),
    };
    let since = Instant::now();
    let done = command.status().expect("PostgreSQL's programs");
    assert!(done.success(), "{program} failed");
    since.elapsed()
}

/// Dumps a database into a folder that is not there yet.
pub fn dump(database: &Database, folder: &Path) {
    let took = run("pg_dump", &["-Fd", "-j2", "-Z1"], folder, database);
    report("pg_dump -Fd -j2 -Z1", took, Some(tree_size(folder)), "");
}

/// Restores it into an empty database.
pub fn restore(folder: &Path, into: &Database) -> Duration {
    run("pg_restore", &["-j2"], folder, into)
}
