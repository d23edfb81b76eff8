//! Leaving in good order.

use super::stage::{Act, Stage, brisk, eventually};
use std::time::Duration;
use switchyard_queue::{JobState, Options};
use switchyard_store::jobs;
use switchyard_workers::WorkerConfig;

#[tokio::test]
async fn an_idle_worker_leaves_at_once_and_says_goodbye() {
    let stage = Stage::new().await;
    let worker = stage.worker(WorkerConfig { poll_interval: Duration::from_secs(60), ..brisk() });
    eventually("the worker is present", async || {
        (stage.live_workers().await.len() == 1).then_some(())
    })
    .await;
    let took = worker.leave().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let workers = jobs::workers(&stage.db).await.unwrap();
    assert!(workers[0].stopped_at.is_some() && workers[0].died_at.is_none(), "{workers:?}");
}

#[tokio::test]
async fn what_runs_finishes_and_what_was_claimed_ahead_is_given_back() {
    let stage = Stage::new().await;
    let mut acts: Vec<_> = (0..1500).map(|_| (Act::Finish, Options::new())).collect();
    acts.push((Act::Wait("go".to_owned()), Options::new()));
    acts.extend((0..200).map(|_| (Act::Finish, Options::new())));
    let ids = stage.enqueue_all(acts).await;
    let (slow, rest) = (ids[1500], &ids[1501..]);
    let worker = stage.worker(WorkerConfig { concurrency: 1, ..brisk() });
    stage.running(slow, 0).await;
    worker.shutdown();
    eventually("only what runs is held", async || {
        let mut owner = stage.test.owner().await;
        let held: i64 =
            sqlx::query_scalar("select count(*) from engine.jobs where worker is not null")
                .fetch_one(&mut owner)
                .await
                .unwrap();
        (held == 1).then_some(())
    })
    .await;
    stage.record.open("go");
    worker.gone().await;
    assert_eq!(stage.state(slow).await, JobState::Completed);
    for id in rest {
        let row = stage.show(*id).await.row;
        let as_new = (row.state, row.attempt, row.crashes, row.worker);
        assert_eq!(as_new, (JobState::Available, 0, 0, None));
    }
    assert_eq!(stage.record.runs().len(), 1501);
}

#[tokio::test]
async fn a_job_that_is_not_done_in_time_is_stopped_and_keeps_its_attempt() {
    let stage = Stage::new().await;
    let drain_timeout = Duration::from_millis(300);
    let worker = stage.worker(WorkerConfig { drain_timeout, ..brisk() });
    let obedient = stage.enqueue(Act::Obey, Options::new().max_attempts(1)).await;
    let deaf = stage.enqueue(Act::Wait("never".to_owned()), Options::new().max_attempts(1)).await;
    stage.running(obedient, 0).await;
    stage.running(deaf, 0).await;
    let took = worker.leave().await;
    assert!(took >= drain_timeout && took < Duration::from_secs(5), "{took:?}");
    for id in [obedient, deaf] {
        let row = stage.show(id).await.row;
        assert_eq!((row.state, row.attempt, row.crashes), (JobState::Available, 0, 0));
    }
    assert!(stage.record.runs().iter().all(|r| r.ended));
}

#[tokio::test]
async fn nothing_that_belongs_to_a_worker_outlives_it() {
    let stage = Stage::new().await;
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let worker = stage.worker(brisk());
    stage.enqueue_all((0..100).map(|_| (Act::Finish, Options::new())).collect()).await;
    stage.completed(100).await;
    worker.leave().await;
    // The pools' own tasks may come and go; the worker had more than a dozen.
    eventually("its tasks are gone", async || {
        let now = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        (now <= alive + 2).then_some(())
    })
    .await;
}
