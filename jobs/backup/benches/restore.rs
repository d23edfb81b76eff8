//! How long a restore takes beside `pg_restore -j2` and, where it is installed, pgBackRest, one after the other
//! in each of two rounds, with the memory of this process and of the server's backends; then three increments,
//! as 15 minutes have at one every five, and the restore with them: how many changes a second are applied.
//! `cargo bench --profile demo --workspace --bench restore`, or `jobs/backup/benches/run restore`.
//!
//! `ROWS` sets the size (600,000 leads by default, about 1 GB; 1,250,000 are about 2 GB, and what 10 GB would
//! take at that pace is told), `CHANGES` the log (1,000,000), `ROUNDS` how often (2).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod beside;
#[path = "../tests/support/mod.rs"]
mod support;

use beside::{PgBackRest, Watch, number, pg, report, ten_gigabytes};
use std::path::Path;
use std::time::{Duration, Instant};
use support::kit::{Kit, ask, contents, same};
use support::server::{Database, Server, execute};
use switchyard_backup::{Restored, differential};

// As the program has it: how much memory is kept is the allocator's doing, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEMA: &str = "
    create table accounts (aid int primary key, bid int, balance int, filler char(84));
    create table leads (
      id uuid primary key default gen_random_uuid(), agency int not null, mail text, phone text,
      doc jsonb not null, at timestamptz not null, seen int not null default 0);
    create index on leads (agency, at);
    create index on leads (mail);
    create index on leads (phone);
    create index on leads using gin (doc);";

const SETTINGS: [(&str, &str); 7] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    // At least two files of the log, which are of 16 MB here.
    ("min_wal_size", "64MB"),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("max_slot_wal_keep_size", "20GB"),
    ("logical_decoding_work_mem", "256MB"),
];

/// Increments in the chain that is restored.
const CHAIN: u64 = 3;

/// What tells one state of the accounts from another.
const STATE: &str = "select format('%s %s', count(*), sum(balance)) from accounts";

fn data(rows: u64) -> String {
    format!(
        "insert into accounts select g, g % 50, 0, '' from generate_series(1, {}) g;
         insert into leads (agency, mail, phone, doc, at)
         select g % 900, md5(g::text) || '@example.org', '+4930' || g,
           jsonb_build_object('name', md5((g * 7)::text), 'street', md5((g * 11)::text), 'rooms', g % 9,
             'text', md5((g * 13)::text) || md5((g * 17)::text) || md5((g * 19)::text)),
           timestamptz '2026-01-01' + g * interval '1 second'
         from generate_series(1, {rows}) g;
         vacuum analyze;",
        rows * 4
    )
}

fn seconds(restored: &Restored, what: &str) -> f64 {
    restored.steps.iter().filter(|s| s.what == what).map(|s| s.seconds).sum()
}

/// The program and the size of what it restores.
struct Bench {
    kit: Kit,
    size: i64,
    pgbackrest: Option<PgBackRest>,
}

impl Bench {
    fn tell(&self, what: &str, took: Duration, more: &str) {
        let ten = ten_gigabytes(took, self.size);
        report(what, took, None, &format!("10 GB at this pace: {ten:.0} s; {more}"));
    }

    /// Restores the newest state.
    async fn ours(&self, name: &str) -> (Restored, Database) {
        let (watch, since) = (Watch::begin(&self.kit.server), Instant::now());
        let (restored, database) = self.kit.restore(&self.kit.plan(name)).await.unwrap();
        self.tell("restore, every checksum compared", since.elapsed(), &watch.end());
        for step in &restored.steps {
            println!("    {:>7.1} s  {}", step.seconds, step.what);
        }
        (restored, database)
    }

    async fn by_pg_restore(&self, dump: &Path) {
        let into = self.kit.server.database().await;
        let took = pg::restore(dump, &into);
        self.tell("pg_restore -j2", took, "compares nothing, gathers no statistics");
        self.drop(&into).await;
    }

    async fn by_pgbackrest(&self) {
        let Some(other) = &self.pgbackrest else { return };
        let (took, server) = other.restore(&SETTINGS).await;
        self.tell("pgBackRest, restore and start", took, "");
        let copy = Database { server, name: self.kit.source.name.clone() };
        let (found, wanted): (String, String) =
            (ask(&copy, STATE).await, ask(&self.kit.source, STATE).await);
        assert_eq!(found, wanted, "what pgBackRest restored");
    }

    async fn drop(&self, database: &Database) {
        let mut admin = self.kit.server.admin().await;
        execute(&mut admin, &format!("drop database {} with (force)", database.name)).await;
    }

    /// An update of each account up to so many, an increment after each part of them.
    async fn changes(&self, changes: u64) {
        let per = changes / CHAIN;
        for part in 0..CHAIN {
            let (from, to) = (part * per, (part + 1) * per);
            let update = format!(
                "update accounts set balance = balance + 1 where aid > {from} and aid <= {to}"
            );
            self.kit.source.run(&update).await;
            let (watch, since) = (Watch::begin(&self.kit.server), Instant::now());
            self.kit.increment().await;
            report(&format!("increment of {per} changes"), since.elapsed(), None, &watch.end());
        }
        if let Some(other) = &self.pgbackrest {
            other.backup("incr");
        }
    }
}

#[tokio::main]
async fn main() {
    let server = Server::start_sized(&SETTINGS, 16).await;
    let kit = Kit::on(server, SCHEMA).await;
    let (rows, changes) = (number("ROWS", 600_000), number("CHANGES", 1_000_000));
    for statement in data(rows).split_inclusive(';') {
        kit.source.run(statement).await;
    }
    let size = ask(&kit.source, "select pg_database_size(current_database())").await;
    println!("the database has {} MB", size / 1_000_000);
    let pgbackrest = PgBackRest::of(&kit.server);
    let bench = Bench { kit, size, pgbackrest };

    let (watch, since) = (Watch::begin(&bench.kit.server), Instant::now());
    let full = bench.kit.full().await;
    let memory = watch.end();
    report("full, encrypted, with checksums", since.elapsed(), Some(full.stored_bytes()), &memory);
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    pg::dump(&bench.kit.source, &dump);
    if let Some(other) = &bench.pgbackrest {
        other.backup("full");
    }
    for round in 1..=number("ROUNDS", 2).max(1) {
        let (_, database) = bench.ours(&format!("round{round}")).await;
        bench.drop(&database).await;
        bench.by_pg_restore(&dump).await;
        bench.by_pgbackrest().await;
    }

    bench.changes(changes.min(rows * 4)).await;
    let (restored, database) = bench.ours("changes").await;
    let apply = seconds(&restored, "applying changes");
    let (count, pace) = (restored.changes, restored.changes as f64 / apply);
    println!("applied {count} changes of {CHAIN} increments in {apply:.1} s: {pace:.0} a second");
    bench.by_pgbackrest().await;
    same(&contents(&database).await, &contents(&bench.kit.source).await);

    let since = Instant::now();
    differential(&bench.kit.vault, &switchyard_backup::Silent).await.unwrap();
    report("differential", since.elapsed(), None, "");
}
