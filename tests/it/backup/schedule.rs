//! What comes by itself.

use super::support::{Yard, administrator, all, enqueue, good, seldom, until};
use std::time::Duration;
use switchyard_catalog::backup::{Cadence, TakeIncremental};
use switchyard_queue::NewJob;
use switchyard_store::backups::runs::{RunKind, RunState};
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
