//! Turns and shares.

use super::*;
use std::time::Duration;
use switchyard_queue::Until;

fn lane(id: i32) -> ActiveLane {
    ActiveLane { lane: LaneId(id), queue: 0, weight: 1, limits: Vec::new() }
}

fn lanes(ids: impl IntoIterator<Item = i32>) -> Vec<ActiveLane> {
    ids.into_iter().map(lane).collect()
}

fn limited(id: i32, limit: i32) -> ActiveLane {
    ActiveLane { limits: vec![LimitId(limit)], ..lane(id) }
}

/// A claim for which all lanes had enough, but for these, of which so much was allowed.
fn claim(
    all: &mut Lanes,
    room: usize,
    allowed: &[(i32, u32, Until)],
    now: Instant,
) -> Vec<(i32, u32)> {
    let takes = all.next(room, &VecDeque::new(), now);
    let mut got = Vec::new();
    let mut held = Vec::new();
    for take in &takes {
        let hold = allowed.iter().find(|(lane, ..)| *lane == take.lane.0);
        let n = hold.map_or(take.take, |(_, n, _)| take.take.min(*n));
        got.push((take.lane.0, n));
        if let (Some((.., until)), true) = (hold, n < take.take) {
            let by = vec![(LimitId(take.lane.0 / 10), *until)];
            held.push(HeldBack { lane: take.lane, allowed: n, by });
        }
    }
    let places = got.iter().flat_map(|(lane, n)| jobs(vec![*lane; *n as usize]));
    all.claimed(&takes, &places.collect::<Vec<_>>(), &held, now);
    got
}

fn ids(takes: &[LaneTake]) -> Vec<(i32, u32)> {
    takes.iter().map(|t| (t.lane.0, t.take)).collect()
}

fn next(lanes: &mut Lanes, room: usize) -> Vec<(i32, u32)> {
    ids(&lanes.next(room, &VecDeque::new(), Instant::now()))
}

fn jobs(lanes: impl IntoIterator<Item = i32>) -> Vec<(LaneId, Place)> {
    let at = |n| Place::before(0, chrono::DateTime::from_timestamp(n, 0).unwrap_or_default());
    lanes.into_iter().zip(1..).map(|(lane, n)| (LaneId(lane), at(n))).collect()
}

#[test]
fn the_room_is_shared_equally_and_used_up() {
    let mut all = Lanes::default();
    all.refresh(&lanes([1, 2, 3]));
    assert_eq!(next(&mut all, 11), [(1, 4), (2, 4), (3, 3)]);
}

#[test]
fn with_more_lanes_than_room_every_lane_has_its_turn() {
    let mut all = Lanes::default();
    all.refresh(&lanes(0..10));
    let mut seen: Vec<i32> = Vec::new();
    for _ in 0..5 {
        seen.extend(next(&mut all, 4).iter().map(|(lane, take)| {
            assert_eq!(*take, 1);
            *lane
        }));
    }
    assert_eq!(seen.len(), 20);
    for lane in 0..10 {
        assert_eq!(seen.iter().filter(|l| **l == lane).count(), 2, "lane {lane} in {seen:?}");
    }
}

#[test]
fn a_lane_that_runs_dry_leaves_until_it_is_woken_or_found_again() {
    let mut all = Lanes::default();
    all.refresh(&lanes([1, 2]));
    let takes = all.next(8, &VecDeque::new(), Instant::now());
    all.claimed(&takes, &jobs([1, 2, 2, 2, 2]), &[], Instant::now());
    assert_eq!(next(&mut all, 8), [(2, 8)]);
    assert!(all.woken(LaneId(1)));
    assert_eq!(next(&mut all, 8).len(), 2);
    all.refresh(&lanes([]));
    assert_eq!(next(&mut all, 8), []);
    all.wake_all();
    assert_eq!(next(&mut all, 8).len(), 2);
}

#[test]
fn a_lane_from_which_others_take_at_the_same_time_stays() {
    let mut all = Lanes::default();
    all.refresh(&lanes([1]));
    let takes = all.next(8, &VecDeque::new(), Instant::now());
    all.claimed(&takes, &jobs([1; 5]), &[], Instant::now());
    assert_eq!(next(&mut all, 8), [(1, 8)]);
}

#[test]
fn a_wake_up_for_a_lane_that_nobody_knows_changes_nothing() {
    let mut all = Lanes::default();
    assert!(!all.woken(LaneId(9)));
    assert_eq!(next(&mut all, 8), []);
}

