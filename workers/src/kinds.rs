//! The kinds that this worker can run, less those that are paused.

use std::sync::{Arc, Mutex, PoisonError};
use switchyard_queue::kind_name;

/// See the module.
pub(crate) struct Kinds {
    all: Vec<String>,
    now: Mutex<Now>,
}

struct Now {
    paused: Vec<String>,
    claimed: Arc<Vec<String>>,
}

impl Kinds {
    pub(crate) fn new(names: &[String]) -> Self {
        let all = names.to_vec();
        let now = Now { paused: Vec::new(), claimed: Arc::new(all.clone()) };
        Self { all, now: Mutex::new(now) }
    }

    /// All that it can run.
    pub(crate) fn all(&self) -> &[String] {
        &self.all
    }

    /// Those that it may claim now.
    pub(crate) fn claimed(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner).claimed)
    }

    /// Those that are paused, here or not.
    pub(crate) fn paused(&self) -> Vec<String> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).paused.clone()
    }

    /// From now on these are paused and no others, each in all of its versions. `true` if that is news.
    pub(crate) fn pause(&self, paused: Vec<String>) -> bool {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.paused == paused {
            return false;
        }
        let rests = |name: &str| paused.iter().any(|kind| kind == name);
        let claimed = self.all.iter().filter(|k| !rests(k) && !rests(kind_name(k))).cloned();
        let claimed = claimed.collect();
        *now = Now { paused, claimed: Arc::new(claimed) };
        true
    }
}
