//! How large the table of open jobs grows while very many jobs go through it. Takes a minute, so it is
//! only run when it is asked for:
//!
//! `ops/test --run-ignored only -E 'test(engine::churn)' --no-capture`

use super::support::{Bench, job, settlement};
use sqlx::PgConnection;
use switchyard_queue::{JobStore, Options, SettleAs};

const JOBS: usize = 200_000;
const BATCH: usize = 1_000;
/// Rows that die before a vacuum comes by. The table's own setting asks for one from 5,000 on; the
/// server looks once a minute (`autovacuum_naptime`) and may be late.
const DEAD: usize = 40_000;
/// What is open at any time, beside the jobs that come and go.
const STANDING: usize = 5_000;
/// Bytes of table and indexes beyond which the settings are of no use. A job of this test needs some
/// 700, with the room for its claim.
const LARGEST: i64 = 64 << 20;

/// The sizes of the table and of all its indexes, in bytes.
async fn sizes(owner: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as("select pg_relation_size('engine.jobs'), pg_indexes_size('engine.jobs')")
        .fetch_one(owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement; takes a minute"]
#[allow(clippy::print_stdout)] // it prints figures
async fn the_table_of_open_jobs_stays_small_under_churn() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let many = |n: usize, priority: i16| {
        (0..n).map(|_| job("k", Options::new().priority(priority))).collect::<Vec<_>>()
    };
    bench.enqueue(many(STANDING, 9)).await;
    let mut largest = (0, 0);
    for done in (BATCH..=JOBS).step_by(BATCH) {
        bench.enqueue(many(BATCH, 0)).await;
        let claimed = bench.claim(u32::try_from(BATCH).unwrap()).await;
        assert_eq!(claimed.len(), BATCH);
        for part in claimed.chunks(500) {
            let results: Vec<_> = part.iter().map(|j| settlement(j, SettleAs::Completed)).collect();
            assert_eq!(bench.store.settle(&results).await.unwrap().len(), part.len());
        }
        let (table, indexes) = sizes(&mut owner).await;
        largest = (table.max(largest.0), indexes.max(largest.1));
        if done % DEAD == 0 {
            sqlx::raw_sql("vacuum engine.jobs").execute(&mut owner).await.unwrap();
        }
        if done % (JOBS / 5) == 0 {
            println!("{done} jobs: table {} KiB, indexes {} KiB", table >> 10, indexes >> 10);
        }
    }
    println!("largest: table {} KiB, indexes {} KiB", largest.0 >> 10, largest.1 >> 10);
    assert!(largest.0 + largest.1 < LARGEST, "{largest:?}");
}
