//! Jobs whose worker vanished.

use super::stage::{Act, Stage, brisk};
use std::time::{Duration, Instant};
use switchyard_queue::Options;
use switchyard_workers::WorkerConfig;

#[tokio::test]
async fn the_jobs_of_a_worker_that_vanished_run_again_long_before_their_lease_ends() {
    let stage = Stage::new().await;
    let worker = stage.worker(WorkerConfig { queues: vec!["stage".to_owned()], ..brisk() });
    worker.leave().await;
    let ids = stage.enqueue_all((0..5).map(|_| (Act::Finish, Options::new())).collect()).await;
    stage.crash_with(5).await;
    let began = Instant::now();
    let worker = stage.worker(brisk());
    stage.completed(5).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for id in ids {
        let detail = stage.show(id).await;
        assert_eq!((detail.row.attempt, detail.row.crashes), (1, 1), "a crash uses up no attempt");
        assert_eq!(detail.attempts[0].outcome, "crash");
    }
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_crashes_left_behind_runs_alone_and_everything_else_goes_on() {
    let stage = Stage::new().await;
    let crashed = (0..10).map(|n| (Act::Finish, Options::new().partition(n % 2))).collect();
    let crashed = stage.enqueue_all(crashed).await;
    stage.crash_with(10).await;
    stage.crash_with(10).await;
    let normal = (0..400).map(|n| (Act::Finish, Options::new().partition(n % 5))).collect();
    stage.enqueue_all(normal).await;
    let workers = [stage.worker(brisk()), stage.worker(brisk())];
    stage.completed(410).await;
    for worker in workers {
        worker.leave().await;
    }

    let runs = stage.record.runs();
    assert_eq!(runs.len(), 410, "nothing ran twice");
    let suspects: Vec<_> = runs.iter().filter(|r| r.job.is_suspect()).collect();
    assert_eq!(suspects.len(), crashed.len());
    for suspect in &suspects {
        assert_eq!(suspect.job.crashes, 2, "giving it back is no crash");
        assert_eq!(suspect.beside, 0, "{} ran in company", suspect.job.id);
    }
}

#[tokio::test]
async fn what_one_crash_left_behind_runs_again_all_together() {
    let stage = Stage::new().await;
    let waiting = (0..6).map(|_| (Act::Wait("go".to_owned()), Options::new())).collect();
    let ids = stage.enqueue_all(waiting).await;
    stage.crash_with(6).await;
    let worker = stage.worker(brisk());
    for id in &ids {
        assert_eq!(stage.running(*id, 0).await.job.crashes, 1);
    }
    stage.record.open("go");
    stage.completed(6).await;
    worker.leave().await;
}

#[tokio::test]
async fn nothing_else_is_in_hand_while_a_suspect_runs() {
    let stage = Stage::new().await;
    let suspect = stage.enqueue(Act::Wait("go".to_owned()), Options::new()).await;
    stage.crash_with(1).await;
    stage.crash_with(1).await;
    let worker = stage.worker(brisk());
    stage.running(suspect, 0).await;
    let others = (0..50).map(|n| (Act::Finish, Options::new().partition(n))).collect();
    let others = stage.enqueue_all(others).await;
    // Wake-ups, sweeps and a free worker notwithstanding: should the process die now, only the
    // suspect may be blamed. A second worker takes the others.
    let helper = stage.worker(brisk());
    stage.completed(50).await;
    let mut owner = stage.test.owner().await;
    let held: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from engine.jobs where worker is not null")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(held, [suspect.0]);
    let me = stage.record.runs_of(suspect)[0].job.worker;
    let runs = stage.record.runs();
    assert!(others.iter().all(|id| runs.iter().any(|r| r.job.id == *id && r.job.worker != me)));
    stage.record.open("go");
    stage.completed(51).await;
    worker.leave().await;
    helper.leave().await;
}
