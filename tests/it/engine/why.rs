//! Why a job is not running: each reason, alone and together.

use super::presence::kill;
use super::support::{Bench, LONG, claim_alone, claim_as, count, failure, info, job, until};
use std::time::Duration;
use switchyard_queue::{JobId, JobStore, KindInfo, NewJob, Options, SettleAs, WorkerInfo};
use switchyard_store::jobs::{self, Ahead, HeldBy, Reason, Verdict, Why};
use switchyard_store::limits::{self, LimitScope, StartRate};
use switchyard_store::{LeaderLock, StoreFault};

async fn why(bench: &Bench, id: JobId) -> Why {
    jobs::why(&bench.test.db, id).await.unwrap()
}

/// The verdict and the codes, and a look at the words.
async fn said(bench: &Bench, id: JobId) -> (Verdict, Vec<&'static str>) {
    let why = why(bench, id).await;
    for reason in &why.reasons {
        let (message, remedy) = (reason.message(), reason.remedy());
        assert!(message.ends_with('.') && !message.contains(".."), "{message}");
        assert!(remedy.ends_with('.') && remedy.len() > 10, "{remedy}");
    }
    (why.verdict, why.reasons.iter().map(Reason::code).collect())
}

async fn lead(bench: &Bench) -> LeaderLock {
    let mut lock = LeaderLock::connect(&bench.test.db).await.unwrap();
    assert!(lock.try_acquire().await.unwrap());
    lock
}

async fn one(bench: &Bench, options: Options) -> JobId {
    bench.enqueue(vec![job("k", options)]).await[0].id
}

#[tokio::test]
async fn what_is_over_says_how_and_when() {
    let bench = Bench::new().await;
    let done = bench.running(Options::new()).await;
    assert!(bench.settle(&done, SettleAs::Completed).await);
    assert_eq!(said(&bench, done.id).await, (Verdict::Finished, vec!["completed"]));
    let given_up = one(&bench, Options::new()).await;
    jobs::cancel(&bench.test.db, given_up).await.unwrap();
    let why = why(&bench, given_up).await;
    match &why.reasons[..] {
        [Reason::Cancelled { at: Some(_), why: Some(why) }] => assert!(why.contains("operator")),
        other => panic!("{other:?}"),
    }
    let missing = jobs::why(&bench.test.db, JobId::new()).await;
    assert!(matches!(missing, Err(StoreFault::NotFound)));
}

#[tokio::test]
async fn what_runs_names_its_worker_and_a_wish_to_stop_it() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let running = why(&bench, mine.id).await;
    match &running.reasons[..] {
        [Reason::Running { worker, since: Some(since), lease_until: Some(until) }] => {
            assert_eq!(*worker, format!("Worker {} on test", mine.worker.0));
            assert!(until > since);
        }
        other => panic!("{other:?}"),
    }
    jobs::cancel(&bench.test.db, mine.id).await.unwrap();
    let asked = (Verdict::Running, vec!["running", "cancel_requested"]);
    assert_eq!(said(&bench, mine.id).await, asked);
}

#[tokio::test]
async fn a_holder_that_is_gone_is_told_before_anybody_wrote_it_down() {
    let bench = Bench::new().await;
    let id = one(&bench, Options::new()).await;
    let victim = bench.store.register(&info()).await.unwrap();
    claim_as(&bench.store, victim.id, 1, LONG, &[]).await.pop().unwrap();
    kill(&bench, victim.id).await;
    let gone = (Verdict::Waiting, vec!["holder_gone"]);
    until("its death shows", || async { (said(&bench, id).await == gone).then_some(()) }).await;
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(died_at) from engine.workers").await, 0);
    // A lease that ran out is as good as a death.
    let short = Duration::from_millis(20);
    let late = claim_as(&bench.store, bench.presence.id, 1, short, &[victim.id]).await;
    assert_eq!(late[0].id, id);
    tokio::time::sleep(short * 2).await;
    assert_eq!(said(&bench, id).await, gone);
}

