//! Results: what each leaves behind, and that it is written once.

use super::support::{Bench, LONG, audit, claim_as, count, failure, job, settlement};
use std::time::Duration;
use switchyard_queue::{
    ErrorReport, JobId, JobState, JobStore, Options, Outcome, SettleAs, Settlement,
};
use switchyard_store::{Scope, StoreFault, jobs, maintenance};

async fn state(bench: &Bench, id: JobId) -> JobState {
    jobs::find(&bench.test.db, id).await.unwrap().state
}

#[tokio::test]
async fn completed_jobs_move_to_history() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new().unique_by(1).max_attempts(2)).await;
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    assert!(!bench.settle(&mine, SettleAs::Completed).await, "twice changes nothing");
    let row = jobs::find(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((row.state, row.attempt, row.worker), (JobState::Completed, 1, Some(mine.worker)));
    let (started, finished) = (row.started_at.unwrap(), row.finished_at.unwrap());
    assert_eq!((finished - started).num_milliseconds(), 5);
    let again = bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await;
    assert!(again[0].inserted(), "the key is free again");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_retry_waits_and_uses_up_an_attempt() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new().unique_by(1)).await;
    let retry = || SettleAs::Retry(Duration::from_secs(60), failure());
    assert!(bench.settle(&mine, retry()).await);
    assert!(!bench.settle(&mine, retry()).await, "twice uses up one attempt");
    let detail = jobs::show(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((detail.row.state, detail.row.attempt), (JobState::Retryable, 1));
    assert_eq!(detail.row.error.as_deref(), Some("error: it broke\nbecause"));
    assert!(detail.row.worker.is_none());
    let wait = (detail.row.run_at - chrono::Utc::now()).num_seconds();
    assert!((58..=60).contains(&wait), "due in {wait} s");
    let evidence = &detail.attempts[0];
    assert_eq!((evidence.attempt, evidence.outcome.as_str()), (1, "retry"));
    assert_eq!(evidence.worker, Some(mine.worker.0));
    assert_eq!((evidence.ended_at - evidence.started_at.unwrap()).num_milliseconds(), 5);
    let rival = bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await;
    assert!(!rival[0].inserted(), "a job that will run again keeps its key");

    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("update engine.jobs set run_at = now()").execute(&mut owner).await.unwrap();
    assert_eq!(maintenance::promote_due(&bench.test.db).await.unwrap(), 1);
    let second = bench.claim(1).await.pop().unwrap();
    assert_eq!((second.attempt, second.crashes), (2, 0));
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_snooze_uses_up_no_attempt() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    assert!(bench.settle(&mine, SettleAs::Snooze(LONG)).await);
    let detail = jobs::show(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((detail.row.state, detail.row.attempt), (JobState::Scheduled, 0));
    assert_eq!(detail.attempts[0].outcome, "snooze");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_dead_letter_stays_and_gives_its_key_up() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new().unique_by(1)).await;
    assert!(bench.settle(&mine, SettleAs::Discard(failure())).await);
    assert_eq!(state(&bench, mine.id).await, JobState::Discarded);
    assert!(bench.claim(1).await.is_empty());
    let next = bench.enqueue(vec![job("k", Options::new().unique_by(1))]).await;
    assert!(next[0].inserted());
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn what_was_never_started_goes_back_as_it_was() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let before = jobs::find(&bench.test.db, mine.id).await.unwrap();
    assert!(bench.settle(&mine, SettleAs::GiveBack).await);
    let detail = jobs::show(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((detail.row.state, detail.row.attempt), (JobState::Available, 0));
    assert_eq!(detail.row.run_at, before.run_at);
    assert!(detail.attempts.is_empty());
    let again = bench.claim(1).await.pop().unwrap();
    assert_eq!((again.crashes, again.attempt), (0, 1), "nobody vanished");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_batch_of_everything_is_one_transaction_of_sets() {
    let bench = Bench::new().await;
    bench.enqueue((0..600).map(|_| job("k", Options::new())).collect()).await;
    let claimed = bench.claim(600).await;
    let mut results: Vec<Settlement> = claimed
        .iter()
        .enumerate()
        .map(|(n, j)| {
            let result = match n % 6 {
                0 => SettleAs::Completed,
                1 => SettleAs::Cancelled("no longer wanted".into()),
                2 => SettleAs::Retry(LONG, failure()),
                3 => SettleAs::Snooze(LONG),
                4 => SettleAs::Discard(failure()),
                _ => SettleAs::GiveBack,
            };
            settlement(j, result)
        })
        .collect();
    let mut stale = results[7].clone();
    stale.held.fence.0 -= 1;
    results.push(stale);
    let mut stood = bench.store.settle(&results).await.unwrap();
    stood.sort();
    let mut all: Vec<_> = claimed.iter().map(|j| j.id).collect();
    all.sort();
    assert_eq!(stood, all, "each once; the stale one is not among them");
    let counts = jobs::queues(&bench.test.db).await.unwrap().remove(0).counts;
    let expected = ["available", "scheduled", "retryable", "discarded", "completed", "cancelled"];
    let got: Vec<_> = counts.iter().map(|(s, n)| (s.as_str(), *n)).collect();
    assert_eq!(got, expected.map(|s| (s, 100)));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_job_somebody_asked_to_cancel_does_not_go_round_again() {
    let bench = Bench::new().await;
    for result in [
        SettleAs::Retry(LONG, failure()),
        SettleAs::Snooze(LONG),
        SettleAs::Discard(failure()),
        SettleAs::GiveBack,
    ] {
        let mine = bench.running(Options::new()).await;
        let row = jobs::cancel(&bench.test.db, mine.id).await.unwrap();
        assert!(row.cancel_requested && row.state == JobState::Running);
        let lease = bench.store.renew(&[super::support::held(&mine)], LONG).await.unwrap();
        assert!(lease[0].cancel_requested, "the worker hears of it when it renews");
        assert!(bench.settle(&mine, result).await);
        assert_eq!(state(&bench, mine.id).await, JobState::Cancelled);
    }
    let mine = bench.running(Options::new()).await;
    jobs::cancel(&bench.test.db, mine.id).await.unwrap();
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    assert_eq!(state(&bench, mine.id).await, JobState::Completed, "it was faster");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn effects_and_the_end_of_a_job_are_one_commit() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let mut tx = bench.test.db.begin_job(&mine).await.unwrap();
    let next = tx.enqueue(job("k", Options::new())).await.unwrap();
    drop(tx);
    assert_eq!(state(&bench, mine.id).await, JobState::Running);
    assert!(jobs::find(&bench.test.db, next.id).await.is_err(), "rolled back with its job");

    let mut tx = bench.test.db.begin_job(&mine).await.unwrap();
    let next = tx.enqueue(job("k", Options::new())).await.unwrap();
    assert!(matches!(tx.done().await, Ok(Outcome::Settled(_))));
    assert_eq!(state(&bench, mine.id).await, JobState::Completed);
    assert_eq!(state(&bench, next.id).await, JobState::Available);

    let mine = bench.claim(1).await.pop().unwrap();
    let tx = bench.test.db.begin_job_as(&mine, Scope::Platform).await.unwrap();
    assert!(tx.cancelled("not wanted").await.is_ok());
    let row = jobs::find(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((row.state, row.error.as_deref()), (JobState::Cancelled, Some("not wanted")));
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_job_can_write_nothing() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    claim_as(&bench.store, bench.presence.id, 1, LONG, &[mine.worker]).await;
    let refused = bench.test.db.begin_job(&mine).await;
    assert!(matches!(refused, Err(StoreFault::LeaseLost)));

    let given_back = bench.running(Options::new()).await;
    assert!(bench.settle(&given_back, SettleAs::GiveBack).await);
    let refused = bench.test.db.begin_job(&given_back).await;
    assert!(matches!(refused, Err(StoreFault::LeaseLost)), "the fence is old, nobody holds it");
}

#[tokio::test]
async fn no_error_text_can_hold_up_a_batch() {
    let bench = Bench::new().await;
    bench.enqueue((0..2).map(|_| job("k", Options::new())).collect()).await;
    let claimed = bench.claim(2).await;
    let odd = ErrorReport { class: "error", message: format!("\0{}", "ł".repeat(40_000)) };
    let results = [
        settlement(&claimed[0], SettleAs::Discard(odd)),
        settlement(&claimed[1], SettleAs::Cancelled("a\0b".into())),
    ];
    assert_eq!(bench.store.settle(&results).await.unwrap().len(), 2);
    let mut owner = bench.test.owner().await;
    let longest =
        count(&mut owner, "select max(octet_length(last_error))::bigint from engine.jobs");
    assert!(longest.await < 20_000);
}
