//! Which lanes to claim from, and how much from each: round and round, so that a lane with a
//! hundred thousand jobs does not hold up the one with ten. No I/O.

use crate::reach::Reach;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;
use switchyard_queue::{ActiveLane, LaneId, LaneTake, Place};

/// The lanes with work, in the order of their turns.
#[derive(Default)]
pub(crate) struct Lanes {
    turns: VecDeque<LaneId>,
    active: HashSet<LaneId>,
    /// Every lane of our queues that ever had work, with what is left of it as far as is known. A
    /// wake-up names a lane only by number; one that is in here is ours.
    known: HashMap<LaneId, Reach>,
    /// Lanes of other queues. They are never deleted and never change hands.
    foreign: HashSet<LaneId>,
}

impl Lanes {
    /// Takes in what the store found: exactly these have work now. Lanes keep their turns.
    pub(crate) fn refresh(&mut self, found: &[ActiveLane]) {
        let found: HashSet<LaneId> = found.iter().map(|l| l.lane).collect();
        self.turns.retain(|l| found.contains(l));
        let mut new: Vec<_> = found.difference(&self.active).copied().collect();
        new.sort_unstable();
        self.turns.extend(new);
        for lane in &found {
            self.known.entry(*lane).or_default();
        }
        self.active = found;
    }

    /// A wake-up named this lane; where in it the work is, nobody knows. `false` if it must be
    /// asked whose lane it is.
    pub(crate) fn woken(&mut self, lane: LaneId) -> bool {
        match self.known.get_mut(&lane) {
            Some(reach) => {
                reach.forget();
                self.activate(lane);
                true
            }
            None => self.foreign.contains(&lane),
        }
    }

    /// A wake-up told of work in this lane that does not stand before `place`. `false` if it must
    /// be asked whose lane it is.
    pub(crate) fn work(&mut self, lane: LaneId, place: Place) -> bool {
        match self.known.get_mut(&lane) {
            Some(reach) => {
                reach.lower(place);
                self.activate(lane);
                true
            }
            None => self.foreign.contains(&lane),
        }
    }

    /// Of the lanes that were asked for, these are ours; a wake-up told of work in them.
    pub(crate) fn told(&mut self, asked: &HashSet<LaneId>, ours: &[LaneId]) {
        self.foreign.extend(asked.iter().filter(|l| !ours.contains(l)));
        for lane in ours {
            self.known.entry(*lane).or_default();
            self.woken(*lane);
        }
    }

    /// Every lane that ever had work may have some again, anywhere.
    pub(crate) fn wake_all(&mut self) {
        let known: Vec<_> = self.known.keys().copied().collect();
        for lane in known {
            self.woken(lane);
        }
    }

    fn activate(&mut self, lane: LaneId) {
        if self.active.insert(lane) {
            self.turns.push_back(lane);
        }
    }

    /// The next claim of `room` jobs in all: an equal share of it for every lane, at least one
    /// job, as far as the room goes. The lanes named move to the end of the round.
    pub(crate) fn next(
        &mut self,
        room: usize,
        except: &VecDeque<LaneId>,
        now: Instant,
    ) -> Vec<LaneTake> {
        let mut takes = Vec::new();
        let excepted = except.iter().filter(|l| self.active.contains(l)).count();
        let lanes = (self.turns.len() - excepted).min(room);
        if lanes == 0 {
            return takes;
        }
        let (share, mut extra) = (room / lanes, room % lanes);
        let mut passed_over = VecDeque::new();
        while takes.len() < lanes
            && let Some(lane) = self.turns.pop_front()
        {
            if except.contains(&lane) {
                passed_over.push_back(lane);
                continue;
            }
            let take = share + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            let stretches = self.known.entry(lane).or_default().stretches(now);
            let take = u32::try_from(take).unwrap_or(u32::MAX);
            takes.push(LaneTake { lane, take, stretches });
        }
        passed_over.append(&mut self.turns);
        self.turns = passed_over;
        self.turns.extend(takes.iter().map(|t| t.lane));
        takes
    }

    /// A claim brought in these jobs, each lane's in their order. A lane that gave less than half
    /// of what was asked has no more for now. (Not "less than was asked": a claim steps over the
    /// jobs that another worker is taking at the same moment, so a full lane may come up short.)
    pub(crate) fn claimed(&mut self, takes: &[LaneTake], jobs: &[(LaneId, Place)], now: Instant) {
        let mut got: HashMap<LaneId, (u32, Place)> = HashMap::with_capacity(takes.len());
        for (lane, place) in jobs {
            let (n, last) = got.entry(*lane).or_insert((0, *place));
            *n += 1;
            *last = *place;
        }
        for take in takes {
            let (n, last) = got.get(&take.lane).map_or((0, None), |(n, last)| (*n, Some(*last)));
            if let Some(reach) = self.known.get_mut(&take.lane) {
                reach.claimed(n >= take.take, last, now);
            }
            if n * 2 < take.take {
                self.active.remove(&take.lane);
            }
        }
        self.turns.retain(|l| self.active.contains(l));
    }
}

#[cfg(test)]
mod tests;