#[test]
fn a_lane_that_nobody_knows_is_asked_for_once() {
    let mut all = Lanes::default();
    let asked = HashSet::from([LaneId(8), LaneId(9)]);
    assert!(!all.woken(LaneId(8)) && !all.woken(LaneId(9)));
    all.told(&asked, &lanes([9]));
    assert_eq!(next(&mut all, 4), [(9, 4)]);
    assert!(all.woken(LaneId(8)), "it is known to be another's");
    assert_eq!(next(&mut all, 4), [(9, 4)]);
}

#[test]
fn a_refresh_keeps_the_turns() {
    let mut all = Lanes::default();
    all.refresh(&lanes([1, 2, 3]));
    assert_eq!(next(&mut all, 1), [(1, 1)]);
    all.refresh(&lanes([1, 2, 3, 4]));
    assert_eq!(next(&mut all, 4), [(2, 1), (3, 1), (1, 1), (4, 1)]);
}

#[test]
fn excepted_lanes_are_passed_over_and_keep_their_place() {
    let mut all = Lanes::default();
    all.refresh(&lanes([1, 2, 3]));
    let except = VecDeque::from([LaneId(1), LaneId(99)]);
    assert_eq!(ids(&all.next(10, &except, Instant::now())), [(2, 5), (3, 5)]);
    assert_eq!(next(&mut all, 1), [(1, 1)]);
    let every = VecDeque::from([LaneId(1), LaneId(2), LaneId(3)]);
    assert_eq!(ids(&all.next(10, &every, Instant::now())), []);
}

#[test]
fn queues_share_by_weight_and_their_lanes_equally() {
    let mut all = Lanes::default();
    let heavy = ActiveLane { queue: 1, weight: 3, ..lane(9) };
    all.refresh(&[lane(1), lane(2), heavy]);
    assert_eq!(next(&mut all, 8), [(1, 1), (2, 1), (9, 6)]);
    let mut sums: HashMap<i32, u32> = HashMap::new();
    for (lane, n) in (0..40).flat_map(|_| next(&mut all, 1)) {
        *sums.entry(lane).or_default() += n;
    }
    assert_eq!(sums, HashMap::from([(1, 5), (2, 5), (9, 30)]));
}

#[test]
fn a_limit_that_is_used_up_holds_all_its_lanes_back_until_a_slot_is_free() {
    let (mut all, now) = (Lanes::default(), Instant::now());
    all.refresh(&[limited(10, 1), limited(11, 1), lane(20)]);
    assert_eq!(claim(&mut all, 1, &[(10, 0, Until::Slot)], now), [(10, 0)]);
    assert_eq!(claim(&mut all, 9, &[], now), [(20, 9)], "10 and 11 are under the same limit");
    assert!(all.next_try().is_some_and(|at| at > now));
    all.slot_freed();
    assert_eq!(claim(&mut all, 3, &[], now), [(10, 1), (11, 1), (20, 1)]);
}

#[test]
fn a_rate_that_is_used_up_is_asked_for_again_when_it_is_due() {
    let (mut all, now) = (Lanes::default(), Instant::now());
    all.refresh(&[limited(10, 1)]);
    let wait = Duration::from_millis(70);
    assert_eq!(claim(&mut all, 9, &[(10, 2, Until::Passed(wait))], now), [(10, 2)]);
    all.slot_freed();
    assert_eq!(claim(&mut all, 9, &[], now), [], "a slot is not what it waits for");
    assert_eq!(all.next_try(), Some(now + wait));
    assert_eq!(claim(&mut all, 9, &[], now + wait), [(10, 9)]);
}

#[test]
fn lanes_that_were_refused_come_first_next_time() {
    let (mut all, now) = (Lanes::default(), Instant::now());
    all.refresh(&[limited(10, 1), limited(11, 1), limited(12, 1)]);
    let mut got = Vec::new();
    for _ in 0..6 {
        // One slot at a time: whoever is asked for first gets it.
        let takes = all.next(3, &VecDeque::new(), now);
        let lucky = takes[0].lane;
        got.push(lucky.0);
        let by = || vec![(LimitId(1), Until::Slot)];
        let held: Vec<HeldBack> =
            takes[1..].iter().map(|t| HeldBack { lane: t.lane, allowed: 0, by: by() }).collect();
        all.claimed(&takes, &jobs([lucky.0]), &held, now);
        all.slot_freed();
    }
    assert_eq!(got, [10, 11, 12, 10, 11, 12]);
}
