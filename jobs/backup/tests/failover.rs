//! The server is lost and its standby takes over: that has other log and no slot, and nothing of it may be
//! taken for what the archive has.
#![allow(clippy::unwrap_used)]

mod support;

use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::time::Duration;
use support::kit::{Kit, ask, contents, same};
use support::server::{Database, Server};
use switchyard_backup::{
    BackupFault, RestorePlan, Shelf, Silent, Target, differential, full, incremental,
};

const SMALL: &str = "
    create table a (id int primary key, t text);
    create table b (id int generated always as identity primary key, a int references a, t text);
    insert into a select g, md5(g::text) from generate_series(1, 500) g;
    insert into b (a, t) select g, md5(g::text) from generate_series(1, 500) g;";

async fn full_needed(kit: &Kit) -> String {
    match incremental(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await {
        Err(fault @ BackupFault::FullNeeded { .. }) => fault.to_string(),
        other => panic!("an increment went over the failover: {other:?}"),
    }
}

/// Waits until the standby has what the server has.
async fn caught_up(server: &Server, standby: &Server) {
    let mut there = server.admin().await;
    let sql = "select pg_current_wal_lsn()::text";
    let goal: String = sqlx::query_scalar(sql).fetch_one(&mut there).await.unwrap();
    let mut here = standby.admin().await;
    for _ in 0..600 {
        let sql = "select pg_last_wal_replay_lsn() >= $1::pg_lsn";
        if sqlx::query_scalar(sql).bind(&goal).fetch_one(&mut here).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the standby does not follow:\n{}", standby.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_failover_an_increment_asks_for_a_full_backup_and_both_chains_restore() {
    let mut kit = Kit::on(Server::start(&[]).await, SMALL).await;
    let standby = kit.server.standby().await;
    let old = kit.full().await;
    kit.source.run("update a set t = 'one' where id < 50; delete from b where id > 450").await;
    kit.increment().await;
    let last = contents(&kit.source).await;
    kit.source.run("update a set t = 'in no increment' where id < 20").await;
    caught_up(&kit.server, &standby).await;
    let lost = std::mem::replace(&mut kit.server, standby);
    lost.crash();
    kit.source = Database { server: kit.server.clone(), name: kit.source.name.clone() };
    kit.config.url = kit.source.url();

    // As long as it is a standby, nothing is taken from it.
    let fault = full(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await.unwrap_err();
    assert!(fault.to_string().contains("standby"), "{fault}");
    assert!(ask::<bool>(&kit.source, "select pg_promote()").await);
    kit.source.run("insert into b (a, t) values (1, 'after the failover')").await;

    // What the archive has restores, to the last increment that was finished.
    let before = kit.restore_to("before", Target::Newest).await;
    same(&contents(&before).await, &last);
    let said = full_needed(&kit).await;
    assert!(said.contains("failover") && said.contains("backup now full"), "{said}");
    // A tool for failovers may have made a slot of that name: its log begins too late.
    kit.source
        .run("select pg_create_logical_replication_slot('switchyard_backup_00000001', 'pgoutput')")
        .await;
    kit.source.run("insert into b (a, t) values (2, 'in the new log')").await;
    for _ in 0..2 {
        let said = full_needed(&kit).await;
        assert!(said.contains("promoted"), "{said}");
    }

    let new = kit.full().await;
    assert_eq!(new.source.system, old.source.system);
    assert!(new.source.timeline > old.source.timeline, "{} {}", new.id, old.id);
    kit.source.run("update a set t = 'new' where id > 400; delete from b where id < 10").await;
    kit.increment().await;
    kit.source.run("insert into b (t) values ('last')").await;
    kit.increment().await;
    let now = contents(&kit.source).await;
    same(&contents(&kit.restore_to("after", Target::Newest).await).await, &now);
    differential(&kit.vault, &Silent).await.expect("a differential");
    same(&contents(&kit.restore_to("compacted", Target::Newest).await).await, &now);

    // The moments between the two chains are out of reach, and that is said.
    let windows = Shelf::load(&kit.vault).await.unwrap().windows();
    assert_eq!(windows.len(), 2, "{windows:?}");
    let between = windows[0].to + (windows[1].from - windows[0].to) / 2;
    assert!(windows[1].from - windows[0].to > TimeDelta::milliseconds(1), "{windows:?}");
    let said =
        kit.refused(&RestorePlan { target: Target::Time(between), ..kit.plan("between") }).await;
    assert!(said.contains("cannot be restored"), "{said}");
}
