//! When a webhook that was not taken is sent again, and when its endpoint is given up.

use std::time::Duration;

const HOUR: u64 = 3600;

/// The waits between attempts, as the Standard Webhooks specification proposes them ("Retry
/// schedule", <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
pub const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];

/// The first attempt and one after each wait: a little more than three days.
pub const ATTEMPTS: u16 = 10;

/// An endpoint that took nothing for this long is disabled.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * HOUR);

/// Failures further apart than this are not one stretch: nothing was tried in between, so nobody
/// knows whether the endpoint was away. More than the longest wait with its jitter.
pub const SAME_STRETCH: Duration = Duration::from_secs(48 * HOUR);

/// A receiver's `Retry-After` counts up to here.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * HOUR);

/// How much later than its time an attempt may come: receivers that failed together are not called
/// together again.
const JITTER: f64 = 0.2;

/// The wait after so many failed attempts (1 after the first); `None`: that was the last one.
/// `unit` is a random number from 0 to 1. What the receiver asks for makes a wait longer, never
/// shorter: the attempts are to last for days.
#[must_use]
pub fn wait_after(failed: u16, unit: f64, asked: Option<Duration>) -> Option<Duration> {
    let wait = WAITS.get(usize::from(failed.max(1)) - 1)?;
    let asked = asked.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    Some(wait.max(&asked).mul_f64(1.0 + JITTER * unit.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_attempts_last_for_days_and_then_end() {
        assert_eq!(usize::from(ATTEMPTS), WAITS.len() + 1);
        let total: Duration = WAITS.iter().sum();
        assert!(total > Duration::from_secs(3 * 24 * HOUR) && total < DISABLE_AFTER);
        assert_eq!(wait_after(ATTEMPTS, 0.5, None), None);
        assert_eq!(wait_after(u16::MAX, 0.5, None), None);
        assert_eq!(wait_after(1, 0.0, None), Some(WAITS[0]));
        assert_eq!(wait_after(0, 0.0, None), Some(WAITS[0]), "counted from 1");
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_table_or_what_was_asked_for(
            failed in 1_u16..10, unit in any::<f64>(), asked in proptest::option::of(0_u64..200_000),
        ) {
            let asked = asked.map(Duration::from_secs);
            let unit = if unit.is_nan() { 0.0 } else { unit };
            let wait = wait_after(failed, unit, asked).unwrap_or_default();
            let least = WAITS[usize::from(failed) - 1].max(asked.unwrap_or_default().min(LONGEST_RETRY_AFTER));
            prop_assert!(wait >= least && wait <= least.mul_f64(1.0 + JITTER));
            prop_assert!(wait < SAME_STRETCH);
        }
    }
}
