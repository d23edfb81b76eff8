//! Which lanes to claim from, and how much from each: queues by their weights, and within a queue
//! round and round its partitions, so that one with a hundred thousand jobs does not hold up the one
//! with ten. No I/O.

mod blocks;
mod shares;
mod turns;

use crate::reach::Reach;
use blocks::Blocks;
use shares::{Account, divide};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;
use switchyard_queue::{ActiveLane, HeldBack, LaneId, LaneTake, LimitId, Place};
use turns::{Partition, Turns};

/// Lanes under limits in one claim, at most: each limit of theirs is locked on its own.
const MOST_LIMITED: usize = 64;

/// Looking into a lane costs PostgreSQL as much as a job does, so a large claim asks fewer lanes for
/// more: this many jobs each, and never fewer than so many lanes. With a thousand partitions of work
/// every one has its turn within eight claims of 500: the bound in general is
/// `ceil(partitions / min(room, max(64, room / 4)))` claims.
const MANY_FROM_EACH: usize = 4;
const FEW_LANES: usize = 64;

/// The lanes with work, in the order of their turns.
#[derive(Default)]
pub(crate) struct Lanes {
    /// By queue.
    turns: Vec<Turns>,
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
    partition: Partition,
    limits: Vec<LimitId>,
    /// What is left of it, as far as is known.
    reach: Reach,
}

impl Lanes {
    /// Takes in what the store found: exactly these have work now. Lanes keep their turns.
    pub(crate) fn refresh(&mut self, found: &[ActiveLane]) {
        found.iter().for_each(|lane| self.know(lane));
        let found: HashSet<LaneId> = found.iter().map(|l| l.lane).collect();
        self.turns.iter_mut().for_each(|turns| turns.retain(|l| found.contains(&l)));
        self.active.retain(|l| found.contains(l));
        let mut new: Vec<_> = found.difference(&self.active).copied().collect();
        new.sort_unstable();
        new.into_iter().for_each(|lane| self.activate(lane));
    }

