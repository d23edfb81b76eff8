//! Which lanes to claim from, and how much from each: round and round, so that a lane with a
//! hundred thousand jobs does not hold up the one with ten. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use switchyard_queue::{ActiveLane, LaneId, LaneTake};

/// The lanes with work, in the order of their turns.
#[derive(Default)]
pub(crate) struct Lanes {
    turns: VecDeque<LaneId>,
    active: HashSet<LaneId>,
    /// Every lane of our queues that ever had work. A wake-up names a lane only by number; one that
    /// is in here is ours.
    known: HashSet<LaneId>,
}

impl Lanes {
    /// Takes in what the store found: exactly these have work now. Lanes keep their turns.
    pub(crate) fn refresh(&mut self, found: &[ActiveLane]) {
        let found: HashSet<LaneId> = found.iter().map(|l| l.lane).collect();
        self.turns.retain(|l| found.contains(l));
        let mut new: Vec<_> = found.difference(&self.active).copied().collect();
        new.sort_unstable();
        self.turns.extend(new);
        self.known.extend(&found);
        self.active = found;
    }

    /// A wake-up named this lane. `false` if it is not known to be ours.
    pub(crate) fn woken(&mut self, lane: LaneId) -> bool {
        if !self.known.contains(&lane) {
            return false;
        }
        if self.active.insert(lane) {
            self.turns.push_back(lane);
        }
        true
    }

    /// Every lane that ever had work may have some again.
    pub(crate) fn wake_all(&mut self) {
        let known: Vec<_> = self.known.iter().copied().collect();
        for lane in known {
            self.woken(lane);
        }
    }

    /// The next claim of `room` jobs in all: an equal share of it for every lane, at least one
    /// job, as far as the room goes. The lanes named move to the end of the round.
    pub(crate) fn next(&mut self, room: usize, except: &VecDeque<LaneId>) -> Vec<LaneTake> {
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
            takes.push(LaneTake { lane, take: u32::try_from(take).unwrap_or(u32::MAX) });
        }
        passed_over.append(&mut self.turns);
        self.turns = passed_over;
        self.turns.extend(takes.iter().map(|t| t.lane));
        takes
    }

    /// A claim brought in jobs of these lanes, one entry a job. A lane that gave less than half of
    /// what was asked has no more for now. (Not "less than was asked": a claim steps over the
    /// jobs that another worker is taking at the same moment, so a full lane may come up short.)
    pub(crate) fn claimed(&mut self, takes: &[LaneTake], jobs: &[LaneId]) {
        let mut got: HashMap<LaneId, u32> = HashMap::with_capacity(takes.len());
        for lane in jobs {
            *got.entry(*lane).or_default() += 1;
        }
        let dry = |t: &&LaneTake| got.get(&t.lane).copied().unwrap_or(0) * 2 < t.take;
        for take in takes.iter().filter(dry) {
            self.active.remove(&take.lane);
        }
        self.turns.retain(|l| self.active.contains(l));
    }
}

#[cfg(test)]
mod tests;
