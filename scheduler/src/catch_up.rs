//! Which firings are made of those that are due.

use chrono::{DateTime, Utc};
use std::time::Duration;
use switchyard_queue::MissedPolicy;

/// The most firings that are made up for at once, the newest ones.
pub(crate) const MOST: usize = 1000;

/// The firings to make, oldest first. `due` is oldest first, nothing in it is after `now`; what is
/// older than `grace` was missed, and the policy says what becomes of it.
pub(crate) fn choose(
    policy: MissedPolicy,
    mut due: Vec<DateTime<Utc>>,
    now: DateTime<Utc>,
    grace: Duration,
) -> Vec<DateTime<Utc>> {
    let late = |t: &DateTime<Utc>| (now - *t).to_std().is_ok_and(|d| d > grace);
    let missed = due.partition_point(late);
    match policy {
        MissedPolicy::All => due,
        MissedPolicy::Skip => due.split_off(missed),
        // The newest stands for all that were missed.
        MissedPolicy::Once => due.split_off(missed.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn at(minute: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 5, 1, 12, minute, 0).single().expect("a time")
    }

    #[test]
    fn what_was_missed_follows_the_policy_and_what_is_in_time_is_always_made() {
        let due = || vec![at(1), at(2), at(3), at(9), at(10)];
        let choose = |policy| choose(policy, due(), at(10), Duration::from_secs(60));
        assert_eq!(choose(MissedPolicy::Skip), [at(9), at(10)]);
        assert_eq!(choose(MissedPolicy::Once), [at(3), at(9), at(10)]);
        assert_eq!(choose(MissedPolicy::All), due());
    }

    #[test]
    fn nothing_is_made_up_for_when_nothing_was_missed() {
        for policy in [MissedPolicy::Skip, MissedPolicy::Once, MissedPolicy::All] {
            let chosen = choose(policy, vec![at(10)], at(10), Duration::from_secs(60));
            assert_eq!(chosen, [at(10)]);
            assert!(choose(policy, vec![], at(10), Duration::ZERO).is_empty());
        }
    }
}
