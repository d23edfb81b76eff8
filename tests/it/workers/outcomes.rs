//! What becomes of a job, by how its attempt ended.

use super::stage::{Act, Stage, brisk, eventually};
use serde_json::json;
use std::time::Duration;
use switchyard_queue::{JobState, NewJob, Options, TraceContext};

#[tokio::test]
async fn a_job_that_finishes_is_completed_once() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Finish, Options::new()).await;
    let detail = stage.until(id, JobState::Completed).await;
    assert_eq!((detail.row.attempt, detail.attempts.len()), (1, 0));
    assert_eq!(stage.record.runs_of(id).len(), 1);
    worker.leave().await;
}

#[tokio::test]
async fn a_job_that_settles_in_its_own_transaction_is_not_settled_again() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let acts = (0..50).map(|_| (Act::Settle, Options::new())).collect();
    let ids = stage.enqueue_all(acts).await;
    stage.completed(50).await;
    worker.leave().await;
    for id in ids {
        assert_eq!(stage.record.runs_of(id).len(), 1);
    }
}

#[tokio::test]
async fn a_failure_is_persisted_and_tried_again_after_the_wait() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Fail(2), Options::new()).await;
    let detail = stage.until(id, JobState::Retryable).await;
    assert_eq!(detail.row.attempt, 1);
    assert_eq!(detail.row.error.as_deref(), Some("error: not yet"));
    let failed_at = detail.attempts[0].ended_at;
    assert!(detail.row.run_at >= failed_at + Duration::from_millis(50), "{detail:?}");

    // Nobody but the scheduler makes it available again.
    let _promoter = stage.promoter();
    let detail = stage.until(id, JobState::Completed).await;
    assert_eq!(detail.row.attempt, 3);
    let outcomes: Vec<_> = detail.attempts.iter().map(|a| (a.attempt, &*a.outcome)).collect();
    assert_eq!(outcomes, [(1, "retry"), (2, "retry")]);
    let attempts: Vec<_> = stage.record.runs_of(id).iter().map(|r| r.job.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    worker.leave().await;
}

#[tokio::test]
async fn the_wait_that_the_other_side_asked_for_is_kept() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::FailFor(600_000), Options::new()).await;
    let detail = stage.until(id, JobState::Retryable).await;
    let wait = detail.row.run_at - detail.attempts[0].ended_at;
    assert_eq!(wait.num_seconds(), 600);
    worker.leave().await;
}

#[tokio::test]
async fn a_job_that_keeps_failing_becomes_a_dead_letter() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let _promoter = stage.promoter();
    let id = stage.enqueue(Act::Fail(99), Options::new().max_attempts(3)).await;
    let detail = stage.until(id, JobState::Discarded).await;
    assert_eq!(detail.row.attempt, 3);
    assert_eq!(stage.record.runs_of(id).len(), 3);

    let hopeless = stage.enqueue(Act::Never, Options::new()).await;
    let detail = stage.until(hopeless, JobState::Discarded).await;
    assert_eq!(detail.row.attempt, 1, "no retry can mend it");
    worker.leave().await;
}

#[tokio::test]
async fn a_panic_fails_its_attempt_and_nothing_else() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Panic, Options::new().max_attempts(1)).await;
    let detail = stage.until(id, JobState::Discarded).await;
    assert_eq!(detail.row.error.as_deref(), Some("panic: stage fright"));
    // More panics than there are slots: none of them took a slot with it.
    let acts = (0..20).map(|_| (Act::Panic, Options::new().max_attempts(1))).collect();
    stage.enqueue_all(acts).await;
    let id = stage.enqueue(Act::Finish, Options::new().priority(1)).await;
    stage.until(id, JobState::Completed).await;
    worker.leave().await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_stopped_and_counts_as_failed() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let options = Options::new().timeout(Duration::from_millis(200)).max_attempts(1);
    let id = stage.enqueue(Act::Wait("never".to_owned()), options).await;
    let detail = stage.until(id, JobState::Discarded).await;
    let expected = "timeout: the attempt took longer than 0.2 s";
    assert_eq!(detail.row.error.as_deref(), Some(expected));
    assert!(stage.record.runs_of(id)[0].ended, "its future was dropped");
    worker.leave().await;
}

#[tokio::test]
async fn a_snooze_uses_up_no_attempt() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let _promoter = stage.promoter();
    let id = stage.enqueue(Act::Snooze(50), Options::new().max_attempts(1)).await;
    let detail = stage.until(id, JobState::Completed).await;
    assert_eq!(detail.row.attempt, 1);
    let attempts: Vec<_> = stage.record.runs_of(id).iter().map(|r| r.job.attempt).collect();
    assert_eq!(attempts, [1, 1]);
    worker.leave().await;
}

#[tokio::test]
async fn a_kind_that_nobody_knows_is_left_alone_and_holds_nobody_up() {
    let stage = Stage::new().await;
    let unknown = |n| {
        NewJob::raw("unheard", "stage", Duration::from_secs(1), json!({"n": n}), Options::new())
    };
    let strangers = stage.enqueue_raw((0..100).map(unknown).collect()).await;
    let id = stage.enqueue(Act::Finish, Options::new()).await;
    let worker = stage.worker(brisk());
    stage.until(id, JobState::Completed).await;
    worker.leave().await;
    for stranger in strangers {
        let row = stage.show(stranger.id).await.row;
        assert_eq!((row.state, row.attempt, row.worker), (JobState::Available, 0, None));
    }
}

#[tokio::test]
async fn a_job_stored_under_an_earlier_name_of_its_kind_runs() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let old =
        NewJob::raw("old.act", "stage", Duration::from_secs(1), json!("Finish"), Options::new());
    let id = stage.enqueue_raw(vec![old]).await[0].id;
    stage.until(id, JobState::Completed).await;
    worker.leave().await;
}

#[tokio::test]
async fn an_attempt_is_a_span_of_its_own_in_the_trace_of_its_request() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let trace = TraceContext::new_root();
    let job = NewJob::of(&Act::Fail(1)).unwrap().caused_by(Some(trace), Some("req-7"));
    let id = stage.enqueue_raw(vec![job]).await[0].id;
    let _promoter = stage.promoter();
    stage.until(id, JobState::Completed).await;
    worker.leave().await;
    let runs = stage.record.runs_of(id);
    let spans: Vec<_> = runs.iter().map(|r| r.job.trace.unwrap()).collect();
    assert!(spans.iter().all(|s| s.trace_id == trace.trace_id), "{spans:?}");
    assert_eq!(spans.len(), 2);
    assert_ne!(spans[0].span_id, trace.span_id);
    assert_ne!(spans[0].span_id, spans[1].span_id);
    assert_eq!(runs[0].job.request_id.as_deref(), Some("req-7"));
}

#[tokio::test]
async fn an_idle_worker_hears_of_work_at_once_without_looking_for_it() {
    let stage = Stage::new().await;
    let config =
        switchyard_workers::WorkerConfig { poll_interval: Duration::from_secs(3600), ..brisk() };
    let worker = stage.worker(config);
    eventually("the worker is present", async || {
        (!stage.live_workers().await.is_empty()).then_some(())
    })
    .await;
    // A lane that it never saw, the same again, and another new one.
    for partition in ["a", "a", "b", "a"] {
        let id = stage.enqueue(Act::Finish, Options::new().partition(partition)).await;
        stage.until(id, JobState::Completed).await;
    }
    worker.leave().await;
}
