//! Everything at once, on one installation, and the tally of it. Workers, schedulers and the API are
//! killed with SIGKILL; PostgreSQL and Redis are restarted; two workers reach the database through a
//! network that slows down, breaks and falls silent; the clock of another one jumps by an hour.
//! Meanwhile jobs of three kinds tell a witness what they do, and leads come in through the API and go
//! out as messages to providers' sockets.
//!
//! The long form, 20,000 jobs and 200 kills: `tests/chaos/run tally`.

use crate::audit::{self, Findings};
use crate::books::{self, Found};
use crate::clocks::{SHIFTS, add_shifted, libfaketime, set_clock};
use crate::fleet::{Crew, Fleet};
use crate::herd::Herd;
use crate::jobs::mixed;
use crate::traffic;
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use switchyard_queue::{Entropy, JobId, NewJob, Options, SeededEntropy};
use switchyard_tests::TestDb;
use switchyard_tests::chaos::Sleep;
use switchyard_tests::proxy::{Network, Proxy};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SEED: u64 = 20_000;
/// Workers of the jobs that a witness hears of.
const WORKERS: usize = 3;
/// Workers of leads.
const LINE: usize = 2;
/// Workers behind the bad network.
const FAR: usize = 2;
/// Short enough to run out in a test, long enough to be renewed in time on a busy machine.
const LEASE: Duration = Duration::from_secs(3);
/// Between two kills.
const RHYTHM: Duration = Duration::from_millis(300);
/// How often a worker with company in hand is looked for.
const TRIES: u32 = 20;
/// One lead for so many jobs.
const JOBS_A_LEAD: usize = 20;
const WEATHER: [Network; 6] = [
    Network::Good,
    Network::Slow(Duration::from_millis(20)),
    Network::Cut,
    Network::Good,
    Network::Silent,
    Network::Slow(Duration::from_millis(100)),
];
/// How late every eighth job is due: a scheduler has to be there then.
const DELAY: Duration = Duration::from_secs(2);

