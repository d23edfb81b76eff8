//! Workers among each other, lanes among each other, and operators.

use super::stage::{Act, Stage, brisk, eventually};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use switchyard_queue::{JobState, Options};
use switchyard_store::jobs;
use switchyard_workers::WorkerConfig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_work_and_nothing_runs_twice() {
    let stage = Stage::new().await;
    let workers = [stage.worker(brisk()), stage.worker(brisk())];
    eventually("both are there", async || (stage.live_workers().await.len() == 2).then_some(()))
        .await;
    let acts = (0..2000).map(|n| (Act::Finish, Options::new().partition(n % 7))).collect();
    let ids = stage.enqueue_all(acts).await;
    stage.completed(2000).await;
    for worker in workers {
        worker.leave().await;
    }
    let mut by_worker = HashMap::<_, usize>::new();
    let mut seen = HashSet::new();
    for run in stage.record.runs() {
        *by_worker.entry(run.job.worker).or_default() += 1;
        assert!(seen.insert(run.job.id), "{} ran twice", run.job.id);
    }
    assert_eq!(seen, ids.into_iter().collect());
    assert_eq!(by_worker.len(), 2);
}

#[tokio::test]
async fn a_quiet_worker_finishes_what_it_has_and_claims_no_more() {
    let stage = Stage::new().await;
    let mine = stage.enqueue(Act::Wait("go".to_owned()), Options::new()).await;
    let quiet = stage.worker(brisk());
    let number = stage.running(mine, 0).await.job.worker;
    jobs::quiet(&stage.db, number.0, true).await.unwrap();
    // What comes when it has heard of it is for the other.
    stage.heard().await;
    let later = stage.enqueue_all(vec![(Act::Finish, Options::new()); 5]).await;
    let other = stage.worker(brisk());
    stage.completed(5).await;
    for id in later {
        assert_ne!(stage.record.runs_of(id)[0].job.worker, number);
    }
    stage.record.open("go");
    stage.completed(6).await;
    other.leave().await;

    jobs::quiet(&stage.db, number.0, false).await.unwrap();
    let last = stage.enqueue(Act::Finish, Options::new()).await;
    stage.completed(7).await;
    assert_eq!(stage.record.runs_of(last)[0].job.worker, number);
    quiet.leave().await;
    let gone = jobs::quiet(&stage.db, number.0, true).await;
    assert!(matches!(gone, Err(switchyard_store::StoreFault::NotFound)));
}

#[tokio::test]
async fn no_more_attempts_run_than_there_are_slots() {
    let stage = Stage::new().await;
    let acts = (0..30).map(|_| (Act::Wait("go".to_owned()), Options::new())).collect();
    stage.enqueue_all(acts).await;
    let worker = stage.worker(WorkerConfig { concurrency: 5, ..brisk() });
    eventually("all slots are taken", async || (stage.record.runs().len() == 5).then_some(()))
        .await;
    // Of slow jobs none is claimed ahead: the others are free for other workers.
    let mut owner = stage.test.owner().await;
    let claimed: i64 =
        sqlx::query_scalar("select count(*) from engine.jobs where worker is not null")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!(claimed, 5);
    stage.record.open("go");
    stage.completed(30).await;
    assert!(stage.record.runs().iter().all(|r| r.beside < 5));
    worker.leave().await;
}

#[tokio::test]
async fn a_big_lane_does_not_hold_up_the_small_ones() {
    let stage = Stage::new().await;
    let mut acts: Vec<_> =
        (0..1000).map(|_| (Act::Finish, Options::new().partition("big"))).collect();
    acts.extend((0..40).map(|n| (Act::Finish, Options::new().partition(format!("small {n}")))));
    let ids = stage.enqueue_all(acts).await;
    let worker = stage.worker(brisk());
    stage.completed(1040).await;
    worker.leave().await;
    let small: HashSet<_> = ids[1000..].iter().collect();
    let runs = stage.record.runs();
    let last = runs.iter().rposition(|r| small.contains(&r.job.id)).unwrap();
    // The bound itself is in the test of a thousand lanes beside the code, in claims: how large those
    // of a worker are depends on its pace.
    assert!(last < 400, "the last small job was number {last}");
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_hears_of_it_at_once() {
    let stage = Stage::new().await;
    let worker = stage.worker(WorkerConfig { cancel_grace: Duration::from_secs(60), ..brisk() });
    let id = stage.enqueue(Act::Obey, Options::new()).await;
    stage.running(id, 0).await;
    let asked = Instant::now();
    jobs::cancel(&stage.db, id).await.unwrap();
    let detail = stage.until(id, JobState::Cancelled).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(detail.row.error.as_deref(), Some("cancelled by an operator while it ran"));
    worker.leave().await;
}

#[tokio::test]
async fn a_cancelled_job_that_does_not_listen_is_dropped_after_the_grace() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Wait("never".to_owned()), Options::new()).await;
    stage.running(id, 0).await;
    jobs::cancel(&stage.db, id).await.unwrap();
    let detail = stage.until(id, JobState::Cancelled).await;
    assert!(stage.record.runs_of(id)[0].ended);
    let why = detail.row.error.unwrap();
    assert!(why.ends_with("it did not stop by itself and was dropped"), "{why}");
    worker.leave().await;
}

