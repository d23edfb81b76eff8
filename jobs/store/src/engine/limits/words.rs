//! Limits as people write and read them: `10/s`, "queue `leads`".

use super::{LimitScope, StartRate};
use serde::Serializer;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units of a rate's time, in milliseconds; the last of a length is the one that is written.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("sec", 1_000),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("hour", 3_600_000),
    ("h", 3_600_000),
];

/// Something that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: write 10/s, 600/min, 1000/h or 5/30s")]
pub struct RateFault(String);

impl FromStr for StartRate {
    type Err = RateFault;

    /// Reads `10/s` or `5/30s`; the burst is the usual one.
    fn from_str(text: &str) -> Result<Self, RateFault> {
        let read = || {
            let (starts, time) = text.trim().split_once('/')?;
            let starts: u32 = starts.trim().parse().ok().filter(|n| *n > 0)?;
            let time = time.trim();
            let (count, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit())?);
            let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
            let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
            let period = Duration::from_millis(count.checked_mul(*millis).filter(|ms| *ms > 0)?);
            Some(Self { starts, period, burst: Self::usual_burst(starts, period) })
        };
        read().ok_or_else(|| RateFault(text.to_owned()))
    }
}

impl StartRate {
    /// The same with another burst, if there is one.
    #[must_use]
    pub fn bursting(self, burst: Option<u32>) -> Self {
        Self { burst: burst.unwrap_or(self.burst), ..self }
    }
}

impl fmt::Display for StartRate {
    /// As it is read; the burst is not part of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX).max(1);
        let fits = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(*unit));
        let (unit, size) = fits.unwrap_or(&UNITS[0]);
        match millis / size {
            1 => write!(f, "{}/{unit}", self.starts),
            n => write!(f, "{}/{n}{unit}", self.starts),
        }
    }
}

impl fmt::Display for LimitScope {
    /// For the middle of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { queue } => write!(f, "queue `{queue}`"),
            Self::Partition { queue, partition } => {
                write!(f, "partition `{partition}` of queue `{queue}`")
            }
            Self::EachPartition { queue } => write!(f, "each partition of queue `{queue}`"),
            Self::Key { key } => write!(f, "key `{key}`"),
        }
    }
}

pub(super) fn in_seconds<S: Serializer>(period: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(period.as_secs_f64())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for (text, starts, millis, written) in [
            ("10/s", 10, 1_000, "10/s"),
            (" 600 / min ", 600, 60_000, "600/min"),
            ("1000/h", 1000, 3_600_000, "1000/h"),
            ("5/30s", 5, 30_000, "5/30s"),
            ("1/250ms", 1, 250, "1/250ms"),
            ("7/60s", 7, 60_000, "7/min"),
        ] {
            let rate: StartRate = text.parse().unwrap();
            assert_eq!((rate.starts, rate.period), (starts, Duration::from_millis(millis)));
            assert_eq!(rate.to_string(), written);
        }
        for bad in
            ["", "10", "10/", "/s", "0/s", "-1/s", "10/0s", "1.5/s", "10/week", "9999999999/s"]
        {
            assert!(bad.parse::<StartRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_burst_is_what_twenty_milliseconds_give_unless_it_is_said() {
        let rate: StartRate = "1000/s".parse().unwrap();
        assert_eq!((rate.burst, rate.bursting(Some(3)).burst), (20, 3));
        assert_eq!("10/s".parse::<StartRate>().unwrap().burst, 1);
    }

    #[test]
    fn a_scope_is_a_queue_or_a_key() {
        let named = |queue: Option<&str>, partition: Option<&str>, each, key: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            LimitScope::named(own(queue), own(partition), each, own(key)).map(|s| s.to_string())
        };
        assert_eq!(named(Some("q"), None, false, None).unwrap(), "queue `q`");
        assert_eq!(named(Some("q"), Some("a"), false, None).unwrap(), "partition `a` of queue `q`");
        assert_eq!(named(Some("q"), None, true, None).unwrap(), "each partition of queue `q`");
        assert_eq!(named(None, None, false, Some("k")).unwrap(), "key `k`");
        let long = "x".repeat(1001);
        for (queue, partition, each, key) in [
            (None, None, false, None),
            (Some("q"), None, false, Some("k")),
            (Some("q"), Some("a"), true, None),
            (None, Some("a"), false, Some("k")),
            (None, None, true, Some("k")),
            (None, Some("a"), false, None),
            (Some("No Queue"), None, false, None),
            (Some(""), None, false, None),
            (Some("q"), Some("a\0"), false, None),
            (None, None, false, Some("")),
            (None, None, false, Some(&*long)),
        ] {
            assert!(named(queue, partition, each, key).is_err(), "{queue:?} {partition:?} {key:?}");
        }
    }
}
