//! Workers behind a network that slows down, breaks, and falls silent, beside others that reach the
//! database as ever.
//!
//! What a worker behind it has in hand it may lose, and it may not know: the database sees its
//! connections stand while nothing comes through, so only the lease tells. Its jobs run elsewhere
//! then, and whatever it brings later is refused.

use crate::herd::{Herd, until};
use crate::jobs::{job, mixed};
use crate::witness::Run;
use crate::{books, leads};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, NewJob};
use switchyard_tests::chaos::Sleep;
use switchyard_tests::proxy::{Network, Proxy};
use switchyard_tests::server_url;
use tokio::time::sleep;

const NEAR: usize = 2;
const FAR: usize = 2;
/// Short enough to run out in a test, long enough to be renewed in time on a busy machine.
const LEASE: Duration = Duration::from_secs(3);
/// Between two kinds of weather.
const RHYTHM: Duration = Duration::from_secs(1);
/// Beyond the lease, for a busy machine to find what is free, twice if need be.
const SLACK: Duration = Duration::from_secs(20);
/// Jobs that do not end before the network has fallen silent, and how many of them are to be far.
const STRANDED: u32 = 24;
const ENOUGH: usize = 4;
/// Jobs that come in with each: a little more than the near workers can do meanwhile.
const SHARE: u32 = 60;
const WEATHER: [Network; 7] = [
    Network::Good,
    Network::Slow(Duration::from_millis(20)),
    Network::Cut,
    Network::Good,
    Network::Silent,
    Network::Good,
    Network::Slow(Duration::from_millis(100)),
];
/// Runs behind the network, beside those that were stranded, without which a voyage proves nothing.
const FAR_RUNS: usize = 30;

struct Voyage {
    herd: Herd,
    proxy: Proxy,
    jobs: BTreeMap<u32, JobId>,
}

impl Voyage {
    async fn begin() -> anyhow::Result<Self> {
        let server = url::Url::parse(&server_url())?;
        let port = server.port().unwrap_or(5432);
        let host = server.host_str().unwrap_or("localhost");
        let proxy = Proxy::start(format!("{host}:{port}")).await?;
        let mut herd = Herd::start(NEAR, LEASE).await?;
        for _ in 0..FAR {
            herd.add_far(proxy.address())?;
        }
        Ok(Self { herd, proxy, jobs: BTreeMap::new() })
    }

    async fn enqueue(&mut self, jobs: Vec<(u32, NewJob)>) -> anyhow::Result<()> {
        let (numbers, jobs): (Vec<u32>, Vec<NewJob>) = jobs.into_iter().unzip();
        self.jobs.extend(numbers.into_iter().zip(self.herd.enqueue(jobs).await?));
        Ok(())
    }

    /// The network falls silent while the far workers have jobs in hand that do not end: each of them
    /// runs near once the lease is over. Gives how long that took.
    async fn strand(&mut self) -> anyhow::Result<Duration> {
        self.herd.witness.heard().held.extend(0..STRANDED);
        let sleeps = (0..STRANDED).map(|n| (n, job(&Sleep { n, ms: 1 }, "stranded"))).collect();
        self.enqueue(sleeps).await?;
        until("the far workers have some in hand", &self.herd, async || {
            let heard = self.herd.witness.heard();
            let far = (0..STRANDED).filter(|n| heard.under_way(*n, true).next().is_some());
            Ok((far.count() >= ENOUGH).then_some(()))
        })
        .await?;
        self.proxy.set(Network::Silent);
        let begun = Instant::now();
        let far: Vec<u32> = {
            let mut heard = self.herd.witness.heard();
            let far: Vec<u32> =
                (0..STRANDED).filter(|n| heard.under_way(*n, true).next().is_some()).collect();
            // The near ones finish what they have, and so have slots for the rest.
            heard.held.retain(|n| far.contains(n));
            far
        };
        until("what was far runs near", &self.herd, async || {
            let heard = self.herd.witness.heard();
            Ok(far.iter().all(|n| heard.under_way(*n, false).next().is_some()).then_some(()))
        })
        .await?;
        self.herd.witness.heard().held.clear();
        let took = begun.elapsed();
        assert!(took < LEASE + SLACK, "stranded jobs ran again after {took:?}");
        self.proxy.set(Network::Good);
        Ok(took)
    }

    fn far_runs(&self) -> usize {
        let heard = self.herd.witness.heard();
        let far = |r: &&Run| r.n >= STRANDED && self.herd.far.contains(&r.pid);
        heard.runs.iter().filter(far).count()
    }

    /// Another weather every second, with some jobs each; longer if the far workers, which come back
    /// when they come back, did little so far.
    async fn sail(&mut self, rounds: u32) -> anyhow::Result<()> {
        for (round, weather) in (0..3 * rounds).zip(WEATHER.into_iter().cycle()) {
            if round >= rounds && self.far_runs() >= FAR_RUNS {
                break;
            }
            let first = STRANDED + round * SHARE;
            let jobs = (first..first + SHARE).map(|n| (n, mixed(n, u64::from(20 + n * 37 % 400))));
            self.enqueue(jobs.collect()).await?;
            self.proxy.set(weather);
            sleep(RHYTHM).await;
            self.herd.assert_sound();
        }
        self.proxy.set(Network::Good);
        Ok(())
    }

    async fn come_to_rest(&self) -> anyhow::Result<()> {
        let mut owner = self.herd.test.owner().await;
        let begun = Instant::now();
        while books::open(&mut owner).await? > 0 {
            self.herd.assert_sound();
            anyhow::ensure!(begun.elapsed() < crate::PATIENCE, "the jobs do not come to rest");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_bad_network_loses_nothing_and_does_nothing_twice() {
    let rounds = 6 + leads() as u32 / 100;
    let mut voyage = Voyage::begin().await.unwrap();
    let took = voyage.strand().await.unwrap();
    voyage.sail(rounds).await.unwrap();
    voyage.come_to_rest().await.unwrap();

    let by_far = voyage.far_runs();
    let Voyage { herd, jobs, proxy } = voyage;
    let found = books::audit(&herd, &jobs).await.unwrap();
    herd.leave().await.unwrap();
    drop(proxy);
    println!(
        "network, {rounds} kinds of weather: {found}; {by_far} runs behind it; what was stranded \
         ran elsewhere after {} ms",
        took.as_millis()
    );
    found.judge();
    assert!(by_far >= FAR_RUNS, "the workers behind the network took part: {by_far} runs");
}
