//! How far one lane was worked through. No I/O.
//!
//! Claimed and finished jobs leave dead versions of their rows behind, at the head of the claim
//! index. As long as somebody holds an old snapshot (a report, a backup) nobody can clear them away,
//! and a claim that began at the head would step over all of them, more with every second. So a
//! claim goes on where the last one stopped: at the frontier. Work that comes to stand behind it
//! (late, or more urgent) is announced by a wake-up with its place. All of this is a hint: a
//! wake-up may be lost, so now and then the whole lane is looked through, at intervals that keep
//! the cost of it small.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_queue::{Place, Stretch};

/// How often a lane is looked through from its head, at most.
const AFRESH: Duration = Duration::from_secs(1);
/// Looking through from the head may take one part in so many of the time.
const SHARE: u32 = 30;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Everything up to here was seen by a claim. `None`: nothing was.
    frontier: Option<Place>,
    /// Work behind the frontier, by priority: after these places there may be some.
    behind: BTreeMap<i16, Place>,
    /// The lane is being looked through from its head, up to where the frontier was, since then.
    afresh: Option<(Option<Place>, Instant)>,
    /// When that is to happen next.
    afresh_at: Option<Instant>,
}

impl Reach {
    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.frontier = None;
        self.behind.clear();
        self.afresh = None;
    }

    /// There is work that does not stand before `place`.
    pub(crate) fn lower(&mut self, place: Place) {
        let Some(frontier) = &mut self.frontier else { return };
        if place.priority < frontier.priority {
            let earliest = self.behind.entry(place.priority).or_insert(place);
            *earliest = place.min(*earliest);
        } else if place < *frontier {
            *frontier = place;
        }
    }

    /// Where the next claim should look.
    pub(crate) fn stretches(&mut self, now: Instant) -> Vec<Stretch> {
        let due = self.afresh.is_none() && self.afresh_at.is_none_or(|at| now >= at);
        if due || self.frontier.is_none() {
            self.afresh = Some((self.frontier.take(), now));
            self.behind.clear();
        }
        let Some(frontier) = self.frontier else { return vec![Stretch::whole()] };
        let behind = self.behind.iter();
        let mut all: Vec<Stretch> =
            behind.map(|(p, after)| Stretch { after: *after, last_priority: *p }).collect();
        all.push(Stretch { after: frontier, last_priority: i16::MAX });
        all
    }

    /// A claim looked there. `filled`: it took as many jobs as it was to take, so there may be more
    /// after the `last` of them; otherwise all was seen.
    pub(crate) fn claimed(&mut self, filled: bool, last: Option<Place>, now: Instant) {
        match (filled, last, self.frontier) {
            (true, Some(last), Some(frontier)) if last.priority < frontier.priority => {
                self.behind = self.behind.split_off(&last.priority);
                self.behind.insert(last.priority, last);
            }
            (true, Some(last), _) => {
                self.behind.clear();
                self.frontier = Some(last);
            }
            (_, last, frontier) => {
                self.behind.clear();
                // A lane in which nothing was found: only what is announced is new.
                self.frontier = Some(last.max(frontier).unwrap_or_else(Place::last));
            }
        }
        if let Some((goal, since)) = self.afresh
            && (!filled || self.frontier >= goal)
        {
            self.afresh = None;
            self.afresh_at = Some(now + AFRESH.max((now - since) * SHARE));
        }
    }
}

#[cfg(test)]
mod tests;
