//! What the engine promises, in plain Rust: jobs in a list, no time but the order of the steps.

use super::ops::{Op, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use switchyard_queue::{JobEvent, JobState, Placement, Transition};

pub const PARTITIONS: usize = 2;
pub const WORKERS: usize = 3;
/// Lone crashes after which a job is put aside.
const QUARANTINE_AFTER: i16 = 3;

/// When a job is due: not within this test, or since a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Since(usize),
    Never,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub state: JobState,
    pub attempt: i16,
    pub crashes: i16,
    lone_crashes: i16,
    /// How often it was claimed.
    pub fence: i64,
    /// Which worker has it, counted over all that there ever were.
    pub holder: Option<usize>,
    alone: bool,
    lapsed: bool,
    pub cancel_requested: bool,
    key: Option<usize>,
    partition: usize,
    priority: i16,
    due: Due,
    overdue: bool,
    child: Option<usize>,
    /// Its child waits for it to end, not to complete.
    ends_are_enough: bool,
}

/// What the real thing must answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Nothing,
    /// These jobs are new.
    New(Vec<usize>),
    /// The key was taken: by whom, and what became of that job.
    Stands(usize, Placement),
    /// Jobs, their fences and crashes.
    Claimed(Vec<(usize, i64, i16)>),
    /// The job, its fence, and whether that stood.
    Written(usize, i64, bool),
    /// The same, and whether it was asked to stop.
    Renewed(usize, i64, Option<bool>),
    /// The action was taken; what the job is now.
    Acted(usize, JobState),
    /// A finished job was retried: it, and the copy.
    Copied(usize, usize),
    WrongState(usize, JobState),
    KeyHeld(usize, usize),
    /// Something was done to the job behind the engine's back.
    Touched(usize),
}

#[derive(Clone)]
pub struct Model {
    pub jobs: Vec<Job>,
    keys: BTreeMap<usize, usize>,
    /// Job and fence of each claim that a worker ever got.
    pub claims: Vec<(usize, i64)>,
    /// Which worker is in each place.
    pub workers: [usize; WORKERS],
    pub dead: BTreeSet<usize>,
    paused: bool,
    held: [bool; PARTITIONS],
    step: usize,
    pub answer: Answer,
    /// The ways that jobs went in this step.
    pub went: Vec<Transition>,
}

/// What a failure is shown with is the steps, not the model before the first of them.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.jobs.iter().map(|job| job.state)).finish()
    }
}

impl Model {
    fn empty() -> Self {
        Self {
            jobs: Vec::new(),
            keys: BTreeMap::new(),
            claims: Vec::new(),
            workers: std::array::from_fn(|n| n),
            dead: BTreeSet::new(),
            paused: false,
            held: [false; PARTITIONS],
            step: 0,
            answer: Answer::Nothing,
            went: Vec::new(),
        }
    }

    /// A job in each partition, so that there is something to act on.
    pub fn new() -> Self {
        let first = |model: Self, partition| {
            let (priority, later, key, replace) = (0, false, None, false);
            model.step(&Op::Enqueue { partition, priority, later, key, replace })
        };
        (0..PARTITIONS).fold(Self::empty(), first)
    }

    pub fn step(mut self, op: &Op) -> Self {
        self.step += 1;
        self.went.clear();
        self.answer = match *op {
            Op::Enqueue { partition, priority, later, key, replace } => {
                self.enqueue(partition, priority, later, key, replace)
            }
            Op::Chain { partition, later, ends_are_enough } => {
                let child = self.insert(partition, 0, later, None, JobState::Pending);
                let parent = self.insert(partition, 0, false, None, JobState::Available);
                self.jobs[parent].child = Some(child);
                self.jobs[parent].ends_are_enough = ends_are_enough;
                Answer::New(vec![child, parent])
            }
            Op::Claim { worker, partition, take, alone } => {
                self.claim(self.workers[worker], partition, take, alone)
            }
            Op::Settle { claim, result } => self.settle(claim, result),
            Op::Renew { claim } => self.renew(claim),
            Op::Lapse(job) => self.touch(job, |j| j.lapsed = j.state == JobState::Running),
            Op::ComeDue(job) => {
                let now = Due::Since(self.step);
                self.touch(job, |j| {
                    if matches!(j.state, JobState::Scheduled | JobState::Retryable) {
                        j.due = now;
                    }
                })
            }
            Op::Expire(job) => self.expire(job),
            Op::Die(worker) => {
                self.dead.insert(self.workers[worker]);
                self.workers[worker] = WORKERS + self.dead.len() - 1;
                Answer::Nothing
            }
            Op::Cancel(job) => self.cancel(job),
            Op::Revive(job) => self.revive(job),
            Op::Discard(job) => self.discard(job),
            Op::Promote => {
                for n in 0..self.jobs.len() {
                    let job = &self.jobs[n];
                    let waits = matches!(job.state, JobState::Scheduled | JobState::Retryable);
                    if waits && job.due != Due::Never {
                        self.go(n, JobEvent::Promote, JobState::Available);
                    }
                }
                Answer::Nothing
            }
            Op::Pause(paused) => {
                self.paused = paused;
                Answer::Nothing
            }
            Op::PausePartition(partition, paused) => {
                self.held[partition] = paused;
                Answer::Nothing
            }
        };
        self
    }