#[tokio::test]
async fn what_waits_for_its_time_says_when_and_who_looks_at_the_clock() {
    let bench = Bench::new().await;
    let leader = lead(&bench).await;
    let scheduled = one(&bench, Options::new().delay(LONG)).await;
    assert_eq!(said(&bench, scheduled).await, (Verdict::Waiting, vec!["scheduled"]));
    let failed = bench.running(Options::new().max_attempts(5)).await;
    assert!(bench.settle(&failed, SettleAs::Retry(LONG, failure())).await);
    let again = why(&bench, failed.id).await;
    match &again.reasons[..] {
        [Reason::Retryable { attempt: 1, max_attempts: 5, error: Some(error), at }] => {
            assert!(error.contains("it broke") && *at > chrono::Utc::now());
        }
        other => panic!("{other:?}"),
    }
    assert!(again.reasons[0].message().contains("(error: it broke)"), "{again:?}");
    drop(leader);
    let nobody = (Verdict::Stuck, vec!["scheduled", "no_scheduler"]);
    until("the lead is free", || async { (said(&bench, scheduled).await == nobody).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_paused_queue_and_missing_workers_are_told_together() {
    let bench = Bench::new().await;
    let _leader = lead(&bench).await;
    let here = one(&bench, Options::new()).await;
    let unknown = bench.enqueue(vec![job("unknown", Options::new())]).await[0].id;
    let elsewhere = NewJob::raw("k", "other", LONG, serde_json::json!({}), Options::new());
    let elsewhere = bench.enqueue(vec![elsewhere]).await[0].id;
    assert_eq!(said(&bench, unknown).await, (Verdict::Stuck, vec!["kind_unknown"]));
    assert_eq!(said(&bench, elsewhere).await, (Verdict::Stuck, vec!["queue_unserved"]));

    let (kinds, queues) = (vec!["unknown".into()], vec!["other".into()]);
    let other = bench.store.register(&WorkerInfo { kinds, queues, ..info() }).await.unwrap();
    let apart = (Verdict::Stuck, vec!["kind_not_in_queue"]);
    assert_eq!(said(&bench, unknown).await, apart);
    assert_eq!(said(&bench, elsewhere).await, apart);
    bench.store.deregister(other.id).await.unwrap();

    jobs::pause(&bench.test.db, "q", true).await.unwrap();
    let later = one(&bench, Options::new().delay(LONG)).await;
    assert_eq!(said(&bench, here).await, (Verdict::Stuck, vec!["queue_paused"]));
    assert_eq!(said(&bench, later).await, (Verdict::Stuck, vec!["scheduled", "queue_paused"]));
    bench.store.deregister(bench.presence.id).await.unwrap();
    let all = vec!["queue_paused", "queue_unserved", "kind_unknown"];
    assert_eq!(said(&bench, here).await, (Verdict::Stuck, all));
}

#[tokio::test]
async fn a_paused_partition_is_named_and_told_apart_from_its_queue() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mine = one(&bench, Options::new().partition("a")).await;
    let other = one(&bench, Options::new()).await;
    jobs::pause_partition(db, "q", "a", true).await.unwrap();
    let told = why(&bench, mine).await;
    let held = Reason::PartitionPaused { queue: "q".into(), partition: "a".into() };
    assert_eq!((told.verdict, &told.reasons[..]), (Verdict::Stuck, &[held][..]));
    assert_eq!(told.reasons[0].message(), "Partition `a` of its queue `q` is paused.");
    assert!(told.reasons[0].remedy().contains("queues resume QUEUE --partition PARTITION"));
    assert_eq!(said(&bench, other).await, (Verdict::Waiting, vec!["waiting"]));

    jobs::pause(db, "q", true).await.unwrap();
    let both = (Verdict::Stuck, vec!["queue_paused", "partition_paused"]);
    assert_eq!(said(&bench, mine).await, both);
    assert_eq!(said(&bench, other).await, (Verdict::Stuck, vec!["queue_paused"]));
    jobs::pause(db, "q", false).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Stuck, vec!["partition_paused"]));
    jobs::pause_partition(db, "q", "", true).await.unwrap();
    assert_eq!(said(&bench, other).await, (Verdict::Stuck, vec!["partition_paused"]));
    assert!(why(&bench, other).await.reasons[0].message().contains("have no partition"));
    jobs::pause_partition(db, "q", "a", false).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Waiting, vec!["waiting"]));
}

