//! Whose turn is it? Strict round robin.

use crate::AgencyId;

/// The agency that gets the next lead of a territory: the first one after `last` in the circle of
/// ids, `None` if nobody is eligible. The order of `eligible` does not matter.
///
/// Ids are time-ordered, so a new agency joins the circle at its end. With a fixed set the counts
/// of any two agencies never differ by more than one; whoever stays eligible is reached before any
/// other agency gets a second turn, whoever joins or leaves meanwhile.
#[must_use]
pub fn next(eligible: &[AgencyId], last: Option<AgencyId>) -> Option<AgencyId> {
    let first = eligible.iter().min();
    match last {
        None => first,
        Some(last) => eligible.iter().filter(|id| **id > last).min().or(first),
    }
    .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use uuid::Uuid;

    fn agency(n: u128) -> AgencyId {
        AgencyId(Uuid::from_u128(n))
    }

    #[test]
    fn nobody_eligible_gives_nobody() {
        assert_eq!(next(&[], None), None);
        assert_eq!(next(&[], Some(agency(1))), None);
    }

    #[test]
    fn goes_round_even_if_the_last_one_left() {
        let circle = [agency(10), agency(20), agency(30)];
        assert_eq!(next(&circle, None), Some(agency(10)));
        assert_eq!(next(&circle, Some(agency(10))), Some(agency(20)));
        assert_eq!(next(&circle, Some(agency(25))), Some(agency(30)));
        assert_eq!(next(&circle, Some(agency(30))), Some(agency(10)));
    }

    proptest! {
        /// At every moment of a run, not only at its end.
        #[test]
        fn counts_never_differ_by_more_than_one(
            set in prop::collection::btree_set(any::<u128>(), 1..20),
            start in prop::option::of(any::<u128>()),
            turns in 0_usize..200,
        ) {
            let eligible: Vec<_> = set.into_iter().map(agency).collect();
            let mut counts: BTreeMap<_, u32> = eligible.iter().map(|a| (*a, 0)).collect();
            let mut last = start.map(agency);
            for _ in 0..turns {
                last = next(&eligible, last);
                *counts.get_mut(&last.expect("somebody is eligible")).expect("one of them") += 1;
                let most = counts.values().max().expect("not empty");
                let least = counts.values().min().expect("not empty");
                prop_assert!(most - least <= 1);
            }
        }

        /// Whoever stays is reached before any other gets a second turn.
        #[test]
        fn nobody_who_stays_is_starved(
            staying in any::<u128>(),
            rounds in prop::collection::vec(prop::collection::btree_set(any::<u128>(), 0..12), 1..120),
        ) {
            let staying = agency(staying);
            let (mut last, mut since) = (None, BTreeSet::new());
            for others in rounds {
                let mut eligible: Vec<_> = others.into_iter().map(agency).collect();
                eligible.push(staying);
                let turn = next(&eligible, last).expect("somebody is eligible");
                if turn == staying {
                    since.clear();
                } else {
                    prop_assert!(since.insert(turn), "{turn} was served twice");
                }
                last = Some(turn);
            }
        }
    }
}
