//! Backups on an S3 server, from the first file to the last check: full, increments, a differential, retention
//! and restores, while writers write.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

#[allow(dead_code, reason = "the archives' own tests use the rest")]
#[path = "../../providers/tests/archive/servers.rs"]
mod servers;
mod support;

use chrono::Utc;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::kit::{Kit, contents, same};
use support::shop;
use support::writers::Writers;
use switchyard_backup::model::Manifest;
use switchyard_backup::prune::{Policy, prune};
use switchyard_backup::verify::{Depth, Which, verify};
use switchyard_backup::{
    BackupFault, Shelf, Silent, SourceConfig, Target, Vault, differential, full, incremental,
};
use switchyard_providers::archive::{Archive, S3};

/// Nothing but the newest full backup and what goes on from it.
const NEWEST: Policy =
    Policy { window_days: 0, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

/// A full backup and two increments of it, beside writers. Where the server cannot read its own log
/// (PostgreSQL 15, now and then, beside tables that are emptied) it begins anew, as the product says.
async fn chain(config: &SourceConfig, vault: &Vault, writers: &Writers) -> Manifest {
    'anew: loop {
        let first = full(config, vault, BTreeMap::new(), &Silent).await.unwrap();
        for _ in 0..2 {
            writers.commit(15).await;
            match incremental(config, vault, BTreeMap::new(), &Silent).await {
                Ok(taken) => assert!(taken.is_some()),
                Err(BackupFault::SlotLost { why, .. }) if why.contains("could not map") => {
                    continue 'anew;
                }
                Err(fault) => panic!("{fault}"),
            }
        }
        return first;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_that_is_done_in_a_folder_is_done_on_an_s3_server() {
    let server = servers::moto();
    let mut kit = Kit::new(shop::SCHEMA).await;
    let archive: Arc<dyn Archive> = Arc::new(S3::new(&servers::settings(server.address)).unwrap());
    kit.vault = Vault::new(Arc::clone(&archive), (*kit.vault.keys).clone());
    let vault = &kit.vault;

    let writers = Writers::start(&kit.source, 2, shop::STEPS).await;
    writers.commit(30).await;
    let old = chain(&kit.config, vault, &writers).await;
    let new = chain(&kit.config, vault, &writers).await;
    differential(vault, &Silent).await.unwrap();
    writers.commit(15).await;
    writers.stop().await;
    // An increment beside the writers' last words may need a full backup; one after them does not.
    let last = incremental(&kit.config, vault, BTreeMap::new(), &Silent).await;
    let last = match last {
        Ok(last) => last.unwrap(),
        Err(BackupFault::SlotLost { .. }) => kit.full().await,
        Err(fault) => panic!("{fault}"),
    };
    let wanted = contents(&kit.source).await;
    assert!(wanted.len() > 3, "{wanted:?}");
    let chain = Shelf::load(vault).await.unwrap().chain_for(&Target::Newest).unwrap();
    assert!(chain.differential.is_some() || chain.full.id == last.id, "it is read, too");
    let restored = kit.restore_to("newest", Target::Newest).await;
    same(&contents(&restored).await, &wanted);

    // Retention takes the old chain away, file by file, and nothing else.
    let pruned = prune(vault, &NEWEST, Utc::now(), false).await.unwrap();
    assert!(pruned.dropped.iter().any(|d| d.manifest.id == old.id), "{:?}", pruned.dropped);
    assert!(pruned.refused.is_empty() && pruned.problems.is_empty(), "{pruned:?}");
    let left = archive.list("full/").await.unwrap();
    assert!(left.iter().all(|entry| !entry.key.contains(old.id.as_str())));
    let shelf = Shelf::load(vault).await.unwrap();
    assert!(shelf.get(&last.id).is_some() && shelf.newest_full().unwrap().age() >= new.age());
    let sound = verify(vault, &Which::All, Depth::Contents, &Silent).await.unwrap();
    assert!(sound.is_sound(), "{:?}", sound.problems);
    let again = kit.restore_to("pruned", Target::Newest).await;
    same(&contents(&again).await, &wanted);
}
