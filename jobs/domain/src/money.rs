//! Money: whole minor units with their currency. No amount is ever a floating-point number.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::sync::LazyLock;

/// One line a currency: its code and the decimal places of its minor unit, sorted by code.
static TABLE: LazyLock<Vec<(&'static str, u8)>> = LazyLock::new(|| {
    let lines = include_str!("../data/currencies.tsv").lines();
    let columns = lines.filter_map(|line| line.split_once('\t'));
    columns.filter_map(|(code, places)| Some((code, places.parse().ok()?))).collect()
});

/// A currency of ISO 4217. Ordered and written by its code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(
    /// Its place in the table, counted from 1: one byte, and an absent amount costs none.
    NonZeroU8,
);

impl Currency {
    /// Every currency, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=u8::MAX).zip(TABLE.iter()).filter_map(|(n, _)| NonZeroU8::new(n)).map(Self)
    }

    /// The currency with this code, in any case.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        let code = code.to_ascii_uppercase();
        let at = TABLE.binary_search_by(|(known, _)| (*known).cmp(code.as_str())).ok()?;
        u8::try_from(at + 1).ok().and_then(NonZeroU8::new).map(Self)
    }

    /// ISO 4217, such as `EUR`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// Decimal places of its minor unit: 0 (JPY), 2 (EUR) or 3 (KWD).
    #[must_use]
    pub fn exponent(self) -> u8 {
        self.row().1
    }

    fn row(self) -> (&'static str, u8) {
        TABLE.get(usize::from(self.0.get()) - 1).copied().unwrap_or(("XXX", 0))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, String> {
        Self::of(code)
            .ok_or_else(|| format!("`{code}` is no currency; write an ISO 4217 code such as EUR"))
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An amount: `{"minor": 12550, "currency": "EUR"}` is 125.50 EUR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Whole minor units: cents of EUR, yen, fils of KWD. Negative: taken back.
    pub minor: i64,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// So many minor units.
    #[must_use]
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Is it nothing?
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// The sum; `None` for another currency or beyond what an amount can hold.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor)?;
        (self.currency == other.currency).then_some(Self { minor, ..self })
    }

    /// The difference; `None` for another currency or beyond what an amount can hold.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_sub(other.minor)?;
        (self.currency == other.currency).then_some(Self { minor, ..self })
    }

    /// Reads an amount in units, such as `1250.5`: digits, a point and at most the currency's
    /// decimal places.
    ///
    /// # Errors
    /// A sentence that says what to write.
    pub fn parse(units: &str, currency: Currency) -> Result<Self, String> {
        let wrong = || format!("`{units}` is no amount; write digits and a point, such as 1250.50");
        // `Decimal` would read `1_000` and round what is too long.
        let plain = |b: u8| b.is_ascii_digit() || b == b'.' || b == b'-';
        if units.len() > 24 || !units.bytes().all(plain) {
            return Err(wrong());
        }
        let value = Decimal::from_str(units).map_err(|_| wrong())?.normalize();
        let places = u32::from(currency.exponent());
        if value.scale() > places {
            return Err(format!(
                "`{units}` has more decimal places than the {places} of {currency}"
            ));
        }
        let shift = 10_i128.pow(places - value.scale());
        let minor = value.mantissa().checked_mul(shift).and_then(|n| i64::try_from(n).ok());
        minor
            .map(|minor| Self { minor, currency })
            .ok_or_else(|| format!("`{units}` is beyond what an amount can hold"))
    }

    /// The amount in units as programs write it: `-1250.50`.
    #[must_use]
    pub fn units(self) -> String {
        self.written("")
    }

    fn written(self, group: &str) -> String {
        let places = usize::from(self.currency.exponent());
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let mut text = String::with_capacity(digits.len() + 10);
        if self.minor < 0 {
            text.push('-');
        }
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i) % 3 == 0 {
                text.push_str(group);
            }
            text.push(digit);
        }
        if places > 0 {
            text.push('.');
            text.push_str(fraction);
        }
        text
    }
}

/// As people read it: `-1,250.50 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.written(","), self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
