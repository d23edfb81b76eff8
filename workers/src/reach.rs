//! How far one lane was worked through. No I/O.
//!
//! Claimed and finished jobs leave dead versions of their rows behind, at the head of the claim
//! index. As long as somebody holds an old snapshot (a report, a backup) nobody can clear them away,
//! and a claim that began at the head would step over all of them, more with every second. So a
//! claim goes on where the last one stopped: at the frontier. Work that comes to stand behind it
//! (late, or more urgent) is announced by a wake-up with its place. All of this is a hint: a
//! wake-up may be lost, so now and then the whole lane is looked through, at intervals that keep
//! the cost of it small.
//!
//! Some jobs are taken out of turn, see [`overtaken`]. How far those of a priority went is
//! remembered in the same way, so that they do not step over their own remains.

mod overtaken;

use overtaken::{Overtaken, Owed};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_queue::{Place, Stretch};

/// How often a lane is looked through from its head, at most.
const AFRESH: Duration = Duration::from_secs(1);
/// Looking through from the head may take one part in so many of the time.
const SHARE: u32 = 30;
/// Of so many priorities it is remembered how far jobs were taken out of turn.
const MOST_AHEAD: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Everything up to here was seen by a claim. `None`: nothing was.
    frontier: Option<Place>,
    /// Work behind the frontier, by priority: after these places there may be some.
    behind: BTreeMap<i16, Place>,
    /// Beyond the frontier, by priority: up to these places everything was taken out of turn.
    ahead: BTreeMap<i16, Place>,
    overtaken: Overtaken,
    /// What the claim that is under way takes out of turn, and when it began.
    out: Option<(Owed, Instant)>,
    /// The lane is being looked through from its head, up to where the frontier was, since then.
    afresh: Option<(Option<Place>, Instant)>,
    /// When that is to happen next.
    afresh_at: Option<Instant>,
    /// Since then nothing was taken out of turn, so that looks from the head too.
    out_afresh: bool,
}

