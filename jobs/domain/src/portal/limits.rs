//! How much a portal may send.

use crate::FieldFault;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How much a portal may send. What is beyond is answered 429 with the time to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The steady rate, such as `50/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many may come at once; without it, as many as the rate's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// How many in a whole period, such as `10000/day`; days begin at midnight UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Rate>,
}

/// So many in a period: `50/s`, `600/min`, `1000/hour`, `10000/day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In what.
    pub per: Per,
}

/// A period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Per {
    /// Its length.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl Limits {
    /// Is there any?
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.rate.is_none() && self.quota.is_none()
    }

    /// How many may come at once under the rate.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.or(self.rate.map(|r| r.count)).unwrap_or(1)
    }

    pub(super) fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        if self.burst.is_some() && self.rate.is_none() {
            let message = "A burst needs a `rate` that it exceeds for a moment.";
            faults.push(FieldFault::new("/limits/burst", "rate_missing", message));
        }
        if self.burst == Some(0) {
            let message =
                "A burst of 0 would let nothing through; leave it out, or write 1 or more.";
            faults.push(FieldFault::new("/limits/burst", "out_of_range", message));
        }
        faults
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.word())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate; write one such as 50/s, 600/min or 10000/day");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let per = match per.trim() {
            "s" | "sec" | "second" => Per::Second,
            "m" | "min" | "minute" => Per::Minute,
            "h" | "hour" => Per::Hour,
            "d" | "day" => Per::Day,
            _ => return Err(wrong()),
        };
        Ok(Self { count, per })
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
