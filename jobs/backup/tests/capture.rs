//! What is captured while writers write, applied row by row, is byte for byte what the database has.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;
use support::replay::{restore, sums};
use support::shop;
use support::writers::Writers;
use support::{Database, Server, TestVault};
use switchyard_backup::model::{Kind, Manifest, Snapshot, Sums};
use switchyard_backup::{BackupFault, Silent, SourceConfig, Vault, full, incremental};

async fn shop() -> (Database, SourceConfig) {
    let database = Server::shared().await.database().await;
    database.run(shop::SCHEMA).await;
    let mut config = SourceConfig::new(database.url());
    config.patience = Duration::from_secs(30);
    (database, config)
}

async fn full_of(config: &SourceConfig, vault: &Vault) -> Manifest {
    full(config, vault, BTreeMap::new(), &Silent).await.expect("a full backup")
}

async fn increment_of(config: &SourceConfig, vault: &Vault) -> Manifest {
    incremental(config, vault, BTreeMap::new(), &Silent)
        .await
        .expect("an increment")
        .expect("a manifest")
}

fn sums_in(full: &Manifest) -> BTreeMap<String, Sums> {
    let Kind::Full { tables, .. } = &full.kind else { panic!("no full backup") };
    tables.iter().map(|t| (t.name.clone(), t.sums.clone())).collect()
}

fn snapshot_of(full: &Manifest) -> Snapshot {
    let Kind::Full { snapshot, .. } = &full.kind else { panic!("no full backup") };
    snapshot.clone()
}