fn setting(name: &str, usual: usize) -> usize {
    let set = std::env::var(format!("SWITCHYARD_TEST_TALLY_{name}"));
    set.ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// What was done to the installation.
#[derive(Debug, Default)]
struct Harm {
    job_workers: usize,
    line_workers: usize,
    apis: usize,
    schedulers: usize,
    postgres: usize,
    redis: usize,
    weather: usize,
    clock: usize,
}

impl Harm {
    fn kills(&self) -> usize {
        self.job_workers + self.line_workers + self.apis + self.schedulers
    }
}

struct Campaign {
    fleet: Fleet,
    herd: Herd,
    proxy: Proxy,
    clock: PathBuf,
    /// Where the clock's file is.
    _folder: tempfile::TempDir,
    /// Workers that are not killed: what happens to them is another thing.
    spared: BTreeSet<u32>,
    dice: SeededEntropy,
    /// By the test's number.
    jobs: BTreeMap<u32, JobId>,
    harm: Harm,
}

impl Campaign {
    async fn begin() -> anyhow::Result<Self> {
        let fleet = Fleet::with(Crew { workers: LINE, schedulers: 2, redis: true }).await?;
        let url = fleet.database();
        let server = url::Url::parse(url.expose_secret())?;
        let port = server.port().context("a server without a port")?;
        let host = server.host_str().unwrap_or("127.0.0.1");
        let proxy = Proxy::start(format!("{host}:{port}")).await?;
        let mut herd = Herd::on(TestDb::at(url), LEASE).await?;
        for _ in 0..WORKERS {
            herd.add()?;
        }
        let ordinary: BTreeSet<u32> = herd.pids().into_iter().collect();
        for _ in 0..FAR {
            herd.add_far(proxy.address())?;
        }
        let folder = tempfile::tempdir()?;
        let clock = folder.path().join("clock");
        set_clock(&clock, SHIFTS[0])?;
        add_shifted(&mut herd, &libfaketime()?, &clock)?;
        let spared = herd.pids().into_iter().filter(|pid| !ordinary.contains(pid)).collect();
        Ok(Self {
            fleet,
            herd,
            proxy,
            clock,
            _folder: folder,
            spared,
            dice: SeededEntropy::new(SEED),
            jobs: BTreeMap::new(),
            harm: Harm::default(),
        })
    }

    fn below(&self, n: usize) -> usize {
        ((self.dice.unit() * n as f64) as usize).min(n - 1)
    }

    fn job(&self, n: u32) -> NewJob {
        if n % 8 == 7 {
            let later = Options::new().partition("later").delay(DELAY);
            return NewJob::with_options(&Sleep { n, ms: 10 }, later).unwrap();
        }
        mixed(n, 20 + self.below(300) as u64)
    }

    /// Enqueues these jobs in one transaction, until it is known that it was committed.
    async fn enqueue(&mut self, numbers: Range<u32>) -> anyhow::Result<()> {
        let jobs: Vec<NewJob> = numbers.clone().map(|n| self.job(n)).collect();
        let Some(first) = jobs.first().map(|job| job.id) else { return Ok(()) };
        self.jobs.extend(numbers.zip(jobs.iter().map(|job| job.id)));
        let begun = Instant::now();
        while let Err(fault) = self.herd.enqueue(jobs.clone()).await {
            // Its answer may have been lost.
            if self.is_there(first).await? {
                return Ok(());
            }
            ensure!(begun.elapsed() < crate::PATIENCE, "jobs cannot be enqueued: {fault}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn is_there(&self, job: JobId) -> anyhow::Result<bool> {
        let there = sqlx::query_scalar(
            "select exists (select from engine.jobs where id = $1)
               or exists (select from engine.job_history where id = $1)",
        )
        .bind(job.0)
        .fetch_one(&mut self.fleet.owner().await?)
        .await?;
        Ok(there)
    }

    /// A worker with company in hand. (Three deaths of a job's worker while the job runs alone are
    /// quarantine by design, whoever killed it.)
    async fn victim(&self) -> Option<u32> {
        for _ in 0..TRIES {
            {
                let heard = self.herd.witness.heard();
                let mut pids = self.herd.pids();
                pids.retain(|pid| !self.spared.contains(pid) && heard.open(*pid).count() >= 2);
                if !pids.is_empty() {
                    return Some(pids[self.below(pids.len())]);
                }
            }
            sleep(RHYTHM / TRIES).await;
        }
        None
    }

    /// Kills somebody.
    async fn kill(&mut self) -> anyhow::Result<()> {
        match self.below(100) {
            0..55 => match self.victim().await {
                Some(pid) => {
                    self.herd.kill(pid).await?;
                    self.harm.job_workers += 1;
                    return Ok(());
                }
                // All of them are between two jobs.
                None => self.kill_line_worker().await?,
            },
            55..70 => self.kill_line_worker().await?,
            70..85 => {
                self.fleet.kill_api().await?;
                self.harm.apis += 1;
            }
            _ => {
                self.fleet.kill_scheduler().await?;
                self.harm.schedulers += 1;
            }
        }
        Ok(())
    }

    async fn kill_line_worker(&mut self) -> anyhow::Result<()> {
        let which = self.below(LINE);
        self.fleet.kill_worker(which).await?;
        self.harm.line_workers += 1;
        Ok(())
    }

    /// Restarts a server: PostgreSQL as after a crash, Redis, PostgreSQL fast, Redis.
    async fn restart(&mut self) -> anyhow::Result<()> {
        let nth = self.harm.postgres + self.harm.redis;
        if nth % 2 == 1 {
            self.harm.redis += 1;
            return self.fleet.wreck_redis().await;
        }
        self.harm.postgres += 1;
        let signal = if nth.is_multiple_of(4) { Signal::SIGQUIT } else { Signal::SIGINT };
        // No worker can say what it had in hand when the database was gone.
        self.herd.will_be_cut_off();
        self.fleet.end_postgres(signal).await?;
        self.fleet.owner().await?;
        // A worker that was just starting has ended.
        self.herd.replace_dead()?;
        Ok(())
    }

    fn change_weather(&mut self) -> anyhow::Result<()> {
        if self.below(3) == 0 {
            self.proxy.set(WEATHER[self.below(WEATHER.len())]);
            self.harm.weather += 1;
        }
        if self.below(3) == 0 {
            set_clock(&self.clock, SHIFTS[self.below(SHIFTS.len())])?;
            self.harm.clock += 1;
        }
        Ok(())
    }

    /// As many jobs as asked for, a share before each kill.
    async fn rage(&mut self, jobs: u32, kills: usize) -> anyhow::Result<()> {
        let rounds = kills as u32;
        let restarts = (kills / 20).max(3);
        for round in 0..rounds {
            self.enqueue(round * jobs / rounds..(round + 1) * jobs / rounds).await?;
            self.change_weather()?;
            if (round as usize * restarts + kills / 2) % kills < restarts {
                self.restart().await?;
            }
            sleep(RHYTHM).await;
            self.herd.assert_sound();
            self.herd.replace_dead()?;
            self.kill().await?;
        }
        self.proxy.set(Network::Good);
        Ok(())
    }

    /// Waits until everything is done; gives up when nothing moves any more.
    async fn come_to_rest(&mut self) -> anyhow::Result<()> {
        let (mut last, mut moved) = (i64::MAX, Instant::now());
        loop {
            self.herd.assert_sound();
            self.herd.replace_dead()?;
            let open = books::open(&mut self.fleet.owner().await?).await?;
            if open == 0 {
                return audit::settle(&self.fleet, crate::PATIENCE).await;
            }
            if open != last {
                (last, moved) = (open, Instant::now());
            }
            ensure!(moved.elapsed() < crate::PATIENCE, "{open} jobs do not come to rest");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn print(harm: &Harm, found: &Found, leads: &Findings) {
    let Harm { job_workers, line_workers, apis, schedulers, postgres, redis, weather, clock } =
        harm;
    let messages_twice = leads.duplicated;
    println!(
        "tally: {} kills ({job_workers} workers of jobs, {line_workers} of leads, {apis} APIs, {schedulers} \
         schedulers), {postgres} restarts of PostgreSQL, {redis} of Redis, {weather} changes of the network, \
         {clock} of a clock",
        harm.kills(),
    );
    let line = |what: &str, figure: String| println!("  {what:<20} {figure}");
    let accepted = format!("{} jobs, {} leads", found.accepted, leads.accepted);
    line("accepted", accepted);
    let completed = format!("{} jobs, {} leads", found.completed, leads.accepted - leads.lost);
    line("completed", completed);
    line("lost", (found.lost + leads.lost).to_string());
    line("started twice", format!("{} jobs", found.begun_again));
    line("effects twice", (found.called_twice + messages_twice).to_string());
    line("unknown", format!("{} calls, {} messages", found.unknown, leads.unknown));
    line("quarantined wrongly", found.quarantined.to_string());
    line("results refused", format!("{}, of workers that had lost the job", found.refused));
    line(
        "time to resume",
        format!(
            "{} ms (p50), {} ms (p99) of {} jobs",
            found.at(0.5),
            found.at(0.99),
            found.resumed.len()
        ),
    );
}

#[tokio::test]
async fn everything_is_harmed_at_once_and_the_tally_is_clean() {
    let (kills, jobs) = (setting("KILLS", 10).max(1), setting("JOBS", 300));
    let mut campaign = Campaign::begin().await.unwrap();
    let leads = jobs / JOBS_A_LEAD;
    // Spread over the campaign: a round takes a little longer than the pause between two kills.
    let rate = leads as f64 / (kills as f64 * RHYTHM.as_secs_f64());
    let (url, key) = (campaign.fleet.url(), campaign.fleet.portal_key.clone());
    let sending: JoinHandle<_> = tokio::spawn(traffic::send_at(Some(rate), url, key, 0..leads, 4));
    campaign.rage(jobs as u32, kills).await.unwrap();
    let events = sending.await.unwrap().unwrap();
    campaign.come_to_rest().await.unwrap();

    let Campaign { fleet, herd, proxy, jobs, harm, .. } = campaign;
    let found = books::audit(&herd, &jobs).await.unwrap();
    let findings = audit::audit(&fleet, &events).await.unwrap();
    herd.leave().await.unwrap();
    drop(proxy);
    fleet.stop().await;
    print(&harm, &found, &findings);
    found.judge();
    findings.judge("tally, the leads");
    assert_eq!(found.quarantined, 0);

    // What it was for did happen; without it the figures would prove nothing.
    assert_eq!(harm.kills(), kills);
    assert!(harm.postgres > 0 && harm.redis > 0, "{harm:?}");
    assert!(found.begun_again > 0, "kills and restarts interrupted jobs");
}
