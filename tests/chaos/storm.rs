//! A storm of kills over three kinds of innocent jobs, and one worker that freezes for longer than
//! its lease and comes back as if nothing had happened.
//!
//! Workers are killed at random while they have company in hand, every second time one that is in
//! the middle of a call. (Three deaths of a job's worker
//! while the job runs alone are quarantine by design, whoever killed it: no worker can tell a
//! random hand from the job.) One job is unlucky on purpose: the workers that run it are killed
//! three times, twice in company and once alone, which must not put it aside.

use crate::herd::{Herd, until};
use crate::{books, leads};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_queue::{Entropy, Job, JobId, NewJob, Options, SeededEntropy};
use switchyard_tests::chaos::{Commit, Effect, Sleep};
use tokio::time::sleep;

const WORKERS: usize = 4;
/// Short enough to run out in a test, long enough to be renewed in time on a busy machine.
const LEASE: Duration = Duration::from_secs(3);
/// Between two kills.
const RHYTHM: Duration = Duration::from_millis(250);
/// The job that is unlucky on purpose.
const UNLUCKY: u32 = 0;
/// The jobs that a frozen worker has in hand, every second a commit.
const FROZEN: std::ops::Range<u32> = 1..9;

/// Everything about one storm.
struct Storm {
    herd: Herd,
    dice: SeededEntropy,
    /// By the test's number.
    jobs: BTreeMap<u32, JobId>,
    /// The frozen worker.
    frozen: Option<u32>,
    thawed: bool,
    kills: usize,
}

fn job(job: &impl Job, partition: &str) -> NewJob {
    NewJob::with_options(job, Options::new().partition(partition)).unwrap()
}

/// A third of the jobs each: sleeps, effects, commits.
fn mixed(n: u32, ms: u64) -> NewJob {
    let lane = (n % 5).to_string();
    match n % 3 {
        0 => job(&Sleep { n, ms }, &lane),
        1 => job(&Effect { n, ms: ms / 2 }, &lane),
        _ => job(&Commit { n, ms }, &lane),
    }
}

impl Storm {
    async fn begin() -> anyhow::Result<Self> {
        Ok(Self {
            herd: Herd::start(WORKERS, LEASE).await?,
            dice: SeededEntropy::new(2024),
            jobs: BTreeMap::new(),
            frozen: None,
            thawed: false,
            kills: 0,
        })
    }

    fn below(&self, n: usize) -> usize {
        ((self.dice.unit() * n as f64) as usize).min(n - 1)
    }

    async fn enqueue(&mut self, jobs: Vec<(u32, NewJob)>) -> anyhow::Result<()> {
        let (numbers, jobs): (Vec<u32>, Vec<NewJob>) = jobs.into_iter().unzip();
        self.jobs.extend(numbers.into_iter().zip(self.herd.enqueue(jobs).await?));
        Ok(())
    }

    async fn kill(&mut self, pid: u32) -> anyhow::Result<()> {
        self.kills += 1;
        self.herd.kill(pid).await
    }

    /// Three times the worker that runs the unlucky job is killed.
    async fn be_unlucky(&mut self) -> anyhow::Result<()> {
        self.enqueue(vec![(UNLUCKY, job(&Sleep { n: UNLUCKY, ms: 1000 }, "unlucky"))]).await?;
        for _ in 0..3 {
            let pid = self.runner(UNLUCKY).await?;
            self.kill(pid).await?;
        }
        Ok(())
    }

    /// Waits until the job runs in a worker that was not harmed.
    async fn runner(&self, n: u32) -> anyhow::Result<u32> {
        until("a job runs", &self.herd, async || {
            let heard = self.herd.witness.heard();
            let runs = |r: &&crate::witness::Run| r.n == n && r.open;
            let run = heard.runs.iter().filter(runs).find(|r| !heard.harmed.contains(&r.pid));
            Ok(run.map(|r| r.pid))
        })
        .await
    }

    /// Stops a worker that is about to commit and about to begin an effect.
    async fn freeze(&mut self) -> anyhow::Result<()> {
        let made = |n| match n % 2 {
            0 => (n, job(&Effect { n, ms: 700 }, "frozen")),
            _ => (n, job(&Commit { n, ms: 700 }, "frozen")),
        };
        self.enqueue(FROZEN.map(made).collect()).await?;
        let pid = until("a worker has both kinds in hand", &self.herd, async || {
            let heard = self.herd.witness.heard();
            let has = |pid, odd| heard.open(pid).any(|r| FROZEN.contains(&r.n) && r.n % 2 == odd);
            Ok(self.herd.pids().into_iter().find(|pid| has(*pid, 0) && has(*pid, 1)))
        })
        .await?;
        self.herd.freeze(pid)?;
        self.frozen = Some(pid);
        Ok(())
    }

