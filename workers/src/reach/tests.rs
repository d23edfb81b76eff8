//! Nothing that was announced is missed, and what is claimed is always the most urgent.

use super::*;
use chrono::DateTime;
use proptest::prelude::*;
use std::collections::BTreeSet;
use switchyard_queue::JobId;

fn place(priority: i16, second: i64, id: u128) -> Place {
    let run_at = DateTime::from_timestamp(second, 0).unwrap_or_default();
    Place { priority, run_at, id: JobId(uuid::Uuid::from_u128(id)) }
}

/// What the store does with the stretches.
fn claim(lane: &mut BTreeSet<Place>, stretches: &[Stretch], take: usize) -> Vec<Place> {
    let mut got = Vec::new();
    for stretch in stretches {
        let inside = |p: &&Place| **p > stretch.after && p.priority <= stretch.last_priority;
        got.extend(lane.iter().filter(inside).take(take - got.len()).copied());
        if got.len() == take {
            break;
        }
    }
    for taken in &got {
        assert!(lane.remove(taken), "a place is looked at once");
    }
    got
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue { priority: i16, second: i64, announced: bool },
    Claim(usize),
    Woken,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_i16, 0..20_i64, prop::bool::weighted(0.9))
            .prop_map(|(priority, second, announced)| Step::Enqueue { priority, second, announced }),
        3 => (1..6_usize).prop_map(Step::Claim),
        1 => Just(Step::Woken),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn what_was_announced_is_claimed_in_order_and_the_rest_after_a_while(steps in steps()) {
        let (mut reach, mut lane, mut now) = (Reach::default(), BTreeSet::new(), Instant::now());
        let mut silent = BTreeSet::new();
        let mut id = 0;
        for step in steps {
            match step {
                Step::Enqueue { priority, second, announced } => {
                    id += 1;
                    let new = place(priority, second, id);
                    lane.insert(new);
                    if announced {
                        reach.lower(Place::before(priority, new.run_at));
                    } else {
                        silent.insert(new);
                    }
                }
                Step::Claim(take) => {
                    let mut heard: Vec<Place> =
                        lane.iter().filter(|p| !silent.contains(p)).copied().collect();
                    let got = claim(&mut lane, &reach.stretches(now), take);
                    reach.claimed(got.len() == take, got.last().copied(), now);
                    // Every job taken that was announced is among the most urgent announced ones.
                    heard.truncate(take);
                    for job in got.iter().filter(|p| !silent.contains(p)) {
                        prop_assert!(heard.contains(job), "{job:?} before {heard:?}");
                    }
                    prop_assert!(got.len() >= heard.len());
                }
                Step::Woken => reach.forget(),
                Step::Wait => now += Duration::from_secs(5),
            }
        }
        // The last looks: all that was announced is found at once, the rest when time has passed.
        for _ in 0..200 {
            let got = claim(&mut lane, &reach.stretches(now), 7);
            reach.claimed(got.len() == 7, got.last().copied(), now);
        }
        prop_assert!(lane.iter().all(|p| silent.contains(p)), "missed: {lane:?}");
        for _ in 0..200 {
            now += Duration::from_secs(60);
            let got = claim(&mut lane, &reach.stretches(now), 7);
            reach.claimed(got.len() == 7, got.last().copied(), now);
        }
        prop_assert!(lane.is_empty(), "never found: {lane:?}");
    }
}

#[test]
fn a_claim_goes_on_where_the_last_one_stopped() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    assert_eq!(reach.stretches(now), [Stretch::whole()]);
    let last = place(3, 10, 1);
    reach.claimed(true, Some(last), now);
    let onwards = Stretch { after: last, last_priority: i16::MAX };
    assert_eq!(reach.stretches(now), [onwards]);
    let urgent = Place::before(0, last.run_at);
    reach.lower(urgent);
    assert_eq!(reach.stretches(now), [Stretch { after: urgent, last_priority: 0 }, onwards]);
}

#[test]
fn looking_afresh_takes_a_small_part_of_the_time() {
    let (mut reach, start) = (Reach::default(), Instant::now());
    reach.stretches(start);
    let took = Duration::from_millis(500);
    reach.claimed(true, Some(place(0, 1, 1)), start + took);
    let whole = |reach: &mut Reach, after: Duration| {
        reach.stretches(start + took + after) == [Stretch::whole()]
    };
    assert!(!whole(&mut reach, Duration::from_secs(14)));
    assert!(whole(&mut reach, Duration::from_secs(16)));
}
