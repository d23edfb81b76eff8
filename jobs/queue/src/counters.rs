//! How much of something is still allowed: steady rates and quotas, counted in this process or, over
//! all replicas, in Redis. What is counted may be lost at any moment; limits that must hold exactly
//! are the claim's business, not this.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Keys remembered at once; beyond, those that are at rest are forgotten.
const MOST_KEYS: usize = 20_000;

/// So many in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// How many, at least 1.
    pub count: u32,
    /// In what time.
    pub period: Duration,
}

/// What is allowed of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The steady rate, and how many may come at once under it.
    pub rate: Option<(Refill, u32)>,
    /// How many in one period; periods begin at multiples of their length since 1970 (days at
    /// midnight UTC).
    pub quota: Option<Refill>,
}

/// The answer: taken, or how long to wait.
pub type Taken = Result<(), Duration>;

/// Counts by key. Never fails: what cannot be counted is let through or counted nearby.
pub trait Counters: Send + Sync + 'static {
    /// Takes one of what is allowed under this key.
    fn take<'a>(
        &'a self,
        key: &'a str,
        allowance: Allowance,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Taken>;
}

/// Counts in this process.
#[derive(Debug, Default)]
pub struct LocalCounters {
    keys: Mutex<HashMap<String, State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When everything that was taken would have come at the steady rate (GCRA, ITU-T I.371).
    arrival: i64,
    /// The quota's period, and how many were taken in it.
    window: i64,
    used: u32,
}

impl LocalCounters {
    /// Takes one, at once.
    pub fn take_now(&self, key: &str, allowance: Allowance, now: DateTime<Utc>) -> Taken {
        let micros = now.timestamp_micros();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_KEYS && !keys.contains_key(key) {
            // Whoever is forgotten starts afresh: a limit on HTTP may be too kind for a moment.
            keys.retain(|_, state| state.arrival > micros);
            if keys.len() >= MOST_KEYS {
                keys.clear();
            }
        }
        let state = keys.entry(key.to_owned()).or_default();
        let mut next = *state;
        if let Some(quota) = allowance.quota {
            let (window, left) = quota.window(micros);
            if window != next.window {
                (next.window, next.used) = (window, 0);
            }
            if next.used >= quota.count {
                return Err(left);
            }
            next.used += 1;
        }
        if let Some((rate, burst)) = allowance.rate {
            let interval = rate.interval();
            let arrival = next.arrival.max(micros).saturating_add(interval);
            let early =
                arrival.saturating_sub(micros) - interval.saturating_mul(burst.max(1).into());
            if early > 0 {
                return Err(Duration::from_micros(early.unsigned_abs()));
            }
            next.arrival = arrival;
        }
        *state = next;
        Ok(())
    }
}

impl Counters for LocalCounters {
    fn take<'a>(
        &'a self,
        key: &'a str,
        allowance: Allowance,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Taken> {
        std::future::ready(self.take_now(key, allowance, now)).boxed()
    }
}

impl Refill {
    /// Microseconds between two at the steady rate.
    pub(crate) fn interval(&self) -> i64 {
        self.micros() / i64::from(self.count.max(1))
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX).max(1)
    }

    /// The number of the period at this time, and how much of it is left.
    pub(crate) fn window(&self, micros: i64) -> (i64, Duration) {
        let length = self.micros();
        let left = length - micros.rem_euclid(length);
        (micros.div_euclid(length), Duration::from_micros(left.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).unwrap_or_default()
    }

    fn per_second(count: u32) -> Refill {
        Refill { count, period: Duration::from_secs(1) }
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let counters = LocalCounters::default();
        let allowance = Allowance { rate: Some((per_second(10), 3)), quota: None };
        let take = |key, millis| counters.take_now(key, allowance, at(millis));
        for _ in 0..3 {
            assert_eq!(take("a", 0), Ok(()));
        }
        assert_eq!(take("a", 0), Err(Duration::from_millis(100)));
        assert_eq!(take("b", 0), Ok(()), "others are counted apart");
        assert_eq!(take("a", 99), Err(Duration::from_millis(1)));
        assert_eq!(take("a", 100), Ok(()));
        assert_eq!(take("a", 100), Err(Duration::from_millis(100)));
        // Rest fills the burst, and no more than that.
        let after = (0..5).filter(|_| take("a", 60_000).is_ok()).count();
        assert_eq!(after, 3);
    }

    #[test]
    fn a_quota_begins_anew_with_its_period_and_what_is_refused_does_not_count() {
        let counters = LocalCounters::default();
        let day = Refill { count: 2, period: Duration::from_secs(86_400) };
        let allowance = Allowance { rate: Some((per_second(1), 1)), quota: Some(day) };
        let midnight = 1_700_006_400_000 - 1_700_000_000_000;
        let take = |millis| counters.take_now("a", allowance, at(millis));
        assert_eq!(take(midnight - 5_000), Ok(()));
        assert_eq!(take(midnight - 5_000), Err(Duration::from_secs(1)), "the rate, not the quota");
        assert_eq!(take(midnight - 4_000), Ok(()));
        assert_eq!(take(midnight - 3_000), Err(Duration::from_secs(3)));
        assert_eq!(take(midnight), Ok(()));
    }

    #[test]
    fn the_table_is_bounded() {
        let counters = LocalCounters::default();
        let allowance = Allowance { rate: Some((per_second(1), 1)), quota: None };
        for n in 0..MOST_KEYS + 10 {
            assert_eq!(counters.take_now(&n.to_string(), allowance, at(0)), Ok(()));
        }
        let keys = counters.keys.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!(keys <= MOST_KEYS, "{keys}");
    }
}
