//! What cannot be backed up is refused with a sentence, and what goes wrong is made good by the next run.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;
use support::replay::{restore, sums};
use support::server::execute;
use support::shop;
use support::vault::{Kind as Goes, Trouble};
use support::{Database, Server, TestVault};
use switchyard_backup::model::{Kind, Manifest};
use switchyard_backup::{
    BackupFault, SCHEMA_MARK, Silent, SourceConfig, Vault, full, incremental, slot_health,
};

async fn fresh(sql: &str) -> (Database, SourceConfig) {
    let database = Server::shared().await.database().await;
    database.run(sql).await;
    let mut config = SourceConfig::new(database.url());
    config.patience = Duration::from_secs(20);
    (database, config)
}

const SMALL: &str = "create schema s; create table s.t (id int primary key, x text);
    insert into s.t select n, md5(n::text) from generate_series(1, 500) n;
    create table s.h (id int, k int, primary key (id, k)) partition by list (k);
    create table s.h_1 partition of s.h for values in (1); create table s.h_2 partition of s.h for values in (2);
    insert into s.h select n, n % 2 + 1 from generate_series(1, 100) n";

async fn back_up(config: &SourceConfig, vault: &Vault) -> Result<Manifest, BackupFault> {
    full(config, vault, BTreeMap::new(), &Silent).await
}

async fn increment(config: &SourceConfig, vault: &Vault) -> Result<Manifest, BackupFault> {
    incremental(config, vault, BTreeMap::new(), &Silent).await.map(|m| m.expect("a manifest"))
}

