//! Limits that are used up, and until when no claim need ask for their lanes. No I/O.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use switchyard_queue::{HeldBack, LimitId, Until};

/// How often a limit is asked for whose slots are all taken. A slot that comes free in this process
/// is taken at once; only one that another process gave back waits so long.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How soon if somebody else was claiming under it just then.
const CONTENDED: Duration = Duration::from_millis(3);

/// See the module.
#[derive(Default)]
pub(crate) struct Blocks(HashMap<LimitId, Block>);

#[derive(Clone, Copy)]
struct Block {
    until: Instant,
    /// It waits for a slot.
    slot: bool,
}

impl Blocks {
    /// A claim was held back.
    pub(crate) fn take_in(&mut self, held: &HeldBack, now: Instant) {
        for (limit, until) in &held.by {
            let (wait, slot) = match until {
                Until::Slot => (ASK_AGAIN, true),
                Until::Passed(wait) => (*wait, false),
                Until::Free => (CONTENDED, false),
            };
            self.0.insert(*limit, Block { until: now + wait, slot });
        }
    }

    /// A slot came free, under whatever limit.
    pub(crate) fn slot_freed(&mut self) {
        self.0.retain(|_, block| !block.slot);
    }

    /// Forgets what is over.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.0.retain(|_, block| block.until > now);
    }

    /// Whether a lane under these limits need not be asked for. Only after [`Blocks::tidy`].
    pub(crate) fn holds(&self, limits: &[LimitId]) -> bool {
        !self.0.is_empty() && limits.iter().any(|limit| self.0.contains_key(limit))
    }

    /// When the first of them is over.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().map(|block| block.until).min()
    }
}
