//! Turns and shares.

use super::*;
use std::time::Duration;
use switchyard_queue::Until;

fn lane(id: i32) -> ActiveLane {
    ActiveLane {
        lane: LaneId(id),
        queue: 0,
        partition: i64::from(id),
        weight: 1,
        limits: Vec::new(),
    }
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
    // A lane may be asked for some out of turn and the rest in turn.
    let of_lanes = takes.chunk_by(|a, b| a.lane == b.lane);
    of_lanes.map(|parts| (parts[0].lane.0, parts.iter().map(|t| t.take).sum())).collect()
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

#[test]
fn a_thousand_lanes_have_their_turn_within_the_bound_of_claims() {
    const BATCH: usize = 500;
    let (mut all, now) = (Lanes::default(), Instant::now());
    // One of 100,000 jobs and 999 of 10 each.
    let mut left: HashMap<LaneId, usize> = (1..1000).map(|n| (LaneId(n), 10)).collect();
    left.insert(LaneId(0), 100_000);
    all.refresh(&lanes(0..1000));
    let mut claims = 0;
    while left.iter().any(|(lane, n)| lane.0 > 0 && *n > 0) {
        let takes = all.next(BATCH, &VecDeque::new(), now);
        assert!(takes.iter().map(|t| t.take as usize).sum::<usize>() <= BATCH);
        let mut got = Vec::new();
        for take in &takes {
            let Some(n) = left.get_mut(&take.lane) else { panic!("a lane of ours") };
            let takes = (take.take as usize).min(*n);
            *n -= takes;
            got.extend(vec![take.lane.0; takes]);
        }
        all.claimed(&takes, &jobs(got), &[], now);
        claims += 1;
        // Each has had a turn of four jobs after so many claims.
        let bound = 1000_usize.div_ceil(BATCH / MANY_FROM_EACH);
        assert!(claims < bound || left.values().all(|n| *n != 10), "after {claims} claims");
    }
    // Four, four and two: three turns.
    let bound = 10_usize.div_ceil(MANY_FROM_EACH) * (1000 * MANY_FROM_EACH).div_ceil(BATCH);
    assert!(claims <= bound, "{claims} claims, and {bound} is the bound");
}

fn keyed(id: i32, partition: i64) -> ActiveLane {
    ActiveLane { partition, ..lane(id) }
}

#[test]
fn a_partition_gets_no_more_for_its_many_limit_keys() {
    let mut all = Lanes::default();
    let many = (0..100).map(|id| keyed(id, 1));
    all.refresh(&many.chain([keyed(100, 2)]).collect::<Vec<_>>());
    let takes = next(&mut all, 200);
    let (few, many): (Vec<_>, Vec<_>) = takes.into_iter().partition(|(lane, _)| *lane == 100);
    assert_eq!(few, [(100, 100)]);
    assert_eq!(many.iter().map(|(_, take)| take).sum::<u32>(), 100);
    let mut seen: Vec<i32> = many.iter().map(|(lane, _)| *lane).collect();
    for _ in 0..200 {
        let takes = next(&mut all, 2);
        assert_eq!(takes.len(), 2);
        seen.extend(takes.iter().map(|(lane, _)| *lane).filter(|lane| *lane < 100));
    }
    for lane in 0..100 {
        let turns = seen.iter().filter(|l| **l == lane).count();
        assert!((2..=4).contains(&turns), "lane {lane} had {turns}");
    }
}

#[test]
fn a_partition_alone_uses_all_its_lanes() {
    let mut all = Lanes::default();
    all.refresh(&(0..300).map(|id| keyed(id, 1)).collect::<Vec<_>>());
    let takes = next(&mut all, 500);
    assert_eq!(takes.len(), 125);
    assert_eq!(takes.iter().map(|(_, take)| take).sum::<u32>(), 500);
    assert_eq!(next(&mut all, 500).first(), Some(&(125, 4)));
}

#[test]
fn a_key_that_is_used_up_does_not_put_its_partition_first() {
    let (mut all, now) = (Lanes::default(), Instant::now());
    let full = ActiveLane { limits: vec![LimitId(1)], ..keyed(10, 3) };
    all.refresh(&[keyed(20, 1), keyed(30, 2)]);
    all.refresh(&[keyed(20, 1), keyed(30, 2), full, keyed(11, 3)]);
    let got = claim(&mut all, 6, &[(10, 0, Until::Free)], now);
    assert_eq!(got, [(20, 2), (30, 2), (10, 0), (11, 1)]);
    assert_eq!(claim(&mut all, 1, &[], now), [(20, 1)], "it had the other one");
    let later = now + Duration::from_secs(1);
    assert_eq!(claim(&mut all, 3, &[], later), [(30, 1), (10, 1), (20, 1)], "and then this one");
}

#[test]
fn under_limits_too_one_in_ten_is_less_urgent() {
    let (mut all, now) = (Lanes::default(), Instant::now());
    all.refresh(&[limited(10, 1)]);
    let mut out = 0;
    for _ in 0..50 {
        let takes = all.next(20, &VecDeque::new(), now);
        let [take] = &takes[..] else { panic!("{takes:?}") };
        // One is allowed, and there is always one in the first stretch.
        let less_urgent = take.stretches[0].after >= Place { priority: 0, ..Place::last() };
        out += u32::from(less_urgent);
        let priority = if less_urgent { 5 } else { 0 };
        let job = (LaneId(10), Place { priority, ..jobs([10])[0].1 });
        let by = vec![(LimitId(1), Until::Slot)];
        let held = [HeldBack { lane: LaneId(10), allowed: 1, by }];
        all.claimed(&takes, &[job], if take.take > 1 { &held } else { &[] }, now);
        all.slot_freed();
    }
    assert_eq!(out, 5);
}