    /// Lets the frozen worker go on as soon as another one is about to do its commit: this is when
    /// its late results are most dangerous.
    fn thaw_in_time(&mut self) -> anyhow::Result<()> {
        let Some(frozen) = self.frozen.filter(|_| !self.thawed) else { return Ok(()) };
        let taken_over = {
            let heard = self.herd.witness.heard();
            let other = |n| heard.runs.iter().any(|r| r.n == n && r.open && r.pid != frozen);
            let mut commits = heard.open(frozen).filter(|r| FROZEN.contains(&r.n) && r.n % 2 == 1);
            commits.any(|r| other(r.n))
        };
        if taken_over {
            self.herd.thaw(frozen)?;
            self.thawed = true;
        }
        Ok(())
    }

    /// Somebody with company in hand who has nothing to do with what the other scenes need.
    fn victim(&self) -> Option<u32> {
        let heard = self.herd.witness.heard();
        let spared = |n| n == UNLUCKY || FROZEN.contains(&n);
        let mut pids = self.herd.pids();
        pids.retain(|pid| !heard.harmed.contains(pid) && heard.open(*pid).count() >= 2);
        pids.retain(|pid| !heard.open(*pid).any(|r| spared(r.n)));
        let calling = |pid: &&u32| heard.open(**pid).any(|r| r.calling);
        match pids.iter().find(calling) {
            _ if pids.is_empty() => None,
            Some(pid) if self.kills % 2 == 1 => Some(*pid),
            _ => Some(pids[self.below(pids.len())]),
        }
    }

    async fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.herd.assert_sound();
            self.thaw_in_time()?;
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// As many jobs as asked for, a share before each kill.
    async fn rage(&mut self, jobs: u32, rounds: u32) -> anyhow::Result<()> {
        for round in 0..rounds {
            let share = round * jobs / rounds..(round + 1) * jobs / rounds;
            let some = share.map(|i| {
                let n = FROZEN.end + i;
                (n, mixed(n, 50 + self.below(500) as u64))
            });
            self.enqueue(some.collect()).await?;
            self.wait(RHYTHM).await?;
            if let Some(pid) = self.victim() {
                self.kill(pid).await?;
            }
        }
        Ok(())
    }

    /// Whether the frozen worker has yet to learn what became of its jobs.
    fn is_behind(&self) -> bool {
        let heard = self.herd.witness.heard();
        self.frozen.is_some_and(|pid| heard.open(pid).any(|r| FROZEN.contains(&r.n)))
    }

    async fn come_to_rest(&mut self) -> anyhow::Result<()> {
        let mut owner = self.herd.test.owner().await;
        let begun = Instant::now();
        while books::open(&mut owner).await? > 0 || self.is_behind() {
            self.wait(Duration::from_millis(50)).await?;
            anyhow::ensure!(begun.elapsed() < crate::PATIENCE, "the jobs do not come to rest");
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_storm_of_kills_loses_nothing_and_does_nothing_twice() {
    let (jobs, rounds) = (3 * leads() as u32, 10 + leads() as u32 / 20);
    let mut storm = Storm::begin().await.unwrap();
    storm.be_unlucky().await.unwrap();
    storm.freeze().await.unwrap();
    storm.rage(jobs, rounds).await.unwrap();
    storm.come_to_rest().await.unwrap();

    let Storm { herd, jobs, kills, .. } = storm;
    let found = books::audit(&herd, &jobs).await.unwrap();
    herd.leave().await.unwrap();
    println!("storm, {kills} kills and a frozen worker: {found}");
    found.judge();

    // What the storm was for did happen; without it the figures would prove nothing.
    assert!(found.starts(UNLUCKY) >= 4, "the unlucky job was begun again three times");
    assert!(found.refused > 0, "the store refused what the frozen worker brought");
    assert!(found.unknown > 0, "kills interrupted effects");
    assert!(kills >= rounds as usize / 4, "workers had company in hand when they were killed");
}