impl Reach {
    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.frontier = None;
        self.behind.clear();
        self.ahead.clear();
        self.overtaken.forget();
        self.afresh = None;
    }

    /// There is work that does not stand before `place`.
    pub(crate) fn lower(&mut self, place: Place) {
        self.overtaken.heard_of(place.priority);
        if let Some(ahead) = self.ahead.get_mut(&place.priority) {
            *ahead = place.min(*ahead);
        }
        let Some(frontier) = &mut self.frontier else { return };
        if place.priority < frontier.priority {
            let earliest = self.behind.entry(place.priority).or_insert(place);
            *earliest = place.min(*earliest);
        } else if place < *frontier {
            *frontier = place;
        }
    }

    /// Where the next claim of `take` jobs should look, and how many to take there: one part, or two
    /// that have no place in common, if some are to be taken out of turn. (If the lane is under
    /// limits these are one part for themselves.)
    pub(crate) fn next(
        &mut self,
        take: u32,
        limited: bool,
        now: Instant,
    ) -> Vec<(u32, Vec<Stretch>)> {
        let due = self.afresh.is_none() && self.afresh_at.is_none_or(|at| now >= at);
        if due || self.frontier.is_none() {
            self.afresh = Some((self.frontier.take(), now));
            self.behind.clear();
            self.ahead.clear();
            self.overtaken.forget();
            self.out_afresh = true;
        }
        self.out = None;
        if let Some(owed) = self.overtaken.owed(take, limited)
            && let Some(parts) = self.out_of_turn(owed, take, limited)
        {
            self.out = Some((owed, now));
            return parts;
        }
        vec![(take, self.in_turn())]
    }

    fn in_turn(&self) -> Vec<Stretch> {
        let Some(frontier) = self.frontier else { return vec![Stretch::whole()] };
        let behind = self.behind.iter();
        let mut all: Vec<Stretch> =
            behind.map(|(p, after)| Stretch { after: *after, last_priority: *p }).collect();
        all.push(Stretch { after: frontier, last_priority: i16::MAX });
        all
    }

    /// What is owed, and the rest of `take` from what is as urgent as before. `None` if there can be
    /// nothing less urgent.
    fn out_of_turn(
        &self,
        owed: Owed,
        take: u32,
        limited: bool,
    ) -> Option<Vec<(u32, Vec<Stretch>)>> {
        let all = self.everywhere();
        let mut less_urgent = below(&all, owed.after);
        less_urgent.extend(down_to(&below(&all, owed.below), owed.after));
        let rest = down_to(&all, owed.below);
        if less_urgent.is_empty() || rest.is_empty() {
            return None;
        }
        let mut parts = vec![(owed.take, less_urgent)];
        if !limited && take > owed.take {
            parts.push((take - owed.take, rest));
        }
        Some(parts)
    }

    /// All that is not known to be taken, in its order. What was taken out of turn is cut out of it.
    fn everywhere(&self) -> Vec<Stretch> {
        let mut all = self.in_turn();
        for (priority, after) in &self.ahead {
            let Some(last) = all.pop() else { break };
            all.extend(down_to(&[last], priority.saturating_sub(1)));
            all.push(Stretch { after: *after, last_priority: *priority });
            all.extend(below(&[last], *priority));
        }
        all
    }

    /// A claim that looked for so many jobs took these, in their order. `false` if there are hardly
    /// any more.
    pub(crate) fn claimed(&mut self, got: &[Place], looked_for: u32, now: Instant) -> bool {
        let Some((owed, since)) = self.out.take() else {
            self.overtaken.took(count(got), 0);
            return self.took_in_turn(got, looked_for, i16::MAX, now);
        };
        let (in_turn, out) = got.split_at(got.partition_point(|p| p.priority <= owed.below));
        let looked_for_out = owed.take.min(looked_for);
        let rest = looked_for - looked_for_out;
        self.overtaken.took(count(in_turn), count(out));
        let some_out = self.took_out_of_turn(out, looked_for_out, owed);
        if std::mem::take(&mut self.out_afresh) {
            let again = now + (now - since) * SHARE;
            self.afresh_at = self.afresh_at.map(|at| at.max(again));
        }
        // Where nothing was looked for there may be anything.
        let some_in_turn = rest == 0 || self.took_in_turn(in_turn, rest, owed.below, now);
        some_out || some_in_turn
    }

    /// These were taken of what is at least as urgent as `down_to`.
    fn took_in_turn(&mut self, got: &[Place], looked_for: u32, down_to: i16, now: Instant) -> bool {
        let (n, last) = (count(got), got.last().copied());
        let filled = last.filter(|_| n >= looked_for);
        match (filled, self.frontier) {
            (Some(last), Some(frontier)) if last.priority < frontier.priority => {
                self.behind = self.behind.split_off(&last.priority);
                self.behind.insert(last.priority, last);
            }
            (Some(last), _) => {
                self.behind.clear();
                self.frontier = Some(last);
            }
            (None, frontier) => {
                self.behind.retain(|priority, _| *priority > down_to);
                // A lane in which nothing was found: only what is announced is new.
                self.frontier = Some(last.max(frontier).unwrap_or_else(|| end_of(down_to)));
            }
        }
        let reached = self.frontier.map(|f| f.priority);
        self.ahead.retain(|priority, _| Some(*priority) > reached);
        let all = down_to == i16::MAX;
        self.overtaken.in_turn(filled.map(|last| last.priority), all);
        if let Some((goal, since)) = self.afresh
            && ((filled.is_none() && all) || self.frontier >= goal)
        {
            self.afresh = None;
            self.afresh_at = Some(now + AFRESH.max((now - since) * SHARE));
        }
        n * 2 >= looked_for
    }

    /// These were taken out of turn.
    fn took_out_of_turn(&mut self, got: &[Place], looked_for: u32, owed: Owed) -> bool {
        let filled = count(got) >= looked_for;
        for place in got {
            match &mut self.frontier {
                Some(frontier) if place.priority < frontier.priority => {
                    self.behind.insert(place.priority, *place);
                }
                Some(frontier) if place.priority == frontier.priority => {
                    *frontier = (*place).max(*frontier);
                }
                _ => {
                    self.ahead.insert(place.priority, *place);
                }
            }
        }
        if !filled {
            self.behind.retain(|priority, _| *priority <= owed.below);
        }
        if self.ahead.len() > MOST_AHEAD {
            self.ahead.clear();
        }
        self.overtaken.out_of_turn(owed, got.last().map(|p| p.priority), filled);
        count(got) * 2 >= looked_for
    }
}

fn count(places: &[Place]) -> u32 {
    u32::try_from(places.len()).unwrap_or(u32::MAX)
}

/// After all of this priority.
fn end_of(priority: i16) -> Place {
    Place { priority, ..Place::last() }
}

/// The parts that are less urgent than this.
fn below(all: &[Stretch], priority: i16) -> Vec<Stretch> {
    let some = all.iter().filter(|s| s.last_priority > priority);
    some.map(|s| Stretch { after: s.after.max(end_of(priority)), ..*s }).collect()
}

/// The parts that are at least as urgent as this.
fn down_to(all: &[Stretch], priority: i16) -> Vec<Stretch> {
    let some = all.iter().filter(|s| s.after.priority <= priority);
    some.map(|s| Stretch { last_priority: s.last_priority.min(priority), ..*s }).collect()
}

#[cfg(test)]
mod tests;
