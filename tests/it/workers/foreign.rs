//! Jobs that another program put in by `engine.enqueue`: no wake-up tells of them.

use super::stage::{Stage, brisk, eventually};
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, JobState};
use switchyard_workers::WorkerConfig;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_finds_a_foreign_job_by_its_sweep() {
    let stage = Stage::new().await;
    let config = WorkerConfig { poll_interval: Duration::from_secs(1), ..brisk() };
    let worker = stage.worker(config);
    let mut owner = stage.test.owner().await;
    eventually("the worker has declared its kinds", async || {
        let n: i64 = sqlx::query_scalar("select count(*) from engine.kinds where name = 'act'")
            .fetch_one(&mut owner)
            .await
            .unwrap();
        (n == 2).then_some(())
    })
    .await;
    let begun = Instant::now();
    let id: Uuid = sqlx::query_scalar("select id from engine.enqueue('old.act', '\"Finish\"')")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    stage.until(JobId(id), JobState::Completed).await;
    // A second, and leeway for a machine that does other things too.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    worker.leave().await;
}