/// Why the database is refused.
async fn refused(config: &SourceConfig) -> String {
    match back_up(config, &TestVault::new().vault).await {
        Err(fault @ BackupFault::Unfit { .. }) => fault.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn full_needed(outcome: Result<Manifest, BackupFault>) -> String {
    match outcome {
        Err(BackupFault::FullNeeded { why, .. }) => why,
        other => panic!("no full backup needed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_refused() {
    let (database, config) = fresh("create schema s; create table s.keyless (id int)").await;
    let why = refused(&config).await;
    assert!(why.contains("s.keyless") && why.contains("primary key"), "{why}");
    database.run("alter table s.keyless replica identity full").await;
    assert!(refused(&config).await.contains("s.keyless"));
    database.run("alter table s.keyless add primary key (id)").await;
    back_up(&config, &TestVault::new().vault).await.expect("a full backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_log_follows_is_refused() {
    for (made, named) in [
        ("select lo_create(0)", "large objects"),
        ("create table s.child () inherits (s.t)", "inherits"),
        ("create operator s.=== (leftarg = int, rightarg = int, function = int4eq)", "an operator"),
        ("create aggregate s.total (int) (sfunc = int4pl, stype = int)", "an aggregate"),
        ("create type s.span as range (subtype = int)", "range type"),
        ("alter table s.t replica identity nothing", "s.t has no key"),
        ("alter table s.h_1 replica identity full", "s.h_1 has another replica identity"),
    ] {
        let (database, config) = fresh(SMALL).await;
        database.run(made).await;
        let why = refused(&config).await;
        assert!(why.contains(named), "{made}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_see_every_row_is_refused() {
    let (database, mut config) = fresh(SMALL).await;
    database
        .run(
            "do $$ begin if not exists (select from pg_roles where rolname = 'poor') then
                create role poor login; end if; end $$;
              alter role poor noreplication nobypassrls;
              alter table s.t enable row level security",
        )
        .await;
    config.url = database.url_as("poor");
    assert!(refused(&config).await.contains("replication"));
    database.run("alter role poor replication").await;
    assert!(refused(&config).await.contains("may not read"));
    database
        .run("grant usage on schema s to poor; grant select on all tables in schema s to poor")
        .await;
    let why = refused(&config).await;
    assert!(
        why.contains("row-level security hides rows of s.t") && why.contains("bypassrls"),
        "{why}"
    );
    database.run("alter role poor bypassrls").await;
    // It sees all now, but owns nothing.
    let why = refused(&config).await;
    assert!(why.contains("may not publish"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_no_logical_log_is_refused() {
    let server = Server::start(&[("wal_level", "replica")]).await;
    let database = server.database().await;
    let why = refused(&SourceConfig::new(database.url())).await;
    assert!(why.contains("wal_level") && why.contains("alter system"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_is_named() {
    // A server of its own: a new slot waits for the transactions of all databases.
    let database = Server::start(&[]).await.database().await;
    database.run(SMALL).await;
    let mut config = SourceConfig::new(database.url());
    let vault = TestVault::new();
    let mut open = database.connect().await;
    execute(&mut open, "begin; insert into s.t values (0, 'open')").await;
    let pid: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut open).await.expect("a pid");
    config.patience = Duration::from_millis(300);
    // First the slot waits for it, then the snapshot.
    for _ in 0..2 {
        match back_up(&config, &vault.vault).await {
            Err(fault @ BackupFault::Held { pid: held, .. }) => {
                assert_eq!(held, pid);
                assert!(fault.is_transient() && fault.to_string().contains("pg_terminate_backend"));
            }
            other => panic!("not held up: {other:?}"),
        }
        if slot_health(&config).await.expect("health").slot.is_none() {
            execute(&mut open, "commit").await;
            config.patience = Duration::from_secs(20);
            back_up(&config, &vault.vault).await.expect("a full backup");
            config.patience = Duration::from_millis(300);
            execute(&mut open, "begin; insert into s.t values (-1, 'open')").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_full_backup_or_a_slot_there_is_no_increment() {
    let (database, config) = fresh(SMALL).await;
    let vault = TestVault::new();
    assert!(full_needed(increment(&config, &vault.vault).await).contains("no slot"));
    assert_eq!(slot_health(&config).await.expect("health").wal_status, "missing");
    back_up(&config, &vault.vault).await.expect("a full backup");
    let slot = slot_health(&config).await.expect("health").slot.expect("a slot");
    let empty = TestVault::new();
    assert!(full_needed(increment(&config, &empty.vault).await).contains("none yet"));
    increment(&config, &vault.vault).await.expect("an increment");

    database.run(&format!("select pg_drop_replication_slot('{slot}')")).await;
    assert!(full_needed(increment(&config, &vault.vault).await).contains("failover"));
    database.run("delete from s.t where id < 100").await;
    let second = back_up(&config, &vault.vault).await.expect("a full backup");
    let again = slot_health(&config).await.expect("health").slot.expect("a slot");
    assert_ne!(again, slot, "a slot made anew is another");
    database.run("delete from s.t where id < 200").await;
    let one = increment(&config, &vault.vault).await.expect("an increment");
    let into = database.server.database().await;
    restore(&into, &vault.vault, &second, &[one], None).await;
    assert_eq!(sums(&into).await, sums(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_told_and_made_anew() {
    let server = Server::start(&[
        ("max_slot_wal_keep_size", "2MB"),
        ("max_wal_size", "2MB"),
        ("min_wal_size", "2MB"),
    ])
    .await;
    let database = server.database().await;
    database.run(SMALL).await;
    let config = SourceConfig::new(database.url());
    let vault = TestVault::new();
    back_up(&config, &vault.vault).await.expect("a full backup");
    increment(&config, &vault.vault).await.expect("an increment");
    for _ in 0..6 {
        database
            .run("update s.t set x = repeat(md5(x), 80); select pg_switch_wal(); checkpoint")
            .await;
    }
    assert_eq!(slot_health(&config).await.expect("health").wal_status, "lost");
    match increment(&config, &vault.vault).await {
        Err(fault @ BackupFault::SlotLost { .. }) => {
            assert!(!fault.is_transient() && fault.to_string().contains("max_slot_wal_keep_size"));
        }
        other => panic!("not lost: {other:?}"),
    }
    let second = back_up(&config, &vault.vault).await.expect("a full backup");
    database.run("delete from s.t where id < 200").await;
    let one = increment(&config, &vault.vault).await.expect("an increment");
    let into = server.database().await;
    restore(&into, &vault.vault, &second, &[one], None).await;
    assert_eq!(sums(&into).await, sums(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_tell_asks_for_a_full_backup() {
    let mark =
        format!("begin; select pg_logical_emit_message(true, '{SCHEMA_MARK}', '0042'); commit");
    for (done, why) in [
        ("alter table s.t add column y int default 5", "schema was changed"),
        ("create table s.more (id int primary key)", "that there are"),
        (
            "alter table s.t add column y int; insert into s.t values (0, 'x', 1); alter table s.t drop column y",
            "s.t was altered",
        ),
        ("truncate s.h_1", "s.h_1 was truncated"),
        // The schema reads as before, and no row of it is in the log.
        ("alter table s.t alter column x type text using upper(x)", "s.t was rewritten"),
        ("vacuum full s.t", "s.t was rewritten"),
        (
            "create table s.h_3 (like s.h including all) | insert into s.h_3 values (1, 3) |
          alter table s.h attach partition s.h_3 for values in (3)",
            "s.h_3 had rows",
        ),
        // As one transaction, in the order that loses the rows.
        (
            "begin; create table s.h_3 (like s.h including all); insert into s.h_3 values (1, 3);
          alter table s.h attach partition s.h_3 for values in (3); commit",
            "s.h_3 had rows",
        ),
        ("alter publication switchyard_backup drop table s.t", "published"),
        ("drop publication switchyard_backup | delete from s.t where id > 480", "published"),
        (mark.as_str(), "0042"),
    ] {
        let (database, config) = fresh(SMALL).await;
        let vault = TestVault::new();
        back_up(&config, &vault.vault).await.expect("a full backup");
        increment(&config, &vault.vault).await.expect("an increment");
        for one in done.split('|') {
            database.run(one).await;
        }
        let said = full_needed(increment(&config, &vault.vault).await);
        assert!(said.contains(why), "{done}: {said}");
        // It stays so until there is one, and then goes on over what was in the way.
        full_needed(increment(&config, &vault.vault).await);
        let second = back_up(&config, &vault.vault).await.expect("a full backup");
        database.run("delete from s.t where id < 200; delete from s.h where id < 20").await;
        let one = increment(&config, &vault.vault).await.expect(done);
        let into = database.server.database().await;
        restore(&into, &vault.vault, &second, &[one], None).await;
        assert_eq!(sums(&into).await, sums(&database).await, "{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_took_from_the_slot_is_noticed() {
    let (database, config) = fresh(SMALL).await;
    let vault = TestVault::new();
    back_up(&config, &vault.vault).await.expect("a full backup");
    increment(&config, &vault.vault).await.expect("an increment");
    database.run("delete from s.t where id < 100").await;
    let slot = slot_health(&config).await.expect("health").slot.expect("a slot");
    database
        .run(&format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"))
        .await;
    assert!(full_needed(increment(&config, &vault.vault).await).contains("somebody else"));
    back_up(&config, &vault.vault).await.expect("a full backup");
    increment(&config, &vault.vault).await.expect("an increment");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_increments_at_once_one_is_told_to_wait() {
    let (database, config) = fresh(SMALL).await;
    let vault = TestVault::new();
    back_up(&config, &vault.vault).await.expect("a full backup");
    database.run("delete from s.t where id < 100").await;
    let trouble = Trouble::at(Goes::HangsBefore, 5);
    let (slow, patient) = (vault.through(&trouble), config.clone());
    let first = tokio::spawn(async move { increment(&patient, &slow).await });
    trouble.begun.notified().await;
    match increment(&config, &vault.vault).await {
        Err(fault @ BackupFault::SlotBusy { .. }) => assert!(fault.is_transient()),
        other => panic!("not told: {other:?}"),
    }
    first.abort();
    let _ = first.await;
    increment(&config, &vault.vault).await.expect("an increment");
}

/// Runs a step with an archive that goes wrong at its first call, its second, and so on, until it comes
/// through; what is begun after each must be as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_the_next_run_goes_on() {
    let (database, config) = fresh(SMALL).await;
    let vault = TestVault::new();
    let mut fulls = vec![back_up(&config, &vault.vault).await.expect("a full backup")];
    let mut struck = 0;
    for goes in [Goes::Fails, Goes::HangsBefore, Goes::HangsAfter] {
        for nth in 0.. {
            database
                .run(
                    "update s.t set x = md5(x) where id % 7 = 0; delete from s.h where id % 13 = 1",
                )
                .await;
            let trouble = Trouble::at(goes, nth);
            let troubled = vault.through(&trouble);
            let ended = tokio::select! {
                ended = increment(&config, &troubled) => Some(ended),
                // Killed: the run is dropped where it stands.
                () = trouble.begun.notified(), if goes != Goes::Fails => None,
            };
            if let Some(Ok(_)) = &ended {
                assert!(!trouble.struck());
                break;
            }
            struck += 1;
            let mut tries = 0;
            while let Err(fault) = increment(&config, &vault.vault).await {
                // The server has not yet seen that the run before is gone.
                assert!(matches!(fault, BackupFault::SlotBusy { .. }) && tries < 5, "{fault}");
                tries += 1;
            }
        }
        for nth in [0, 1, 2, 3, 5, 8, 13, 21] {
            let trouble = Trouble::at(goes, nth);
            let troubled = vault.through(&trouble);
            tokio::select! {
                ended = back_up(&config, &troubled) => assert!(ended.is_err() || !trouble.struck()),
                () = trouble.begun.notified(), if goes != Goes::Fails => {}
            }
        }
        fulls.push(back_up(&config, &vault.vault).await.expect("a full backup"));
    }
    assert!(struck > 10, "{struck}");
    increment(&config, &vault.vault).await.expect("an increment");
    let shelf = switchyard_backup::Shelf::load(&vault.vault).await.expect("a shelf");
    assert!(shelf.problems().is_empty(), "{:?}", shelf.problems());
    let slot = shelf.slots().next().expect("a slot").to_owned();
    assert_eq!(shelf.slots().count(), 1);
    let increments: Vec<Manifest> = shelf.increments(&slot).map(|m| (**m).clone()).collect();
    for full in [&fulls[0], &fulls[2]] {
        let into = database.server.database().await;
        restore(&into, &vault.vault, full, &increments, None).await;
        assert_eq!(sums(&into).await, sums(&database).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_changed_while_rows_are_copied_is_noticed() {
    let (database, config) = fresh(shop::SCHEMA).await;
    let vault = TestVault::new();
    let trouble = Trouble::at(Goes::HangsBefore, 3);
    let troubled = vault.through(&trouble);
    // The tables are held: an ALTER waits until the backup is over.
    let copying = tokio::spawn({
        let config = config.clone();
        async move { back_up(&config, &troubled).await }
    });
    trouble.begun.notified().await;
    let mut other = database.connect().await;
    execute(&mut other, "set lock_timeout = '100ms'").await;
    let altered =
        sqlx::raw_sql("alter table shop.whole add column more int").execute(&mut other).await;
    assert!(altered.is_err(), "the table was altered while it was copied");
    copying.abort();
    let made = back_up(&config, &vault.vault).await.expect("a full backup");
    assert!(matches!(made.kind, Kind::Full { .. }));
}
