//! Workers under limits: how many jobs run at once, how fast they start, whose turn it is, and
//! which kinds are left alone.

use super::faults::{admin, cut};
use super::stage::{Act, Other, Stage, brisk, eventually};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::time::Duration;
use switchyard_queue::{JobState, NewJob, Options, RedisWake};
use switchyard_store::jobs::{self, Reason};
use switchyard_store::limits::{self, LimitScope, StartRate};
use switchyard_tests::redis_url;
use switchyard_workers::WorkerConfig;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than any test waits.
const ENDLESS: Duration = Duration::from_secs(600);

async fn limit(stage: &Stage, max_running: Option<u32>, rate: Option<StartRate>) {
    let queue = LimitScope::Queue { queue: "stage".into() };
    limits::set(&stage.db, &queue, max_running, rate).await.unwrap();
}

async fn running(stage: &Stage) -> u64 {
    limits::list(&stage.db, 10).await.unwrap().iter().map(|l| l.running).sum()
}

/// What a run sees beside it has begun and may have ended without its result being written, so these
/// are never more than what counts under the limit.
fn most_at_once(stage: &Stage) -> usize {
    stage.record.runs().iter().map(|r| r.under_way + 1).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_together_never_run_more_than_a_queue_allows() {
    two_run_at_once(Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_redis_wakes_them() {
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    let prefix = format!("limits-{}:", Uuid::new_v4().simple());
    let wake = RedisWake::start(&redis_url(), &prefix, stop).unwrap();
    two_run_at_once(Stage::woken_by(wake).await).await;
}

async fn two_run_at_once(stage: Stage) {
    limit(&stage, Some(2), None).await;
    let workers = [stage.worker(brisk()), stage.worker(brisk())];
    let acts = (0..60).map(|n| (Act::Take(n % 4), Options::new().partition(n % 5)));
    let ids = stage.enqueue_all(acts.collect()).await;
    stage.completed(60).await;
    for worker in workers {
        worker.leave().await;
    }
    let ran: Vec<_> = stage.record.runs().iter().map(|r| r.job.id).collect();
    assert_eq!(ran.len(), 60, "each ran once");
    assert_eq!(HashSet::<_>::from_iter(ran), HashSet::from_iter(ids));
    assert_eq!(most_at_once(&stage), 2, "never more, and both places are used");
    assert_eq!(running(&stage).await, 0);
}

#[tokio::test]
async fn a_place_that_comes_free_is_used_at_once_by_the_same_worker() {
    let stage = Stage::new().await;
    limit(&stage, Some(1), None).await;
    stage.enqueue_all(vec![(Act::Finish, Options::new()); 60]).await;
    let worker = stage.worker(brisk());
    stage.completed(60).await;
    worker.leave().await;
    assert_eq!(most_at_once(&stage), 1);
    let runs = stage.record.runs();
    let mut gaps: Vec<Duration> = runs.windows(2).map(|w| w[1].at - w[0].at).collect();
    gaps.sort_unstable();
    // Whoever does not notice asks again every 50 ms, so no gap would be shorter. A busy machine
    // may stretch some of them.
    assert!(gaps[15] < Duration::from_millis(45), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept_and_used_by_two_workers_together() {
    let stage = Stage::new().await;
    let rate = StartRate { starts: 20, period: Duration::from_secs(1), burst: 5 };
    limit(&stage, None, Some(rate)).await;
    let config = || WorkerConfig { concurrency: 64, ..brisk() };
    let workers = [stage.worker(config()), stage.worker(config())];
    let wait = || (Act::Wait("go".to_owned()), Options::new());
    stage.enqueue_all((0..60).map(|_| wait()).collect()).await;
    eventually("all run", async || (stage.record.runs().len() == 60).then_some(())).await;
    // They all run still, so the table knows when each was claimed, by the database's clock.
    let starts: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select claimed_at from engine.jobs order by claimed_at")
            .fetch_all(&mut stage.test.owner().await)
            .await
            .unwrap();
    assert_eq!(starts.len(), 60);
    // A claim's time is when its transaction began; its place in the rate was settled a little
    // later. Half a second is allowed for that on a busy machine.
    let second = TimeDelta::seconds(1);
    for (i, from) in starts.iter().enumerate() {
        let n = starts[i..].iter().take_while(|at| **at - *from < second).count();
        assert!(n <= 5 + 20 + 10, "{n} starts in one second: {starts:?}");
    }
    let span = |i: usize, n: usize| (starts[i + n] - starts[i]).as_seconds_f64();
    assert!(span(0, 59) >= 55.0 / 20.0 - 0.5, "55 starts beyond the burst took {} s", span(0, 59));
    // A machine that stalls loses starts for good, so of all stretches the best one counts.
    let best = (5..=35).map(|i| span(i, 24)).fold(f64::MAX, f64::min);
    assert!(best <= 24.0 / 20.0 / 0.8, "24 starts took {best} s at best: {starts:?}");
    stage.record.open("go");
    stage.completed(60).await;
    for worker in workers {
        worker.leave().await;
    }
}

#[tokio::test]
async fn a_limit_that_comes_while_jobs_run_holds_for_what_begins_from_now_on() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let old = stage.enqueue_all(vec![(Act::Wait("go".to_owned()), Options::new()); 4]).await;
    eventually("they run", async || (stage.record.runs().len() == 4).then_some(())).await;
    limit(&stage, Some(1), None).await;
    let new = stage.enqueue_all(vec![(Act::Take(5), Options::new()); 12]).await;
    stage.completed(12).await;
    for id in &new {
        assert_eq!(stage.record.runs_of(*id)[0].under_way, 4, "only those of before run beside it");
    }
    for id in old {
        assert_eq!(stage.state(id).await, JobState::Running);
    }
    stage.record.open("go");
    stage.completed(16).await;
    worker.leave().await;
}

#[tokio::test]
async fn the_places_of_a_killed_worker_come_back_with_its_jobs() {
    let stage = Stage::new().await;
    limit(&stage, Some(2), None).await;
    let ids = stage.enqueue_all(vec![(Act::Take(5), Options::new()); 8]).await;
    stage.crash_with(2).await;
    assert_eq!(running(&stage).await, 2, "they keep their places");
    let workers = [stage.worker(brisk()), stage.worker(brisk())];
    stage.completed(8).await;
    for worker in workers {
        worker.leave().await;
    }
    assert!(most_at_once(&stage) <= 2);
    let mut crashed = 0;
    for id in ids {
        crashed += stage.show(id).await.row.crashes;
    }
    assert_eq!((crashed, running(&stage).await), (2, 0));
}

/// Another worker may run it at once, so a grace would put two to work where one is allowed.
#[tokio::test]
async fn a_limited_job_whose_claim_is_in_doubt_gets_no_grace() {
    let stage = Stage::new().await;
    let tight = LimitScope::Partition { queue: "stage".into(), partition: "tight".into() };
    limits::set(&stage.db, &tight, Some(1), None).await.unwrap();
    let worker = stage.worker(WorkerConfig { cancel_grace: ENDLESS, ..brisk() });
    let wait = |p: &str| (Act::Wait("go".to_owned()), Options::new().partition(p));
    let ids = stage.enqueue_all(vec![wait("tight"), wait("free")]).await;
    let (limited, free) = (ids[0], ids[1]);
    stage.running(limited, 0).await;
    stage.running(free, 0).await;
    let (mut admin, name) = admin(&stage).await;
    assert_eq!(cut(&mut admin, &name, "switchyard presence").await, 1);
    let ended = |id| stage.record.runs_of(id)[0].ended;
    eventually("the limited one is dropped", async || ended(limited).then_some(())).await;
    assert!(!ended(free), "nobody's limit is at stake with the other one");
    stage.record.open("go");
    stage.completed(2).await;
    assert_eq!(stage.record.runs_of(limited).len(), 2);
    worker.leave().await;
}

#[tokio::test]
async fn a_grace_that_an_operator_gave_ends_when_the_claim_of_a_limited_job_is_in_doubt() {
    let stage = Stage::new().await;
    limit(&stage, Some(1), None).await;
    let worker = stage.worker(WorkerConfig { cancel_grace: ENDLESS, ..brisk() });
    let id = stage.enqueue(Act::Wait("never".to_owned()), Options::new()).await;
    stage.running(id, 0).await;
    jobs::cancel(&stage.db, id).await.unwrap();
    stage.heard().await;
    assert_eq!(stage.state(id).await, JobState::Running, "it has its grace");
    let (mut admin, name) = admin(&stage).await;
    assert_eq!(cut(&mut admin, &name, "switchyard presence").await, 1);
    stage.until(id, JobState::Cancelled).await;
    worker.leave().await;
}

#[tokio::test]
async fn queues_share_by_their_weights() {
    let stage = Stage::new().await;
    let job = |queue: &'static str| {
        let mut job = NewJob::with_options(&Act::Finish, Options::new()).unwrap();
        job.queue = queue.into();
        job
    };
    let jobs = (0..400).flat_map(|_| ["heavy", "light"].map(job)).collect();
    let enqueued = stage.enqueue_raw(jobs).await;
    let heavy: HashSet<_> = enqueued.iter().step_by(2).map(|e| e.id).collect();
    jobs::weigh(&stage.db, "heavy", 3).await.unwrap();
    let queues = vec!["heavy".to_owned(), "light".to_owned()];
    let worker = stage.worker(WorkerConfig { queues, ..brisk() });
    stage.completed(800).await;
    worker.leave().await;
    let runs = stage.record.runs();
    let share = runs[..200].iter().filter(|r| heavy.contains(&r.job.id)).count();
    assert!((130..=170).contains(&share), "{share} of the first 200 and not about 150");
}

#[tokio::test]
async fn a_paused_kind_waits_while_others_of_its_queue_run() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let other = || vec![NewJob::with_options(&Other(Act::Finish), Options::new()).unwrap()];
    let before = stage.enqueue_raw(other()).await[0].id;
    stage.until(before, JobState::Completed).await;
    jobs::pause_kind(&stage.db, "other", true).await.unwrap();
    stage.heard().await;
    let waits = stage.enqueue_raw(other()).await[0].id;
    stage.enqueue_all(vec![(Act::Finish, Options::new()); 20]).await;
    stage.completed(21).await;
    assert_eq!(stage.state(waits).await, JobState::Available, "it came first and was left alone");
    let why = jobs::why(&stage.db, waits).await.unwrap();
    assert_eq!(why.reasons, [Reason::KindPaused { kind: "other".into() }]);
    let kinds = jobs::kinds(&stage.db).await.unwrap();
    let paused: Vec<_> = kinds.iter().filter(|k| k.paused).map(|k| &*k.kind).collect();
    assert_eq!(paused, ["other"]);
    jobs::pause_kind(&stage.db, "other", false).await.unwrap();
    stage.until(waits, JobState::Completed).await;
    worker.leave().await;
}
