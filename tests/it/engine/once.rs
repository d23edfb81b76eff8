//! `once`: the effect is had one time, and every retry gets its result.

use super::support::{Bench, LONG, claim_as, count, info};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_queue::{ClaimedJob, ErrorClass, JobStore, Options};
use switchyard_store::effects::{self, CallFault, EffectState, InDoubt, OnceFault};
use switchyard_store::{JobTx, StoreFault};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: String,
    cents: i64,
}

fn receipt() -> Receipt {
    Receipt { id: "r-1".into(), cents: 1999 }
}

#[derive(Debug)]
struct No;

impl std::error::Error for No {}

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the provider said no\0")
    }
}

type Answer = Result<Receipt, CallFault<No>>;

/// The other side, which counts the calls.
#[derive(Default)]
struct Provider(AtomicU32);

impl Provider {
    fn calls(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    async fn pay(
        &self,
        bench: &Bench,
        job: &ClaimedJob,
        in_doubt: InDoubt,
        answer: Answer,
    ) -> Result<Receipt, OnceFault<No>> {
        let calls = &self.0;
        let call = || async move {
            calls.fetch_add(1, Ordering::SeqCst);
            answer
        };
        effects::once(&bench.test.db, job, "pay 7", in_doubt, call).await
    }
}

/// The next attempt at the job, after its worker died.
async fn successor(bench: &Bench, job: &ClaimedJob) -> ClaimedJob {
    let other = bench.store.register(&info()).await.unwrap();
    let claimed = claim_as(&bench.store, other.id, 1, LONG, &[job.worker]).await.pop().unwrap();
    assert_eq!(claimed.id, job.id);
    claimed
}

#[tokio::test]
async fn a_retry_gets_the_stored_result_and_calls_nobody() {
    let bench = Bench::new().await;
    let provider = Provider::default();
    let job = bench.running(Options::new()).await;
    let first = provider.pay(&bench, &job, InDoubt::Refuse, Ok(receipt())).await;
    assert_eq!(first.unwrap(), receipt());
    let next = successor(&bench, &job).await;
    let other = Receipt { id: "r-2".into(), cents: 0 };
    let again = provider.pay(&bench, &next, InDoubt::Refuse, Ok(other)).await;
    assert_eq!((again.unwrap(), provider.calls()), (receipt(), 1));
    // A program that changed its mind about the type is told so.
    let odd = async || Ok::<u8, CallFault<No>>(1);
    let odd = effects::once(&bench.test.db, &next, "pay 7", InDoubt::Refuse, odd).await;
    assert!(matches!(odd, Err(OnceFault::Store(StoreFault::Json(_)))), "{odd:?}");
}

#[tokio::test]
async fn a_crash_between_intent_and_result_is_in_doubt_and_not_repeated() {
    let bench = Bench::new().await;
    let provider = Provider::default();
    let job = bench.running(Options::new()).await;
    // The call never comes back: the process dies in the middle of it.
    let called = tokio::sync::Notify::new();
    let silent = || async {
        called.notify_one();
        std::future::pending::<Answer>().await
    };
    let call = effects::once(&bench.test.db, &job, "pay 7", InDoubt::Refuse, silent);
    tokio::select! {
        answer = call => panic!("{answer:?}"),
        () = called.notified() => {}
    }
    let mut owner = bench.test.owner().await;
    let intents = "select count(*) from engine.effects where key = 'pay 7' and state = 'intent'";
    assert_eq!(count(&mut owner, intents).await, 1);

    let next = successor(&bench, &job).await;
    for _ in 0..2 {
        let refused = provider.pay(&bench, &next, InDoubt::Refuse, Ok(receipt())).await;
        let fault = refused.unwrap_err();
        assert!(matches!(fault, OnceFault::InDoubt(ref key) if key == "pay 7"), "{fault:?}");
        assert_eq!(fault.into_job_error().class(), ErrorClass::Permanent);
    }
    assert_eq!(provider.calls(), 0);
    let mut tx = bench.test.db.begin_job(&next).await.unwrap();
    let inside = effects::once_in(&mut tx, "pay 7", async |_| Ok::<_, No>(receipt())).await;
    assert!(matches!(inside, Err(OnceFault::InDoubt(_))), "{inside:?}");
    tx.commit().await.unwrap();

    // The other side knows the key: then it may be asked again.
    let lost = provider.pay(&bench, &next, InDoubt::Repeat, Err(CallFault::Unknown(No))).await;
    assert!(matches!(lost, Err(OnceFault::Failed(No))), "{lost:?}");
    let failed = provider.pay(&bench, &next, InDoubt::Repeat, Err(CallFault::Failed(No))).await;
    assert!(matches!(failed, Err(OnceFault::Failed(No))), "{failed:?}");
    let refused = provider.pay(&bench, &next, InDoubt::Refuse, Ok(receipt())).await;
    assert!(matches!(refused, Err(OnceFault::InDoubt(_))), "the first call is still in doubt");
    let done = provider.pay(&bench, &next, InDoubt::Repeat, Ok(receipt())).await;
    assert_eq!((done.unwrap(), provider.calls()), (receipt(), 3));
}

#[tokio::test]
async fn what_certainly_failed_is_called_again_and_what_may_have_worked_is_not() {
    let bench = Bench::new().await;
    let provider = Provider::default();
    let job = bench.running(Options::new()).await;
    let failed = provider.pay(&bench, &job, InDoubt::Refuse, Err(CallFault::Failed(No))).await;
    let fault = failed.unwrap_err();
    assert!(matches!(fault, OnceFault::Failed(No)), "{fault:?}");
    assert!(matches!(fault.into_job_error().class(), ErrorClass::Retry { .. }));
    let lost = provider.pay(&bench, &job, InDoubt::Refuse, Err(CallFault::Unknown(No))).await;
    let fault = lost.unwrap_err();
    assert!(matches!(fault, OnceFault::Unknown(No)), "{fault:?}");
    assert_eq!(fault.into_job_error().class(), ErrorClass::Permanent);
    assert_eq!(provider.calls(), 2);
    let refused = provider.pay(&bench, &job, InDoubt::Refuse, Ok(receipt())).await;
    assert!(matches!(refused, Err(OnceFault::InDoubt(_))), "{refused:?}");
    assert_eq!(provider.calls(), 2);
}

#[tokio::test]
async fn a_wrong_fence_is_refused_before_the_call_and_after_it() {
    let bench = Bench::new().await;
    let provider = Provider::default();
    let job = bench.running(Options::new()).await;
    let next = successor(&bench, &job).await;
    let stale = provider.pay(&bench, &job, InDoubt::Refuse, Ok(receipt())).await;
    let fault = stale.unwrap_err();
    assert!(matches!(fault, OnceFault::Store(StoreFault::LeaseLost)), "{fault:?}");
    assert_eq!(fault.into_job_error().class(), ErrorClass::Lost);
    assert_eq!(provider.calls(), 0, "it was not called");
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.effects").await, 0);

    // The job changes hands during the call: nobody wrote the result, so it is in doubt.
    let taken = async || {
        successor(&bench, &next).await;
        Ok::<_, CallFault<No>>(receipt())
    };
    let late = effects::once(&bench.test.db, &next, "pay 8", InDoubt::Refuse, taken).await;
    assert!(matches!(late, Err(OnceFault::Store(StoreFault::LeaseLost))), "{late:?}");
    let open = "select count(*) from engine.effects where key = 'pay 8' and state = 'intent'";
    assert_eq!(count(&mut owner, open).await, 1);
}

/// An effect inside the database: a row that can be counted.
async fn book(tx: &mut JobTx) -> Result<Receipt, StoreFault> {
    assert_eq!(effects::begin(tx, "a row of the effect").await?, EffectState::New);
    Ok(receipt())
}

#[tokio::test]
async fn an_effect_inside_the_transaction_stands_or_falls_with_it() {
    let bench = Bench::new().await;
    let job = bench.running(Options::new()).await;
    let mut owner = bench.test.owner().await;
    let all = "select count(*) from engine.effects";
    let mut tx = bench.test.db.begin_job(&job).await.unwrap();
    assert_eq!(effects::once_in(&mut tx, "book", book).await.unwrap(), receipt());
    drop(tx);
    assert_eq!(count(&mut owner, all).await, 0, "rolled back with its record");

    let mut tx = bench.test.db.begin_job(&job).await.unwrap();
    assert_eq!(effects::once_in(&mut tx, "book", book).await.unwrap(), receipt());
    tx.commit().await.unwrap();
    assert_eq!(count(&mut owner, all).await, 2);

    let next = successor(&bench, &job).await;
    let db = bench.test.db.clone();
    // In a task of its own, as jobs run.
    let again = tokio::spawn(async move {
        let mut tx = db.begin_job(&next).await.unwrap();
        let never = async |_: &mut JobTx| -> Result<Receipt, No> { panic!("it is done already") };
        let stored = effects::once_in(&mut tx, "book", never).await.unwrap();
        tx.done().await.unwrap();
        stored
    });
    assert_eq!(again.await.unwrap(), receipt());
}

#[tokio::test]
async fn a_failed_effect_is_undone_and_the_transaction_goes_on() {
    let bench = Bench::new().await;
    let job = bench.running(Options::new()).await;
    let mut tx = bench.test.db.begin_job(&job).await.unwrap();
    let failed = effects::once_in(&mut tx, "book", async |tx: &mut JobTx| {
        book(tx).await.unwrap();
        Err::<Receipt, _>(No)
    });
    assert!(matches!(failed.await, Err(OnceFault::Failed(No))));
    // A statement that the database refuses would end the transaction without the savepoint.
    let refused = effects::once_in(&mut tx, "book", async |tx: &mut JobTx| {
        effects::finish(tx, "never begun", effects::EffectOutcome::Failed("\0".into())).await?;
        Ok::<_, StoreFault>(receipt())
    });
    assert!(matches!(refused.await, Err(OnceFault::Failed(_))));
    let kept = effects::once_in(&mut tx, "book", async |_| Ok::<_, No>(receipt())).await;
    assert_eq!(kept.unwrap(), receipt());
    tx.done().await.unwrap();
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.effects").await, 1);
}
