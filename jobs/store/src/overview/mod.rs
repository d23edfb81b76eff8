//! What operators look at: deliveries with their leads, assignments and messages, read in few
//! set-based statements in the platform's scope. Nothing here writes.

mod attention;
mod events;
mod leads;
mod marks;
mod messages;
mod portals;
mod throughput;

pub use attention::{Attention, attention};
pub use events::{EventDetail, EventFilter, EventRow, event, events};
pub use leads::{
    AssignmentLine, LeadDetail, LeadFilter, LeadHead, LeadLine, MessageLine, lead, leads, lines,
    lines_of,
};
pub use marks::{JobMark, job_args, job_marks};
pub use messages::{MessageDetail, MessageFilter, MessageRow, message, messages};
pub use portals::{PortalRow, portal, portals};
pub use throughput::{Bucket, throughput};

use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Where a page of a list ends: the key of its last row. Lists run from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The row's time, in the database's resolution (microseconds).
    pub at: DateTime<Utc>,
    /// The row's id; decides between rows of one instant.
    pub id: Uuid,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.timestamp_micros(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (at, id) = s.split_once('_')?;
            let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
            Some(Self { at, id: id.parse().ok()? })
        };
        parse()
            .ok_or_else(|| format!("`{s}` is no place in a list; start from the list's first page"))
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Statements ask for one row more than the page holds: its presence tells of a next page.
    fn cut(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let at = DateTime::from_timestamp_micros(1_790_000_000_123_456).expect("a valid instant");
        let cursor = Cursor { at, id: Uuid::from_u128(7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "_", "12", "x_0", "12_zz", "99999999999999999999_0"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_knows_whether_there_is_another() {
        let key =
            |n: &u32| Cursor { at: DateTime::UNIX_EPOCH, id: Uuid::from_u128(u128::from(*n)) };
        assert_eq!(Page::cut(vec![1, 2], 2, key).next, None);
        let page = Page::cut(vec![1, 2, 3], 2, key);
        assert_eq!((page.rows, page.next), (vec![1, 2], Some(key(&2))));
    }
}
