//! One transaction of several jobs.

use super::support::{Bench, audit, claim_as, count, info, job};
use std::time::Duration;
use switchyard_queue::{ClaimedJob, JobStore, Options, Outcome};
use switchyard_store::StoreFault;

const EFFECTS: &str = "select count(*) from engine.jobs where kind = 'effect'";

async fn three(bench: &Bench) -> Vec<ClaimedJob> {
    bench.enqueue((0..3).map(|_| job("k", Options::new())).collect()).await;
    claim_as(&bench.store, bench.presence.id, 3, Duration::ZERO, &[]).await
}

/// Another worker takes one of them over.
async fn take_over(bench: &Bench, mine: &[ClaimedJob]) -> ClaimedJob {
    let other = bench.store.register(&info()).await.unwrap();
    let taken = claim_as(&bench.store, other.id, 1, super::support::LONG, &[]).await.remove(0);
    assert!(mine.iter().any(|j| j.id == taken.id && j.fence < taken.fence));
    taken
}

fn answers(n: usize) -> Vec<switchyard_queue::JobResult> {
    (0..n).map(|_| Ok(Outcome::Done)).collect()
}

#[tokio::test]
async fn what_several_jobs_do_and_their_ends_are_one_commit_without_those_that_are_lost() {
    let bench = Bench::new().await;
    let mine = three(&bench).await;
    let taken = take_over(&bench, &mine).await;
    let all: Vec<&ClaimedJob> = mine.iter().collect();
    let mut tx = bench.test.db.begin_jobs(&all).await.unwrap();
    let stand: Vec<&ClaimedJob> = all.iter().copied().filter(|j| tx.stands(j)).collect();
    assert_eq!(stand.len(), 2);
    assert!(!tx.stands(mine.iter().find(|j| j.id == taken.id).unwrap()));
    tx.enqueue(job("effect", Options::new())).await.unwrap();
    let done = tx.done(&stand, answers(2)).await.unwrap();
    assert!(done.iter().all(|answer| matches!(answer, Ok(Outcome::Settled(_)))), "{done:?}");
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, EFFECTS).await, 1);
    assert_eq!(count(&mut owner, "select count(*) from engine.job_history").await, 2);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_job_that_was_lost_after_all_takes_the_whole_commit_with_it() {
    let bench = Bench::new().await;
    let mine = three(&bench).await;
    let taken = take_over(&bench, &mine).await;
    let all: Vec<&ClaimedJob> = mine.iter().collect();
    let mut tx = bench.test.db.begin_jobs(&all).await.unwrap();
    tx.enqueue(job("effect", Options::new())).await.unwrap();
    let done = tx.done(&all, answers(3)).await;
    assert!(matches!(done, Err(StoreFault::LeaseLost)), "{done:?}, {}", taken.id);
    let mut owner = bench.test.owner().await;
    assert_eq!(count(&mut owner, EFFECTS).await, 0, "nothing of it was written");
    assert_eq!(count(&mut owner, "select count(*) from engine.job_history").await, 0);
    audit(&mut owner).await;
}
