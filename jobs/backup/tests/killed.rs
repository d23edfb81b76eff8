//! A real process, killed (SIGKILL) at every step of a backup, a differential, a prune and a restore.
//! Whatever was finished before restores, nothing half written counts, and the next run goes on.
#![allow(clippy::unwrap_used)]

mod support;

use chrono::Utc;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::child::{Deed, NEWEST, Stop, killed, killed_in};
use support::kit::{Kit, contents, same};
use switchyard_backup::prune::prune;
use switchyard_backup::restore::UNFINISHED;
use switchyard_backup::verify::{Depth, Which, verify};
use switchyard_backup::{
    BackupFault, Keys, Shelf, Silent, Target, Vault, differential, incremental, restore,
};
use switchyard_providers::archive::Directory;

const SMALL: &str = "
    create table a (id int primary key, t text);
    create table b (id int generated always as identity primary key, a int references a, t text);
    create index on b (t);
    insert into a select g, md5(g::text) from generate_series(1, 500) g;
    insert into b (a, t) select g, md5(g::text) from generate_series(1, 500) g;";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the other tests start and kill"]
async fn the_process_that_is_killed() {
    support::child::obey().await;
}

type Contents = BTreeMap<String, String>;

/// Changes rows, never twice to the same; what the database then has.
async fn change(kit: &Kit) -> Contents {
    kit.source
        .run("update a set t = md5(t) where id % 7 = 0; insert into b (t) values (md5(random()::text))")
        .await;
    contents(&kit.source).await
}

