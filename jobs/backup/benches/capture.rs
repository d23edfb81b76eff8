//! How long a full backup and an increment take, how large they are and how much memory they need, beside
//! `pg_dump` and, where it is installed, pgBackRest, one after the other in each of three rounds: leads with
//! documents, narrow accounts, and a million updates of those.
//! `cargo bench --profile demo --workspace --bench capture`, or `jobs/backup/benches/run capture`.
//!
//! `ROWS` (300,000 leads), `ACCOUNTS` (2,000,000) and `CHANGES` (1,000,000 updates) set the sizes, `ROUNDS` (3)
//! how often.
#![allow(missing_docs, clippy::print_stdout)] // a program that prints

mod beside;
#[path = "../tests/support/mod.rs"]
mod support;

use beside::{PgBackRest, Watch, number, pg, report};
use std::collections::BTreeMap;
use std::time::Instant;
use support::{Database, Server, TestVault};
use switchyard_backup::model::{Kind, Manifest};
use switchyard_backup::{Silent, SourceConfig, full, incremental};

// As the program has it: how much memory is kept is the allocator's doing, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn schema(leads: u64, accounts: u64) -> String {
    format!(
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
    )
}

/// What is measured, and beside whom.
struct Bench {
    server: std::sync::Arc<Server>,
    database: Database,
    config: SourceConfig,
    vault: TestVault,
    dumps: tempfile::TempDir,
    pgbackrest: Option<PgBackRest>,
}

impl Bench {
    async fn fulls(&self, round: u64) {
        pg::dump(&self.database, &self.dumps.path().join(format!("{round}")));
        let (watch, since) = (Watch::begin(&self.server), Instant::now());
        let made = full(&self.config, &self.vault.vault, BTreeMap::new(), &Silent).await;
        let (took, made) = (since.elapsed(), made.expect("a full backup"));
        let what = "full, encrypted, with checksums";
        report(what, took, Some(made.stored_bytes()), &watch.end());
        if let Some(other) = &self.pgbackrest {
            other.backup("full");
        }
    }

    async fn update(&self, changes: u64, transactions: u64) {
        let each = changes / transactions;
        let mut connection = self.database.connect().await;
        for step in 0..transactions {
            let (from, to) = (step * each, (step + 1) * each);
            let sql = format!(
                "update b.accounts set balance = balance + (random() * 1000)::int where id > {from} and id <= {to}"
            );
            support::server::execute(&mut connection, &sql).await;
        }
    }

    async fn increment(&self, what: &str) {
        let (watch, since) = (Watch::begin(&self.server), Instant::now());
        let made = incremental(&self.config, &self.vault.vault, BTreeMap::new(), &Silent).await;
        let (took, made) = (since.elapsed(), made.expect("an increment").expect("a manifest"));
        let changes = changes(&made);
        let tenths = made.stored_bytes() * 10 / changes.max(1);
        let (whole, tenth, memory) = (tenths / 10, tenths % 10, watch.end());
        let more = format!("{changes} changes, {whole}.{tenth} bytes each; {memory}");
        report(&format!("increment, {what}"), took, Some(made.stored_bytes()), &more);
    }
}

fn changes(manifest: &Manifest) -> u64 {
    match &manifest.kind {
        Kind::Incremental { changes, .. } => *changes,
        _ => 0,
    }
}

#[tokio::main]
async fn main() {
    let (leads, accounts) = (number("ROWS", 300_000), number("ACCOUNTS", 2_000_000));
    let updates = number("CHANGES", 1_000_000).min(accounts);
    let rounds = number("ROUNDS", 3).max(1);
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
    database.run(&schema(leads, accounts)).await;
    database.run("vacuum analyze").await;
    println!("{leads} leads, {accounts} accounts, made in {:.1} s", since.elapsed().as_secs_f64());

    let bench = Bench {
        config: SourceConfig::new(database.url()),
        vault: TestVault::new(),
        dumps: tempfile::tempdir().expect("a folder"),
        pgbackrest: PgBackRest::of(&server),
        server,
        database,
    };
    for round in 1..=rounds {
        bench.fulls(round).await;
    }
    for _ in 1..=rounds {
        for (what, steps) in [("transactions of 1,000", updates / 1000), ("one transaction", 1)] {
            bench.update(updates, steps.max(1)).await;
            bench.increment(what).await;
            if let Some(other) = &bench.pgbackrest {
                other.backup("incr");
            }
        }
    }
    bench.increment("idle").await;
}
