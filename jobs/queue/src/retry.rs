//! When a failed job runs again.

use crate::Entropy;
use std::time::Duration;

/// Exponential backoff with full jitter: before retry `n` (from 1) the wait is uniform in
/// `[floor, min(cap, base * 2^(n-1))]`.
///
/// Source of the rule: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, which found
/// full jitter to finish a contended workload with the least work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of every wait.
    pub cap: Duration,
    /// Lower bound, so that a run of small random numbers cannot make a busy loop.
    pub floor: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(2),
            cap: Duration::from_secs(3600),
            floor: Duration::from_millis(100),
        }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt after `failed` attempts have failed (1 after the first).
    #[must_use]
    pub fn delay(&self, failed: u16, entropy: &dyn Entropy) -> Duration {
        self.bound(failed).mul_f64(entropy.unit()).max(self.floor)
    }

    /// The longest wait that [`RetryPolicy::delay`] can give.
    #[must_use]
    pub fn bound(&self, failed: u16) -> Duration {
        let doublings = u32::from(failed.saturating_sub(1)).min(31);
        self.base.saturating_mul(1_u32 << doublings).min(self.cap).max(self.floor)
    }
}