    fn go(&mut self, n: usize, event: JobEvent, to: JobState) {
        let from = self.jobs[n].state;
        self.went.push((Some(from), event, to));
        let job = &mut self.jobs[n];
        job.state = to;
        if to != JobState::Running {
            (job.holder, job.lapsed, job.cancel_requested) = (None, false, false);
        }
        if matches!(to, JobState::Completed | JobState::Cancelled | JobState::Discarded) {
            self.keys.retain(|_, holder| *holder != n);
            self.tell_child(n);
        }
    }

    /// The end of a job is its child's business.
    fn tell_child(&mut self, n: usize) {
        let job = &self.jobs[n];
        let Some(child) = job.child.filter(|c| self.jobs[*c].state == JobState::Pending) else {
            return;
        };
        let released = job.ends_are_enough || job.state == JobState::Completed;
        match self.jobs[child].due {
            Due::Never if released => self.go(child, JobEvent::Release, JobState::Scheduled),
            _ if released => {
                self.jobs[child].due = Due::Since(self.step);
                self.go(child, JobEvent::Release, JobState::Available);
            }
            _ if job.state == JobState::Cancelled => {
                self.go(child, JobEvent::Cancel, JobState::Cancelled);
            }
            _ => {}
        }
    }

    fn insert(
        &mut self,
        partition: usize,
        priority: i16,
        later: bool,
        key: Option<usize>,
        state: JobState,
    ) -> usize {
        self.went.push((None, JobEvent::Enqueue, state));
        let n = self.jobs.len();
        self.keys.extend(key.map(|key| (key, n)));
        self.jobs.push(Job {
            state,
            attempt: 0,
            crashes: 0,
            lone_crashes: 0,
            fence: 0,
            holder: None,
            alone: false,
            lapsed: false,
            cancel_requested: false,
            key,
            partition,
            priority,
            due: if later { Due::Never } else { Due::Since(self.step) },
            overdue: false,
            child: None,
            ends_are_enough: false,
        });
        n
    }

    fn enqueue(
        &mut self,
        partition: usize,
        priority: i16,
        later: bool,
        key: Option<usize>,
        replace: bool,
    ) -> Answer {
        let to = if later { JobState::Scheduled } else { JobState::Available };
        let Some(holder) = key.and_then(|key| self.keys.get(&key).copied()) else {
            return Answer::New(vec![self.insert(partition, priority, later, key, to)]);
        };
        let job = &mut self.jobs[holder];
        let unbegun =
            job.fence == 0 && matches!(job.state, JobState::Available | JobState::Scheduled);
        if !replace || !unbegun {
            return Answer::Stands(holder, Placement::Standing);
        }
        job.due = if later { Due::Never } else { Due::Since(self.step) };
        if job.state != to {
            self.go(holder, JobEvent::Replace, to);
        }
        Answer::Stands(holder, Placement::Replaced)
    }

    fn claim(&mut self, worker: usize, partition: usize, take: usize, alone: bool) -> Answer {
        if self.paused || self.held[partition] {
            return Answer::Claimed(Vec::new());
        }
        let free = |job: &Job| match job.holder {
            _ if job.partition != partition => false,
            None => job.state == JobState::Available,
            Some(holder) => job.lapsed || self.dead.contains(&holder),
        };
        let mut found: Vec<usize> = (0..self.jobs.len()).filter(|n| free(&self.jobs[*n])).collect();
        found.sort_by_key(|n| (self.jobs[*n].priority, self.jobs[*n].due));
        found.truncate(if alone { 1 } else { take });
        found.retain(|n| self.begin(*n, worker, alone));
        let claimed = |n: usize| (n, self.jobs[n].fence, self.jobs[n].crashes);
        let claimed: Vec<_> = found.into_iter().map(claimed).collect();
        self.claims.extend(claimed.iter().map(|(n, fence, _)| (*n, *fence)));
        Answer::Claimed(claimed)
    }

    /// Whether it is to be run.
    fn begin(&mut self, n: usize, worker: usize, alone: bool) -> bool {
        let job = &mut self.jobs[n];
        let crashed = job.holder.is_some();
        job.fence += 1;
        job.crashes += i16::from(crashed);
        job.lone_crashes += i16::from(crashed && job.alone);
        (job.holder, job.alone, job.lapsed) = (Some(worker), alone, false);
        if !crashed {
            self.go(n, JobEvent::Claim, JobState::Running);
        } else if self.jobs[n].cancel_requested {
            self.jobs[n].attempt += 1;
            self.go(n, JobEvent::GiveUp, JobState::Cancelled);
        } else if self.jobs[n].lone_crashes >= QUARANTINE_AFTER {
            self.go(n, JobEvent::Quarantine, JobState::Quarantined);
        } else {
            self.go(n, JobEvent::TakeOver, JobState::Running);
        }
        self.jobs[n].state == JobState::Running
    }

