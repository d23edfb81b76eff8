//! Limits: what may run at once, and how fast. Exact, whoever claims and whoever dies.

use super::support::{Bench, LONG, audit, claim_as, count, info, job, lanes_of, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use switchyard_queue::{
    ClaimRequest, JobStore, LaneTake, Options, Presence, SettleAs, Until, WorkerId,
};
use switchyard_store::limits::{self, LimitScope, StartRate};
use switchyard_store::{PgJobStore, StoreFault};

fn queue() -> LimitScope {
    LimitScope::Queue { queue: "q".into() }
}

fn each() -> LimitScope {
    LimitScope::EachPartition { queue: "q".into() }
}

fn partition(name: &str) -> LimitScope {
    LimitScope::Partition { queue: "q".into(), partition: name.into() }
}

async fn at_once(bench: &Bench, scope: LimitScope, n: u32) {
    limits::set(&bench.test.db, &scope, Some(n), None).await.unwrap();
}

async fn fill(bench: &Bench, partitions: &[&str], each: usize) {
    let jobs = partitions
        .iter()
        .flat_map(|p| (0..each).map(move |_| job("k", Options::new().partition(p))));
    bench.enqueue(jobs.collect()).await;
}

async fn checked(bench: &Bench) {
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_queue_runs_no_more_than_its_limit_over_all_its_partitions() {
    let bench = Bench::new().await;
    at_once(&bench, queue(), 4).await;
    fill(&bench, &["a", "b", "c"], 5).await;
    let running = bench.claim(5).await;
    assert_eq!(running.len(), 4);
    assert!(running.iter().all(|j| j.limited));
    assert_eq!(bench.claim(5).await.len(), 0);
    checked(&bench).await;
    for (done, job) in running.iter().enumerate() {
        let result = [
            SettleAs::Completed,
            SettleAs::GiveBack,
            SettleAs::Snooze(LONG),
            SettleAs::Cancelled("why not".into()),
        ][done]
            .clone();
        assert!(bench.settle(job, result).await);
        assert_eq!(bench.claim(5).await.len(), 1, "one place is free again");
        checked(&bench).await;
    }
}

#[tokio::test]
async fn each_partition_has_its_own_limit_unless_it_was_given_another() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    fill(&bench, &["a", "b", ""], 9).await;
    at_once(&bench, each(), 2).await;
    at_once(&bench, partition("b"), 3).await;
    fill(&bench, &["born later"], 9).await;
    let mut running = std::collections::BTreeMap::<i32, usize>::new();
    for job in bench.claim(9).await {
        *running.entry(job.lane.0).or_default() += 1;
    }
    let mut sizes: Vec<usize> = running.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 3, 9], "who has no partition is nobody's");
    at_once(&bench, each(), 4).await;
    assert_eq!(bench.claim(9).await.len(), 2 + 2, "the pattern changed; b keeps its own");
    limits::remove(db, &partition("b")).await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 4, "b is under the pattern again and starts anew");
    let of_a = limits::remove(db, &partition("a")).await;
    assert!(matches!(of_a, Err(StoreFault::NotFound)), "it is the pattern's");
    limits::remove(db, &each()).await.unwrap();
    assert_eq!(bench.claim(9).await.len(), 27 - 2 * 4 - 7);
    assert!(limits::list(db, 100).await.unwrap().is_empty());
    checked(&bench).await;
}

#[tokio::test]
async fn a_key_limits_jobs_in_whatever_queue_and_partition_they_wait() {
    let bench = Bench::new().await;
    let scope = LimitScope::Key { key: "twilio".into() };
    limits::set(&bench.test.db, &scope, Some(3), None).await.unwrap();
    let with = |p: &str| job("k", Options::new().partition(p).limit_key("twilio"));
    let mut elsewhere = with("c");
    elsewhere.queue = "other".into();
    bench
        .enqueue(
            (0..4).flat_map(|_| [with("a"), with("b"), elsewhere.clone()].map(renamed)).collect(),
        )
        .await;
    fill(&bench, &["a"], 2).await;
    let both = ["q".to_owned(), "other".to_owned()];
    let lanes = bench.store.active_lanes(&both).await.unwrap();
    assert_eq!(lanes.len(), 4);
    let takes: Vec<LaneTake> = lanes
        .iter()
        .map(|l| LaneTake { limited: !l.limits.is_empty(), ..LaneTake::whole(l.lane, 9) })
        .collect();
    let kinds = ["k".to_owned()];
    let worker = bench.presence.id;
    let request =
        ClaimRequest { worker, kinds: &kinds, lanes: &takes, lease: LONG, dead: &[], alone: false };
    let claim = bench.store.claim(&request).await.unwrap();
    let (limited, free): (Vec<_>, Vec<_>) = claim.jobs.iter().partition(|j| j.limited);
    assert_eq!((limited.len(), free.len()), (3, 2));
    assert_eq!(claim.held_back.len(), 3);
    assert!(claim.held_back.iter().all(|h| h.allowed == 1 && h.by[0].1 == Until::Slot));
    checked(&bench).await;
}

