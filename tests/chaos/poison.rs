//! Jobs that take their workers down, among others that do not.

use crate::books;
use crate::herd::Herd;
use std::time::{Duration, Instant};
use switchyard_queue::{Job, JobId, JobState, NewJob, Options};
use switchyard_store::jobs;
use switchyard_tests::chaos::{Commit, Poison, Sleep};
use tokio::time::sleep;

const INNOCENT: u32 = 200;
const POISON: [u32; 2] = [1000, 1001];
/// What a poison job may cost: two workers in company, three alone (ADR 10).
const DEATHS: usize = 5;

fn job(job: &impl Job, lane: u32) -> NewJob {
    NewJob::with_options(job, Options::new().partition(lane)).unwrap()
}

/// Mixed durations; the poison stands in the middle of the queue, each in a lane of its own
/// among innocent jobs.
fn queue() -> Vec<NewJob> {
    let innocent = |n: u32| {
        let ms = u64::from(5 + n * 37 % 200);
        if n.is_multiple_of(2) {
            job(&Sleep { n, ms }, n % 3)
        } else {
            job(&Commit { n, ms }, n % 3)
        }
    };
    let mut queue: Vec<NewJob> = (0..INNOCENT).map(innocent).collect();
    for (lane, n) in (0..).zip(POISON) {
        queue.insert(queue.len() / 2, job(&Poison { n }, lane));
    }
    queue
}

async fn assert_quarantined(herd: &Herd, id: JobId, n: u32) {
    let detail = jobs::show(&herd.test.db, id).await.unwrap();
    assert_eq!(detail.row.state, JobState::Quarantined, "{:?}", detail.row);
    let said = detail.row.error.unwrap_or_default();
    assert!(said.contains("3 of them while it ran alone"), "{said}");
    let starts = herd.witness.heard().starts(n);
    assert!((3..=DEATHS).contains(&starts), "poison {n} was begun {starts} times");
    // A worker may also vanish, by the other poison's doing, before this one was begun.
    let crashes = detail.attempts.iter().filter(|a| a.outcome == "crash").count();
    assert!(crashes >= starts, "{crashes} rows of evidence for {starts} deaths");
}

#[tokio::test]
async fn poison_is_put_aside_and_its_neighbours_complete() {
    let mut herd = Herd::start(3, Duration::from_secs(30)).await.unwrap();
    let queue = queue();
    let poison: Vec<bool> = queue.iter().map(|j| j.kind == Poison::KIND).collect();
    let ids = herd.enqueue(queue).await.unwrap();

    let begun = Instant::now();
    let mut owner = herd.test.owner().await;
    let mut deaths = 0;
    while books::open(&mut owner).await.unwrap() > 0 {
        assert!(begun.elapsed() < crate::PATIENCE, "the jobs do not come to rest");
        sleep(Duration::from_millis(20)).await;
        deaths += herd.replace_dead().unwrap();
    }
    deaths += herd.replace_dead().unwrap();

    let again = herd.witness.heard().begun_again();
    println!(
        "poison: {deaths} workers died of {} jobs, {} innocent ones completed, {again} jobs were begun \
         more than once, {} ms",
        POISON.len(),
        INNOCENT,
        begun.elapsed().as_millis(),
    );
    let poisonous = ids.iter().zip(&poison).filter(|(_, p)| **p).map(|(id, _)| *id);
    // The one that was inserted last stands first.
    for (id, n) in poisonous.zip(POISON.into_iter().rev()) {
        assert_quarantined(&herd, id, n).await;
    }
    for (id, _) in ids.iter().zip(&poison).filter(|(_, p)| !**p) {
        let row = jobs::find(&herd.test.db, *id).await.unwrap();
        assert_eq!(row.state, JobState::Completed, "an innocent job: {row:?}");
    }
    assert!((3..=POISON.len() * DEATHS).contains(&deaths), "{deaths} workers died");
    herd.assert_sound();
    herd.leave().await.unwrap();
}