#[tokio::test]
async fn quiet_workers_are_not_counted_and_named_where_there_are_no_others() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mine = one(&bench, Options::new()).await;
    jobs::quiet(db, bench.presence.id.0, true).await.unwrap();
    let told = why(&bench, mine).await;
    let quiet = Reason::WorkersQuiet { workers: 1 };
    assert_eq!((told.verdict, &told.reasons[..]), (Verdict::Stuck, &[quiet][..]));
    assert!(told.reasons[0].remedy().contains("switchyard workers resume"), "{told:?}");
    let unknown = bench.enqueue(vec![job("unknown", Options::new())]).await[0].id;
    assert_eq!(said(&bench, unknown).await, (Verdict::Stuck, vec!["kind_unknown"]));

    let second = bench.store.register(&info()).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Waiting, vec!["waiting"]));
    assert!(matches!(&why(&bench, mine).await.reasons[..], [Reason::Waiting { workers: 1, .. }]));
    jobs::quiet(db, second.id.0, true).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Stuck, vec!["workers_quiet"]));
    assert!(why(&bench, mine).await.reasons[0].message().starts_with("All 2 living workers"));
    jobs::quiet(db, bench.presence.id.0, false).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Waiting, vec!["waiting"]));
}

#[tokio::test]
async fn a_limit_that_is_used_up_is_named_with_its_numbers_and_does_not_block() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let queue = LimitScope::Queue { queue: "q".into() };
    let key = LimitScope::Key { key: "twilio".into() };
    limits::set(db, &queue, Some(2), None).await.unwrap();
    let rate = StartRate { starts: 1, period: LONG, burst: 1 };
    limits::set(db, &key, None, Some(rate)).await.unwrap();
    let with_key = || Options::new().limit_key("twilio");
    let second = bench.enqueue(vec![job("k", with_key()), job("k", with_key())]).await[1].id;
    assert_eq!(said(&bench, second).await, (Verdict::Waiting, vec!["waiting"]));
    assert_eq!(bench.claim(2).await.len(), 1, "the rate allows one");
    match &why(&bench, second).await.reasons[..] {
        [
            Reason::Limited { limit, by: HeldBy::Rate { next_start, .. } },
            Reason::Waiting { .. },
        ] => {
            assert_eq!(*limit, key);
            let wait = (*next_start - chrono::Utc::now()).num_seconds();
            assert!((500..=600).contains(&wait), "{wait} s");
        }
        other => panic!("{other:?}"),
    }
    one(&bench, Options::new()).await;
    let waits = one(&bench, Options::new()).await;
    let second_slot = bench.claim(2).await.remove(0);
    let both = (Verdict::Waiting, vec!["limited", "limited", "waiting"]);
    assert_eq!(said(&bench, second).await, both, "by its queue and by its key");
    let why = why(&bench, waits).await;
    let words = "The limit of queue `q` is used up: 2 of 2 jobs run.";
    assert_eq!((why.verdict, why.reasons[0].message()), (Verdict::Waiting, words.to_owned()));
    assert!(bench.settle(&second_slot, SettleAs::Completed).await);
    assert_eq!(said(&bench, waits).await, (Verdict::Waiting, vec!["waiting"]));
}

#[tokio::test]
async fn a_paused_kind_blocks_its_jobs_and_no_others() {
    let bench = Bench::new().await;
    let known = *switchyard_catalog::registry().kinds().next().unwrap();
    let declares = vec![KindInfo { kind: "k", aliases: &[], ..known }];
    let _second = bench.store.register(&WorkerInfo { declares, ..info() }).await.unwrap();
    let mine = one(&bench, Options::new()).await;
    jobs::pause_kind(&bench.test.db, "k", true).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Stuck, vec!["kind_paused"]));
    let other = bench.enqueue(vec![job("other", Options::new())]).await[0].id;
    assert_eq!(said(&bench, other).await, (Verdict::Stuck, vec!["kind_unknown"]));
    jobs::pause_kind(&bench.test.db, "k", false).await.unwrap();
    assert_eq!(said(&bench, mine).await, (Verdict::Waiting, vec!["waiting"]));
}

