//! Which lanes to claim from, and how much from each: queues by their weights, and within a queue
//! round and round its lanes, so that a lane with a hundred thousand jobs does not hold up the one
//! with ten. No I/O.

mod blocks;
mod shares;

use crate::reach::Reach;
use blocks::Blocks;
use shares::{Account, divide};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;
use switchyard_queue::{ActiveLane, HeldBack, LaneId, LaneTake, LimitId, Place};

/// Lanes under limits in one claim, at most: each limit of theirs is locked on its own.
const MOST_LIMITED: usize = 64;

/// Looking into a lane costs PostgreSQL as much as a job does, so a large claim asks fewer lanes for
/// more: this many jobs each, and never fewer than so many lanes. With a thousand lanes of work a job
/// that is alone in its lane waits for eight claims of 500 at most.
const MANY_FROM_EACH: usize = 4;
const FEW_LANES: usize = 64;

/// The lanes with work, in the order of their turns.
#[derive(Default)]
pub(crate) struct Lanes {
    /// By queue.
    turns: Vec<VecDeque<LaneId>>,
    accounts: Vec<Account>,
    active: HashSet<LaneId>,
    /// Every lane of our queues that ever had work. A wake-up names a lane only by number; one that
    /// is in here is ours.
    known: HashMap<LaneId, Lane>,
    /// Lanes of other queues. They are never deleted and never change hands.
    foreign: HashSet<LaneId>,
    blocks: Blocks,
}

struct Lane {
    queue: usize,
    limits: Vec<LimitId>,
    /// What is left of it, as far as is known.
    reach: Reach,
}

impl Lanes {
    /// Takes in what the store found: exactly these have work now. Lanes keep their turns.
    pub(crate) fn refresh(&mut self, found: &[ActiveLane]) {
        found.iter().for_each(|lane| self.know(lane));
        let found: HashSet<LaneId> = found.iter().map(|l| l.lane).collect();
        self.turns.iter_mut().for_each(|turns| turns.retain(|l| found.contains(l)));
        self.active.retain(|l| found.contains(l));
        let mut new: Vec<_> = found.difference(&self.active).copied().collect();
        new.sort_unstable();
        new.into_iter().for_each(|lane| self.activate(lane));
    }

    /// Takes in what the store says of a lane.
    fn know(&mut self, lane: &ActiveLane) {
        if self.turns.len() <= lane.queue {
            self.turns.resize_with(lane.queue + 1, VecDeque::new);
            self.accounts.resize_with(lane.queue + 1, || Account::new(1));
        }
        self.accounts[lane.queue].weight = lane.weight.max(1);
        let known = self.known.entry(lane.lane).or_insert_with(|| Lane {
            queue: lane.queue,
            limits: Vec::new(),
            reach: Reach::default(),
        });
        if known.limits != lane.limits {
            // Claims that took it for something else saw nothing.
            known.limits.clone_from(&lane.limits);
            known.reach.forget();
        }
    }

    /// A wake-up named this lane; where in it the work is, nobody knows. `false` if it must be
    /// asked whose lane it is.
    pub(crate) fn woken(&mut self, lane: LaneId) -> bool {
        match self.known.get_mut(&lane) {
            Some(known) => {
                known.reach.forget();
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
            Some(known) => {
                known.reach.lower(place);
                self.activate(lane);
                true
            }
            None => self.foreign.contains(&lane),
        }
    }

    /// Of the lanes that were asked for, these are ours; a wake-up told of work in them.
    pub(crate) fn told(&mut self, asked: &HashSet<LaneId>, ours: &[ActiveLane]) {
        self.foreign.extend(asked);
        for lane in ours {
            self.foreign.remove(&lane.lane);
            self.know(lane);
            self.woken(lane.lane);
        }
    }

    /// Every lane that ever had work may have some again, anywhere.
    pub(crate) fn wake_all(&mut self) {
        let known: Vec<_> = self.known.keys().copied().collect();
        for lane in known {
            self.woken(lane);
        }
        self.blocks.slot_freed();
    }

    fn activate(&mut self, lane: LaneId) {
        if let Some(known) = self.known.get(&lane)
            && self.active.insert(lane)
        {
            self.turns[known.queue].push_back(lane);
        }
    }

    /// A job that took up a slot under a limit has ended here.
    pub(crate) fn slot_freed(&mut self) {
        self.blocks.slot_freed();
    }

    /// One job of this lane, from its head.
    pub(crate) fn first(&self, lane: LaneId) -> LaneTake {
        let limited = self.known.get(&lane).is_some_and(|lane| !lane.limits.is_empty());
        LaneTake { limited, ..LaneTake::whole(lane, 1) }
    }

    /// When a lane that is held back by its limits is to be asked for again.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.blocks.next()
    }

