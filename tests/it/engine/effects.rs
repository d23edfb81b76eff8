//! Effects outside the database: begun once, done once, in doubt when nobody knows.

use super::support::{Bench, LONG, claim_as, info};
use serde_json::json;
use switchyard_queue::{ClaimedJob, Held, JobStore, Options};
use switchyard_store::effects::{self, EffectOutcome, EffectState};
use switchyard_store::{JobTx, StoreFault};

async fn begin(bench: &Bench, job: &ClaimedJob, key: &str) -> EffectState {
    let mut tx = bench.test.db.begin_job(job).await.unwrap();
    let state = effects::begin(&mut tx, key).await.unwrap();
    tx.commit().await.unwrap();
    state
}

async fn tx(bench: &Bench, job: &ClaimedJob) -> JobTx {
    bench.test.db.begin_job(job).await.unwrap()
}

async fn finish(bench: &Bench, job: &ClaimedJob, key: &str, outcome: EffectOutcome) {
    let mut tx = tx(bench, job).await;
    effects::finish(&mut tx, key, outcome).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_is_done_stays_done() {
    let bench = Bench::new().await;
    let job = bench.running(Options::new()).await;
    assert_eq!(begin(&bench, &job, "mail 1").await, EffectState::New);
    finish(&bench, &job, "mail 1", EffectOutcome::Done(json!({"id": "m-1"}))).await;
    let done = EffectState::AlreadyDone(json!({"id": "m-1"}));
    assert_eq!(begin(&bench, &job, "mail 1").await, done);
    let mut again = tx(&bench, &job).await;
    let failed = EffectOutcome::Failed("no".into());
    let refused = effects::finish(&mut again, "mail 1", failed).await;
    assert!(matches!(refused, Err(StoreFault::NotFound)));
    drop(again);
    assert_eq!(begin(&bench, &job, "mail 1").await, done);
    assert_eq!(begin(&bench, &job, "mail 2").await, EffectState::New);
}

#[tokio::test]
async fn an_intent_without_a_result_is_in_doubt_until_it_is_reconciled() {
    let bench = Bench::new().await;
    let first = bench.running(Options::new()).await;
    assert_eq!(begin(&bench, &first, "mail").await, EffectState::New);
    // The worker dies here, after the call or before it.
    let other = bench.store.register(&info()).await.unwrap();
    let second = claim_as(&bench.store, other.id, 1, LONG, &[first.worker]).await.pop().unwrap();
    assert_eq!(begin(&bench, &second, "mail").await, EffectState::InDoubt);
    assert_eq!(begin(&bench, &second, "mail").await, EffectState::InDoubt, "asking does not help");
    finish(&bench, &second, "mail", EffectOutcome::Unknown("no answer".into())).await;
    assert_eq!(begin(&bench, &second, "mail").await, EffectState::InDoubt);
    finish(&bench, &second, "mail", EffectOutcome::Done(json!("m-1"))).await;
    assert_eq!(begin(&bench, &second, "mail").await, EffectState::AlreadyDone(json!("m-1")));
    assert!(matches!(bench.test.db.begin_job(&first).await, Err(StoreFault::LeaseLost)));
}

#[tokio::test]
async fn what_certainly_failed_may_be_begun_again() {
    let bench = Bench::new().await;
    let job = bench.running(Options::new()).await;
    assert_eq!(begin(&bench, &job, "mail").await, EffectState::New);
    finish(&bench, &job, "mail", EffectOutcome::Failed("refused".into())).await;
    assert_eq!(begin(&bench, &job, "mail").await, EffectState::New);
    assert_eq!(begin(&bench, &job, "mail").await, EffectState::InDoubt);
}

#[tokio::test]
async fn an_intent_that_is_rolled_back_was_never_there() {
    let bench = Bench::new().await;
    let job = bench.running(Options::new()).await;
    let mut tx = tx(&bench, &job).await;
    assert_eq!(effects::begin(&mut tx, "mail").await.unwrap(), EffectState::New);
    drop(tx);
    assert_eq!(begin(&bench, &job, "mail").await, EffectState::New);
    let mut tx = bench.test.db.begin_job(&job).await.unwrap();
    let never = effects::finish(&mut tx, "never begun", EffectOutcome::Failed("x".into())).await;
    assert!(matches!(never, Err(StoreFault::NotFound)));
}

#[tokio::test]
async fn who_has_not_called_knows_its_own_intent_and_nobody_elses() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let uncalled = async |job: &ClaimedJob| {
        let mut tx = tx(&bench, job).await;
        let state = effects::begin_uncalled(&mut tx, "mail").await.unwrap();
        tx.commit().await.unwrap();
        state
    };
    assert_eq!(uncalled(&mine).await, EffectState::New);
    assert_eq!(uncalled(&mine).await, EffectState::New, "it is this attempt's own");
    let other = bench.store.register(&info()).await.unwrap();
    let heir = claim_as(&bench.store, other.id, 1, LONG, &[mine.worker]).await.pop().unwrap();
    assert_eq!(uncalled(&heir).await, EffectState::InDoubt, "the attempt before may have called");
    assert_eq!(uncalled(&heir).await, EffectState::InDoubt);
    finish(&bench, &heir, "mail", EffectOutcome::Done(json!("m-1"))).await;
    assert_eq!(uncalled(&heir).await, EffectState::AlreadyDone(json!("m-1")));
}

#[tokio::test]
async fn of_several_effects_all_are_begun_or_none() {
    let bench = Bench::new().await;
    bench.enqueue((0..2).map(|_| super::support::job("k", Options::new())).collect()).await;
    let jobs = bench.claim(2).await;
    let all: Vec<&ClaimedJob> = jobs.iter().collect();
    let of = |keys: [&str; 2]| {
        let held = |job: &ClaimedJob| Held { id: job.id, fence: job.fence };
        Vec::from_iter(jobs.iter().zip(keys).map(|(job, key)| (held(job), key.to_owned())))
    };
    let mut both = bench.test.db.begin_jobs(&all).await.unwrap();
    assert!(effects::begin_all(&mut both, &of(["a", "b"])).await.unwrap());
    both.commit().await.unwrap();
    let mut again = bench.test.db.begin_jobs(&all).await.unwrap();
    assert!(!effects::begin_all(&mut again, &of(["b", "c"])).await.unwrap(), "one is begun");
    drop(again);
    let done = |n: &str| EffectOutcome::Done(json!(n));
    let ends = |keys| of(keys).into_iter().map(|(held, key)| (held, key.clone(), done(&key)));
    let mut never = bench.test.db.begin_jobs(&all).await.unwrap();
    assert!(!effects::finish_all(&mut never, ends(["a", "c"]).collect()).await.unwrap());
    drop(never);
    let mut both = bench.test.db.begin_jobs(&all).await.unwrap();
    assert!(effects::finish_all(&mut both, ends(["a", "b"]).collect()).await.unwrap());
    both.commit().await.unwrap();
    for key in ["a", "b"] {
        assert_eq!(begin(&bench, &jobs[0], key).await, EffectState::AlreadyDone(json!(key)));
    }
    assert_eq!(begin(&bench, &jobs[0], "c").await, EffectState::New, "nothing was left of it");
}
