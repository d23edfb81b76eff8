//! Parts that only remember with whom they were done.

use super::{AnswerAll, MOST, Part, Together};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_queue::{JobError, JobResult, Outcome};
use tokio::sync::Semaphore;

/// What one test's parts share.
struct Shared {
    /// A transaction begins when there is a permit.
    gate: Semaphore,
    /// Who was done with whom.
    done: Mutex<Vec<Vec<u32>>>,
    /// What fails for all who are done with it, and what panics.
    bad: HashSet<u32>,
    panics: HashSet<u32>,
}

#[derive(Clone)]
struct One(u32, Arc<Shared>);

impl Part for One {
    type Answer = Outcome;

    async fn run(all: &[Self]) -> AnswerAll<Self> {
        let shared = Arc::clone(&all[0].1);
        shared.gate.acquire().await.expect("it works").forget();
        shared.done.lock().expect("it works").push(all.iter().map(|one| one.0).collect());
        assert!(all.iter().all(|one| !shared.panics.contains(&one.0)), "it panics");
        if all.iter().any(|one| shared.bad.contains(&one.0)) {
            return Err(JobError::permanent("it is bad"));
        }
        let wait = |one: &Self| Ok(Outcome::Snooze(Duration::from_secs(u64::from(one.0))));
        Ok(all.iter().map(wait).collect())
    }
}

fn shared(permits: usize, bad: &[u32], panics: &[u32]) -> Arc<Shared> {
    Arc::new(Shared {
        gate: Semaphore::new(permits),
        done: Mutex::default(),
        bad: bad.iter().copied().collect(),
        panics: panics.iter().copied().collect(),
    })
}

type Running = tokio::task::JoinHandle<JobResult>;

/// Starts so many at once, each in a task of its own, and waits until nothing moves.
async fn start(together: &Together<One>, shared: &Arc<Shared>, n: u32) -> Vec<Running> {
    let run = |one: u32| {
        let (together, part) = (together.clone(), One(one, Arc::clone(shared)));
        tokio::spawn(async move { together.run(part).await })
    };
    let running = (0..n).map(run).collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    running
}

fn is_own(answer: &JobResult, n: usize) -> bool {
    matches!(answer, Ok(Outcome::Snooze(wait)) if wait.as_secs() == n as u64)
}

#[tokio::test]
async fn who_comes_meanwhile_is_done_together_and_each_gets_its_own_answer() {
    let (together, shared) = (Together::default(), shared(0, &[], &[]));
    let running = start(&together, &shared, 100).await;
    shared.gate.add_permits(100);
    for (n, one) in running.into_iter().enumerate() {
        let answer = one.await.expect("it works");
        assert!(is_own(&answer, n), "{n}: {answer:?}");
    }
    let done = shared.done.lock().expect("it works");
    let mut all: Vec<u32> = done.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>(), "each once");
    assert!(done.iter().all(|with| with.len() <= MOST), "{done:?}");
    // Two began alone; the others waited for them.
    assert!(done.len() <= 2 + 98_usize.div_ceil(MOST) + 1, "{done:?}");
}

#[tokio::test]
async fn who_comes_alone_goes_alone_and_fails_once() {
    let (together, shared) = (Together::default(), shared(10, &[0], &[]));
    let answer = together.run(One(0, Arc::clone(&shared))).await;
    assert!(answer.is_err());
    assert_eq!(*shared.done.lock().expect("it works"), [[0]]);
}

#[tokio::test]
async fn nobody_suffers_for_anothers_failure_or_panic() {
    let (together, shared) = (Together::default(), shared(0, &[7], &[13]));
    let running = start(&together, &shared, 40).await;
    shared.gate.add_permits(1000);
    for (n, one) in running.into_iter().enumerate() {
        match (n, one.await) {
            (7, Ok(Err(_))) => {}
            (13, Err(panic)) => assert!(panic.is_panic()),
            (7 | 13, other) => panic!("{n}: {other:?}"),
            (_, answer) => {
                assert!(is_own(answer.as_ref().expect("it works"), n), "{n}: {answer:?}")
            }
        }
    }
}

#[tokio::test]
async fn who_waited_for_somebody_that_was_stopped_goes_on() {
    let (together, shared) = (Together::default(), shared(0, &[], &[]));
    let mut running = start(&together, &shared, 20).await;
    // The two that began, and one that waits.
    for stopped in [0, 1, 5] {
        running[stopped].abort();
    }
    shared.gate.add_permits(1000);
    for (n, one) in running.drain(..).enumerate() {
        match one.await {
            Err(stopped) => assert!(stopped.is_cancelled() && [0, 1, 5].contains(&n)),
            Ok(answer) => assert!(is_own(&answer, n), "{n}: {answer:?}"),
        }
    }
}
