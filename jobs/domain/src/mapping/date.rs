//! Dates as senders write them, by Unicode date patterns (UTS 35) such as `dd.MM.yyyy HH:mm`.

use crate::normalise::Unreadable;
use chrono::{
    DateTime, Datelike, Days, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeZone,
    Utc,
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
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(|_| {
        D::Error::custom(format!("`{name}` is no time zone; write one such as Europe/Warsaw"))
    })
}

impl DateRule {
    /// The instant that a text means.
    pub fn read(&self, text: &str, default_zone: Option<Tz>) -> Result<DateTime<Utc>, Unreadable> {
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
                let formats: Vec<_> = self.formats.iter().map(|f| f.text.as_str()).collect();
                wrong(&format!("is not written as {}", formats.join(" or ")))
            }
        })?;
        let instant = match offset {
            Some(offset) => offset.from_local_datetime(&local).single().map(|t| t.to_utc()),
            None => self.place(local, self.zone.or(default_zone).unwrap_or(Tz::UTC)),
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

type Local = (NaiveDateTime, Option<FixedOffset>);

/// Without patterns: RFC 3339, the same without a zone or a time, RFC 2822.
fn usual(text: &str) -> Option<Local> {
    if let Ok(t) =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text))
    {
        return Some((t.naive_local(), Some(*t.offset())));
    }
    let naive =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok());
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    naive.or_else(date).map(|t| (t, None))
}

/// A compiled date pattern.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Exactly this; a blank stands for any white space.
    Literal(char),
    /// A letter of the pattern and how often it stands there.
    Field(char, usize),
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut pieces = Vec::new();
        let mut quoted = false;
        for c in text.chars() {
            if c == '\'' {
                quoted = !quoted;
            } else if quoted || !c.is_ascii_alphabetic() {
                pieces.push(Piece::Literal(c));
            } else if let Some(Piece::Field(letter, n)) = pieces.last_mut()
                && *letter == c
            {
                *n += 1;
            } else {
                pieces.push(Piece::Field(c, 1));
            }
        }
        let known = |piece: &Piece| match piece {
            Piece::Literal(_) => true,
            Piece::Field(c, n) => match c {
                'y' => matches!(n, 2 | 4),
                'M' | 'd' | 'H' | 'h' | 'm' | 's' => *n <= 2,
                'S' => *n <= 9,
                'a' | 'Z' => *n == 1,
                'X' => *n <= 3,
                _ => false,
            },
        };
        if let Some(Piece::Field(c, n)) = pieces.iter().find(|p| !known(p)) {
            let field = c.to_string().repeat(*n);
            return Err(format!(
                "the date format `{text}` has `{field}`; known are yyyy yy MM M dd d HH H hh h mm m \
                 ss s S a X Z, and 'text' in single quotes"
            ));
        }
        let has = |letter| pieces.iter().any(|p| matches!(p, Piece::Field(c, _) if *c == letter));
        if quoted || !(has('y') && has('M') && has('d')) || has('h') != has('a') {
            return Err(format!(
                "the date format `{text}` must have year, month and day, quotes in pairs, and `a` \
                 with `h`"
            ));
        }
        Ok(Self { text, pieces })
    }
}

/// What has been read so far.
#[derive(Default)]
struct Parts {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nano: u32,
    afternoon: Option<bool>,
    offset: Option<FixedOffset>,
}

impl Pattern {
    fn read(&self, text: &str) -> Option<Local> {
        let mut rest = text.trim();
        let mut parts = Parts::default();
        for piece in &self.pieces {
            rest = match piece {
                Piece::Literal(c) if c.is_whitespace() => {
                    let trimmed = rest.trim_start();
                    (trimmed.len() < rest.len()).then_some(trimmed)?
                }
                Piece::Literal(c) => rest.strip_prefix(*c)?,
                Piece::Field(letter, n) => parts.take(*letter, *n, rest)?,
            };
        }
        if !rest.is_empty() {
            return None;
        }
        parts.local()
    }
}

impl Parts {
    /// Reads one field and gives back the rest of the text.
    fn take<'a>(&mut self, letter: char, n: usize, text: &'a str) -> Option<&'a str> {
        match letter {
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = match half.to_ascii_lowercase().as_str() {
                    "am" => Some(false),
                    "pm" => Some(true),
                    _ => return None,
                };
                return Some(rest);
            }
            'X' | 'Z' => {
                let (offset, rest) = take_offset(text)?;
                self.offset = Some(offset);
                return Some(rest);
            }
            _ => {}
        }
        // One letter takes one or two digits, more letters exactly as many; fractions as written.
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let width = if n == 1 && letter != 'S' { digits.min(2) } else { n };
        if width == 0 || digits < width {
            return None;
        }
        let (number, rest) = text.split_at(width);
        let value: u32 = number.parse().ok()?;
        match letter {
            'y' if n == 4 => self.year = i32::try_from(value).ok()?,
            // Two digits: 1970 to 2069, as POSIX nearly says.
            'y' => {
                self.year =
                    i32::try_from(if value < 70 { 2000 + value } else { 1900 + value }).ok()?
            }
            'M' => self.month = value,
            'd' => self.day = value,
            'H' | 'h' => self.hour = value,
            'm' => self.minute = value,
            's' => self.second = value,
            'S' => self.nano = value * 10_u32.pow(u32::try_from(9 - n).ok()?),
            _ => return None,
        }
        Some(rest)
    }

    fn local(self) -> Option<Local> {
        let hour = match self.afternoon {
            None => self.hour,
            Some(_) if !(1..=12).contains(&self.hour) => return None,
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        let second = if self.second == 60 { 59 } else { self.second }; // a leap second
        let date = NaiveDate::from_ymd_opt(self.year, self.month, self.day)?;
        Some((date.and_hms_nano_opt(hour, self.minute, second, self.nano)?, self.offset))
    }
}

/// `Z`, `+02`, `+0200` or `+02:00`.
fn take_offset(text: &str) -> Option<(FixedOffset, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((FixedOffset::east_opt(0)?, rest));
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, rest) = text[1..].split_at_checked(2)?;
    let after_colon = rest.strip_prefix(':').unwrap_or(rest);
    let (minutes, rest) = match after_colon.split_at_checked(2) {
        Some((m, rest)) if m.bytes().all(|b| b.is_ascii_digit()) => (m, rest),
        _ => ("0", rest),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some((FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))?, rest))
}