/// Takes an increment, however long the server takes to see that the process before is dead; what it has.
async fn goes_on(kit: &Kit) -> Contents {
    for _ in 0..20 {
        match incremental(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await {
            Ok(_) => return contents(&kit.source).await,
            Err(BackupFault::SlotBusy { .. }) => {}
            Err(fault) => panic!("it does not go on: {fault}"),
        }
    }
    panic!("the dead process still holds the slot");
}

/// What a restore of the newest state makes. The database is dropped again.
async fn newest(kit: &Kit, name: &str) -> Contents {
    let database = kit.restore_to(name, Target::Newest).await;
    let found = contents(&database).await;
    drop_database(kit, &database.name).await;
    found
}

async fn drop_database(kit: &Kit, name: &str) {
    let mut admin = kit.server.admin().await;
    let drop = format!("drop database {name} with (force)");
    support::server::execute(&mut admin, &drop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_increment_that_is_killed_at_any_step_counts_whole_or_not_at_all() {
    let kit = Kit::new(SMALL).await;
    kit.full().await;
    let mut finished = goes_on(&kit).await;
    let mut calls = 0;
    loop {
        let now = change(&kit).await;
        if !killed(&kit, Deed::Increment, Stop::Before(calls)) {
            same(&newest(&kit, "whole").await, &now);
            break;
        }
        same(&newest(&kit, &format!("at{calls}")).await, &finished);
        finished = goes_on(&kit).await;
        calls += 1;
    }
    assert!(calls > 5, "only {calls} steps were seen");
    // The last call puts the manifest there: from then on it counts, though the slot was not advanced.
    let now = change(&kit).await;
    assert!(killed(&kit, Deed::Increment, Stop::After(calls - 1)));
    same(&newest(&kit, "counts").await, &now);
    change(&kit).await;
    let finished = goes_on(&kit).await;
    same(&newest(&kit, "last").await, &finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_backup_that_is_killed_at_any_step_counts_whole_or_not_at_all() {
    let kit = Kit::new(SMALL).await;
    // The very first one, too: there is nothing to restore then, and the next one makes it good.
    for at in [0, 3, 8] {
        assert!(killed(&kit, Deed::Full, Stop::Before(at)));
        assert!(Shelf::load(&kit.vault).await.unwrap().all().is_empty());
    }
    kit.full().await;
    let mut finished = goes_on(&kit).await;
    let mut calls = 0;
    loop {
        let now = change(&kit).await;
        if !killed(&kit, Deed::Full, Stop::Before(calls)) {
            same(&newest(&kit, "whole").await, &now);
            break;
        }
        let shelf = Shelf::load(&kit.vault).await.unwrap();
        assert_eq!((shelf.fulls().count(), shelf.problems().len()), (1, 0), "at call {calls}");
        same(&newest(&kit, &format!("at{calls}")).await, &finished);
        finished = goes_on(&kit).await;
        calls += 1;
    }
    assert!(calls > 12, "only {calls} steps were seen");
    let now = change(&kit).await;
    assert!(killed(&kit, Deed::Full, Stop::After(calls - 1)));
    assert_eq!(Shelf::load(&kit.vault).await.unwrap().fulls().count(), 3);
    same(&newest(&kit, "counts").await, &now);
    change(&kit).await;
    let finished = goes_on(&kit).await;
    same(&newest(&kit, "last").await, &finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restore_that_is_killed_at_any_step_is_seen_to_be_unfinished_and_begins_anew() {
    let kit = Kit::new(SMALL).await;
    kit.full().await;
    change(&kit).await;
    goes_on(&kit).await;
    differential(&kit.vault, &Silent).await.unwrap();
    change(&kit).await;
    let finished = goes_on(&kit).await;
    let mut steps = 0;
    loop {
        let plan = kit.plan(&format!("at{steps}"));
        let name = format!("{}_at{steps}", kit.source.name);
        let was_killed = killed(&kit, Deed::Restore(name.clone()), Stop::Step(steps));
        let there = kit.databases().await;
        assert_eq!(there.contains(&name), !was_killed, "at step {steps}: {there:?}");
        if !was_killed {
            break;
        }
        let (_, database) = kit.restore(&plan).await.unwrap_or_else(|e| panic!("{steps}: {e}"));
        same(&contents(&database).await, &finished);
        drop_database(&kit, &name).await;
        steps += 1;
    }
    assert!(steps > 12, "only {steps} steps were seen");
    assert!(!kit.databases().await.iter().any(|name| name.ends_with(UNFINISHED)));
    change(&kit).await;
    goes_on(&kit).await;
}

/// The archive in a folder, as another process sees it.
fn vault(kit: &Kit, folder: &Path) -> Vault {
    let keys = Keys::new()
        .recipients([kit.identity.recipient()])
        .identities([kit.identity.clone()])
        .signing(kit.signer.clone());
    Vault::new(Arc::new(Directory::new(folder)), keys)
}

/// Keys of all files, in order.
async fn keys(vault: &Vault) -> Vec<String> {
    vault.archive.list("").await.unwrap().into_iter().map(|entry| entry.key).collect()
}

/// An archive with two full backups, increments and differentials of both, and what killed runs left.
async fn old_and_new(kit: &Kit) -> Contents {
    kit.full().await;
    for _ in 0..2 {
        change(kit).await;
        goes_on(kit).await;
    }
    differential(&kit.vault, &Silent).await.unwrap();
    assert!(killed(kit, Deed::Full, Stop::Before(9)));
    kit.full().await;
    let mut calls = 0;
    loop {
        change(kit).await;
        goes_on(kit).await;
        if !killed(kit, Deed::Differential, Stop::Before(calls)) {
            break;
        }
        let shelf = Shelf::load(&kit.vault).await.unwrap();
        assert_eq!((shelf.fulls().count(), shelf.problems().len()), (2, 0), "at call {calls}");
        calls += 3;
    }
    assert!(calls > 3, "a differential has more steps than {calls}");
    change(kit).await;
    goes_on(kit).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_prune_that_is_killed_at_any_step_leaves_no_gap_and_the_next_one_ends_it() {
    let kit = Kit::new(SMALL).await;
    let finished = old_and_new(&kit).await;
    // Old enough for what killed runs have left.
    let now = Utc::now();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 24 * 3600);
    for file in kit.files() {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(then).unwrap();
    }
    let chain = Shelf::load(&kit.vault).await.unwrap().chain_for(&Target::Newest).unwrap();
    let mut expected = None;
    let mut calls = 0;
    loop {
        let copy = tempfile::tempdir().unwrap();
        let from = format!("{}/.", kit.folder.path().display());
        let copied = Command::new("cp").arg("-a").arg(from).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        let vault = vault(&kit, copy.path());
        if expected.is_none() {
            let before = keys(&vault).await.len();
            prune(&vault, &NEWEST, now, false).await.unwrap();
            let after = keys(&vault).await;
            assert!(before > after.len() + 10, "{before} {after:?}");
            expected = Some(after);
            continue;
        }
        let was_killed = killed_in(&kit, copy.path(), Deed::Prune(now), Stop::Before(calls));
        let shelf = Shelf::load(&vault).await.unwrap();
        assert!(shelf.problems().is_empty(), "at call {calls}: {:?}", shelf.problems());
        let newest: Vec<_> = shelf.chain_for(&Target::Newest).unwrap().objects().cloned().collect();
        assert_eq!(newest, chain.objects().cloned().collect::<Vec<_>>(), "at call {calls}");
        let whole = verify(&vault, &Which::All, Depth::Stored, &Silent).await.unwrap();
        assert!(whole.is_sound(), "at call {calls}: {whole:?}");
        if was_killed {
            prune(&vault, &NEWEST, now, false).await.unwrap();
        }
        assert_eq!(Some(keys(&vault).await), expected, "at call {calls}");
        if calls % 16 == 0 || !was_killed {
            let plan = kit.plan(&format!("pruned{calls}"));
            restore(&vault, &plan, &Silent, &switchyard_backup::restore::Nothing).await.unwrap();
            let name = format!("{}_pruned{calls}", kit.source.name);
            let server = Arc::clone(&kit.server);
            let database = support::Database { server, name };
            same(&contents(&database).await, &finished);
            drop_database(&kit, &database.name).await;
        }
        if !was_killed {
            break;
        }
        calls += 1;
    }
    assert!(calls > 30, "only {calls} steps were seen");
}