    /// The claim, and whether it stands.
    fn claimed(&self, back: usize) -> Option<(usize, i64, bool)> {
        let at = self.claims.len().checked_sub(1)? - back % self.claims.len();
        let (n, fence) = self.claims[at];
        let job = &self.jobs[n];
        Some((n, fence, job.state == JobState::Running && job.fence == fence))
    }

    fn settle(&mut self, claim: usize, result: Result) -> Answer {
        let Some((n, fence, stands)) = self.claimed(claim) else { return Answer::Nothing };
        if stands {
            self.end_attempt(n, result);
        }
        Answer::Written(n, fence, stands)
    }

    fn end_attempt(&mut self, n: usize, result: Result) {
        use JobEvent as E;
        let job = &mut self.jobs[n];
        let done = matches!(result, Result::Complete | Result::Commit);
        job.attempt += i16::from(match result {
            Result::GiveBack => false,
            Result::Snooze => job.cancel_requested,
            _ => true,
        });
        if !done && (job.cancel_requested || result == Result::GiveUp) {
            return self.go(n, E::GiveUp, JobState::Cancelled);
        }
        if !done && result != Result::GiveBack {
            (job.crashes, job.lone_crashes) = (0, 0);
        }
        if matches!(result, Result::Retry | Result::Snooze) {
            job.due = Due::Never;
        }
        let tried = job.attempt > 0;
        let (event, to) = match result {
            Result::Complete | Result::Commit => (E::Complete, JobState::Completed),
            Result::GiveUp => (E::GiveUp, JobState::Cancelled),
            Result::Retry => (E::Retry, JobState::Retryable),
            Result::Snooze if tried => (E::Snooze, JobState::Retryable),
            Result::Snooze => (E::Snooze, JobState::Scheduled),
            Result::Fail => (E::Fail, JobState::Discarded),
            Result::GiveBack => (E::GiveBack, JobState::Available),
        };
        self.go(n, event, to);
    }

    fn renew(&mut self, claim: usize) -> Answer {
        let Some((n, fence, stands)) = self.claimed(claim) else { return Answer::Nothing };
        if stands {
            self.jobs[n].lapsed = false;
        }
        Answer::Renewed(n, fence, stands.then_some(self.jobs[n].cancel_requested))
    }

    fn touch(&mut self, job: usize, change: impl FnOnce(&mut Job)) -> Answer {
        let n = job % self.jobs.len();
        change(&mut self.jobs[n]);
        Answer::Touched(n)
    }

    fn expire(&mut self, job: usize) -> Answer {
        let answer = self.touch(job, |j| j.overdue = true);
        for n in 0..self.jobs.len() {
            let waits = matches!(
                self.jobs[n].state,
                JobState::Available | JobState::Scheduled | JobState::Retryable | JobState::Pending
            );
            if waits && self.jobs[n].overdue {
                self.go(n, JobEvent::Expire, JobState::Discarded);
            }
        }
        answer
    }

    fn cancel(&mut self, job: usize) -> Answer {
        let n = job % self.jobs.len();
        let state = self.jobs[n].state;
        if state.is_final() {
            return Answer::WrongState(n, state);
        }
        if state == JobState::Running {
            self.ask_to_stop(n, JobEvent::Cancel);
        } else {
            self.go(n, JobEvent::Cancel, JobState::Cancelled);
        }
        Answer::Acted(n, self.jobs[n].state)
    }

    fn discard(&mut self, job: usize) -> Answer {
        let n = job % self.jobs.len();
        match self.jobs[n].state {
            state @ (JobState::Discarded | JobState::Pending) => {
                return Answer::WrongState(n, state);
            }
            state if state.is_final() => return Answer::WrongState(n, state),
            JobState::Running => self.ask_to_stop(n, JobEvent::Discard),
            _ => self.go(n, JobEvent::Discard, JobState::Discarded),
        }
        Answer::Acted(n, self.jobs[n].state)
    }

    fn ask_to_stop(&mut self, n: usize, event: JobEvent) {
        self.go(n, event, JobState::Running);
        self.jobs[n].cancel_requested = true;
    }

    fn revive(&mut self, job: usize) -> Answer {
        let n = job % self.jobs.len();
        let Job { state, key, partition, priority, .. } = self.jobs[n];
        if matches!(state, JobState::Available | JobState::Running | JobState::Pending) {
            return Answer::WrongState(n, state);
        }
        let holder = key.and_then(|key| self.keys.get(&key).copied()).filter(|holder| *holder != n);
        if let Some(holder) = holder {
            return Answer::KeyHeld(n, holder);
        }
        if state.is_final() {
            let copy = self.insert(partition, priority, false, key, JobState::Available);
            return Answer::Copied(n, copy);
        }
        self.keys.extend(key.map(|key| (key, n)));
        let job = &mut self.jobs[n];
        if matches!(state, JobState::Discarded | JobState::Quarantined) {
            job.attempt = 0;
        }
        (job.crashes, job.lone_crashes, job.overdue) = (0, 0, false);
        job.due = Due::Since(self.step);
        self.go(n, JobEvent::Revive, JobState::Available);
        Answer::Acted(n, JobState::Available)
    }
}
