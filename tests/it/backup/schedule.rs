//! What comes by itself.

use super::support::{Yard, administrator, all, enqueue, good, seldom, until};
use std::sync::Arc;
use std::time::Duration;
use switchyard_catalog::backup::{Backups, Cadence, TakeIncremental, enqueue_next};
use switchyard_queue::NewJob;
use switchyard_store::backups::runs::{RunKind, RunState};
use switchyard_store::{Db, Scope};
use switchyard_tests::TestDb;
use uuid::Uuid;

/// A cadence that a test can wait for.
fn quick() -> Cadence {
    Cadence { incremental: Duration::from_secs(1), jitter: Duration::from_millis(100), ..seldom() }
}

#[tokio::test]
async fn the_first_look_brings_a_full_backup_its_proof_and_increments_one_after_the_other() {
    let yard = Yard::new(quick()).await;
    let _working = yard.work();
    yard.watch().await;
    let db = &yard.platform.db;
    until("a full backup", async || good(db, RunKind::Full).await.pop()).await;
    administrator(db, "later@example.com").await;
    let chain = until("three increments", async || {
        let runs = good(db, RunKind::Incremental).await;
        (runs.len() >= 3).then_some(runs)
    })
    .await;
    // Newest first; each goes on where the one before ended.
    for pair in chain.windows(2) {
        assert_eq!(pair[0].from_lsn, pair[1].to_lsn);
        assert!(pair[0].covers > pair[1].covers);
    }
    assert!(chain.iter().filter_map(|r| r.rows).sum::<i64>() > 0, "the administrator is in one");
    let drill = until("a proof", async || good(db, RunKind::Drill).await.pop()).await;
    let evidence = drill.evidence.unwrap();
    assert_eq!(evidence["restore"]["proven"], true, "{evidence}");
    assert!(evidence["restore_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_planned_run_that_another_came_before_is_needless() {
    let yard = Yard::new(seldom()).await;
    let _working = yard.work();
    assert_eq!(yard.run(RunKind::Full).await.state, RunState::Succeeded);
    assert_eq!(yard.run(RunKind::Incremental).await.state, RunState::Succeeded);
    let late = TakeIncremental { after: Some(Uuid::from_u128(7)), asked_by: None };
    let job = NewJob::of(&late).unwrap();
    let id = job.id;
    enqueue(&yard.platform.db, job).await;
    let db = &yard.platform.db;
    let ended = until("its end", async || {
        let job = switchyard_store::jobs::show(db, id).await.ok()?;
        job.row.state.is_final().then_some(job)
    })
    .await;
    assert_eq!(ended.row.state, switchyard_queue::JobState::Cancelled);
    assert_eq!(all(db, RunKind::Incremental).await.len(), 1);
}

/// Plans what is next, in a transaction of its own.
async fn plan(db: Db, backups: Arc<Backups>) {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    enqueue_next(&mut tx, &backups).await.unwrap();
    tx.commit().await.unwrap();
}

/// Writes a run down that succeeded so many minutes ago.
async fn succeeded(test: &TestDb, kind: &str, minutes: i32) {
    sqlx::query(
        "insert into switchyard.backup_runs (id, kind, state, asked_by, covers, began_at, finished_at)
         select gen_random_uuid(), $1, 'succeeded', 'schedule', at, at, at
         from (select now() - $2 * interval '1 minute') moment(at)",
    )
    .bind(kind)
    .bind(minutes)
    .execute(&mut test.owner().await)
    .await
    .unwrap();
}

/// For what somebody waits in this database.
async fn waits_for(test: &TestDb) -> Vec<String> {
    sqlx::query_scalar(
        "select l.locktype from pg_locks l join pg_stat_activity a using (pid)
         where a.datname = current_database() and not l.granted",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn of_two_who_plan_at_once_the_one_who_knows_more_has_the_last_word() {
    let yard = Yard::new(seldom()).await;
    let (test, db) = (&yard.test, &yard.platform.db);
    let backups = yard.platform.backups.clone().unwrap();
    succeeded(test, "full", 180).await;
    succeeded(test, "drill", 120).await;
    plan(db.clone(), Arc::clone(&backups)).await;
    let due =
        "select run_at <= now() + interval '1 minute' from engine.jobs where kind = 'backup.drill'";
    let mut owner = test.owner().await;
    let drill: Vec<bool> = sqlx::query_scalar(due).fetch_all(&mut owner).await.unwrap();
    assert_eq!(drill, [false], "the full backup there is was proven");

    // The first one has read what there is, and is held up where it writes.
    sqlx::query("begin").execute(&mut owner).await.unwrap();
    let held = "select from engine.jobs where kind = 'backup.full' for update";
    assert_eq!(sqlx::query(held).fetch_all(&mut owner).await.unwrap().len(), 1);
    let first = tokio::spawn(plan(db.clone(), Arc::clone(&backups)));
    until("the first to write", async || waits_for(test).await.pop()).await;
    // Another run ends meanwhile, and a full backup wants its proof at once.
    succeeded(test, "full", 0).await;
    let second = tokio::spawn(plan(db.clone(), Arc::clone(&backups)));
    until("the second to be done, or to wait its turn", async || {
        let waits = waits_for(test).await.iter().any(|lock| lock == "advisory");
        (waits || second.is_finished()).then_some(())
    })
    .await;
    sqlx::query("rollback").execute(&mut owner).await.unwrap();
    first.await.unwrap();
    second.await.unwrap();
    let drill: Vec<bool> = sqlx::query_scalar(due).fetch_all(&mut owner).await.unwrap();
    assert_eq!(drill, [true], "the plan of the one who had read before stood");
}

#[tokio::test]
async fn every_table_can_be_followed_by_its_key() {
    let test = switchyard_tests::TestDb::new().await;
    let without: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and c.relpersistence = 'p'
           and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
           and not exists (select from pg_index i where i.indrelid = c.oid
             and (i.indisprimary or i.indisreplident))",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap();
    assert_eq!(without, Vec::<String>::new(), "give these tables a primary key");
}
