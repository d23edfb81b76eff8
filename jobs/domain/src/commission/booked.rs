//! A line as it stands in the ledger: one that was booked before and changed says why, and one that is
//! booked in a later month than its own says that.

use super::{KindWord, Line, PeriodKey, Window};
use crate::CommissionEventId;
use crate::money::Money;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a line that was booked before differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How many entries it had.
    pub entries: i64,
    /// What all parties together had of it.
    pub before: Money,
    /// What they have now.
    pub after: Money,
    /// What brought it about; `None`: it was computed again.
    pub cause: Option<Cause>,
}

/// An event that changed the lines of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Which one.
    pub event: CommissionEventId,
    /// What happened.
    pub kind: KindWord,
    /// To which deal; of a conversion the event itself, `None`: a decision about the agent.
    pub deal: Option<CommissionEventId>,
}

/// What an entry of the ledger says to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// The line as it is now; `None`: there is none any more.
    pub line: Option<Line>,
    /// It had been booked before: the entry is a difference.
    pub moved: bool,
    /// Why, in a sentence or a few.
    pub sentence: String,
    /// How the line comes about.
    pub arithmetic: Option<String>,
}

impl Booked {
    /// Reads what an entry explains. `happened` is when its event did, `month` the first day of the month
    /// that it counts in. `None`: the entry is of no line.
    #[must_use]
    pub fn read(explanation: &Value, happened: DateTime<Utc>, month: NaiveDate) -> Option<Self> {
        let line = explanation.get("line").cloned();
        let line: Option<Line> = line.and_then(|line| serde_json::from_value(line).ok());
        let changes = explanation.get("changes");
        let change: Option<Change> =
            changes.and_then(|change| serde_json::from_value(change.clone()).ok());
        let mut sentence = match (&line, &change) {
            (Some(line), Some(change)) => line.shifted(change),
            (Some(line), None) => line.sentence(),
            (None, Some(change)) => {
                format!("It came to {} and counts no more: all of it goes back.", change.before)
            }
            (None, None) => return None,
        };
        if let Some(late) = late(happened, month) {
            sentence.push(' ');
            sentence.push_str(&late);
        }
        let arithmetic = line.as_ref().map(Line::arithmetic);
        Some(Self { line, moved: changes.is_some(), sentence, arithmetic })
    }
}

/// Why something is booked in another month than its own: that one's statement is closed. `None` if it
/// is not.
#[must_use]
pub fn late(happened: DateTime<Utc>, booked_in: NaiveDate) -> Option<String> {
    let month = |day| PeriodKey::of_day(Window::Month, day);
    let (own, booked) = (month(happened.date_naive()), month(booked_in));
    (own < booked).then(|| {
        format!(
            "It belongs to {own}, whose statement is closed and stays as it was; the difference is \
             booked in {booked}."
        )
    })
}
