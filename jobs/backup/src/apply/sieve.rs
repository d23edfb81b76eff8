//! Which transactions of the log are applied: those that the copy does not hold, up to the target.

use crate::change::Change;
use crate::model::{Lsn, Snapshot};
use chrono::{DateTime, Utc};

/// Where to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the end of what is there.
    End,
    /// Before the first transaction that was committed later than this, as PostgreSQL's own recovery
    /// does (`recovery_target_time`).
    Time(DateTime<Utc>),
    /// After the last transaction whose commit begins at or before this position
    /// (`recovery_target_lsn`, inclusive).
    Lsn(Lsn),
    /// All that another full backup's copy holds, and nothing else.
    Snapshot(Snapshot),
}

/// What to do with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it.
    Take,
    /// It is in the copy, or later than the target.
    Skip,
    /// Neither it nor anything after it is wanted.
    Stop,
}

/// How far the log was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The commit of the last transaction that was applied.
    pub lsn: Option<Lsn>,
    /// Its time, by the source's clock.
    pub at: Option<DateTime<Utc>>,
    /// Transactions that were applied.
    pub transactions: u64,
    /// Rows changed in them.
    pub changes: u64,
    /// The target lies before the end of the log.
    pub stopped: bool,
}

/// Judges changes, one after the other.
#[derive(Clone, Debug)]
pub struct Sieve {
    copied: Option<Snapshot>,
    after: Lsn,
    until: Until,
    skipping: bool,
    /// How far it is.
    pub reached: Reached,
}

impl Sieve {
    /// Leaves out what `copied` holds, what was committed before `after`, and what comes after `until`.
    #[must_use]
    pub fn new(copied: Option<Snapshot>, after: Lsn, until: Until) -> Self {
        Self { copied, after, until, skipping: false, reached: Reached::default() }
    }

    /// Judges the next change. Relations are always taken: they are no part of a transaction.
    pub fn judge(&mut self, change: &Change) -> Verdict {
        match change {
            Change::Begin { xid, lsn, at } => {
                let past = match &self.until {
                    Until::Time(time) => at > time,
                    Until::Lsn(target) => lsn > target,
                    Until::End | Until::Snapshot(_) => false,
                };
                if past {
                    self.reached.stopped = true;
                    return Verdict::Stop;
                }
                let copied =
                    *lsn < self.after || self.copied.as_ref().is_some_and(|s| s.holds(*xid));
                let later = matches!(&self.until, Until::Snapshot(s) if !s.holds(*xid));
                self.skipping = copied || later;
                if !self.skipping {
                    self.reached.transactions += 1;
                    self.reached.lsn = Some(*lsn);
                    self.reached.at = Some(*at);
                }
            }
            Change::Relation(_) => return Verdict::Take,
            Change::Insert { .. }
            | Change::Update { .. }
            | Change::Delete { .. }
            | Change::Truncate { .. } => {
                if !self.skipping {
                    self.reached.changes += 1;
                }
            }
            Change::Message { .. } | Change::Commit { .. } => {}
        }
        if self.skipping { Verdict::Skip } else { Verdict::Take }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(xid: u32, lsn: u64, second: i64) -> Change {
        Change::Begin {
            xid,
            lsn: Lsn(lsn),
            at: DateTime::from_timestamp(second, 0).expect("a change"),
        }
    }

    #[test]
    fn what_the_copy_holds_is_left_out_and_the_rest_is_taken() {
        let copied = Snapshot { xmin: 10, xmax: 13, running: vec![11] };
        let mut sieve = Sieve::new(Some(copied), Lsn(100), Until::End);
        let row = Change::Insert { oid: 1, row: vec![] };
        let mut taken = Vec::new();
        for (xid, lsn) in [(9, 101), (10, 102), (11, 103), (12, 104), (13, 105), (14, 99)] {
            if sieve.judge(&begin(xid, lsn, 0)) == Verdict::Take {
                taken.push(xid);
            }
            sieve.judge(&row);
        }
        assert_eq!(taken, [11, 13]);
        assert_eq!((sieve.reached.transactions, sieve.reached.changes), (2, 2));
        assert_eq!(sieve.reached.lsn, Some(Lsn(105)));
    }

    #[test]
    fn a_time_stops_before_what_was_committed_later() {
        let time = DateTime::from_timestamp(50, 0).expect("a change");
        let mut sieve = Sieve::new(None, Lsn(0), Until::Time(time));
        assert_eq!(sieve.judge(&begin(1, 1, 50)), Verdict::Take);
        assert_eq!(sieve.judge(&begin(2, 2, 51)), Verdict::Stop);
        assert!(sieve.reached.stopped && sieve.reached.transactions == 1);
    }

    #[test]
    fn a_position_takes_the_commit_that_stands_at_it() {
        let mut sieve = Sieve::new(None, Lsn(0), Until::Lsn(Lsn(7)));
        assert_eq!(sieve.judge(&begin(1, 7, 0)), Verdict::Take);
        assert_eq!(sieve.judge(&begin(2, 8, 0)), Verdict::Stop);
    }

    #[test]
    fn another_copys_snapshot_takes_what_that_copy_holds_wherever_it_stands() {
        let newer = Snapshot { xmin: 20, xmax: 23, running: vec![21] };
        let mut sieve = Sieve::new(None, Lsn(0), Until::Snapshot(newer));
        let judged: Vec<_> =
            [21, 22, 23, 19].map(|x| sieve.judge(&begin(x, u64::from(x), 0))).into();
        assert_eq!(judged, [Verdict::Skip, Verdict::Take, Verdict::Skip, Verdict::Take]);
    }
}