/// The same under an id of its own.
fn renamed(mut job: switchyard_queue::NewJob) -> switchyard_queue::NewJob {
    job.id = switchyard_queue::JobId::new();
    job
}

#[tokio::test]
async fn who_has_not_heard_of_a_limit_gets_nothing_past_it() {
    let bench = Bench::new().await;
    fill(&bench, &["a"], 5).await;
    let before = lanes_of(&bench.store, 5).await;
    at_once(&bench, queue(), 1).await;
    let kinds = ["k".to_owned()];
    let request = ClaimRequest {
        worker: bench.presence.id,
        kinds: &kinds,
        lanes: &before,
        lease: LONG,
        dead: &[],
        alone: false,
    };
    assert!(bench.store.claim(&request).await.unwrap().jobs.is_empty());
    assert_eq!(bench.claim(5).await.len(), 1);
}

/// A worker that claims and settles as fast as it can until nothing is left.
async fn hurry(store: PgJobStore, me: WorkerId, running: Arc<AtomicUsize>, peak: Arc<AtomicUsize>) {
    let mut idle = 0;
    while idle < 400 {
        let claimed = claim_as(&store, me, 3, LONG, &[]).await;
        idle = if claimed.is_empty() { idle + 1 } else { 0 };
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let now = running.fetch_add(claimed.len(), Ordering::SeqCst) + claimed.len();
        peak.fetch_max(now, Ordering::SeqCst);
        for (n, job) in claimed.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            let result = if n == 1 { SettleAs::GiveBack } else { SettleAs::Completed };
            let ran = super::support::settlement(job, result);
            assert_eq!(store.settle(&[ran]).await.unwrap(), [job.id]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claimers_together_never_exceed_a_limit_and_leave_nothing() {
    let bench = Bench::new().await;
    at_once(&bench, queue(), 5).await;
    at_once(&bench, each(), 2).await;
    fill(&bench, &["a", "b", "c", "d"], 40).await;
    let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut presences: Vec<Presence> = Vec::new();
    let mut herd = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = PgJobStore::new(&bench.test.db);
        let presence = store.register(&info()).await.unwrap();
        herd.spawn(hurry(store, presence.id, Arc::clone(&running), Arc::clone(&peak)));
        presences.push(presence);
    }
    while let Some(end) = herd.join_next().await {
        end.unwrap();
    }
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 0);
    assert_eq!(count(&mut owner, "select count(*) from engine.job_history").await, 160);
    // It counts up after the claim and down before the result, so it never shows too many.
    let peak = peak.load(Ordering::SeqCst);
    assert!((2..=5).contains(&peak), "{peak} ran at once");
    checked(&bench).await;
}

#[tokio::test]
async fn a_rate_is_kept_and_used() {
    let bench = Bench::new().await;
    let rate = StartRate { starts: 100, period: Duration::from_secs(1), burst: 4 };
    limits::set(&bench.test.db, &queue(), None, Some(rate)).await.unwrap();
    fill(&bench, &["a", "b"], 40).await;
    let mut starts: Vec<Instant> = Vec::new();
    while starts.len() < 60 {
        let before = Instant::now();
        let got = bench.claim(30).await.len();
        if got == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        starts.extend(std::iter::repeat_n(before, got));
    }
    // Between two claims lies at least the time from the end of the one to the begin of the other;
    // what is measured from begin to begin is off by a claim.
    for (i, from) in starts.iter().enumerate() {
        for (j, to) in starts.iter().enumerate().skip(i) {
            let stretch = (*to - *from).as_secs_f64() + 0.2;
            assert!((j - i + 1) as f64 <= 4.0 + 100.0 * stretch, "{} in {stretch} s", j - i + 1);
        }
    }
    let took = (starts[59] - starts[0]).as_secs_f64();
    assert!(took >= 0.35, "56 starts beyond the burst take half a second, not {took} s");
    let shown = limits::list(&bench.test.db, 9).await.unwrap().remove(0);
    assert_eq!((shown.rate, shown.running), (Some(rate), starts.len() as u64));
    checked(&bench).await;
}

#[tokio::test]
async fn each_partition_has_a_rate_of_its_own_unless_it_was_given_another() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let rate = |burst| StartRate { starts: 1, period: Duration::from_secs(3600), burst };
    fill(&bench, &["a", "b", ""], 9).await;
    limits::set(db, &each(), None, Some(rate(3))).await.unwrap();
    limits::set(db, &partition("b"), None, Some(rate(5))).await.unwrap();
    fill(&bench, &["born later"], 9).await;
    let claimed = bench.claim(9).await;
    let mut begun = std::collections::BTreeMap::<i32, usize>::new();
    for job in &claimed {
        *begun.entry(job.lane.0).or_default() += 1;
    }
    let mut sizes: Vec<usize> = begun.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 3, 5, 9], "who has no partition is nobody's");
    for job in &claimed {
        assert!(bench.settle(job, SettleAs::Completed).await);
    }
    assert_eq!(bench.claim(9).await.len(), 0, "what has ended gives no start back");

    // An hour passes for one of them: one start, and for nobody else.
    let pass = "update engine.limits set tat = tat - interval '1 hour' where partition = 'a'";
    sqlx::raw_sql(pass).execute(&mut bench.test.owner().await).await.unwrap();
    let next = bench.claim(9).await;
    assert_eq!(next.len(), 1);
    let row = switchyard_store::jobs::find(db, next[0].id).await.unwrap();
    assert_eq!(row.partition, "a");
    assert_eq!(bench.claim(9).await.len(), 0);
    checked(&bench).await;
}

