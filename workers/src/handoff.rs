//! Between the claim loop and apalis: claimed jobs that wait for a free slot.
//!
//! A channel would do, but for two things: what waits here can be taken back out (at shutdown, or
//! when slots do not come free), and a suspect starts only when nothing else runs, while
//! nothing else starts beside it. Its length is bounded by the claim loop, which never claims more
//! than the free slots and a small prefetch.

use crate::flight::{Flying, Stop, Ticket};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A claimed job on its way to its attempt; the argument of our apalis task.
pub(crate) struct Claimed {
    pub(crate) flying: Arc<Flying>,
    /// Taken out by the settle layer.
    pub(crate) ticket: Option<Ticket>,
    /// Missing while it waits, and on a job that was stopped before it started.
    pub(crate) slot: Option<Slot>,
    since: Instant,
}

impl Claimed {
    pub(crate) fn new((flying, ticket): (Arc<Flying>, Ticket)) -> Self {
        Self { flying, ticket: Some(ticket), slot: None, since: Instant::now() }
    }
}

struct Inner {
    waiting: VecDeque<Claimed>,
    slots: usize,
    running: usize,
    /// A suspect is running.
    alone: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// See the module.
pub(crate) struct Handoff(Mutex<Inner>);

impl Handoff {
    /// For `slots` attempts at the same time.
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            waiting: VecDeque::new(),
            slots,
            running: 0,
            alone: false,
            closed: false,
            waker: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers jobs for running.
    ///
    /// # Errors
    /// Gives them back if the worker starts no more jobs.
    pub(crate) fn push(&self, jobs: Vec<Claimed>) -> Result<(), Vec<Claimed>> {
        let waker = {
            let mut inner = self.inner();
            if inner.closed {
                return Err(jobs);
            }
            inner.waiting.extend(jobs);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// The next job that may start, with its slot. A job that was stopped while it waited comes
    /// without a slot: it only needs to be written down.
    pub(crate) fn poll_next(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Claimed> {
        let mut inner = self.inner();
        let may_start = match inner.waiting.front() {
            _ if inner.closed => false,
            None => false,
            Some(next) if next.flying.stopped().is_some() => true,
            Some(next) if next.flying.job.is_suspect() => inner.running == 0,
            Some(_) => inner.running < inner.slots && !inner.alone,
        };
        let next = if may_start { inner.waiting.pop_front() } else { None };
        let Some(mut next) = next else {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if next.flying.stopped().is_none() {
            inner.running += 1;
            inner.alone = next.flying.job.is_suspect();
            next.slot = Some(Slot(Arc::clone(self)));
        }
        Poll::Ready(next)
    }

    /// Takes no more jobs, starts none, and gives out those that wait.
    pub(crate) fn close(&self) -> Vec<Claimed> {
        let mut inner = self.inner();
        inner.closed = true;
        inner.waiting.drain(..).collect()
    }

    /// Takes back everything if the first job has waited for longer than `at_most`.
    pub(crate) fn take_stale(&self, at_most: Duration) -> Vec<Claimed> {
        let mut inner = self.inner();
        if inner.waiting.front().is_some_and(|c| c.since.elapsed() > at_most) {
            let stale: Vec<_> = inner.waiting.drain(..).collect();
            for claimed in &stale {
                claimed.flying.stop(Stop::Stale);
            }
            return stale;
        }
        Vec::new()
    }

    /// Jobs that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.inner().waiting.len()
    }

    /// Attempts under way.
    pub(crate) fn running(&self) -> usize {
        self.inner().running
    }
}

/// The right to run; dropping it lets the next job start.
pub(crate) struct Slot(Arc<Handoff>);

impl Drop for Slot {
    fn drop(&mut self) {
        let waker = {
            let mut inner = self.0.inner();
            inner.running -= 1;
            inner.alone = false;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