async fn restored(
    source: &Database,
    vault: &Vault,
    full: &Manifest,
    increments: &[Manifest],
    until: Option<&Snapshot>,
) -> BTreeMap<String, Sums> {
    let into = source.server.database().await;
    restore(&into, vault, full, increments, until).await;
    sums(&into).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_and_its_increments_are_exact_while_writers_write() {
    let (database, config) = shop().await;
    let vault = TestVault::new();
    let vault = &vault.vault;
    let writers = Writers::start(&database, 4, shop::STEPS).await;
    writers.commit(30).await;
    let mut first = full_of(&config, vault).await;
    let mut increments = Vec::new();
    for _ in 0..3 {
        writers.commit(40).await;
        follow(&config, vault, &mut first, &mut increments).await;
    }
    let mut second = full_of(&config, vault).await;
    let before = increments.len();
    for _ in 0..2 {
        writers.commit(40).await;
        follow(&config, vault, &mut second, &mut increments).await;
    }
    writers.stop().await;
    follow(&config, vault, &mut second, &mut increments).await;

    let now = sums(&database).await;
    assert!(now.values().map(|s| s.rows).sum::<u64>() > 500);
    assert_eq!(restored(&database, vault, &second, &increments, None).await, now);
    // Where the server gave up after the second full backup, the first one's chain ends there.
    if increments.len() == before + 3 {
        assert_eq!(restored(&database, vault, &first, &increments, None).await, now);
        // The old full backup and its increments are the new one, exactly.
        let until = snapshot_of(&second);
        let then = restored(&database, vault, &first, &increments, Some(&until)).await;
        assert_eq!(then, sums_in(&second));
    }
}

/// Takes an increment and, where the server cannot read its own log (PostgreSQL 15, now and then, beside
/// tables that are emptied), does what the product says: a full backup, with which the chain begins anew.
async fn follow(
    config: &SourceConfig,
    vault: &Vault,
    full: &mut Manifest,
    increments: &mut Vec<Manifest>,
) {
    match incremental(config, vault, BTreeMap::new(), &Silent).await {
        Ok(increment) => increments.push(increment.expect("a manifest")),
        Err(BackupFault::SlotLost { why, .. }) if why.contains("could not map filenode") => {
            eprintln!("{why}");
            *full = full_of(config, vault).await;
            increments.clear();
        }
        Err(fault) => panic!("{fault}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_around_the_snapshot_are_applied_once() {
    let (database, config) = shop().await;
    let vault = TestVault::new();
    full_of(&config, &vault.vault).await;
    let insert = |t: &str| format!("insert into shop.whole values (9000 + {t}, '{t}')");
    // Under way when the position is noted: the backup waits for it.
    let mut waited_for = database.connect().await;
    support::server::execute(&mut waited_for, &format!("begin; {}", insert("1"))).await;
    let running = tokio::spawn({
        let (config, vault) = (config.clone(), vault.vault.clone());
        async move { full_of(&config, &vault).await }
    });
    let mut watch = database.connect().await;
    loop {
        let sql = "select exists (select from pg_stat_activity where application_name = 'switchyard backup'
                     and datname = current_database() and query like '%pg_prepared_xacts%')";
        if sqlx::query_scalar(sql).fetch_one(&mut watch).await.expect("an answer") {
            break;
        }
    }
    // Begun after the position: one ends before the snapshot, one after it, one not at all.
    database.run(&insert("2")).await;
    let (mut straddles, mut gives_up) = (database.connect().await, database.connect().await);
    let xid = "select pg_current_xact_id()::text::bigint";
    support::server::execute(&mut straddles, &format!("begin; {}", insert("3"))).await;
    let straddling: i64 =
        sqlx::query_scalar(xid).fetch_one(&mut straddles).await.expect("a number");
    support::server::execute(&mut gives_up, &format!("begin; {}", insert("4"))).await;
    support::server::execute(&mut waited_for, "commit").await;
    let second = running.await.expect("it ends");
    support::server::execute(&mut straddles, "commit").await;
    support::server::execute(&mut gives_up, "rollback").await;

    let snapshot = snapshot_of(&second);
    let straddling = u32::try_from(straddling).expect("a young server");
    assert!(!snapshot.holds(straddling), "{snapshot:?} holds {straddling}");
    let increment = increment_of(&config, &vault.vault).await;
    let Kind::Incremental { transactions, .. } = increment.kind else { panic!("no increment") };
    assert_eq!(transactions, 3);
    let found = restored(&database, &vault.vault, &second, &[increment], None).await;
    assert_eq!(found, sums(&database).await);
    assert_eq!(found["shop.whole"].rows, 53);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_may_come_and_go_between_increments() {
    let (database, config) = shop().await;
    let vault = TestVault::new();
    let first = full_of(&config, &vault.vault).await;
    database
        .run("create table shop.events_new partition of shop.events for values in ('new');
              insert into shop.events (at, region, what) values ('2026-05-05', 'new', 'x'), ('2026-05-05', 'eu', 'y');
              drop table shop.events_eu_1;
              begin;
              create table shop.events_late (like shop.events including all);
              alter table shop.events attach partition shop.events_late for values in ('late');
              insert into shop.events (at, region, what) values ('2026-05-05', 'late', 'z');
              commit")
        .await;
    let one = increment_of(&config, &vault.vault).await;
    database.run("update shop.events set region = 'new' where region = 'late'").await;
    let two = increment_of(&config, &vault.vault).await;
    database
        .run("truncate shop.events; insert into shop.events (at, region) values ('2026-08-08', 'eu')")
        .await;
    let three = increment_of(&config, &vault.vault).await;
    assert_eq!(
        restored(&database, &vault.vault, &first, &[one, two, three], None).await,
        sums(&database).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_gives_empty_increments_that_let_the_log_go() {
    let (database, config) = shop().await;
    let vault = TestVault::new();
    full_of(&config, &vault.vault).await;
    // Much log that is no matter of ours.
    database.run("create table shop.tmp as select 1; drop table shop.tmp").await;
    let noise = "create temp table n as select generate_series(1, 300000) n; drop table n;
                 create unlogged table shop.u as select generate_series(1, 200000) n; drop table shop.u;
                 select pg_logical_emit_message(false, 'noise', repeat('x', 100000)) from generate_series(1, 100)";
    database.run(noise).await;
    let lag = switchyard_backup::slot_health(&config).await.expect("health").lag_bytes;
    assert!(lag > 9_000_000, "{lag}");
    let one = increment_of(&config, &vault.vault).await;
    let two = increment_of(&config, &vault.vault).await;
    let health = switchyard_backup::slot_health(&config).await.expect("health");
    assert!(health.lag_bytes < 1_000_000 && health.wal_status == "reserved", "{health:?}");
    let (Kind::Incremental { to, .. }, Kind::Incremental { from, objects, changes, .. }) =
        (one.kind, two.kind)
    else {
        panic!("no increments")
    };
    assert_eq!((to, changes, objects), (from, 0, Vec::new()));
    assert!(two.covers > one.covers);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_no_superuser_can_back_up() {
    let server = Server::shared().await;
    let database = server.database().await;
    database
        .run(
            "do $$ begin if not exists (select from pg_roles where rolname = 'plain_owner') then
                create role plain_owner login replication; end if; end $$",
        )
        .await;
    let name = &database.name;
    database
        .run(&format!(
            "grant create on database {name} to plain_owner; set role plain_owner; create schema own;
             create table own.t (id int primary key, x text);
             alter table own.t enable row level security; create policy p on own.t using (id = 1);
             insert into own.t select n, 'x' from generate_series(1, 100) n"
        ))
        .await;
    let config = SourceConfig::new(database.url_as("plain_owner"));
    let vault = TestVault::new();
    let first = full_of(&config, &vault.vault).await;
    database.run("delete from own.t where id % 2 = 0").await;
    let one = increment_of(&config, &vault.vault).await;
    let found = restored(&database, &vault.vault, &first, &[one], None).await;
    assert_eq!(found, sums(&database).await);
    assert_eq!(found["own.t"].rows, 50);
}
