//! Jobs that more urgent ones of their lane go past.
//!
//! A lane gives its most urgent job first. By that alone the others would wait for ever behind
//! urgent work that does not end. So every tenth job that is taken from a lane is one of them: each
//! less urgent priority has its turn, and its earliest job goes. In a lane without such jobs this
//! costs a look where none is, once a second and only while it has more work than is taken.

/// One job of so many is taken out of turn, if there is one.
pub(super) const ONE_IN: u32 = 10;

/// What is known of them in one lane, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    /// The last claim was filled by jobs up to this priority, so less urgent ones may wait.
    at: Option<i16>,
    /// Nothing waits that is less urgent than this, as far as is known.
    none: Option<i16>,
    /// Jobs taken in turn that are not made up for yet.
    since: u32,
    /// The priority that was served last.
    served: i16,
}

/// What is to be taken out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// So many jobs
    pub take: u32,
    /// that are less urgent than this.
    pub below: i16,
    /// Those that are less urgent than this one come first, then the others.
    pub after: i16,
}

impl Overtaken {
    /// Nothing is known any more of what waits.
    pub(super) fn forget(&mut self) {
        self.none = None;
    }

    /// There is work of this priority.
    pub(super) fn heard_of(&mut self, priority: i16) {
        self.none = self.none.filter(|none| priority <= *none);
    }

    /// What is owed of the next `take` jobs. A lane under limits may get fewer than it asks for, so
    /// for it counts what it got before.
    pub(super) fn owed(&self, take: u32, limited: bool) -> Option<Owed> {
        let below = self.at.filter(|at| !self.none_below(*at))?;
        let owed = if limited {
            self.since / (ONE_IN - 1)
        } else {
            self.since.saturating_add(take) / ONE_IN
        };
        let take = owed.min(take);
        (take > 0).then(|| Owed { take, below, after: self.served.max(below) })
    }

    /// A claim took so many in turn and so many out of turn.
    pub(super) fn took(&mut self, in_turn: u32, out_of_turn: u32) {
        let made_up_for = out_of_turn.saturating_mul(ONE_IN - 1);
        self.since = self.since.saturating_add(in_turn).saturating_sub(made_up_for);
    }

    /// A claim took in turn what there was. `filled`: up to this priority, and there may be more.
    /// `all`: if there are not, the lane was seen to its end.
    pub(super) fn in_turn(&mut self, filled: Option<i16>, all: bool) {
        self.at = filled;
        let emptied = filled.is_none() && all;
        if emptied || filled.is_some_and(|at| self.none_below(at)) {
            self.since = 0;
        }
    }

    /// A claim took out of turn what there was, up to this priority. Not `filled`: there is no more.
    pub(super) fn out_of_turn(&mut self, owed: Owed, last: Option<i16>, filled: bool) {
        self.served = last.unwrap_or(self.served);
        if !filled {
            self.none = Some(owed.below);
            self.since = 0;
        }
    }

    fn none_below(&self, priority: i16) -> bool {
        self.none.is_some_and(|none| none <= priority)
    }
}
