//! The table of every job this worker has claimed and whose end is not yet written down.
//!
//! It is what the lease is renewed for, where a cancellation finds its job, and what the claim loop
//! counts before it takes more. A [`Ticket`] stands for one entry: when it is dropped, whoever
//! dropped it and why, the entry is gone, so nothing can leak.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use switchyard_queue::{ClaimedJob, Fence, Held, JobId, Progress, Renewed, Report, WorkerId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a job was told to stop. The first reason stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An operator asked for it.
    Operator,
    /// The worker is shutting down and the time for that is over.
    Drain,
    /// The worker lost its presence, or could not renew the lease in time: others may take the job
    /// at any moment, though perhaps nobody has yet.
    Doubt,
    /// The store said that the claim no longer stands.
    Lost,
    /// It was claimed, but must not run in this company: a suspect runs alone.
    Misfit,
    /// It waited here for a free slot for too long; another worker may have one.
    Stale,
}

/// A claimed job as its attempt sees it.
#[derive(Debug)]
pub(crate) struct Flying {
    pub(crate) job: Arc<ClaimedJob>,
    /// Fires when the attempt should stop.
    pub(crate) cancel: CancellationToken,
    /// What it says of how far it is.
    pub(crate) progress: Progress,
    stop: OnceLock<Stop>,
    forfeit: Notify,
}

impl Flying {
    /// Why it was told to stop, if it was.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// Tells it to stop. Only the first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        if self.stop.set(why).is_ok() {
            self.cancel.cancel();
        }
        if self.job.limited && matches!(why, Stop::Doubt | Stop::Lost) {
            self.forfeit.notify_one();
        }
    }

    /// Ends when the attempt may not go on for another moment: its place under a limit may be
    /// somebody else's by now, and a grace would put more jobs to work than the limit allows.
    pub(crate) async fn forfeited(&self) {
        self.forfeit.notified().await;
    }

    pub(crate) fn held(&self) -> Held {
        Held { id: self.job.id, fence: self.job.fence }
    }
}

struct Entry {
    flying: Arc<Flying>,
    /// Until when the claim stands for certain, by this machine's monotonic clock.
    stands_until: Instant,
    /// The attempt is over; the result waits to be written.
    over: bool,
}

#[derive(Default)]
struct Table {
    session: Option<WorkerId>,
    entries: HashMap<(JobId, Fence), Entry>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Flight {
    table: Mutex<Table>,
    /// Entries whose attempt is not over: what takes up slots and prefetch.
    open: AtomicUsize,
    /// Attempts that came to an end, ever.
    ended: AtomicUsize,
    /// A job that took up a slot under a limit has left the table.
    freed: AtomicBool,
    /// Wakes the claim loop: room was made, a slot is free, or the table is empty.
    pub(crate) moved: Notify,
}

impl Flight {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock is complete in itself, so a panic elsewhere harms nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on claims are made as this worker.
    pub(crate) fn begin_session(&self, worker: WorkerId) {
        self.table().session = Some(worker);
    }

    /// The presence is gone: whatever was claimed under it is in doubt.
    pub(crate) fn end_session(&self) {
        let mut table = self.table();
        table.session = None;
        for entry in table.entries.values() {
            entry.flying.stop(Stop::Doubt);
        }
    }

    /// Enters claimed jobs. Those claimed under a presence that was lost meanwhile come out
    /// stopped, so that they are given back instead of run.
    pub(crate) fn admit(
        self: &Arc<Self>,
        jobs: Vec<ClaimedJob>,
        stands_until: Instant,
    ) -> Vec<(Arc<Flying>, Ticket)> {
        let mut table = self.table();
        let mut admitted = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            // The attempt is a span of its own in the trace of the job.
            job.trace = job.trace.map(switchyard_queue::TraceContext::child);
            let key = (job.id, job.fence);
            let flying = Arc::new(Flying {
                job: Arc::new(job),
                cancel: CancellationToken::new(),
                progress: Progress::default(),
                stop: OnceLock::new(),
                forfeit: Notify::new(),
            });
            if table.session != Some(flying.job.worker) {
                flying.stop(Stop::Doubt);
            }
            let entry = Entry { flying: Arc::clone(&flying), stands_until, over: false };
            table.entries.insert(key, entry);
            admitted.push((flying, Ticket { flight: Arc::clone(self), key, over: false }));
        }
        self.open.fetch_add(admitted.len(), Ordering::AcqRel);
        admitted
    }

    /// Jobs that are claimed and not over.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Attempts that came to an end since the start, for measuring.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether a slot under a limit came free since this was asked last.
    pub(crate) fn take_freed(&self) -> bool {
        self.freed.swap(false, Ordering::AcqRel)
    }

