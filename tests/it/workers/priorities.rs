//! Urgent jobs go first, and the others have their turn all the same.

use super::stage::{Act, Stage, brisk};
use std::collections::HashSet;
use switchyard_queue::{JobId, Options};
use switchyard_store::limits::{self, LimitScope};
use switchyard_workers::WorkerConfig;

/// More than any test lets go by, so it does not end.
const URGENT: usize = 400;

fn acts(n: usize, priority: i16) -> Vec<(Act, Options)> {
    vec![(Act::Finish, Options::new().priority(priority)); n]
}

/// One at a time, so that jobs run in the order in which they are taken.
fn one_by_one() -> WorkerConfig {
    WorkerConfig { concurrency: 1, claim_batch: 1, ..brisk() }
}

/// How many jobs ran before this one.
fn before(stage: &Stage, id: JobId) -> usize {
    stage.record.runs().iter().position(|r| r.job.id == id).unwrap()
}

async fn run_all(stage: &Stage, config: WorkerConfig, jobs: usize) {
    let worker = stage.worker(config);
    stage.completed(i64::try_from(jobs).unwrap()).await;
    worker.leave().await;
}

#[tokio::test]
async fn behind_urgent_work_that_does_not_end_every_priority_has_its_turn() {
    let stage = Stage::new().await;
    let mut all = acts(URGENT, 0);
    all.extend(acts(30, 5));
    all.extend(acts(2, 9));
    let ids = stage.enqueue_all(all).await;
    run_all(&stage, one_by_one(), ids.len()).await;
    // One in ten, and of two priorities each in turn.
    let (first, last) = (before(&stage, ids[URGENT]), before(&stage, *ids.last().unwrap()));
    assert!(first < 20 && last < 50, "{first} and {last}");
    // And no more than one in ten, as long as there is urgent work.
    let urgent: HashSet<_> = ids[..URGENT].iter().copied().collect();
    let runs = stage.record.runs();
    let others = runs[..200].iter().filter(|r| !urgent.contains(&r.job.id)).count();
    assert!((15..=20).contains(&others), "{others} of 200");
}

#[tokio::test]
async fn a_large_claim_brings_less_urgent_jobs_too() {
    let stage = Stage::new().await;
    let mut all = acts(3000, 0);
    all.extend(acts(1, 5));
    let ids = stage.enqueue_all(all).await;
    run_all(&stage, brisk(), ids.len()).await;
    let before = before(&stage, *ids.last().unwrap());
    assert!(before < 2 * WorkerConfig::default().claim_batch, "{before} ran before it");
}

#[tokio::test]
async fn in_a_limited_lane_they_have_their_turn_too() {
    let stage = Stage::new().await;
    let queue = LimitScope::Queue { queue: "stage".into() };
    limits::set(&stage.db, &queue, Some(2), None).await.unwrap();
    let mut all = acts(200, 0);
    all.extend(acts(1, 5));
    let ids = stage.enqueue_all(all).await;
    run_all(&stage, brisk(), ids.len()).await;
    let before = before(&stage, ids[200]);
    assert!(before < 30, "{before} ran before it");
    assert!(stage.record.runs().iter().all(|r| r.under_way < 2));
}

#[tokio::test]
async fn of_one_priority_the_earliest_still_goes_first() {
    let stage = Stage::new().await;
    let mut ids = stage.enqueue_all(acts(300, 0)).await;
    run_all(&stage, one_by_one(), ids.len()).await;
    let ran: Vec<_> = stage.record.runs().iter().map(|r| r.job.id).collect();
    ids.sort_unstable();
    assert_eq!(ran, ids);
}

#[tokio::test]
async fn a_partition_has_no_more_turns_for_its_many_limit_keys() {
    let stage = Stage::new().await;
    let act = |partition: &str, key: usize| {
        (Act::Finish, Options::new().partition(partition).limit_key(key))
    };
    let mut all: Vec<_> = (0..400).map(|n| act("many keys", n % 40)).collect();
    all.extend((0..40).map(|_| act("one key", 0)));
    let ids = stage.enqueue_all(all).await;
    run_all(&stage, one_by_one(), ids.len()).await;
    let last = ids[400..].iter().map(|id| before(&stage, *id)).max().unwrap();
    // Turn by turn; by lanes it would have one turn in 41.
    assert!(last < 100, "its last job was number {last}");
}
