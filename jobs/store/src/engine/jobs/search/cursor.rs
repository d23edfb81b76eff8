//! Where a search goes on.

use crate::engine::jobs::read::JobRow;
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A finished job's place in the order of the history.
pub(super) type Place = (DateTime<Utc>, Uuid);

/// Where a search goes on: after the last job that was given, or looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// What indexes find in the history, all of it or what comes before; then everything else.
    Indexed(Option<Place>),
    /// Open jobs with smaller ids; then the history, only what finished since if indexes have been
    /// through with the rest.
    Open(Uuid, Option<DateTime<Utc>>),
    /// The history, all of it or what comes before, and only what finished since.
    Finished(Option<Place>, Option<DateTime<Utc>>),
}

impl Cursor {
    /// The very beginning.
    pub const START: Self = Self::Indexed(None);

    /// What comes after this job, which was found on this way.
    pub(super) fn after(self, row: &JobRow) -> Self {
        let place = row.finished_at.map(|at| (at, row.id.0));
        match self {
            Self::Indexed(_) => Self::Indexed(place),
            Self::Open(_, since) => Self::Open(row.id.0, since),
            Self::Finished(_, since) => Self::Finished(place, since),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = |since: &Option<DateTime<Utc>>| {
            since.map_or_else(|| "-".to_owned(), |t| t.timestamp_micros().to_string())
        };
        match self {
            Self::Indexed(_) => f.write_str("i")?,
            Self::Open(id, from) => write!(f, "o.{}.{id}", since(from))?,
            Self::Finished(_, from) => write!(f, "f.{}", since(from))?,
        }
        match self {
            Self::Indexed(Some((at, id))) | Self::Finished(Some((at, id)), _) => {
                write!(f, ".{}.{id}", at.timestamp_micros())
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let instant = |at: &str| DateTime::from_timestamp_micros(at.parse().ok()?);
        let since = |at: &str| if at == "-" { Some(None) } else { instant(at).map(Some) };
        let place = |at: &str, id: &str| Some(Some((instant(at)?, id.parse().ok()?)));
        let parts: Vec<&str> = text.split('.').collect();
        let parsed = match parts[..] {
            ["i"] => Some(Self::Indexed(None)),
            ["i", at, id] => place(at, id).map(Self::Indexed),
            ["o", from, id] => {
                since(from).zip(id.parse().ok()).map(|(from, id)| Self::Open(id, from))
            }
            ["f", from] => since(from).map(|from| Self::Finished(None, from)),
            ["f", from, at, id] => {
                since(from).zip(place(at, id)).map(|(from, at)| Self::Finished(at, from))
            }
            _ => None,
        };
        parsed.ok_or_else(|| format!("`{text}` is no cursor; take `next` of the page before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back() {
        let at = DateTime::from_timestamp_micros(1_772_368_200_123_456).unwrap_or_default();
        let id = Uuid::from_u128(7);
        for cursor in [
            Cursor::START,
            Cursor::Indexed(Some((at, id))),
            Cursor::Open(id, None),
            Cursor::Open(id, Some(at)),
            Cursor::Finished(None, Some(at)),
            Cursor::Finished(Some((at, id)), None),
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in ["", "o", "f.x", "g.1", "i.1", "o.-.7"] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
