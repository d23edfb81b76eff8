//! Whoever hears what the runs say, and so knows what happened whatever the tables claim.
//!
//! A worker is unharmed until the test kills or stops it. What must never happen in an unharmed
//! one: that its run goes on after another run of the same job began, that a run begins after a
//! younger one did, or that it is refused. Of the harmed nothing is expected but silence, or that
//! the store refuses them. And no call may come twice, whoever makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use switchyard_tests::chaos::Said;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The test's number of the job.
    pub n: u32,
    /// The claim.
    pub fence: i64,
    /// The process.
    pub pid: u32,
    /// By how many seconds the process's clock was ahead.
    pub ahead: i64,
    /// Its connection stands.
    pub open: bool,
    /// It has made its call, and said nothing since.
    pub calling: bool,
    /// The store refused it.
    pub refused: bool,
}

/// What was heard so far.
#[derive(Default)]
pub struct Heard {
    /// In the order of their starts.
    pub runs: Vec<Run>,
    /// Calls by the job's number.
    pub calls: BTreeMap<u32, u32>,
    /// Processes that the test killed or stopped.
    pub harmed: BTreeSet<u32>,
    /// What must never happen, and did.
    pub faults: Vec<String>,
    /// From the kill of a worker until its job ran again.
    pub resumed: Vec<Duration>,
    /// Jobs whose runs get no answer for now, and so stand still.
    pub held: BTreeSet<u32>,
    /// Their runs in harmed processes get one all the same.
    pub late_may_go: bool,
    /// Jobs whose worker was killed, and when.
    fallen: HashMap<u32, Instant>,
    /// Where the runs of a job stand among all.
    by_job: HashMap<u32, Vec<usize>>,
}

/// See the module. Clones share what was heard.
#[derive(Clone)]
pub struct Witness {
    heard: Arc<Mutex<Heard>>,
    address: SocketAddr,
}

impl Witness {
    /// Listens on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let witness = Self { heard: Arc::default(), address: listener.local_addr()? };
        let listening = witness.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let listening = listening.clone();
                tokio::spawn(async move { listening.listen(stream).await });
            }
        });
        Ok(witness)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was heard so far. Not to be kept: nothing more is heard meanwhile.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    async fn listen(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream);
        let mut run = None;
        let mut line = String::new();
        // A broken line or connection is the end of a process; that is not a fault here.
        while lines.read_line(&mut line).await.is_ok_and(|n| n > 0)
            && let Ok(said) = serde_json::from_str::<Said>(&line)
        {
            self.heard().take(&mut run, &said);
            if let Said::Call { ms } = said {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            while run.is_some_and(|run| self.heard().holds(run)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            line.clear();
            if lines.write_all(b"\n").await.is_err() {
                break;
            }
        }
        if let Some(run) = run {
            self.heard().runs[run].open = false;
        }
    }
}

impl Heard {
    fn take(&mut self, run: &mut Option<usize>, said: &Said) {
        if let Said::Start { n, fence, pid, clock } = *said {
            *run = Some(self.runs.len());
            let ahead = clock - chrono::Utc::now().timestamp();
            self.begin(Run { n, fence, pid, ahead, open: true, calling: false, refused: false });
            return;
        }
        let Some(at) = *run else { return };
        let this = self.runs[at];
        let unharmed = !self.harmed.contains(&this.pid);
        self.runs[at].calling = matches!(said, Said::Call { .. });
        if self.runs[at].calling {
            let calls = self.calls.entry(this.n).or_default();
            *calls += 1;
            if *calls > 1 {
                self.faults.push(format!("called for the {calls}. time: {this:?}"));
            }
        }
        if matches!(said, Said::Refused) {
            self.runs[at].refused = true;
            if unharmed {
                self.faults.push(format!("refused in an unharmed worker: {this:?}"));
            }
        }
        let younger = self.of_job(this.n).find(|r| r.fence > this.fence).copied();
        if let Some(younger) = younger.filter(|_| unharmed) {
            self.faults.push(format!("{said:?} of {this:?} came after the start of {younger:?}"));
        }
    }

    fn begin(&mut self, run: Run) {
        let before = self.of_job(run.n).find(|r| r.fence >= run.fence).copied();
        if let Some(before) = before.filter(|_| !self.harmed.contains(&run.pid)) {
            self.faults.push(format!("{run:?} began after {before:?}"));
        }
        if let Some(at) = self.fallen.remove(&run.n) {
            self.resumed.push(at.elapsed());
        }
        self.by_job.entry(run.n).or_default().push(self.runs.len());
        self.runs.push(run);
    }

    /// The runs of a job.
    fn of_job(&self, n: u32) -> impl Iterator<Item = &Run> {
        self.by_job.get(&n).into_iter().flatten().map(move |at| &self.runs[*at])
    }

    fn holds(&self, run: usize) -> bool {
        let run = &self.runs[run];
        self.held.contains(&run.n) && !(self.late_may_go && self.harmed.contains(&run.pid))
    }

    /// Runs of a job that are under way, in harmed workers or in others.
    pub fn under_way(&self, n: u32, harmed: bool) -> impl Iterator<Item = &Run> {
        let runs = self.of_job(n).filter(|r| r.open);
        runs.filter(move |r| self.harmed.contains(&r.pid) == harmed)
    }

    /// Runs that are under way in a process, as far as is known.
    pub fn open(&self, pid: u32) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |r| r.open && r.pid == pid)
    }

    /// The process is about to be stopped.
    pub fn will_stop(&mut self, pid: u32) {
        self.harmed.insert(pid);
    }

    /// The process is about to be killed.
    pub fn will_die(&mut self, pid: u32) {
        self.harmed.insert(pid);
        let now = Instant::now();
        let open: Vec<u32> = self.open(pid).map(|r| r.n).collect();
        self.fallen.extend(open.into_iter().map(|n| (n, now)));
    }

    /// Nobody measures from now on how long the jobs of the workers killed so far lie.
    pub fn forget_fallen(&mut self) {
        self.fallen.clear();
    }

    /// How often a job was begun.
    pub fn starts(&self, n: u32) -> usize {
        self.of_job(n).count()
    }

    /// How many jobs were begun more than once.
    pub fn begun_again(&self) -> usize {
        self.starts_of_all().values().filter(|n| **n > 1).count()
    }

    /// How often each job was begun that was.
    pub fn starts_of_all(&self) -> HashMap<u32, usize> {
        self.by_job.iter().map(|(n, runs)| (*n, runs.len())).collect()
    }
}