#[tokio::test]
async fn what_only_waits_its_turn_counts_those_before_it_up_to_a_bound() {
    let bench = Bench::new().await;
    let ahead = async |id| match why(&bench, id).await.reasons.pop() {
        Some(Reason::Waiting { ahead, workers: 1 }) => ahead,
        other => panic!("{other:?}"),
    };
    let first = one(&bench, Options::new()).await;
    let second = one(&bench, Options::new()).await;
    let last = one(&bench, Options::new().priority(1)).await;
    one(&bench, Options::new().partition("another lane")).await;
    assert_eq!(ahead(first).await, Ahead::Exactly(0));
    assert_eq!(ahead(last).await, Ahead::Exactly(2));
    assert_eq!(said(&bench, last).await, (Verdict::Waiting, vec!["waiting"]));
    let claimed = bench.claim(1).await;
    assert!(claimed.iter().any(|j| j.id == first));
    assert_eq!(ahead(second).await, Ahead::Exactly(0), "what runs is not in the way");
    bench.enqueue((0..998).map(|_| job("k", Options::new())).collect()).await;
    assert_eq!(ahead(last).await, Ahead::Exactly(999));
    bench.enqueue((0..2).map(|_| job("k", Options::new())).collect()).await;
    assert_eq!(ahead(last).await, Ahead::MoreThan(1000));
}

#[tokio::test]
async fn a_suspect_runs_alone_and_a_killer_is_quarantined_with_the_evidence() {
    let bench = Bench::new().await;
    let (store, worker) = (&bench.store, bench.presence.id);
    let id = one(&bench, Options::new()).await;
    for _ in 0..2 {
        claim_as(store, worker, 1, LONG, &[worker]).await;
    }
    let suspect = claim_as(store, worker, 1, LONG, &[worker]).await.pop().unwrap();
    assert!(suspect.is_suspect() && bench.settle(&suspect, SettleAs::GiveBack).await);
    assert_eq!(said(&bench, id).await, (Verdict::Waiting, vec!["runs_alone", "waiting"]));
    while claim_alone(store, worker, &[worker]).await.is_some() {}
    let why = why(&bench, id).await;
    assert_eq!(why.verdict, Verdict::Stuck);
    match &why.reasons[..] {
        [Reason::Quarantined { crashes: 5, lone_crashes: 3, seen }] => {
            assert_eq!(seen.len(), 3);
            assert!(seen[0].starts_with(&format!("Worker {} on test", worker.0)), "{seen:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dead_letter_says_of_what_it_died() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new().max_attempts(1)).await;
    assert!(bench.settle(&mine, SettleAs::Discard(failure())).await);
    let dead = why(&bench, mine.id).await;
    assert_eq!(dead.verdict, Verdict::Stuck);
    match &dead.reasons[..] {
        [Reason::DeadLetter { at: Some(_), attempt: 1, max_attempts: 1, error: Some(error) }] => {
            assert!(error.contains("it broke"));
        }
        other => panic!("{other:?}"),
    }
    let aside = one(&bench, Options::new()).await;
    jobs::discard(&bench.test.db, aside).await.unwrap();
    let why = why(&bench, aside).await;
    assert!(why.reasons[0].message().contains("discarded by an operator"), "{why:?}");
}

/// Nothing puts jobs there yet; the answer must not be that they are next in their lane.
#[tokio::test]
async fn the_stages_that_are_not_used_yet_have_an_answer() {
    let bench = Bench::new().await;
    let id = one(&bench, Options::new()).await;
    let mut owner = bench.test.owner().await;
    for (stage, expected) in
        [(2_i16, (Verdict::Waiting, vec!["pending"])), (3, (Verdict::Stuck, vec!["parked"]))]
    {
        let set = sqlx::query("update engine.jobs set stage = $1").bind(stage);
        set.execute(&mut owner).await.unwrap();
        assert_eq!(said(&bench, id).await, expected);
    }
}
