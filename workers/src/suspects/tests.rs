//! Who has the turn.

use super::*;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);

#[test]
fn suspects_that_were_given_back_are_claimed_alone_until_the_lane_shows_no_more() {
    let mut suspects = Suspects::default();
    let now = Instant::now();
    suspects.met(&[A, A, B], now);
    assert!(!suspects.hold(false));
    assert_eq!(suspects.turn(now), Some(A));
    suspects.claimed_alone(true, true, false);
    assert!(suspects.hold(false));
    assert!(!suspects.hold(true));
    assert_eq!(suspects.turn(now), Some(B), "lanes take turns");
    suspects.claimed_alone(false, false, false);
    assert_eq!(suspects.turn(now), Some(A));
    suspects.claimed_alone(true, false, false);
    assert_eq!(suspects.turn(now), None, "a job that is none ends it");
    assert!(!suspects.hold(false));
}

#[test]
fn many_suspects_and_the_other_jobs_have_the_worker_in_turns() {
    let mut suspects = Suspects::default();
    let long_ago = Instant::now().checked_sub(PHASE * 2).expect("the machine is up for longer");
    suspects.met(&[A], long_ago);
    assert_eq!(suspects.turn(long_ago), Some(A));
    suspects.claimed_alone(true, true, false);
    let now = Instant::now();
    assert_eq!(suspects.turn(now), None, "their time was over");
    assert_eq!(suspects.lanes(), &[A], "the others' claims leave the lane alone");
    assert_eq!(suspects.turn(now + PHASE), Some(A), "and then it is their turn again");
}
