//! Who gets how much of what limits leave. No I/O.

use chrono::TimeDelta;
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{HeldBack, LaneId, LimitId, Until};

/// What a limit leaves at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Jobs that may run beside those that do; `None`: any number.
    pub slots: Option<u32>,
    pub rate: Option<Rate>,
}

/// A rate, in the terms of the generic cell rate algorithm (ITU-T I.371): one start every
/// `interval`, and `burst` of them may come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Seconds.
    pub interval: f64,
    pub burst: u32,
    /// How far the theoretical arrival time lies ahead of now, in seconds; 0 if it has passed.
    pub ahead: f64,
}

/// A billionth of an interval: so much a time may be off by rounding.
const ROUNDING: f64 = 1e-9;

impl Rate {
    /// Starts that are allowed now.
    pub(super) fn tokens(&self) -> u32 {
        let free = f64::from(self.burst) - self.ahead / self.interval + ROUNDING;
        // A negative number becomes 0.
        free.floor() as u32
    }

    /// How far the theoretical arrival time lies ahead after so many starts.
    pub(super) fn after(&self, starts: u32) -> TimeDelta {
        let ahead = self.ahead + f64::from(starts) * self.interval;
        let ahead = Duration::try_from_secs_f64(ahead).unwrap_or(Duration::MAX);
        TimeDelta::from_std(ahead).unwrap_or(TimeDelta::MAX)
    }

    /// How long until one is.
    fn wait(&self) -> Duration {
        let wait = self.ahead - f64::from(self.burst - 1) * self.interval;
        Duration::try_from_secs_f64(wait).unwrap_or_default()
    }
}

/// What one lane asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub lane: LaneId,
    pub want: u32,
    /// Jobs of dead workers in it, which have their slots already.
    pub void: u32,
    pub limits: Vec<LimitId>,
}

/// What one lane gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Grant {
    /// Jobs of dead workers that may begin again.
    pub void: u32,
    /// Jobs that nobody has held.
    pub fresh: u32,
    /// What kept it from getting all.
    pub by: Vec<(LimitId, Until)>,
}

impl Grant {
    /// What the worker is told, unless the lane got all that it wanted.
    pub(super) fn held_back(&self, wish: &Wish) -> Option<HeldBack> {
        let allowed = self.void + self.fresh;
        let less = allowed < wish.want;
        less.then(|| HeldBack { lane: wish.lane, allowed, by: self.by.clone() })
    }
}

/// Shares out: job by job, round and round the lanes in their order, so that lanes under a common
/// limit share what it leaves. A limit that is not in `rooms` is somebody else's at this moment.
pub(super) fn allot(wishes: &[Wish], rooms: &HashMap<LimitId, Room>) -> Vec<Grant> {
    let mut left: HashMap<LimitId, (u32, u32)> = rooms
        .iter()
        .map(|(id, r)| {
            (*id, (r.slots.unwrap_or(u32::MAX), r.rate.map_or(u32::MAX, |r| r.tokens())))
        })
        .collect();
    let mut grants = vec![Grant::default(); wishes.len()];
    let mut open: Vec<usize> = (0..wishes.len()).filter(|i| wishes[*i].want > 0).collect();
    while !open.is_empty() {
        open.retain(|i| {
            let (wish, grant) = (&wishes[*i], &mut grants[*i]);
            let void = grant.void < wish.void;
            let allows = |limit| left.get(limit).is_some_and(|(s, t)| (void || *s > 0) && *t > 0);
            if !wish.limits.iter().all(allows) {
                return false;
            }
            for limit in &wish.limits {
                if let Some((slots, tokens)) = left.get_mut(limit) {
                    *slots -= u32::from(!void);
                    *tokens -= 1;
                }
            }
            if void {
                grant.void += 1
            } else {
                grant.fresh += 1
            }
            grant.void + grant.fresh < wish.want
        });
    }
    for (wish, grant) in wishes.iter().zip(&mut grants) {
        if grant.void + grant.fresh < wish.want {
            let used_up = |id: &LimitId| Some((*id, until(left.get(id), rooms.get(id))?));
            grant.by = wish.limits.iter().filter_map(used_up).collect();
        }
    }
    grants
}

/// Until when the limit allows nothing; `None` if it still does.
fn until(left: Option<&(u32, u32)>, room: Option<&Room>) -> Option<Until> {
    let (Some((slots, tokens)), Some(room)) = (left, room) else { return Some(Until::Free) };
    match (slots, tokens) {
        (0, _) => Some(Until::Slot),
        (_, 0) => room.rate.map(|rate| {
            // What was given out now has moved the theoretical arrival time on.
            let given = f64::from(rate.tokens()) * rate.interval;
            let spent = Rate { ahead: rate.ahead + given, ..rate };
            Until::Passed(spent.wait())
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