    /// Jobs that are claimed and whose end is not written down.
    pub(crate) fn len(&self) -> usize {
        self.table().entries.len()
    }

    /// Tells one job to stop, under whatever fence it is here. `false` if it is not here.
    pub(crate) fn stop(&self, id: JobId, why: Stop) -> bool {
        let table = self.table();
        let mut found = false;
        for entry in table.entries.values().filter(|e| e.flying.job.id == id) {
            entry.flying.stop(why);
            found = true;
        }
        found
    }

    /// Tells every job to stop.
    pub(crate) fn stop_all(&self, why: Stop) {
        for entry in self.table().entries.values() {
            entry.flying.stop(why);
        }
    }

    /// Everything the lease is to be renewed for. Of one job under two fences only the newer can
    /// still stand, so the older is told that it is lost.
    pub(crate) fn held(&self) -> Vec<Held> {
        let table = self.table();
        let mut newest: HashMap<JobId, &Arc<Flying>> = HashMap::with_capacity(table.entries.len());
        for flying in table.entries.values().map(|e| &e.flying) {
            let best = newest.entry(flying.job.id).or_insert(flying);
            if flying.job.fence > best.job.fence {
                best.stop(Stop::Lost);
                *best = flying;
            } else if flying.job.fence < best.job.fence {
                flying.stop(Stop::Lost);
            }
        }
        newest
            .values()
            .filter(|f| !matches!(f.stopped(), Some(Stop::Lost)))
            .map(|f| f.held())
            .collect()
    }

    /// The jobs that said something of their progress since the last call, and what.
    pub(crate) fn said(&self) -> Vec<(Arc<Flying>, Report)> {
        let table = self.table();
        let running = table.entries.values().filter(|e| !e.over).map(|e| &e.flying);
        running
            .filter(|f| f.stopped() != Some(Stop::Lost))
            .filter_map(|f| Some((Arc::clone(f), f.progress.take()?)))
            .collect()
    }

    /// Takes in the answer to a renewal that was asked for `held`. Gives the number of jobs that
    /// were found lost.
    pub(crate) fn renewed(
        &self,
        held: &[Held],
        answer: &[Renewed],
        stands_until: Instant,
    ) -> usize {
        let answer: HashMap<JobId, bool> =
            answer.iter().map(|r| (r.id, r.cancel_requested)).collect();
        let mut lost = 0;
        let mut table = self.table();
        for held in held {
            let Some(entry) = table.entries.get_mut(&(held.id, held.fence)) else { continue };
            match answer.get(&held.id) {
                Some(cancel) => {
                    entry.stands_until = stands_until;
                    if *cancel {
                        entry.flying.stop(Stop::Operator);
                    }
                }
                // Its result may have been written while the renewal was under way.
                None if entry.over => {}
                None => {
                    lost += 1;
                    entry.flying.stop(Stop::Lost);
                }
            }
        }
        lost
    }

    /// Tells the jobs to stop whose claim may have run out. Gives their number.
    pub(crate) fn doubt_expired(&self, now: Instant) -> usize {
        let table = self.table();
        let expired =
            table.entries.values().filter(|e| !e.over && e.stands_until <= now).filter(|e| {
                let fresh = e.flying.stopped().is_none();
                e.flying.stop(Stop::Doubt);
                fresh
            });
        expired.count()
    }

    /// How long all claims stand for certain whose attempts go on; `None` if there are none.
    pub(crate) fn stands_for(&self, now: Instant) -> Option<Duration> {
        let table = self.table();
        let going = table.entries.values().filter(|e| !e.over && e.flying.stopped().is_none());
        going.map(|e| e.stands_until.saturating_duration_since(now)).min()
    }

    /// Whether the claim was renewed to stand beyond `instant`.
    pub(crate) fn stands_beyond(&self, held: Held, instant: Instant) -> bool {
        self.table().entries.get(&(held.id, held.fence)).is_some_and(|e| e.stands_until > instant)
    }
}

/// One entry of the table, owned by whoever has the job in hand.
pub(crate) struct Ticket {
    flight: Arc<Flight>,
    key: (JobId, Fence),
    over: bool,
}

impl Ticket {
    /// The attempt is over: its place is free, though the result is not written yet.
    pub(crate) fn over(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.flight.open.fetch_sub(1, Ordering::AcqRel);
        self.flight.ended.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.flight.table().entries.get_mut(&self.key) {
            entry.over = true;
        }
        self.flight.moved.notify_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.over();
        let (limited, empty) = {
            let mut table = self.flight.table();
            let entry = table.entries.remove(&self.key);
            (entry.is_some_and(|e| e.flying.job.limited), table.entries.is_empty())
        };
        if limited {
            self.flight.freed.store(true, Ordering::Release);
        }
        if empty || limited {
            self.flight.moved.notify_one();
        }
    }
}
