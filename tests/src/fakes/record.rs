//! What reached a fake's socket, and what the fake is to answer next.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest time that [`Record::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request that reached the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Received {
    /// What tells one message from another: our message's id, as the request carries it.
    pub marker: String,
    /// Address or number, as the request has it.
    pub recipient: String,
    /// The fake took the message over, whether or not its answer reached the sender.
    pub accepted: bool,
    /// The `Authorization` header of a request, or the SMTP login as `user:password`.
    pub authorization: Option<String>,
    /// The request: its form or JSON; of a mail its headers (`subject`, `message-id`, ...) and
    /// parts (`text`, `html`).
    pub body: Value,
}

/// How often messages came, by marker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that reached the socket.
    pub requests: usize,
    /// Requests that were taken over.
    pub accepted: usize,
    /// Different messages among the requests.
    pub messages: usize,
    /// Messages that came more than once, and how often.
    pub repeated: BTreeMap<String, usize>,
    /// Messages that were taken over more than once, and how often: true duplicates.
    pub duplicated: BTreeMap<String, usize>,
}

/// Everything that reached a fake, in order. Clones share it.
#[derive(Clone, Default)]
pub struct Record(Arc<Shared>);

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    changed: Notify,
}

impl Record {
    /// All of it.
    #[must_use]
    pub fn all(&self) -> Vec<Received> {
        self.lock().clone()
    }

    /// Those that were taken over.
    #[must_use]
    pub fn accepted(&self) -> Vec<Received> {
        self.lock().iter().filter(|r| r.accepted).cloned().collect()
    }

    /// The counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let received = self.lock();
        let mut came = BTreeMap::new();
        let mut taken = BTreeMap::new();
        for r in received.iter() {
            *came.entry(r.marker.clone()).or_insert(0_usize) += 1;
            *taken.entry(r.marker.clone()).or_insert(0) += usize::from(r.accepted);
        }
        Counts {
            requests: received.len(),
            accepted: taken.values().sum(),
            messages: came.len(),
            repeated: came.into_iter().filter(|(_, n)| *n > 1).collect(),
            duplicated: taken.into_iter().filter(|(_, n)| *n > 1).collect(),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits until `n` requests reached the socket; gives them all.
    ///
    /// # Panics
    /// After 20 seconds.
    pub async fn wait_for(&self, n: usize) -> Vec<Received> {
        let enough = async {
            loop {
                let changed = self.0.changed.notified();
                let all = self.all();
                if all.len() >= n {
                    return all;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(PATIENCE, enough).await {
            Ok(all) => all,
            Err(_) => panic!("{n} requests were expected, these came: {:?}", self.all()),
        }
    }

    pub(super) fn add(&self, received: Received) {
        self.lock().push(received);
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.0.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the fake does with the next requests, in order; when it is over, they are accepted.
#[derive(Debug)]
pub struct Script<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Clone for Script<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Script<T> {
    /// Adds steps at the end.
    pub fn push(&self, steps: impl IntoIterator<Item = T>) {
        self.lock().extend(steps);
    }

    /// How many steps are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.lock().len()
    }

    /// Drops the steps that are left.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The next step, if it is one for this occasion.
    pub(super) fn take(&self, fits: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut steps = self.lock();
        if steps.front().is_some_and(fits) { steps.pop_front() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
