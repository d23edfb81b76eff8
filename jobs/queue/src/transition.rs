//! The state machine of a job: every way from one state to another. `STATES.md` beside this crate's
//! manifest draws it for people, and a test holds the two against each other; the engine's tests
//! hold it against what the database does.

use crate::JobState;
use std::fmt;

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobEvent {
    /// Somebody asks for it: an enqueue, a workflow's start, or a copy of a finished job.
    Enqueue,
    /// A new job of its unique key changes when it is due, before anybody has begun it.
    Replace,
    /// It is due by now.
    Promote,
    /// All that it waited for has ended.
    Release,
    /// A worker takes it.
    Claim,
    /// Another worker takes it, because its holder is gone or let the lease run out.
    TakeOver,
    /// It took its worker down three times while it ran alone.
    Quarantine,
    /// The attempt succeeds.
    Complete,
    /// The job gives itself up, or obeys a request to.
    GiveUp,
    /// The attempt fails, and there will be another.
    Retry,
    /// The job asks to be run later.
    Snooze,
    /// The attempt fails, and there will be no other.
    Fail,
    /// It was claimed and never begun.
    GiveBack,
    /// Somebody gives it up: an operator, or its workflow.
    Cancel,
    /// An operator puts it aside.
    Discard,
    /// An operator runs it again, now.
    Revive,
    /// Nobody began it by its deadline.
    Expire,
}

impl JobEvent {
    /// The word for it in `STATES.md`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Replace => "replace",
            Self::Promote => "promote",
            Self::Release => "release",
            Self::Claim => "claim",
            Self::TakeOver => "take over",
            Self::Quarantine => "quarantine",
            Self::Complete => "complete",
            Self::GiveUp => "give up",
            Self::Retry => "retry",
            Self::Snooze => "snooze",
            Self::Fail => "fail",
            Self::GiveBack => "give back",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
            Self::Revive => "revive",
            Self::Expire => "expire",
        }
    }
}

impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way: from where (`None`: there was no job), by what, and to where.
pub type Transition = (Option<JobState>, JobEvent, JobState);

/// Every way that there is. What leads from `running` to `running` changes the holder, or asks the
/// holder to stop; other events that leave the state as it is are not listed.
#[must_use]
pub fn transitions() -> &'static [Transition] {
    use JobEvent as E;
    use JobState::{
        Available, Cancelled, Completed, Discarded, Pending, Quarantined, Retryable, Running,
        Scheduled,
    };
    &[
        (None, E::Enqueue, Available),
        (None, E::Enqueue, Scheduled),
        (None, E::Enqueue, Pending),
        (Some(Available), E::Claim, Running),
        (Some(Available), E::Replace, Scheduled),
        (Some(Available), E::Cancel, Cancelled),
        (Some(Available), E::Discard, Discarded),
        (Some(Available), E::Expire, Discarded),
        (Some(Scheduled), E::Promote, Available),
        (Some(Scheduled), E::Replace, Available),
        (Some(Scheduled), E::Revive, Available),
        (Some(Scheduled), E::Cancel, Cancelled),
        (Some(Scheduled), E::Discard, Discarded),
        (Some(Scheduled), E::Expire, Discarded),
        (Some(Retryable), E::Promote, Available),
        (Some(Retryable), E::Revive, Available),
        (Some(Retryable), E::Cancel, Cancelled),
        (Some(Retryable), E::Discard, Discarded),
        (Some(Retryable), E::Expire, Discarded),
        (Some(Pending), E::Release, Available),
        (Some(Pending), E::Release, Scheduled),
        (Some(Pending), E::Cancel, Cancelled),
        (Some(Pending), E::Expire, Discarded),
        (Some(Running), E::Complete, Completed),
        (Some(Running), E::GiveUp, Cancelled),
        (Some(Running), E::Retry, Retryable),
        (Some(Running), E::Snooze, Scheduled),
        (Some(Running), E::Snooze, Retryable),
        (Some(Running), E::Fail, Discarded),
        (Some(Running), E::GiveBack, Available),
        (Some(Running), E::TakeOver, Running),
        (Some(Running), E::Quarantine, Quarantined),
        (Some(Running), E::Cancel, Running),
        (Some(Running), E::Discard, Running),
        (Some(Discarded), E::Revive, Available),
        (Some(Discarded), E::Cancel, Cancelled),
        (Some(Quarantined), E::Revive, Available),
        (Some(Quarantined), E::Cancel, Cancelled),
        (Some(Quarantined), E::Discard, Discarded),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    type Row = (String, String, String);

    const PAGE: &str = include_str!("../STATES.md");

    fn of_code() -> BTreeSet<Row> {
        let word = |state: Option<JobState>| state.map_or("[*]", JobState::as_str).to_owned();
        let rows = transitions()
            .iter()
            .map(|(from, event, to)| (word(*from), event.to_string(), to.to_string()));
        rows.collect()
    }

    /// `from --> to: event`, and ways out of the machine (`completed --> [*]`) apart.
    fn of_diagram() -> (BTreeSet<Row>, BTreeSet<String>) {
        let drawn = PAGE.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next());
        let (mut rows, mut ends) = (BTreeSet::new(), BTreeSet::new());
        for line in drawn.expect("a diagram").lines().filter(|line| line.contains("-->")) {
            let (from, rest) = line.trim().split_once(" --> ").expect("from --> to");
            match rest.split_once(": ") {
                Some((to, event)) => {
                    let row = (from.to_owned(), event.to_owned(), to.to_owned());
                    assert!(rows.insert(row), "drawn twice: {line}");
                }
                None => {
                    assert_eq!(rest, "[*]", "no event: {line}");
                    ends.insert(from.to_owned());
                }
            }
        }
        (rows, ends)
    }

    fn of_table() -> BTreeSet<Row> {
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim);
        let mut rows = BTreeSet::new();
        for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
            let row: Vec<String> = cells(line).map(|cell| cell.replace('`', "")).collect();
            assert_eq!(row.len(), 5, "from, event, to, who, cost: {line}");
            assert!(row.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
            let row = (row[0].clone(), row[1].clone(), row[2].clone());
            assert!(rows.insert(row), "a row twice: {line}");
        }
        rows
    }

    #[test]
    fn the_page_draws_and_lists_what_the_code_says() {
        let (drawn, ends) = of_diagram();
        assert_eq!(drawn, of_code(), "left: the diagram of STATES.md, right: transitions()");
        assert_eq!(of_table(), of_code(), "left: the table of STATES.md, right: transitions()");
        let last = JobState::ALL.into_iter().filter(|state| state.is_final());
        assert_eq!(ends, last.map(|state| state.to_string()).collect());
    }

    #[test]
    fn every_state_is_reached_and_only_final_ones_are_never_left() {
        let mut known = BTreeSet::new();
        for (from, event, to) in transitions() {
            assert!(known.insert((from, event, to)), "{from:?} {event} {to} is listed twice");
        }
        for state in JobState::ALL {
            assert!(transitions().iter().any(|(.., to)| *to == state), "{state} is never reached");
            let left = transitions().iter().any(|(from, ..)| *from == Some(state));
            assert_eq!(left, !state.is_final(), "{state}");
        }
    }
}
