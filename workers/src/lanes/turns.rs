//! Whose turn it is in one queue: round and round its partitions, and within a partition round its
//! lanes, so that nobody gets more turns by naming many limit keys. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use switchyard_queue::LaneId;

/// A partition, by [`switchyard_queue::ActiveLane::partition`].
pub(super) type Partition = i64;

/// See the module.
#[derive(Default)]
pub(super) struct Turns {
    /// Each stands here once, and only if it has lanes.
    order: VecDeque<Partition>,
    lanes: HashMap<Partition, VecDeque<LaneId>>,
}

impl Turns {
    /// The lanes of each partition, in the order of their turns.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (Partition, &VecDeque<LaneId>)> {
        self.order.iter().filter_map(|id| Some((*id, self.lanes.get(id)?)))
    }

    /// A lane that is not here comes last of its partition; a partition that is not here comes last.
    pub(super) fn join(&mut self, partition: Partition, lane: LaneId) {
        let lanes = self.lanes.entry(partition).or_default();
        if lanes.is_empty() {
            self.order.push_back(partition);
        }
        lanes.push_back(lane);
    }

    /// Only these lanes stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(LaneId) -> bool) {
        let Self { order, lanes } = self;
        order.retain(|partition| {
            let Some(mine) = lanes.get_mut(partition) else { return false };
            mine.retain(|lane| stays(*lane));
            let some = !mine.is_empty();
            if !some {
                lanes.remove(partition);
            }
            some
        });
    }

    /// These lanes of these partitions had their turn.
    pub(super) fn had(&mut self, turns: &[(Partition, Vec<LaneId>)]) {
        let partitions: HashSet<Partition> = turns.iter().map(|(id, _)| *id).collect();
        // Almost always they stand at the front, so this ends after a few steps.
        let (mut left, mut passed_over) = (partitions.len(), Vec::new());
        while left > 0
            && let Some(partition) = self.order.pop_front()
        {
            if partitions.contains(&partition) {
                left -= 1;
            } else {
                passed_over.push(partition);
            }
        }
        passed_over.into_iter().rev().for_each(|partition| self.order.push_front(partition));
        for (partition, had) in turns {
            self.order.push_back(*partition);
            if let Some(lanes) = self.lanes.get_mut(partition).filter(|lanes| lanes.len() > 1) {
                let set: HashSet<LaneId> = had.iter().copied().collect();
                lanes.retain(|lane| !set.contains(lane));
                lanes.extend(had);
            }
        }
    }

    /// This lane is the next of its partition; and this partition the next, if so.
    pub(super) fn comes_first(&mut self, partition: Partition, lane: LaneId, and_this: bool) {
        let Some(lanes) = self.lanes.get_mut(&partition) else { return };
        lanes.retain(|other| *other != lane);
        lanes.push_front(lane);
        if and_this {
            self.order.retain(|other| *other != partition);
            self.order.push_front(partition);
        }
    }
}
