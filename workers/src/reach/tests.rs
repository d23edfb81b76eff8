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

/// What the store does with the parts of a claim; what each brought.
fn claim(lane: &mut BTreeSet<Place>, parts: &[(u32, Vec<Stretch>)]) -> Vec<Vec<Place>> {
    let got = parts.iter().map(|(take, stretches)| {
        let mut got = Vec::new();
        for stretch in stretches {
            let inside = |p: &&Place| **p > stretch.after && p.priority <= stretch.last_priority;
            got.extend(lane.iter().filter(inside).take(*take as usize - got.len()).copied());
        }
        got
    });
    let got: Vec<Vec<Place>> = got.collect();
    for taken in got.iter().flatten() {
        assert!(lane.remove(taken), "a place is looked at once");
    }
    got
}

/// What a claim of a worker brought.
struct Taken {
    /// `None`: nothing was to be taken out of turn.
    out: Option<Vec<Place>>,
    in_turn: Vec<Place>,
    more: bool,
}

fn take(reach: &mut Reach, lane: &mut BTreeSet<Place>, n: u32, now: Instant) -> Taken {
    let parts = reach.next(n, false, now);
    assert_eq!(parts.iter().map(|(take, _)| take).sum::<u32>(), n);
    let out = reach.out.is_some();
    let got = claim(lane, &parts);
    let mut all = got.concat();
    all.sort_unstable();
    let more = reach.claimed(&all, n, now);
    let mut got = got.into_iter();
    let out = out.then(|| got.next().unwrap_or_default());
    Taken { out, in_turn: got.next().unwrap_or_default(), more }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue { priority: i16, second: i64, announced: bool },
    Claim(u32),
    Woken,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_i16, 0..20_i64, prop::bool::weighted(0.9))
            .prop_map(|(priority, second, announced)| Step::Enqueue { priority, second, announced }),
        3 => (1..6_u32).prop_map(Step::Claim),
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
        let (mut id, mut places, mut out) = (0, 0, 0);
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
                Step::Claim(n) => {
                    let mut heard: Vec<Place> =
                        lane.iter().filter(|p| !silent.contains(p)).copied().collect();
                    let taken = take(&mut reach, &mut lane, n, now);
                    // Every job taken in turn that was announced is among the most urgent announced ones.
                    heard.truncate(n as usize);
                    for job in taken.in_turn.iter().filter(|p| !silent.contains(p)) {
                        prop_assert!(heard.contains(job), "{job:?} before {heard:?}");
                    }
                    prop_assert!(taken.out.is_some() || taken.in_turn.len() >= heard.len());
                    let left = lane.iter().any(|p| !silent.contains(p));
                    prop_assert!(taken.more || !left, "given up, with {lane:?}");
                    places += n as usize;
                    out += taken.out.map_or(0, |out| out.len());
                    prop_assert!(out * 10 <= places, "{out} of {places} out of turn");
                }
                Step::Woken => reach.forget(),
                Step::Wait => now += Duration::from_secs(5),
            }
        }
        // The last looks: all that was announced is found at once, the rest when time has passed.
        for _ in 0..200 {
            take(&mut reach, &mut lane, 7, now);
        }
        prop_assert!(lane.iter().all(|p| silent.contains(p)), "missed: {lane:?}");
        for _ in 0..200 {
            now += Duration::from_secs(60);
            take(&mut reach, &mut lane, 7, now);
        }
        prop_assert!(lane.is_empty(), "never found: {lane:?}");
    }
}

proptest! {
    /// Urgent work never ends, and all the same every other job has its turn, at the latest when the
    /// bound says.
    #[test]
    fn less_urgent_jobs_have_their_turn_whatever_comes(
        waiting in prop::collection::vec(1..6_i16, 1..30),
        n in 1..25_u32,
        woken in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (mut reach, mut now) = (Reach::default(), Instant::now());
        let mut lane: BTreeSet<Place> =
            waiting.iter().zip(1..).map(|(p, id)| place(*p, i64::from(*p), id)).collect();
        let ranks = |p: i16| waiting.iter().filter(|w| **w == p).count();
        let priorities = (1..6).filter(|p| ranks(*p) > 0).count();
        let deepest = (1..6).map(ranks).max().unwrap_or(0);
        // In claims: one job of ten is out of turn, or at least one of a claim of ten and more.
        let bound = |place: usize| priorities * place * 10_usize.div_ceil(n as usize) + 1;
        let mut served = [0; 6];
        let mut id = 1000;
        for turn in 0..bound(deepest) {
            for _ in 0..n {
                id += 1;
                lane.insert(place(0, i64::try_from(id).unwrap_or_default(), id));
            }
            reach.lower(Place::before(0, DateTime::from_timestamp(1000, 0).unwrap_or_default()));
            if woken[turn % woken.len()] {
                reach.forget();
            }
            let taken = take(&mut reach, &mut lane, n, now);
            prop_assert!(taken.more);
            for job in taken.out.into_iter().flatten() {
                let served = &mut served[usize::try_from(job.priority).unwrap_or_default()];
                *served += 1;
                prop_assert!(turn < bound(*served), "{job:?} in claim {turn} of {n} each");
            }
            now += Duration::from_millis(40);
        }
        let left: Vec<_> = lane.iter().filter(|p| p.priority > 0).collect();
        prop_assert!(left.is_empty(), "{left:?} are left");
    }
}

