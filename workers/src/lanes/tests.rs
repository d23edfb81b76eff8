//! Turns and shares.

use super::*;

fn lanes(ids: impl IntoIterator<Item = i32>) -> Vec<ActiveLane> {
    ids.into_iter().map(|id| ActiveLane { lane: LaneId(id) }).collect()
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
    all.claimed(&takes, &jobs([1, 2, 2, 2, 2]), Instant::now());
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
    all.claimed(&takes, &jobs([1; 5]), Instant::now());
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
    all.told(&asked, &[LaneId(9)]);
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
