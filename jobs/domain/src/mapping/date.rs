//! Dates as senders write them, by Unicode date patterns (UTS 35) such as `dd.MM.yyyy HH:mm`.

use super::path::Path;
use super::pattern::{Local, Pattern};
use crate::normalise::Unreadable;
use chrono::{
    DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeZone, Utc,
};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde::de::Error as _;

/// How a date is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DateRule {
    /// Tried in order; none: RFC 3339, its forms without a zone, and RFC 2822.
    pub formats: Vec<Pattern>,
    /// Of dates that name none, in place of the portal's.
    #[serde(deserialize_with = "zone")]
    pub zone: Option<Tz>,
    /// Where the sender says which zone it means, by its IANA name; goes before `zone`.
    pub zone_from: Option<Path>,
    /// What a bare number counts.
    pub epoch: Epoch,
    /// Which instant a local time means that happens twice.
    pub dst: Dst,
}

/// What a number counts since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Epoch {
    /// Milliseconds from 100,000,000,000 on (1973 in milliseconds, the year 5138 in seconds).
    #[default]
    Auto,
    #[serde(alias = "s")]
    Seconds,
    #[serde(alias = "ms")]
    Milliseconds,
}

/// When clocks go back an hour happens twice; when they go forward one does not happen at all: then
/// the time is read as if they had not yet gone forward, as java.time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dst {
    /// The first of the two.
    #[default]
    Earlier,
    /// The second.
    Later,
    /// Neither: times that happen twice or never are unusable.
    Reject,
}

fn zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Tz>, D::Error> {
    zone_of(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

/// A time zone by its IANA name.
pub(super) fn zone_of(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("`{name}` is no time zone; write one such as Europe/Warsaw"))
}

impl DateRule {
    /// The instant that a text means; `zone` is that of texts that name none.
    pub fn read(&self, text: &str, zone: Option<Tz>) -> Result<DateTime<Utc>, Unreadable> {
        let wrong = |why: &str| Unreadable::new("invalid_date", format!("The date {why}."));
        if text.len() > 64 {
            return Err(wrong("is longer than 64 bytes"));
        }
        if self.formats.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return self.count(text.parse().map_err(|_| wrong("is out of range"))?);
        }
        let read = if self.formats.is_empty() {
            usual(text)
        } else {
            self.formats.iter().find_map(|p| p.read(text))
        };
        let (local, offset) = read.ok_or_else(|| {
            if self.formats.is_empty() {
                wrong("is not written as in 2026-11-22T15:31:00Z; name its format")
            } else {
                let formats: Vec<_> = self.formats.iter().map(Pattern::as_str).collect();
                wrong(&format!("is not written as {}", formats.join(" or ")))
            }
        })?;
        let instant = match offset {
            Some(offset) => offset.from_local_datetime(&local).single().map(|t| t.to_utc()),
            None => self.place(local, zone.unwrap_or(Tz::UTC)),
        };
        in_range(instant.ok_or_else(|| wrong("falls where the clocks are changed"))?)
    }

    /// The instant that a number means.
    pub fn count(&self, number: Decimal) -> Result<DateTime<Utc>, Unreadable> {
        let milliseconds = match self.epoch {
            Epoch::Milliseconds => true,
            Epoch::Seconds => false,
            Epoch::Auto => number.abs() >= Decimal::from(100_000_000_000_i64),
        };
        let scaled =
            if milliseconds { Some(number) } else { number.checked_mul(Decimal::from(1000)) };
        scaled
            .and_then(|n| n.to_i64())
            .and_then(DateTime::from_timestamp_millis)
            .ok_or_else(|| Unreadable::new("invalid_date", "The date is out of range."))
            .and_then(in_range)
    }

    fn place(&self, local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
        match (zone.from_local_datetime(&local), self.dst) {
            (LocalResult::Single(t), _) => Some(t.to_utc()),
            (_, Dst::Reject) => None,
            (LocalResult::Ambiguous(first, _), Dst::Earlier) => Some(first.to_utc()),
            (LocalResult::Ambiguous(_, second), Dst::Later) => Some(second.to_utc()),
            (LocalResult::None, _) => {
                // The offset of the day before is the one from before the change.
                let day_before = local.checked_sub_days(Days::new(1))?;
                let offset = zone.offset_from_local_datetime(&day_before).earliest()?.fix();
                offset.from_local_datetime(&local).single().map(|t| t.to_utc())
            }
        }
    }
}

/// Nothing a lead is about happened outside these years; PostgreSQL and JSON readers agree there.
fn in_range(t: DateTime<Utc>) -> Result<DateTime<Utc>, Unreadable> {
    if (1900..=2200).contains(&t.year()) {
        Ok(t)
    } else {
        Err(Unreadable::new("invalid_date", "The date is not between the years 1900 and 2200."))
    }
}

/// Without patterns: RFC 3339, the same without a zone or a time, RFC 2822.
fn usual(text: &str) -> Option<Local> {
    if let Ok(t) =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text))
    {
        return Some((t.naive_local(), Some(*t.offset())));
    }
    // ISO 8601 allows an offset without its colon, and some senders put a blank before it.
    let offset = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"]
        .iter()
        .find_map(|f| DateTime::parse_from_str(text, f).ok());
    if let Some(t) = offset {
        return Some((t.naive_local(), Some(*t.offset())));
    }
    let naive =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok());
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    naive.or_else(date).map(|t| (t, None))
}