    /// Takes in what the store says of a lane.
    fn know(&mut self, lane: &ActiveLane) {
        if self.turns.len() <= lane.queue {
            self.turns.resize_with(lane.queue + 1, Turns::default);
            self.accounts.resize_with(lane.queue + 1, || Account::new(1));
        }
        self.accounts[lane.queue].weight = lane.weight.max(1);
        let known = self.known.entry(lane.lane).or_insert_with(|| Lane {
            queue: lane.queue,
            partition: lane.partition,
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
            self.turns[known.queue].join(known.partition, lane);
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
    /// share for every partition, at least one job (of a large claim [`MANY_FROM_EACH`]), as far as
    /// it goes. The lanes named move to the end of the round.
    pub(crate) fn next(
        &mut self,
        room: usize,
        except: &VecDeque<LaneId>,
        now: Instant,
    ) -> Vec<LaneTake> {
        self.blocks.tidy(now);
        let queues: Vec<Vec<(Partition, Vec<LaneId>)>> =
            (0..self.turns.len()).map(|queue| self.eligible(queue, room, except)).collect();
        let present: Vec<usize> = (0..queues.len()).filter(|q| !queues[*q].is_empty()).collect();
        let shares = divide(&mut self.accounts, &present, room);
        let mut takes = Vec::new();
        for (queue, share) in present.into_iter().zip(shares) {
            self.turn(queue, &queues[queue], share, now, &mut takes);
        }
        takes
    }

    /// Up to `room` partitions of this queue and of them the lanes that may be claimed from, up to
    /// what falls to each, in the order of their turns.
    fn eligible(
        &self,
        queue: usize,
        room: usize,
        except: &VecDeque<LaneId>,
    ) -> Vec<(Partition, Vec<LaneId>)> {
        let limits = |id: &LaneId| self.known.get(id).map_or(&[][..], |lane| &lane.limits);
        let free = |id: &&LaneId| !except.contains(id) && !self.blocks.holds(limits(id));
        let all = self.turns[queue].partitions();
        let some = all.filter(|(_, lanes)| lanes.iter().any(|id| free(&id))).take(room);
        let some: Vec<_> = some.collect();
        let each = room.div_ceil(some.len().max(1));
        let mut limited = 0;
        let mut allowed = |id: &LaneId| {
            let under = !limits(id).is_empty();
            limited += usize::from(under);
            !under || limited <= MOST_LIMITED
        };
        let of_each = some.into_iter().map(|(partition, lanes)| {
            let lanes = lanes.iter().filter(free).filter(|id| allowed(id)).take(each);
            (partition, lanes.copied().collect::<Vec<_>>())
        });
        of_each.filter(|(_, lanes)| !lanes.is_empty()).collect()
    }

    /// Shares `room` out among these partitions, which begin their queue's turns.
    fn turn(
        &mut self,
        queue: usize,
        partitions: &[(Partition, Vec<LaneId>)],
        room: usize,
        now: Instant,
        takes: &mut Vec<LaneTake>,
    ) {
        let most = room.min(FEW_LANES.max(room / MANY_FROM_EACH));
        let mut turns = partitions[..partitions.len().min(most)].to_vec();
        if turns.is_empty() {
            return;
        }
        let n = turns.len();
        for ((_, lanes), share) in turns.iter_mut().zip(even(room, n)) {
            lanes.truncate(share.min(FEW_LANES.div_ceil(n).max(share / MANY_FROM_EACH)));
            for (id, take) in lanes.iter().zip(even(share, lanes.len())) {
                let Some(lane) = self.known.get_mut(id) else { continue };
                let take = u32::try_from(take).unwrap_or(u32::MAX);
                let limited = !lane.limits.is_empty();
                let parts = lane.reach.next(take, limited, now).into_iter();
                let take = |(take, stretches)| LaneTake { lane: *id, take, stretches, limited };
                takes.extend(parts.map(take));
            }
        }
        self.turns[queue].had(&turns);
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
        let mut got: HashMap<LaneId, Vec<Place>> = HashMap::with_capacity(takes.len());
        for (lane, place) in jobs {
            got.entry(*lane).or_default().push(*place);
        }
        let held: HashMap<LaneId, u32> = held_back.iter().map(|h| (h.lane, h.allowed)).collect();
        let before = self.active.len();
        for parts in takes.chunk_by(|a, b| a.lane == b.lane) {
            let asked: u32 = parts.iter().map(|take| take.take).sum();
            let Some(id) = parts.first().map(|take| take.lane) else { continue };
            let looked_for = held.get(&id).copied().unwrap_or(asked);
            let Some(lane) = self.known.get_mut(&id).filter(|_| looked_for > 0) else { continue };
            let places = got.get(&id).map_or(&[][..], Vec::as_slice);
            if !lane.reach.claimed(places, looked_for, now) {
                self.active.remove(&id);
            }
        }
        if self.active.len() < before {
            let active = &self.active;
            self.turns.iter_mut().for_each(|turns| turns.retain(|l| active.contains(&l)));
        }
        self.hold_back(held_back, &got, now);
    }

    /// Lanes that got nothing because of their limits keep their turn, and so do partitions that got
    /// nothing at all: under a common limit it would be the same ones that come first again and again.
    fn hold_back(
        &mut self,
        held_back: &[HeldBack],
        got: &HashMap<LaneId, Vec<Place>>,
        now: Instant,
    ) {
        let refused = held_back.iter().rev().filter(|h| h.allowed == 0).map(|h| h.lane);
        let refused: Vec<LaneId> = refused.filter(|id| self.active.contains(id)).collect();
        if !refused.is_empty() {
            let queue_of = |id| self.known.get(id).map(|lane| (lane.queue, lane.partition));
            let served: HashSet<_> = got.keys().filter_map(queue_of).collect();
            for id in &refused {
                let Some((queue, partition)) = queue_of(id) else { continue };
                let nothing = !served.contains(&(queue, partition));
                self.turns[queue].comes_first(partition, *id, nothing);
            }
        }
        held_back.iter().for_each(|held| self.blocks.take_in(held, now));
    }
}

/// Shares `room` out among so many.
fn even(room: usize, among: usize) -> impl Iterator<Item = usize> {
    let (share, extra) = (room / among.max(1), room % among.max(1));
    (0..among).map(move |n| share + usize::from(n < extra))
}

#[cfg(test)]
mod tests;
