//! The platform's own history: increments go over slices that come and go, and a backup that reads them
//! holds nobody up.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;
use support::kit::{Kit, ask, contents, same};
use support::vault::{Kind as Goes, Trouble};
use support::{Server, TestVault};
use switchyard_backup::model::Manifest;
use switchyard_backup::{Shelf, Silent, Target, differential, full, incremental};

/// A platform's database.
async fn platform() -> Kit {
    let kit = Kit::on(Server::shared().await, "select 1").await;
    switchyard_store::migrate(&kit.source.url()).await.expect("the migrations");
    kit
}

/// So many jobs of each class and attempts that ended at noon, so many days from now.
fn ended(days: i32, many: i32) -> String {
    let at = format!("(current_date + {days} + time '12:00') at time zone 'UTC'");
    format!(
        "insert into engine.job_history (id, class, lane, kind, priority, outcome, attempt, max_attempts,
           crashes, timeout_ms, args, created_at, run_at, finished_at)
         select gen_random_uuid(), n % 3, 1, 'a.kind', 0, 8, 1, 3, 0, 1000, jsonb_build_object('n', n),
           now(), now(), {at} + n * interval '1 second' from generate_series(1, {many}) n;
         insert into engine.job_attempts (job_id, attempt, fence, ended_at, outcome)
         select gen_random_uuid(), 1, n, {at}, 'retry' from generate_series(1, {many}) n"
    )
}

async fn increment(kit: &Kit) -> Manifest {
    let taken = incremental(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await;
    taken.expect("an increment").expect("a manifest")
}

const WAITING: &str = "select (select count(*) from engine.job_history_0_default)
    + (select count(*) from engine.job_history_1_default) + (select count(*) from engine.job_history_2_default)
    + (select count(*) from engine.job_attempts_default)";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_go_over_a_slice_that_is_made_when_rows_of_it_are_there_already() {
    let kit = platform().await;
    kit.source.run(&ended(40, 60)).await; // in the copy, in the default slices
    kit.full().await;
    kit.source.run(&ended(40, 60)).await; // in the log
    assert_eq!(ask::<i64>(&kit.source, WAITING).await, 240);
    let before = increment(&kit).await;
    let then = contents(&kit.source).await;

    kit.source.run("select engine.ensure_slices(current_date + 40, 0)").await;
    assert_eq!(ask::<i64>(&kit.source, WAITING).await, 0, "rows were left in a default slice");
    let after = increment(&kit).await;
    assert!(after.partitions.len() > before.partitions.len());
    kit.source.run(&ended(40, 60)).await;
    kit.source.run("delete from engine.job_history where args->>'n' = '7'").await;
    // And one that nothing waits for.
    kit.source.run("select engine.ensure_slices(current_date + 60, 0)").await;
    kit.source.run(&ended(60, 30)).await;
    increment(&kit).await;

    let now = contents(&kit.source).await;
    let restored = kit.restore_to("before", Target::Backup(before.id)).await;
    same(&contents(&restored).await, &then);
    same(&contents(&kit.restore_to("after", Target::Newest).await).await, &now);
    differential(&kit.vault, &Silent).await.expect("a differential");
    same(&contents(&kit.restore_to("compacted", Target::Newest).await).await, &now);
    let shelf = Shelf::load(&kit.vault).await.expect("a shelf");
    assert_eq!(shelf.fulls().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_a_full_backup_reads_old_slices_retention_leaves_them_and_jobs_go_on() {
    const DROP: &str = "select engine.drop_slices(
        array[current_date - 14, current_date - 14, current_date - 400])";
    const MAKE: &str = "select engine.ensure_slices(current_date + 50, 0)";
    let kit = platform().await;
    kit.source.run("select engine.ensure_slices(current_date - 40, 1)").await;
    kit.source.run(&ended(-40, 20)).await;
    kit.full().await;

    let (elsewhere, trouble) = (TestVault::new(), Trouble::at(Goes::HangsBefore, 3));
    let (config, troubled) = (kit.config.clone(), elsewhere.through(&trouble));
    let reading = tokio::spawn(async move {
        full(&config, &troubled, BTreeMap::new(), &Silent).await.map(|m| m.id)
    });
    trouble.begun.notified().await;
    // The backup holds every slice from here on. Neither call waits for its end.
    let jobs = ended(0, 5);
    let (dropped, ()) = tokio::join!(ask::<i32>(&kit.source, DROP), kit.source.run(&jobs));
    assert_eq!(dropped, 0);
    let mut other = kit.source.connect().await;
    let fault = sqlx::raw_sql(MAKE).execute(&mut other).await.expect_err("the default is held");
    assert_eq!(fault.as_database_error().unwrap().code().unwrap(), "55P03", "{fault}");
    kit.source.run(&ended(0, 5)).await;
    assert!(!reading.is_finished());
    reading.abort();
    let _ = reading.await;

    // Two days of two classes and of attempts; the server may still be ending the backup's sessions.
    let mut dropped = 0;
    for _ in 0..200 {
        dropped += ask::<i32>(&kit.source, DROP).await;
        if dropped == 6 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dropped, 6);
    kit.source.run(MAKE).await;
    increment(&kit).await;
    let now = contents(&kit.source).await;
    same(&contents(&kit.restore_to("dropped", Target::Newest).await).await, &now);
}
