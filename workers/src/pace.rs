//! How fast this worker gets through its jobs, and so how many to claim ahead. No I/O.

use std::time::{Duration, Instant};

/// How much work to hold ready: enough to cover the round trip of a claim, little enough that a
/// job never waits here noticeably while another worker is idle.
const AHEAD: Duration = Duration::from_millis(20);
/// The time over which the rate is averaged.
const MEMORY: Duration = Duration::from_millis(200);
/// Shorter spans are measured together with the next.
const SHORTEST: Duration = Duration::from_millis(5);

/// A moving average of the attempts that end per second.
pub(crate) struct Pace {
    measured: Instant,
    ended: usize,
    per_second: f64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { measured: now, ended: 0, per_second: 0.0 }
    }

    /// How many jobs to claim beyond the free slots, when `ended` attempts have ended so far.
    pub(crate) fn prefetch(&mut self, now: Instant, ended: usize) -> usize {
        let span = now.saturating_duration_since(self.measured);
        if span >= SHORTEST {
            let rate = ended.saturating_sub(self.ended) as f64 / span.as_secs_f64();
            let weight = 1.0 - (-span.as_secs_f64() / MEMORY.as_secs_f64()).exp();
            self.per_second += weight * (rate - self.per_second);
            self.measured = now;
            self.ended = ended;
        }
        (self.per_second * AHEAD.as_secs_f64()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_or_slow_worker_prefetches_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.prefetch(start, 0), 0);
        for second in 1..=10 {
            // 20 jobs a second: 20 ms hold less than one
            assert_eq!(pace.prefetch(start + Duration::from_secs(second), 20 * second as usize), 0);
        }
    }

    #[test]
    fn a_fast_worker_prefetches_twenty_milliseconds_of_work_and_forgets_when_it_stops() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut prefetch = 0;
        for tick in 1..=200_u32 {
            // 10,000 a second, looked at every 10 ms
            prefetch = pace.prefetch(start + Duration::from_millis(10) * tick, 100 * tick as usize);
        }
        assert!((190..=200).contains(&prefetch), "{prefetch}");
        let later = start + Duration::from_secs(2) + Duration::from_secs(2);
        assert_eq!(pace.prefetch(later, 20_000), 0);
    }
}
