//! How one value is read. Values of a file have types; values of the environment are text.

use figment::value::{Num, Value};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A value as it was given.
pub(super) enum Given<'a> {
    Text(&'a str),
    Whole(u64),
    Fraction(f64),
    Yes(bool),
    List(Vec<String>),
    /// A section whose values are text or whole numbers.
    Pairs(Vec<(String, String)>),
    Other(&'static str),
}

impl<'a> Given<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::String(_, s) => Self::Text(s.trim()),
            Value::Bool(_, b) => Self::Yes(*b),
            Value::Num(_, n) => whole(*n).map_or_else(
                || n.to_f64().map_or(Self::Other("a number out of range"), Self::Fraction),
                Self::Whole,
            ),
            Value::Array(_, items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map_or(
                Self::Other("a list of other things than text and whole numbers"),
                Self::List,
            ),
            Value::Dict(_, members) => {
                let pairs = members.iter().map(|(name, v)| Some((name.clone(), plain(v)?)));
                let pairs = pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty());
                pairs.map_or(Self::Other("a section"), Self::Pairs)
            }
            Value::Char(..) | Value::Empty(..) => Self::Other("nothing"),
        }
    }

    /// As people wrote it, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(s) => format!("{s:?}"),
            Self::Whole(n) => n.to_string(),
            Self::Fraction(n) => n.to_string(),
            Self::Yes(b) => b.to_string(),
            Self::List(items) => format!("{items:?}"),
            Self::Pairs(_) => "a section".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

/// A text or a whole number, as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Num(_, n) => whole(*n).map(|n| n.to_string()),
        value => value.as_str().map(str::to_owned),
    }
}

fn whole(n: Num) -> Option<u64> {
    n.to_u128()
        .and_then(|n| u64::try_from(n).ok())
        .or_else(|| n.to_i128().and_then(|n| u64::try_from(n).ok()))
}

/// A type that a setting may have.
pub(super) trait Setting: Sized {
    /// What is wanted: "a whole number".
    const WANTED: &'static str;

    fn read(given: &Given<'_>) -> Option<Self>;

    /// As it would be written in a file, for showing the effective configuration.
    fn written(&self) -> String;
}

impl Setting for String {
    const WANTED: &'static str = "text";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Text(s) => Some((*s).to_owned()),
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    const WANTED: &'static str = "a path";

    fn read(given: &Given<'_>) -> Option<Self> {
        String::read(given).filter(|s| !s.is_empty()).map(Self::from)
    }

    fn written(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for u64 {
    const WANTED: &'static str = "a whole number";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Whole(n) => Some(*n),
            Given::Text(s) => s.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    const WANTED: &'static str = "true or false";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Yes(b) => Some(*b),
            Given::Text(s) => s.parse().ok(),
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    const WANTED: &'static str = "an address and a port, such as 127.0.0.1:8080";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Text(s) => s.parse().ok(),
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for url::Url {
    const WANTED: &'static str = "an address that starts with http:// or https://";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Text(s) => {
                Self::parse(s).ok().filter(|u| matches!(u.scheme(), "http" | "https"))
            }
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for Vec<String> {
    const WANTED: &'static str = "a list of names (in the environment: separated by commas)";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::List(items) => Some(items.clone()),
            Given::Text(s) => {
                let names = s.split(',').map(str::trim).filter(|n| !n.is_empty());
                Some(names.map(str::to_owned).collect())
            }
            _ => None,
        }
    }

    fn written(&self) -> String {
        self.join(",")
    }
}

impl Setting for Duration {
    const WANTED: &'static str = "a duration: 250ms, 30s, 5m, 2h, 7d, or a number of seconds";

    fn read(given: &Given<'_>) -> Option<Self> {
        match given {
            Given::Whole(n) => Some(Self::from_secs(*n)),
            Given::Fraction(f) => Self::try_from_secs_f64(*f).ok(),
            Given::Text(s) => duration(s),
            _ => None,
        }
    }

    fn written(&self) -> String {
        written_duration(*self)
    }
}

const UNITS: [(&str, f64); 5] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// `1.5h`, `250ms`, `30` (seconds).
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor = match unit {
        "" => 1.0,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

/// In the largest unit in which it is whole.
pub(crate) fn written_duration(d: Duration) -> String {
    let ms = d.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let fits = units.into_iter().find(|(_, size)| ms != 0 && ms.is_multiple_of(*size));
    fits.map_or_else(|| format!("{ms}ms"), |(unit, size)| format!("{}{unit}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("30", 30_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "5 parsecs", "-3s", "1e3s", "5m30s", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["250ms", "30s", "5m", "2h", "7d", "90s"] {
            assert_eq!(duration(text).map(written_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn numbers_come_as_numbers_and_as_text() {
        assert_eq!(u64::read(&Given::Whole(7)), Some(7));
        assert_eq!(u64::read(&Given::Text("1_000")), Some(1000));
        assert_eq!(u64::read(&Given::Text("-1")), None);
        assert_eq!(u64::read(&Given::Fraction(1.5)), None);
    }
}
