//! How the room of a claim is divided between queues: in proportion to their weights, whatever the
//! rooms are. What a queue was owed and did not get is remembered, so over any number of claims no
//! queue with work lags behind its share by more than a job for each queue. No I/O.

/// One queue's account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// At least 1.
    pub(crate) weight: u32,
    /// Jobs that it is owed; below 0 what it got too much.
    credit: f64,
}

impl Account {
    pub(crate) fn new(weight: u32) -> Self {
        Self { weight: weight.max(1), credit: 0.0 }
    }
}

/// Divides `room` among the accounts at `present`; gives the share of each of them. Who is not
/// present has no work, and owes nothing and is owed nothing when it comes back.
pub(crate) fn divide(accounts: &mut [Account], present: &[usize], room: usize) -> Vec<usize> {
    for (i, account) in accounts.iter_mut().enumerate() {
        if !present.contains(&i) {
            account.credit = 0.0;
        }
    }
    let total: f64 = present.iter().map(|i| f64::from(accounts[*i].weight)).sum();
    let mut left = room;
    let mut shares: Vec<usize> = Vec::with_capacity(present.len());
    for i in present {
        let account = &mut accounts[*i];
        account.credit += room as f64 * f64::from(account.weight) / total;
        // A negative credit gives 0.
        let share = (account.credit.floor() as usize).min(left);
        account.credit -= share as f64;
        left -= share;
        shares.push(share);
    }
    while left > 0 && !present.is_empty() {
        let credit = |n: &usize| accounts[present[*n]].credit;
        let Some(most) = (0..present.len()).max_by(|a, b| credit(a).total_cmp(&credit(b))) else {
            break;
        };
        accounts[present[most]].credit -= 1.0;
        shares[most] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_job_at_a_time_is_shared_by_weight_too() {
        let mut accounts = [Account::new(3), Account::new(1)];
        let mut got = [0, 0];
        for _ in 0..40 {
            for (n, share) in divide(&mut accounts, &[0, 1], 1).into_iter().enumerate() {
                got[n] += share;
            }
        }
        assert_eq!(got, [30, 10]);
    }

    #[test]
    fn who_was_away_is_owed_nothing() {
        let mut accounts = [Account::new(1), Account::new(1)];
        for _ in 0..100 {
            assert_eq!(divide(&mut accounts, &[0], 5), [5]);
        }
        assert_eq!(divide(&mut accounts, &[0, 1], 10), [5, 5]);
    }

    proptest! {
        /// All the room is given out, and nobody lags behind or runs ahead of its share.
        #[test]
        fn every_queue_gets_its_share_of_any_rooms(
            weights in prop::collection::vec(1..=1000_u32, 1..8),
            rooms in prop::collection::vec(0..40_usize, 1..200),
        ) {
            let mut accounts: Vec<Account> = weights.iter().map(|w| Account::new(*w)).collect();
            let present: Vec<usize> = (0..weights.len()).collect();
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            let mut got = vec![0_usize; weights.len()];
            let mut given = 0;
            for room in rooms {
                let shares = divide(&mut accounts, &present, room);
                prop_assert_eq!(shares.iter().sum::<usize>(), room);
                given += room;
                for (sum, share) in got.iter_mut().zip(shares) {
                    *sum += share;
                }
                for (n, weight) in got.iter().zip(&weights) {
                    let due = given as f64 * f64::from(*weight) / total;
                    let most = weights.len() as f64;
                    prop_assert!((*n as f64 - due).abs() <= most, "{n} of {due} in {got:?}");
                }
            }
        }
    }
}
