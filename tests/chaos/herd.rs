//! Workers as processes of their own beside one database of the test server, and their witness.

use crate::witness::Witness;
use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use switchyard_queue::{JobId, NewJob};
use switchyard_store::{Db, DbConfig, PgWake, Scope, maintenance};
use switchyard_tests::TestDb;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// Longest time for anything that a test of the herd waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Herd {
    /// The database.
    pub test: TestDb,
    /// The same, with wake-ups: all workers hear of new jobs at once and claim at the same time.
    db: Db,
    /// Who hears what the jobs say.
    pub witness: Witness,
    lease: Duration,
    workers: Vec<Child>,
    /// Processes behind a bad network: they may lose what they have in hand without dying.
    pub far: BTreeSet<u32>,
    /// Where the workers stand: a core file would land here.
    folder: tempfile::TempDir,
    /// The scheduler's part, where there is none.
    _promoter: Option<AbortOnDropHandle<()>>,
    _waking: DropGuard,
}

impl Herd {
    /// So many workers with such leases.
    pub async fn start(workers: usize, lease: Duration) -> anyhow::Result<Self> {
        let test = TestDb::new().await;
        let db = test.db.clone();
        // What failed for a reason that passes becomes due again.
        let promoter = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let _ = maintenance::promote_due(&db).await;
                sleep(Duration::from_millis(100)).await;
            }
        }));
        let mut herd = Self::on(test, lease).await?;
        herd._promoter = Some(promoter);
        for _ in 0..workers {
            herd.add()?;
        }
        Ok(herd)
    }

    /// No workers yet, on a database that has a scheduler.
    pub async fn on(test: TestDb, lease: Duration) -> anyhow::Result<Self> {
        let end = CancellationToken::new();
        let wake = PgWake::start(&DbConfig::new(test.url.clone()), end.clone())?;
        Ok(Self {
            db: test.with_wake(wake),
            test,
            witness: Witness::start().await?,
            lease,
            workers: Vec::new(),
            far: BTreeSet::new(),
            folder: tempfile::tempdir()?,
            _promoter: None,
            _waking: end.drop_guard(),
        })
    }

    /// Starts one more.
    pub fn add(&mut self) -> anyhow::Result<()> {
        self.add_with(|_| {}).map(|_| ())
    }

    /// Starts one more that reaches the database at another address.
    pub fn add_far(&mut self, by: SocketAddr) -> anyhow::Result<()> {
        let mut url = url::Url::parse(self.test.url.expose_secret())?;
        url.set_host(Some(&by.ip().to_string()))?;
        url.set_port(Some(by.port())).ok().context("a URL without a port")?;
        let pid = self.add_with(|worker| {
            worker.env("DATABASE_URL", url.as_str());
        })?;
        self.far.insert(pid);
        self.witness.heard().will_stop(pid);
        Ok(())
    }

    /// Starts one more in other circumstances; gives its process.
    pub fn add_with(&mut self, set: impl FnOnce(&mut Command)) -> anyhow::Result<u32> {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_chaos-worker"));
        worker
            .arg(self.witness.address().to_string())
            .arg(self.lease.as_millis().to_string())
            .env("DATABASE_URL", self.test.url.expose_secret())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        set(&mut worker);
        let worker = worker.spawn()?;
        let pid = worker.id().context("the worker ended at once")?;
        self.workers.push(worker);
        Ok(pid)
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.workers.iter().filter_map(Child::id).collect()
    }

    /// Kills one with SIGKILL and starts another.
    pub async fn kill(&mut self, pid: u32) -> anyhow::Result<()> {
        let at = self.workers.iter().position(|w| w.id() == Some(pid)).context("no such worker")?;
        let mut victim = self.workers.remove(at);
        self.witness.heard().will_die(pid);
        victim.start_kill()?;
        victim.wait().await?;
        self.add()
    }

    /// What they have in hand they may all lose now without dying: the database goes away.
    pub fn will_be_cut_off(&mut self) {
        let pids = self.pids();
        self.far.extend(&pids);
        let mut heard = self.witness.heard();
        for pid in pids {
            heard.will_stop(pid);
        }
        heard.forget_fallen();
    }

    /// Stops one in its tracks. It keeps its connections, so its presence seems to stand.
    pub fn freeze(&self, pid: u32) -> anyhow::Result<()> {
        self.witness.heard().will_stop(pid);
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGSTOP)?)
    }

    /// Lets it go on as if nothing had happened.
    pub fn thaw(&self, pid: u32) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGCONT)?)
    }

    /// Starts another for each that died by itself; gives their number.
    pub fn replace_dead(&mut self) -> anyhow::Result<usize> {
        let mut alive = Vec::new();
        let mut dead = 0;
        for mut worker in self.workers.drain(..) {
            match worker.try_wait()? {
                Some(_) => dead += 1,
                None => alive.push(worker),
            }
        }
        self.workers = alive;
        for _ in 0..dead {
            self.add()?;
        }
        Ok(dead)
    }

    /// Enqueues jobs in one transaction.
    pub async fn enqueue(&self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<JobId>> {
        let mut tx = self.db.begin(Scope::Platform).await?;
        let enqueued = tx.enqueue_all(jobs).await?;
        tx.commit().await?;
        Ok(enqueued.into_iter().map(|e| e.id).collect())
    }

    /// Fails the test as soon as the witness heard of something that must not happen.
    pub fn assert_sound(&self) {
        let heard = self.witness.heard();
        let faults = &heard.faults[..heard.faults.len().min(5)];
        assert!(faults.is_empty(), "{} faults, among them {faults:#?}", heard.faults.len());
    }

    /// Lets all leave in good order.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            drop(worker.stdin.take());
        }
        for mut worker in self.workers.drain(..) {
            tokio::time::timeout(PATIENCE, worker.wait()).await.context("a worker stays")??;
        }
        Ok(())
    }
}

/// Asks until there is an answer.
pub async fn until<T>(
    what: &str,
    herd: &Herd,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        herd.assert_sound();
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
