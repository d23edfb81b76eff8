//! Hearing of work and of cancellations.

use crate::Worker;
use crate::flight::Stop;
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_queue::{JobStore, LaneId, WakeToken};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

/// What the wake-ups said since the claim loop last asked. Bounded by the number of lanes.
#[derive(Default)]
pub(crate) struct Signals {
    heard: Mutex<Heard>,
    /// Wakes the claim loop.
    pub(crate) news: Notify,
}

/// See [`Signals`].
#[derive(Default)]
pub(crate) struct Heard {
    /// Lanes that have work.
    pub(crate) lanes: HashSet<LaneId>,
    /// Work by lane and priority, with the earliest instant at which it is due.
    pub(crate) work: HashMap<(LaneId, i16), DateTime<Utc>>,
    /// Wake-ups were missed, or claims of the dead came free: look everywhere.
    pub(crate) everywhere: bool,
}

impl Signals {
    fn tell(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_one();
    }

    /// Look everywhere.
    pub(crate) fn everywhere(&self) {
        self.tell(|heard| heard.everywhere = true);
    }

    /// What was heard, and forgets it.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens for the life of the worker.
pub(crate) async fn run<S: JobStore>(worker: Arc<Worker<S>>) {
    let mut tokens = worker.wake.subscribe();
    // What was sent before the subscription was missed.
    worker.signals.everywhere();
    loop {
        match tokens.recv().await {
            Ok(WakeToken::Lane(lane)) => worker.signals.tell(|heard| {
                heard.lanes.insert(lane);
            }),
            Ok(WakeToken::Work(lane, priority, at)) => worker.signals.tell(|heard| {
                let earliest = heard.work.entry((lane, priority)).or_insert(at);
                *earliest = at.min(*earliest);
            }),
            Ok(WakeToken::Cancel(id)) => {
                if worker.flight.stop(id, Stop::Operator) {
                    tracing::info!(job = %id, "asked to cancel a job that is running here");
                }
            }
            Ok(WakeToken::Resync) | Err(RecvError::Lagged(_)) => {
                worker.signals.everywhere();
                // A cancellation may have been missed; the answer to a renewal names them all.
                worker.renew_now.notify_one();
            }
            Err(RecvError::Closed) => {
                tracing::error!("the wake-ups ended; from here on the sweep alone finds work");
                return std::future::pending().await;
            }
        }
    }
}
