//! Sharing out what limits leave.

use super::*;
use proptest::prelude::*;

const A: LimitId = LimitId(1);
const B: LimitId = LimitId(2);

fn slots(n: u32) -> Room {
    Room { slots: Some(n), rate: None }
}

fn wish(lane: i32, want: u32, limits: &[LimitId]) -> Wish {
    Wish { lane: LaneId(lane), want, void: 0, limits: limits.to_vec() }
}

fn fresh(grants: &[Grant]) -> Vec<u32> {
    grants.iter().map(|g| g.fresh).collect()
}

#[test]
fn lanes_under_one_limit_share_what_it_leaves() {
    let wishes = [wish(1, 10, &[A]), wish(2, 10, &[A]), wish(3, 1, &[A])];
    let grants = allot(&wishes, &HashMap::from([(A, slots(6))]));
    assert_eq!(fresh(&grants), [3, 2, 1]);
    assert_eq!(grants[0].by, [(A, Until::Slot)]);
    assert_eq!(grants[2].by, [], "it got what it wanted");
    assert_eq!(grants[2].held_back(&wishes[2]), None);
}

#[test]
fn the_tightest_of_several_limits_decides_and_is_named() {
    let rooms = HashMap::from([(A, slots(9)), (B, slots(2))]);
    let grants = allot(&[wish(1, 5, &[A, B]), wish(2, 5, &[A])], &rooms);
    assert_eq!(fresh(&grants), [2, 5]);
    assert_eq!(grants[0].by, [(B, Until::Slot)]);
}

#[test]
fn jobs_of_the_dead_keep_their_slots_but_are_begun_at_the_rate() {
    let rate = Rate { interval: 1.0, burst: 3, ahead: 0.0 };
    let rooms = HashMap::from([(A, Room { slots: Some(0), rate: Some(rate) })]);
    let grants = allot(&[Wish { void: 5, ..wish(1, 9, &[A]) }], &rooms);
    assert_eq!((grants[0].void, grants[0].fresh), (3, 0));
}

#[test]
fn a_limit_that_somebody_else_works_on_gives_nothing() {
    let grants = allot(&[wish(1, 5, &[A, B])], &HashMap::from([(A, slots(9))]));
    assert_eq!(fresh(&grants), [0]);
    assert_eq!(grants[0].by, [(B, Until::Free)]);
}

#[test]
fn a_rate_says_when_the_next_may_begin() {
    let rate = |ahead| Rate { interval: 0.1, burst: 3, ahead };
    assert_eq!(rate(0.0).tokens(), 3);
    assert_eq!(rate(0.1).tokens(), 2);
    assert_eq!(rate(0.25).tokens(), 0);
    let rooms = HashMap::from([(A, Room { slots: None, rate: Some(rate(0.25)) })]);
    let grants = allot(&[wish(1, 5, &[A])], &rooms);
    let [(A, Until::Passed(wait))] = grants[0].by[..] else { panic!("{:?}", grants[0].by) };
    assert!((wait.as_secs_f64() - 0.05).abs() < 1e-6, "{wait:?}");
}

proptest! {
    /// Starts that come whenever the rate allows them never exceed its bound in any stretch of time.
    #[test]
    fn no_stretch_of_time_holds_more_than_the_burst_and_the_rate(
        interval in 0.001..2.0_f64,
        burst in 1..20_u32,
        pauses in prop::collection::vec((0.0..3.0_f64, 1..30_u32), 1..60),
    ) {
        let (mut now, mut tat) = (0.0, 0.0_f64);
        let mut starts: Vec<f64> = Vec::new();
        for (pause, want) in pauses {
            now += pause * interval;
            let rate = Rate { interval, burst, ahead: (tat - now).max(0.0) };
            let n = rate.tokens().min(want);
            starts.extend(std::iter::repeat_n(now, n as usize));
            tat = tat.max(now) + f64::from(n) * interval;
            if n < want {
                let rate = Rate { ahead: tat - now, ..rate };
                prop_assert_eq!(rate.tokens(), 0);
                let later = Rate { ahead: rate.ahead - rate.wait().as_secs_f64(), ..rate };
                prop_assert!(later.tokens() > 0 || later.ahead < 1e-6 || later.wait() < Duration::from_micros(1));
            }
        }
        for (i, from) in starts.iter().enumerate() {
            for (j, to) in starts.iter().enumerate().skip(i) {
                let most = f64::from(burst) + (to - from) / interval;
                prop_assert!((j - i + 1) as f64 <= most + 1e-6, "{} starts in {}", j - i + 1, to - from);
            }
        }
    }

    /// No limit gives more than it has, and nothing is left that somebody could have had.
    #[test]
    fn all_is_given_out_and_nothing_twice(
        rooms in prop::collection::vec((0..8_u32, 0..8_u32), 4),
        wishes in prop::collection::vec((0..8_u32, 0..3_u32, prop::collection::btree_set(0..4_usize, 1..4)), 1..8),
    ) {
        let rooms: HashMap<LimitId, Room> = rooms.into_iter().zip(0..).map(|((slots, tokens), id)| {
            let rate = Rate { interval: 1.0, burst: 8, ahead: f64::from(8 - tokens) };
            (LimitId(id), Room { slots: Some(slots), rate: Some(rate) })
        }).collect();
        let wishes: Vec<Wish> = wishes.into_iter().zip(0..).map(|((want, void, limits), lane)| Wish {
            lane: LaneId(lane), want, void,
            limits: limits.into_iter().map(|i| LimitId(i as i32)).collect(),
        }).collect();
        let grants = allot(&wishes, &rooms);
        let given = |id: LimitId| {
            let mut sum = (0, 0);
            for (wish, grant) in wishes.iter().zip(&grants).filter(|(w, _)| w.limits.contains(&id)) {
                sum = (sum.0 + grant.fresh, sum.1 + grant.fresh + grant.void);
                assert!(grant.fresh + grant.void <= wish.want && grant.void <= wish.void);
            }
            sum
        };
        let mut spent = std::collections::HashSet::new();
        for (id, room) in &rooms {
            let ((fresh, all), tokens) = (given(*id), room.rate.map_or(0, |r| r.tokens()));
            let slots = room.slots.unwrap_or(0);
            prop_assert!(fresh <= slots && all <= tokens);
            if fresh == slots || all == tokens {
                spent.insert(*id);
            }
        }
        for (wish, grant) in wishes.iter().zip(&grants) {
            let full = grant.void + grant.fresh == wish.want;
            prop_assert!(full || wish.limits.iter().any(|l| spent.contains(l)), "{wish:?} {grant:?}");
            prop_assert_eq!(full, grant.by.is_empty());
        }
    }
}