#[test]
fn a_lane_of_one_priority_is_looked_at_for_others_once_a_second_at_most() {
    let (mut reach, mut now) = (Reach::default(), Instant::now());
    let mut lane: BTreeSet<Place> = (0..6000).map(|n| place(0, n, 1)).collect();
    let (mut looks, mut claims) = (0, 0);
    for _ in 0..50 {
        now += Duration::from_millis(50);
        let taken = take(&mut reach, &mut lane, 100, now);
        claims += 1;
        match taken.out {
            Some(out) => {
                // The first one makes up for the claim before it too.
                assert!(out.is_empty() && taken.in_turn.len() >= 80);
                looks += 1;
            }
            None => assert_eq!(taken.in_turn.len(), 100),
        }
    }
    assert_eq!(claims, 50);
    assert!((1..=3).contains(&looks), "{looks} looks in 2.5 seconds");
}

#[test]
fn what_comes_while_urgent_work_goes_on_is_among_the_next_ten() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    let mut lane: BTreeSet<Place> = (0..200).map(|n| place(0, n, 1)).collect();
    for _ in 0..30 {
        take(&mut reach, &mut lane, 1, now);
    }
    let late = place(7, 3, 1);
    lane.insert(late);
    reach.lower(Place::before(7, late.run_at));
    for _ in 0..10 {
        take(&mut reach, &mut lane, 1, now);
    }
    assert!(!lane.contains(&late));
}

#[test]
fn what_is_taken_out_of_turn_goes_on_where_it_stopped() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    let mut lane: BTreeSet<Place> = (0..500).map(|n| place(0, n, 1)).collect();
    lane.extend((0..90).map(|n| place(5, n, 1)));
    let (mut last, mut looks) = (None, 0);
    for _ in 0..20 {
        let parts = reach.next(20, false, now);
        if let (Some(last), [(2, out), _]) = (last, &parts[..]) {
            let mine = out.iter().find(|s| s.last_priority == 5);
            assert_eq!(
                mine.map(|s| s.after),
                Some(last),
                "its own remains are not looked at again"
            );
            looks += 1;
        }
        let mut got = claim(&mut lane, &parts).concat();
        got.sort_unstable();
        last = got.last().copied().filter(|p| p.priority == 5).or(last);
        reach.claimed(&got, 20, now);
    }
    assert!(looks > 10, "{looks}");
}

#[test]
fn under_limits_it_counts_what_was_allowed_and_not_what_was_asked_for() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    let mut lane: BTreeSet<Place> = (0..200).map(|n| place(0, n, 1)).collect();
    lane.extend((0..50).map(|n| place(5, n, 1)));
    let mut out = Vec::new();
    for turn in 0..100 {
        // Fifty are asked for and one is allowed.
        let mut parts = reach.next(50, true, now);
        assert_eq!(parts.len(), 1);
        parts[0].0 = 1;
        let got = claim(&mut lane, &parts).concat();
        assert_eq!(got.len(), 1);
        out.extend(got.iter().filter(|p| p.priority == 5).map(|_| turn));
        assert!(reach.claimed(&got, 1, now));
    }
    assert_eq!(out, (0..10).map(|n| n * 10 + 9).collect::<Vec<_>>());
}

#[test]
fn a_claim_goes_on_where_the_last_one_stopped() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    assert_eq!(reach.next(4, false, now), [(4, vec![Stretch::whole()])]);
    let last = place(3, 10, 1);
    reach.claimed(&[place(0, 1, 1), last], 2, now);
    let onwards = Stretch { after: last, last_priority: i16::MAX };
    assert_eq!(reach.next(4, false, now), [(4, vec![onwards])]);
    let urgent = Place::before(0, last.run_at);
    reach.lower(urgent);
    let before = Stretch { after: urgent, last_priority: 0 };
    assert_eq!(reach.next(4, false, now), [(4, vec![before, onwards])]);
}

#[test]
fn looking_afresh_takes_a_small_part_of_the_time() {
    let (mut reach, start) = (Reach::default(), Instant::now());
    reach.next(1, false, start);
    let took = Duration::from_millis(500);
    reach.claimed(&[place(0, 1, 1)], 1, start + took);
    let whole = |reach: &mut Reach, after: Duration| {
        reach.next(1, false, start + took + after) == [(1, vec![Stretch::whole()])]
    };
    assert!(!whole(&mut reach, Duration::from_secs(14)));
    assert!(whole(&mut reach, Duration::from_secs(16)));
}
