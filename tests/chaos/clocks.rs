//! Workers whose clocks are an hour wrong and jump while they work. The engine goes by the database's
//! clock, and by spans of time that a worker measures itself; so nothing must come of it.
//!
//! libfaketime gives the processes their time. It leaves the monotonic clock alone, as a jump of the
//! machine's clock does.

use crate::herd::Herd;
use crate::jobs::{job, mixed};
use crate::{books, leads};
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, NewJob, Options};
use switchyard_tests::chaos::Sleep;
use tokio::time::sleep;

const LEASE: Duration = Duration::from_secs(3);
const RHYTHM: Duration = Duration::from_secs(1);
/// What the worker's clock shows in turn.
pub const SHIFTS: [&str; 3] = ["+1h", "-1h", "+0"];
/// A little less than an hour.
const AN_HOUR: i64 = 3500;
/// How late some jobs are due.
const DELAY: Duration = Duration::from_secs(2);

/// The library that does it.
pub fn libfaketime() -> anyhow::Result<PathBuf> {
    let library = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    folders
        .map(library)
        .find(|path| path.exists())
        .context("`faketime` is not installed: run ops/test")
}

/// The file in which a worker reads what time it is. Moved into its place, so that nobody reads half.
pub fn set_clock(file: &Path, shift: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{shift}\n"))?;
    Ok(std::fs::rename(new, file)?)
}

/// Starts a worker that goes by this clock; gives its process.
pub fn add_shifted(herd: &mut Herd, library: &Path, clock: &Path) -> anyhow::Result<u32> {
    herd.add_with(|worker| {
        worker
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", clock)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    })
}

/// Longer than the lease, due at once, due later, and the usual mixture.
fn queue(from: u32, count: u32) -> Vec<(u32, NewJob)> {
    let one = |n: u32| match n % 10 {
        0 => job(&Sleep { n, ms: 4000 }, "long"),
        1..=3 => {
            let later = Options::new().partition("later").delay(DELAY);
            NewJob::with_options(&Sleep { n, ms: 10 }, later).unwrap()
        }
        _ => mixed(n, 50),
    };
    (from..from + count).map(|n| (n, one(n))).collect()
}

#[tokio::test]
async fn clocks_that_jump_by_an_hour_change_nothing() {
    let (rounds, share) = (4 + leads() as u32 / 100, 30);
    let library = libfaketime().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut herd = Herd::start(1, LEASE).await.unwrap();
    let clocks: Vec<PathBuf> = (0..2).map(|n| folder.path().join(format!("clock-{n}"))).collect();
    let mut shifted = BTreeSet::new();
    for (clock, shift) in clocks.iter().zip(SHIFTS) {
        set_clock(clock, shift).unwrap();
        shifted.insert(add_shifted(&mut herd, &library, clock).unwrap());
    }

    let mut jobs: BTreeMap<u32, JobId> = BTreeMap::new();
    for round in 0..rounds {
        let (numbers, new): (Vec<u32>, Vec<NewJob>) =
            queue(round * share, share).into_iter().unzip();
        jobs.extend(numbers.into_iter().zip(herd.enqueue(new).await.unwrap()));
        sleep(RHYTHM).await;
        herd.assert_sound();
        for (n, clock) in clocks.iter().enumerate() {
            set_clock(clock, SHIFTS[(n + round as usize) % SHIFTS.len()]).unwrap();
        }
    }
    let mut owner = herd.test.owner().await;
    let begun = Instant::now();
    while books::open(&mut owner).await.unwrap() > 0 {
        assert!(begun.elapsed() < crate::PATIENCE, "the jobs do not come to rest");
        herd.assert_sound();
        sleep(Duration::from_millis(50)).await;
    }

    let found = books::audit(&herd, &jobs).await.unwrap();
    let early = "select count(*) from engine.job_history where started_at < run_at";
    let early: i64 = sqlx::query_scalar(early).fetch_one(&mut owner).await.unwrap();
    let failed = "select concat_ws(' ', outcome, error) from engine.job_attempts";
    let failed: Vec<String> = sqlx::query_scalar(failed).fetch_all(&mut owner).await.unwrap();
    let ahead: Vec<i64> = {
        let heard = herd.witness.heard();
        heard.runs.iter().filter(|r| shifted.contains(&r.pid)).map(|r| r.ahead).collect()
    };
    herd.leave().await.unwrap();
    let wrong = ahead.iter().filter(|s| s.abs() > AN_HOUR).count();
    println!("clocks: {found}; {wrong} runs an hour off, {early} begun early, failed {failed:?}");
    found.judge();
    assert_eq!(early, 0, "begun before they were due");
    let taken = failed.iter().filter(|f| f.starts_with("crash"));
    assert_eq!(taken.count(), 0, "taken from workers that live: {failed:?}");
    assert!(ahead.iter().any(|s| *s > AN_HOUR), "some ran an hour ahead: {ahead:?}");
    assert!(ahead.iter().any(|s| *s < -AN_HOUR), "some ran an hour behind");
}
