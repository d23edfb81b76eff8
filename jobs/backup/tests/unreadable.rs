//! A server that cannot read its own log: the slot is given up, and a full backup goes on beyond it.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use support::replay::{restore, sums};
use support::{Server, TestVault};
use switchyard_backup::{BackupFault, Silent, SourceConfig, full, incremental, slot_health};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_on_the_disk_asks_for_a_full_backup_which_goes_on_beyond_it() {
    let server = Server::start(&[]).await;
    let database = server.database().await;
    database
        .run(
            "create schema s; create table s.t (id int primary key, x text);
              insert into s.t select n, md5(n::text) from generate_series(1, 500) n",
        )
        .await;
    let config = SourceConfig::new(database.url());
    let vault = &TestVault::new().vault;
    full(&config, vault, BTreeMap::new(), &Silent).await.expect("a full backup");
    incremental(&config, vault, BTreeMap::new(), &Silent).await.expect("an increment");

    // The end of a file of the log that the next increment has to read, and that is not written to again.
    database.run("select pg_switch_wal(); checkpoint").await;
    let mut admin = server.admin().await;
    let sql = "select pg_walfile_name(pg_current_wal_lsn())";
    let file: String = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
    for _ in 0..4 {
        database.run("update s.t set x = repeat(md5(x), 30)").await;
    }
    database.run("select pg_switch_wal(); checkpoint").await;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(server.data().join("pg_wal").join(file))
        .expect("a file of the log");
    file.write_all_at(&[0xAA; 64 * 1024], 512 * 1024).unwrap();

    match incremental(&config, vault, BTreeMap::new(), &Silent).await {
        Err(fault @ BackupFault::SlotLost { .. }) => {
            let said = fault.to_string();
            assert!(!fault.is_transient(), "{said}");
            assert!(
                said.contains("cannot read its own log") && said.contains("now full"),
                "{said}"
            );
        }
        other => panic!("not told: {other:?}"),
    }
    assert_eq!(slot_health(&config).await.unwrap().wal_status, "missing");
    let second = full(&config, vault, BTreeMap::new(), &Silent).await.expect("a full backup");
    database.run("delete from s.t where id < 200").await;
    let one =
        incremental(&config, vault, BTreeMap::new(), &Silent).await.expect("an increment").unwrap();
    let into = server.database().await;
    restore(&into, vault, &second, &[one], None).await;
    assert_eq!(sums(&into).await, sums(&database).await);
}
