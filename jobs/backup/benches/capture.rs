//! How long a full backup and an increment take, beside `pg_dump` and, where it is installed, pgBackRest (gzip 1,
//! AES, two processes, over the server's own files): leads with documents, narrow accounts, and a
//! million updates of those: `cargo bench --profile demo --workspace --bench capture`
//!
//! `SWITCHYARD_BENCH_LEADS` (300,000), `SWITCHYARD_BENCH_ACCOUNTS` (2,000,000) and
//! `SWITCHYARD_BENCH_UPDATES` (1,000,000) are the numbers of rows.
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Server, TestVault};
use switchyard_backup::model::{Kind, Manifest};
use switchyard_backup::{Silent, SourceConfig, full, incremental};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(format!("SWITCHYARD_BENCH_{name}"))
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(otherwise)
}

/// The most memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") / 1024
}

fn mebi(bytes: u64) -> u64 {
    bytes >> 20
}

fn report(what: &str, took: Duration, stored: u64, more: &str) {
    println!("{what:<34} {:>7.2} s {:>6} MiB  {more}", took.as_secs_f64(), mebi(stored));
}

/// pgBackRest beside the server. It copies files, so it must be where they are; its archive of the log is left
/// out, which a restore of its backup would need.
struct PgBackRest {
    folder: tempfile::TempDir,
    data: std::path::PathBuf,
}

impl PgBackRest {
    /// Ready for a first backup; none where it is not installed.
    fn of(server: &Server) -> Option<Self> {
        Command::new("pgbackrest").arg("version").output().ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let own = Self { folder, data: server.data() };
        own.run("stanza-create", &[]);
        Some(own)
    }

    fn run(&self, what: &str, more: &[&str]) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let socket = self.data.parent().expect("the server's folder").display();
        let done = Command::new("pgbackrest")
            .args([
                "--stanza=bench",
                "--log-level-console=warn",
                "--log-level-file=off",
                "--process-max=2",
            ])
            .args(["--pg1-user=postgres", "--pg1-database=postgres"])
            .arg("--repo1-cipher-type=aes-256-cbc")
            .env("PGBACKREST_REPO1_CIPHER_PASS", "only for this bench")
            .arg(format!("--pg1-path={}", self.data.display()))
            .arg(format!("--pg1-socket-path={socket}"))
            .arg(format!("--repo1-path={}", path("repo")))
            .arg(format!("--lock-path={}", path("lock")))
            .arg(format!("--spool-path={}", path("spool")))
            .args(more)
            .arg(what)
            .status()
            .expect("pgbackrest");
        assert!(done.success(), "pgbackrest {what} failed");
    }

    /// Takes a backup of this type, and tells how long it took and what it added.
    fn backup(&self, kind: &str) {
        let before = tree_size(self.folder.path());
        let since = Instant::now();
        let kind_wanted = format!("--type={kind}");
        self.run(
            "backup",
            &[
                &kind_wanted,
                "--start-fast",
                "--no-archive-check",
                "--compress-type=gz",
                "--compress-level=1",
            ],
        );
        let took = since.elapsed();
        report(&format!("pgBackRest, {kind}"), took, tree_size(self.folder.path()) - before, "");
    }
}

fn tree_size(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|e| match e.metadata() {
        Ok(m) if m.is_dir() => tree_size(&e.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn changes(manifest: &Manifest) -> u64 {
    match &manifest.kind {
        Kind::Incremental { changes, .. } => *changes,
        _ => 0,
    }
}

#[tokio::main]
async fn main() {
    let (leads, accounts) = (number("LEADS", 300_000), number("ACCOUNTS", 2_000_000));
    let updates = number("UPDATES", 1_000_000).min(accounts);
    let settings = [
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        // At least two files of the log, which are of 16 MB here.
        ("min_wal_size", "64MB"),
        ("max_slot_wal_keep_size", "-1"),
    ];
    let server = Server::start_sized(&settings, 16).await;
    let database = server.database().await;
    let since = Instant::now();
    database
        .run(&format!(
            "create schema b;
             create table b.leads (id uuid primary key default gen_random_uuid(), agency int not null,
               name text, mail text, phone text, created timestamptz, score double precision, doc jsonb);
             insert into b.leads (agency, name, mail, phone, created, score, doc)
             select n % 500, 'Lead ' || md5(n::text), md5(random()::text) || '@example.com', '+49' || n,
                    now() - n * interval '1 second', random(),
                    jsonb_build_object('source', 'portal ' || n % 40, 'text', md5(random()::text) || ' wants ' || n,
                      'budget', (random() * 1e6)::int, 'tags', array['a', md5(n::text), 'c'], 'flag', n % 2 = 0)
               from generate_series(1, {leads}) n;
             create index on b.leads (agency);
             create table b.accounts (id int primary key, branch int, balance int, filler char(40));
             insert into b.accounts select n, n % 50, 0, md5(n::text) from generate_series(1, {accounts}) n"
        ))
        .await;
    database.run("vacuum analyze").await;
    println!("{leads} leads, {accounts} accounts, made in {:.1} s", since.elapsed().as_secs_f64());

    let vault = TestVault::new();
    let config = SourceConfig::new(database.url());
    let pgbackrest = PgBackRest::of(&server);
    for run in 1..=3 {
        let target = vault.folder.path().join(format!("pg_dump-{run}"));
        let since = Instant::now();
        let done = Command::new(Server::program("pg_dump"))
            .args(["-Fd", "-j2", "-Z1", "-f"])
            .arg(&target)
            .arg(server.url(&database.name, support::server::SUPERUSER))
            .status()
            .expect("pg_dump");
        assert!(done.success());
        report("pg_dump -Fd -j2 -Z1", since.elapsed(), tree_size(&target), "");

        let since = Instant::now();
        let made =
            full(&config, &vault.vault, BTreeMap::new(), &Silent).await.expect("a full backup");
        let memory = format!("peak {} MiB", peak());
        report("full, encrypted, with checksums", since.elapsed(), made.stored_bytes(), &memory);
        if let Some(other) = &pgbackrest {
            other.backup("full");
        }
    }
    for (what, steps) in [("in transactions of 1,000", updates / 1000), ("in one transaction", 1)] {
        let each = updates / steps.max(1);
        let mut connection = database.connect().await;
        for step in 0..steps {
            let (from, to) = (step * each, (step + 1) * each);
            let sql = format!(
                "update b.accounts set balance = balance + (random() * 1000)::int where id > {from} and id <= {to}"
            );
            support::server::execute(&mut connection, &sql).await;
        }
        let since = Instant::now();
        let made = incremental(&config, &vault.vault, BTreeMap::new(), &Silent)
            .await
            .expect("an increment");
        let (took, made) = (since.elapsed(), made.expect("a manifest"));
        let per = made.stored_bytes() * 10 / changes(&made).max(1);
        let (whole, tenth, peak) = (per / 10, per % 10, peak());
        let more =
            format!("{} changes, {whole}.{tenth} bytes each, peak {peak} MiB", changes(&made));
        report(&format!("increment, {what}"), took, made.stored_bytes(), &more);
        if let Some(other) = &pgbackrest {
            other.backup("incr");
        }
    }
    let since = Instant::now();
    incremental(&config, &vault.vault, BTreeMap::new(), &Silent).await.expect("an increment");
    report("increment, idle", since.elapsed(), 0, "");
}
