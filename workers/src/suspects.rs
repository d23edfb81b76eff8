//! Suspects: jobs whose workers vanished more than once. One of them may be what kills them, so each
//! runs alone: while it is claimed this process has no other job in hand, and if the process dies
//! again there is no doubt which job did it. No I/O.
//!
//! A claim that brings such jobs in among others gives them back at once and notes their lanes. The
//! worker then finishes what it has, claims from those lanes one job at a time, each alone, and
//! goes back to normal when a lane shows no more suspects, or, so that other lanes do not
//! starve, for a while after every while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use switchyard_queue::LaneId;

/// How long suspects and all the other jobs have the worker in turns, when there are many suspects.
const PHASE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Default)]
pub(crate) struct Suspects {
    lanes: VecDeque<LaneId>,
    /// A suspect was claimed and is not written down yet.
    running: bool,
    /// Since when suspects (`true`) or the others have their turn.
    turn: Option<(bool, Instant)>,
}

impl Suspects {
    /// Whether nothing may be claimed because a suspect is in hand. `empty`: no job is.
    pub(crate) fn hold(&mut self, empty: bool) -> bool {
        self.running &= !empty;
        self.running
    }

    /// The lane to claim one job of, alone, if it is the suspects' turn.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<LaneId> {
        let lane = *self.lanes.front()?;
        let (theirs, since) = *self.turn.get_or_insert((true, now));
        if !theirs && now.saturating_duration_since(since) >= PHASE {
            self.turn = Some((true, now));
        }
        self.turn.is_some_and(|(theirs, _)| theirs).then_some(lane)
    }

    /// Lanes that the normal claims leave alone.
    pub(crate) fn lanes(&self) -> &VecDeque<LaneId> {
        &self.lanes
    }

    /// A normal claim brought in suspects of these lanes, and they were given back.
    pub(crate) fn met(&mut self, lanes: &[LaneId], now: Instant) {
        if self.lanes.is_empty() && !lanes.is_empty() {
            self.turn = Some((true, now));
        }
        for lane in lanes {
            if !self.lanes.contains(lane) {
                self.lanes.push_back(*lane);
            }
        }
    }

    /// The claim of one job from the lane whose turn it was brought `something`, and that is a
    /// `suspect`; or its limits `refused` it.
    pub(crate) fn claimed_alone(&mut self, something: bool, suspect: bool, refused: bool) {
        let lane = self.lanes.pop_front();
        self.running |= something && suspect;
        if (something && suspect) || refused {
            self.lanes.extend(lane);
        }
        // The turn ends here and nowhere else, so that whoever waited for the worker to be idle
        // got at least one job out of it.
        if let Some((true, since)) = self.turn
            && since.elapsed() >= PHASE
        {
            self.turn = Some((false, Instant::now()));
        }
        if self.lanes.is_empty() {
            self.turn = None;
        }
    }
}

#[cfg(test)]
mod tests;