    /// The next claim of `room` jobs in all: for every queue its share of it, and of that an equal
    /// share for every lane, at least one job (of a large claim [`MANY_FROM_EACH`]), as far as it goes. The lanes named move to the end of
    /// the round.
    pub(crate) fn next(
        &mut self,
        room: usize,
        except: &VecDeque<LaneId>,
        now: Instant,
    ) -> Vec<LaneTake> {
        self.blocks.tidy(now);
        let queues: Vec<Vec<LaneId>> =
            (0..self.turns.len()).map(|queue| self.eligible(queue, room, except)).collect();
        let present: Vec<usize> = (0..queues.len()).filter(|q| !queues[*q].is_empty()).collect();
        let shares = divide(&mut self.accounts, &present, room);
        let mut takes = Vec::new();
        for (queue, share) in present.into_iter().zip(shares) {
            self.turn(queue, &queues[queue], share, now, &mut takes);
        }
        takes
    }

    /// Up to `room` lanes of this queue that may be claimed from, in the order of their turns.
    fn eligible(&self, queue: usize, room: usize, except: &VecDeque<LaneId>) -> Vec<LaneId> {
        let mut limited = 0;
        let turns = self.turns[queue].iter().filter(|id| !except.contains(id));
        let free = turns.filter(|id| {
            let limits = self.known.get(id).map_or(&[][..], |lane| &lane.limits);
            limited += usize::from(!limits.is_empty() && limited <= MOST_LIMITED);
            limits.is_empty() || (limited <= MOST_LIMITED && !self.blocks.holds(limits))
        });
        free.take(room).copied().collect()
    }

    /// Shares `room` out among these lanes, which begin their queue's turns.
    fn turn(
        &mut self,
        queue: usize,
        lanes: &[LaneId],
        room: usize,
        now: Instant,
        takes: &mut Vec<LaneTake>,
    ) {
        let most = room.min(FEW_LANES.max(room / MANY_FROM_EACH));
        let lanes = &lanes[..lanes.len().min(most)];
        if lanes.is_empty() {
            return;
        }
        let (share, extra) = (room / lanes.len(), room % lanes.len());
        let chosen: HashSet<LaneId> = lanes.iter().copied().collect();
        let mut left = chosen.len();
        // Almost always they stand at the front, so this ends after a few steps.
        let mut passed_over = Vec::new();
        while left > 0
            && let Some(lane) = self.turns[queue].pop_front()
        {
            if chosen.contains(&lane) {
                left -= 1;
            } else {
                passed_over.push(lane);
            }
        }
        passed_over.into_iter().rev().for_each(|lane| self.turns[queue].push_front(lane));
        for (n, id) in lanes.iter().enumerate() {
            self.turns[queue].push_back(*id);
            let Some(lane) = self.known.get_mut(id) else { continue };
            takes.push(LaneTake {
                lane: *id,
                take: u32::try_from(share + usize::from(n < extra)).unwrap_or(u32::MAX),
                stretches: lane.reach.stretches(now),
                limited: !lane.limits.is_empty(),
            });
        }
    }

    /// A claim brought in these jobs, each lane's in their order. A lane that gave less than half
    /// of what was asked has no more for now. (Not "less than was asked": a claim steps over the
    /// jobs that another worker is taking at the same moment, so a full lane may come up short.)
    pub(crate) fn claimed(
        &mut self,
        takes: &[LaneTake],
        jobs: &[(LaneId, Place)],
        held_back: &[HeldBack],
        now: Instant,
    ) {
        let mut got: HashMap<LaneId, (u32, Place)> = HashMap::with_capacity(takes.len());
        for (lane, place) in jobs {
            let (n, last) = got.entry(*lane).or_insert((0, *place));
            *n += 1;
            *last = *place;
        }
        let held: HashMap<LaneId, u32> = held_back.iter().map(|h| (h.lane, h.allowed)).collect();
        for take in takes {
            let (n, last) = got.get(&take.lane).map_or((0, None), |(n, last)| (*n, Some(*last)));
            let looked_for = held.get(&take.lane).copied().unwrap_or(take.take);
            if looked_for == 0 {
                continue;
            }
            if let Some(lane) = self.known.get_mut(&take.lane) {
                lane.reach.claimed(n >= looked_for, last, now);
            }
            if n * 2 < looked_for {
                self.active.remove(&take.lane);
            }
        }
        let active = &self.active;
        self.turns.iter_mut().for_each(|turns| turns.retain(|l| active.contains(l)));
        self.hold_back(held_back, now);
    }

    /// Lanes that got nothing because of their limits keep their turn: under a common limit it would
    /// be the same ones that come first again and again.
    fn hold_back(&mut self, held_back: &[HeldBack], now: Instant) {
        let refused: Vec<LaneId> =
            held_back.iter().filter(|h| h.allowed == 0).map(|h| h.lane).collect();
        if !refused.is_empty() {
            let set: HashSet<LaneId> = refused.iter().copied().collect();
            self.turns.iter_mut().for_each(|turns| turns.retain(|l| !set.contains(l)));
            for id in refused.into_iter().rev().filter(|id| self.active.contains(id)) {
                if let Some(lane) = self.known.get(&id) {
                    self.turns[lane.queue].push_front(id);
                }
            }
        }
        held_back.iter().for_each(|held| self.blocks.take_in(held, now));
    }
}

#[cfg(test)]
mod tests;