#[tokio::test]
async fn a_worker_that_hears_nothing_learns_of_a_cancellation_when_it_renews() {
    let stage = Stage::new().await;
    // The word that is left for it is lost, too.
    sqlx::raw_sql(
        "create function public.lose() returns trigger language plpgsql
           as 'begin return null; end';
         create trigger lose before insert on engine.stop_requests
           for each row execute function public.lose()",
    )
    .execute(&mut stage.test.owner().await)
    .await
    .unwrap();
    let worker = stage.deaf_worker(WorkerConfig { lease: Duration::from_millis(1500), ..brisk() });
    let id = stage.enqueue(Act::Obey, Options::new()).await;
    stage.running(id, 0).await;
    jobs::cancel(&stage.db, id).await.unwrap();
    stage.until(id, JobState::Cancelled).await;
    worker.leave().await;
}

/// Its next renewal is forty seconds away.
#[tokio::test]
async fn a_worker_that_hears_nothing_learns_of_a_cancellation_when_it_looks_for_the_dead() {
    let stage = Stage::new().await;
    let worker = stage.deaf_worker(WorkerConfig { lease: Duration::from_secs(120), ..brisk() });
    let obeys = stage.enqueue(Act::Obey, Options::new()).await;
    let deaf = stage.enqueue(Act::Wait("never".to_owned()), Options::new()).await;
    stage.running(obeys, 0).await;
    stage.running(deaf, 0).await;
    jobs::cancel(&stage.db, obeys).await.unwrap();
    stage.until(obeys, JobState::Cancelled).await;
    assert_eq!(stage.state(deaf).await, JobState::Running, "nobody asked it to stop");
    jobs::cancel(&stage.db, deaf).await.unwrap();
    let detail = stage.until(deaf, JobState::Cancelled).await;
    assert!(detail.row.error.unwrap().ends_with("was dropped"));
    worker.leave().await;
}

#[tokio::test]
async fn a_lease_is_renewed_for_as_long_as_the_job_runs() {
    let stage = Stage::new().await;
    let lease = Duration::from_millis(600);
    let workers = [
        stage.worker(WorkerConfig { lease, ..brisk() }),
        stage.worker(WorkerConfig { lease, ..brisk() }),
    ];
    let id = stage.enqueue(Act::Wait("go".to_owned()), Options::new()).await;
    let run = stage.running(id, 0).await;
    eventually("three leases have passed", async || (run.at.elapsed() > lease * 3).then_some(()))
        .await;
    stage.record.open("go");
    let detail = stage.until(id, JobState::Completed).await;
    assert_eq!(detail.row.crashes, 0);
    assert_eq!(stage.record.runs_of(id).len(), 1);
    for worker in workers {
        worker.leave().await;
    }
}

/// A renewal steps over a row that is locked, and a job whose transactions follow each other hides its
/// row from every one of them.
#[tokio::test]
async fn a_lease_stands_while_one_transaction_of_the_job_follows_the_other() {
    let stage = Stage::new().await;
    let lease = Duration::from_millis(600);
    let holder = stage.worker(WorkerConfig { lease, ..brisk() });
    let act = Act::Transactions { n: 30, ms: 80, rest: 2 };
    let id = stage.enqueue(act, Options::new()).await;
    stage.running(id, 0).await;
    // Another one looks for work all the time.
    let eager = WorkerConfig { lease, poll_interval: Duration::from_millis(10), ..brisk() };
    let eager = stage.worker(eager);
    let detail = stage.until(id, JobState::Completed).await;
    assert_eq!(detail.row.crashes, 0);
    assert_eq!(stage.record.runs_of(id).len(), 1);
    holder.leave().await;
    eager.leave().await;
}

#[tokio::test]
async fn jobs_claimed_ahead_are_given_back_when_no_slot_comes_free() {
    let stage = Stage::new().await;
    // Many quick jobs, so that the worker claims ahead, then a slow one, then quick ones again.
    let mut acts: Vec<_> = (0..1500).map(|_| (Act::Finish, Options::new())).collect();
    acts.push((Act::Wait("go".to_owned()), Options::new()));
    acts.extend((0..100).map(|_| (Act::Finish, Options::new())));
    stage.enqueue_all(acts).await;
    let first = stage.worker(WorkerConfig { concurrency: 1, ..brisk() });
    eventually("the slow job runs", async || (stage.record.runs().len() == 1501).then_some(()))
        .await;
    let second = stage.worker(brisk());
    stage.completed(1600).await;
    stage.record.open("go");
    stage.completed(1601).await;
    assert_eq!(stage.record.runs().len(), 1601);
    first.leave().await;
    second.leave().await;
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_until_it_goes_on() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Finish, Options::new()).await;
    stage.until(id, JobState::Completed).await;
    jobs::pause(&stage.db, "stage", true).await.unwrap();
    let waits = stage.enqueue(Act::Finish, Options::new()).await;
    // The worker was woken by this one, and has looked for work again since.
    let mut owner = stage.test.owner().await;
    let enqueued: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut owner).await.unwrap();
    eventually("the worker looked twice", async || {
        sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity where datname = current_database()
             and application_name = 'switchyard claim'
             and query_start > $1::timestamptz + interval '300 ms')",
        )
        .bind(enqueued)
        .fetch_one(&mut owner)
        .await
        .unwrap()
        .then_some(())
    })
    .await;
    assert_eq!(stage.state(waits).await, JobState::Available);
    jobs::pause(&stage.db, "stage", false).await.unwrap();
    stage.until(waits, JobState::Completed).await;
    worker.leave().await;
}