#[tokio::test]
async fn jobs_of_a_dead_worker_keep_their_places_until_they_run_again() {
    let bench = Bench::new().await;
    at_once(&bench, queue(), 3).await;
    fill(&bench, &["a", "b"], 4).await;
    let dying = bench.store.register(&info()).await.unwrap();
    let lost = claim_as(&bench.store, dying.id, 4, LONG, &[]).await;
    assert_eq!(lost.len(), 3);
    // More urgent jobs come before them now, and must not take their places.
    let urgent = |p| job("k", Options::new().partition(p).priority(-9));
    bench.enqueue((0..9).flat_map(|_| [urgent("a"), urgent("b")]).collect()).await;
    let dead = dying.id;
    drop(dying);
    until("it is found dead", || async {
        bench.store.reap(None).await.unwrap().gone.contains(&dead).then_some(())
    })
    .await;
    assert_eq!(bench.claim(9).await.len(), 0, "who does not know of the death gets nothing");
    let again = claim_as(&bench.store, bench.presence.id, 9, LONG, &[dead]).await;
    let ids = |jobs: &[switchyard_queue::ClaimedJob]| {
        let mut ids: Vec<_> = jobs.iter().map(|j| j.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&again), ids(&lost));
    assert!(again.iter().all(|j| j.crashes == 1 && j.limited));
    assert!(!bench.settle(&lost[0], SettleAs::Completed).await, "the fence refuses the dead");
    checked(&bench).await;
    for job in &again {
        assert!(bench.settle(job, SettleAs::Completed).await);
    }
    assert_eq!(bench.claim(9).await.len(), 3);
    checked(&bench).await;
}

#[tokio::test]
async fn a_lease_that_ran_out_frees_the_place_for_the_same_job() {
    let bench = Bench::new().await;
    at_once(&bench, queue(), 1).await;
    fill(&bench, &["a"], 2).await;
    let short = Duration::from_millis(50);
    let lost = claim_as(&bench.store, bench.presence.id, 2, short, &[]).await.remove(0);
    let again = until("it is claimed again", || async { bench.claim(2).await.pop() }).await;
    assert_eq!(again.id, lost.id);
    checked(&bench).await;
}

#[tokio::test]
async fn a_limit_that_comes_while_a_job_runs_does_not_lose_it() {
    let bench = Bench::new().await;
    fill(&bench, &["a"], 3).await;
    let dying = bench.store.register(&info()).await.unwrap();
    let before = claim_as(&bench.store, dying.id, 1, LONG, &[]).await.remove(0);
    at_once(&bench, queue(), 1).await;
    let dead = [dying.id];
    let first = claim_as(&bench.store, bench.presence.id, 1, LONG, &dead).await.remove(0);
    assert_eq!(first.id, before.id, "it stands first, and is charged now");
    assert_eq!(bench.claim(1).await.len(), 0);
    checked(&bench).await;
    limits::remove(&bench.test.db, &queue()).await.unwrap();
    assert!(bench.settle(&first, SettleAs::Completed).await);
    assert_eq!(bench.claim(9).await.len(), 2);
    checked(&bench).await;
}
