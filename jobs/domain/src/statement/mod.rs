//! The statement of commissions that an agent or an agency gets: as a PDF to read and as CSV to reckon
//! with.

mod pdf;
mod table;
#[cfg(test)]
mod tests;

pub use pdf::statement_pdf;
pub use table::statement_csv;

use crate::money::Money;
use chrono::{DateTime, Utc};

/// Why a document was not made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentFault {
    /// The embedded font cannot be read: the program is broken.
    #[error("the embedded font cannot be read; reinstall the program")]
    Font,
    /// The PDF writer refused it.
    #[error("the PDF was not written: {0}")]
    Pdf(String),
    /// The CSV writer refused it.
    #[error("the CSV was not written")]
    Csv(#[from] csv::Error),
}

/// One line of a statement.
#[derive(Clone, Debug)]
pub struct StatementLine {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The lead, or another thing that people know it by.
    pub subject: String,
    /// What was sold.
    pub product: String,
    /// `commission`, `correction`, `payout`, ...
    pub kind: String,
    /// Why the amount is what it is, in one sentence.
    pub why: String,
    /// The deal's value, where the line has one.
    pub base: Option<Money>,
    /// What it came to; negative: taken back, or paid out.
    pub amount: Money,
}

/// A statement: of one owner, one month, one currency. All amounts have the currency of `closing`.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Whom the platform owes.
    pub owner: String,
    /// The agency, if the owner is an agent.
    pub agency: String,
    /// The month, such as `2026-03`.
    pub period: String,
    /// When it was drawn up.
    pub drawn_at: DateTime<Utc>,
    /// Whether the month is closed: such a statement never changes.
    pub closed: bool,
    /// Owed at the beginning.
    pub opening: Money,
    /// Owed at the end.
    pub closing: Money,
    /// What happened between, in the order of time.
    pub lines: Vec<StatementLine>,
    /// Which of the month's lines these are; `None`: all of them.
    pub part: Option<Part>,
}

/// A part of a month with more lines than one document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 1.
    pub number: i64,
    /// Of so many.
    pub of: i64,
    /// How many lines the parts before it have.
    pub skipped: i64,
    /// How many lines the month has.
    pub lines: i64,
    /// What the lines of the parts before it come to.
    pub before: Money,
    /// What the lines of the parts after it come to.
    pub after: Money,
}

impl Part {
    /// Which lines a document has, and where the others are.
    fn told(&self, here: usize) -> String {
        let Self { number, of, skipped, lines, .. } = self;
        let last = skipped.saturating_add(i64::try_from(here).unwrap_or(i64::MAX));
        format!(
            "Part {number} of {of}: lines {} to {last} of {lines}. The others are in the other parts: add \
             `part=1` to `part={of}` to the statement's address.",
            skipped.saturating_add(1)
        )
    }
}

impl Statement {
    /// Whether the lines, with those of other parts, lead from the opening to the closing amount. `false` if a sum is beyond what
    /// an amount can hold, or a line has another currency.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let (before, after) = (self.part.map(|p| p.before), self.part.map(|p| p.after));
        let here = self.lines.iter().map(|line| line.amount);
        let mut all = before.into_iter().chain(here).chain(after);
        all.try_fold(self.opening, Money::plus) == Some(self.closing)
    }
}
