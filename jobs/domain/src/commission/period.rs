//! The stretches of time over which a total is kept.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// How long a total grows before it starts at zero again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A calendar month.
    #[default]
    Month,
    /// Three calendar months, the first from January.
    Quarter,
    /// A calendar year.
    Year,
    /// For good.
    Lifetime,
}

/// One period: `2026-11`, `2026-Q4`, `2026` or `lifetime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeriodKey {
    /// A calendar month, 1 to 12.
    Month(i32, u32),
    /// A quarter, 1 to 4.
    Quarter(i32, u32),
    /// A calendar year.
    Year(i32),
    /// All time.
    Lifetime,
}

impl PeriodKey {
    /// The period of a window that this moment falls in, by the zone's calendar.
    #[must_use]
    pub fn at(window: Window, zone: Tz, at: DateTime<Utc>) -> Self {
        if window == Window::Lifetime {
            return Self::Lifetime;
        }
        Self::of_day(window, day_in(zone, at))
    }

    /// The period of a window that this day falls in.
    #[must_use]
    pub fn of_day(window: Window, day: NaiveDate) -> Self {
        match window {
            Window::Month => Self::Month(day.year(), day.month()),
            Window::Quarter => Self::Quarter(day.year(), day.month0() / 3 + 1),
            Window::Year => Self::Year(day.year()),
            Window::Lifetime => Self::Lifetime,
        }
    }

    /// Its first day and the day after its last one; `None` for a lifetime.
    #[must_use]
    pub fn days(self) -> Option<(NaiveDate, NaiveDate)> {
        let (year, month, months) = match self {
            Self::Month(year, month) => (year, month, 1),
            Self::Quarter(year, quarter) => {
                (year, quarter.checked_sub(1)?.checked_mul(3)?.checked_add(1)?, 3)
            }
            Self::Year(year) => (year, 1, 12),
            Self::Lifetime => return None,
        };
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        Some((first, first.checked_add_months(Months::new(months))?))
    }

    /// Its first moment and the first one after it; `None` for a lifetime.
    #[must_use]
    pub fn bounds(self, zone: Tz) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (first, after) = self.days()?;
        Some((day_begins(zone, first), day_begins(zone, after)))
    }
}

/// The calendar day of a moment in a zone.
pub(super) fn day_in(zone: Tz, at: DateTime<Utc>) -> NaiveDate {
    let utc = at.naive_utc();
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    // At the ends of the calendar there is no local day.
    utc.checked_add_offset(offset).unwrap_or(utc).date()
}

/// A day's first moment in a zone. Where clocks jump over midnight, the first one after the jump.
pub(super) fn day_begins(zone: Tz, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let quarters = (0..=8).map(|n| midnight + TimeDelta::minutes(15 * n));
    let mut real = quarters.filter_map(|local| zone.from_local_datetime(&local).earliest());
    real.next().map_or_else(|| midnight.and_utc(), |at| at.to_utc())
}

impl fmt::Display for PeriodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month(year, month) => write!(f, "{year:04}-{month:02}"),
            Self::Quarter(year, quarter) => write!(f, "{year:04}-Q{quarter}"),
            Self::Year(year) => write!(f, "{year:04}"),
            Self::Lifetime => f.write_str("lifetime"),
        }
    }
}

impl FromStr for PeriodKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            if text == "lifetime" {
                return Some(Self::Lifetime);
            }
            let number = |t: &str, most| {
                let plain = t.bytes().all(|b| b.is_ascii_digit());
                t.parse().ok().filter(|n| plain && (1..=most).contains(n))
            };
            let (year, part) = text.split_once('-').map_or((text, None), |(y, p)| (y, Some(p)));
            let year = i32::try_from(number(year, 9999).filter(|_| year.len() == 4)?).ok()?;
            Some(match part {
                None => Self::Year(year),
                Some(part) => match part.strip_prefix('Q') {
                    Some(quarter) => Self::Quarter(year, number(quarter, 4)?),
                    None => Self::Month(year, number(part, 12).filter(|_| part.len() == 2)?),
                },
            })
        };
        read().ok_or_else(|| {
            format!("`{text}` is no period; write 2026-11, 2026-Q4, 2026 or lifetime")
        })
    }
}

impl Serialize for PeriodKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeriodKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
