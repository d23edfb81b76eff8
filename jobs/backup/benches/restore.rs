//! How long a restore takes beside `pg_restore -j2` of the same database on the same server, and how many
//! changes a second are applied. `cargo bench -p switchyard-backup --bench restore`; `ROWS` sets the size
//! (600,000 leads by default, some 360 MB with their indexes' columns), `CHANGES` the log (1,000,000).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::time::Instant;
use support::kit::{Kit, contents, same};
use support::server::{SUPERUSER, Server};
use switchyard_backup::{Restored, differential};

const SCHEMA: &str = "
    create table accounts (aid int primary key, bid int, balance int, filler char(84));
    create table leads (
      id uuid primary key default gen_random_uuid(), agency int not null, mail text, phone text,
      doc jsonb not null, at timestamptz not null, seen int not null default 0);
    create index on leads (agency, at);
    create index on leads (mail);
    create index on leads (phone);
    create index on leads using gin (doc);";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

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

fn print(what: &str, restored: &Restored) {
    println!("{what}: {:.1} s", restored.seconds);
    for step in &restored.steps {
        println!("    {:>7.1} s  {}", step.seconds, step.what);
    }
}

#[tokio::main]
async fn main() {
    let server = Server::start(&[
        ("shared_buffers", "512MB"),
        ("max_wal_size", "8GB"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("max_slot_wal_keep_size", "20GB"),
        ("logical_decoding_work_mem", "256MB"),
    ])
    .await;
    let kit = Kit::on(server, SCHEMA).await;
    let (rows, changes) = (number("ROWS", 600_000), number("CHANGES", 1_000_000));
    for statement in data(rows).split_inclusive(';') {
        kit.source.run(statement).await;
    }
    let size: i64 =
        support::kit::ask(&kit.source, "select pg_database_size(current_database())").await;
    println!("the database has {} MB", size / 1_000_000);

    let since = Instant::now();
    kit.full().await;
    println!("full backup: {:.1} s", since.elapsed().as_secs_f64());
    let (restored, _) = kit.restore(&kit.plan("ours")).await.unwrap();
    print("restore, every table's checksums compared", &restored);

    pg_restore(&kit).await;

    let per = changes / 4;
    for part in 0..4 {
        kit.source
            .run(&format!(
                "update accounts set balance = balance + 1 where aid > {} and aid <= {}",
                part * per,
                (part + 1) * per
            ))
            .await;
    }
    kit.increment().await;
    let (restored, database) = kit.restore(&kit.plan("changes")).await.unwrap();
    print("restore with changes", &restored);
    let apply = seconds(&restored, "applying changes");
    println!(
        "applied {} changes in {apply:.1} s: {:.0} a second",
        restored.changes,
        restored.changes as f64 / apply
    );
    same(&contents(&database).await, &contents(&kit.source).await);

    let since = Instant::now();
    differential(&kit.vault, &switchyard_backup::Silent).await.unwrap();
    println!("differential: {:.1} s", since.elapsed().as_secs_f64());
}

async fn pg_restore(kit: &Kit) {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    let since = Instant::now();
    let done = Command::new(Server::program("pg_dump"))
        .args(["-Fd", "-j2", "-Z1", "-f"])
        .arg(&dump)
        .arg(kit.server.url(&kit.source.name, SUPERUSER))
        .status()
        .unwrap();
    assert!(done.success());
    println!("pg_dump -Fd -j2 -Z1: {:.1} s", since.elapsed().as_secs_f64());
    let into = kit.server.database().await;
    let since = Instant::now();
    let done = Command::new(Server::program("pg_restore"))
        .args(["-j2", "-d"])
        .arg(kit.server.url(&into.name, SUPERUSER))
        .arg(&dump)
        .status()
        .unwrap();
    assert!(done.success());
    println!(
        "pg_restore -j2 (no checksums, no statistics): {:.1} s",
        since.elapsed().as_secs_f64()
    );
}
