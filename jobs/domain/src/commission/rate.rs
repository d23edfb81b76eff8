//! Exact rates and factors: whole millionths, never floating point.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

macro_rules! exact {
    ($(#[$doc:meta])* $name:ident, $places:literal, $most:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// How many of its smallest steps are 1.
            pub const ONE: i64 = 10_i64.pow($places);

            /// In its smallest steps.
            #[must_use]
            pub fn steps(self) -> i64 {
                self.0
            }

            fn from_decimal(value: Decimal) -> Option<Self> {
                let value = value.normalize();
                let shift = 10_i128.checked_pow(u32::checked_sub($places, value.scale())?)?;
                let steps = value.mantissa().checked_mul(shift)?;
                let within = (0..=i128::from(Self::ONE) * $most).contains(&steps);
                i64::try_from(steps).ok().filter(|_| within).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let plain = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                let value = Decimal::from_str(text).ok().filter(|_| plain);
                value.and_then(Self::from_decimal).ok_or_else(|| {
                    format!(
                        "`{text}` is no {}; write 0 to {}, with at most {} decimal places",
                        $what, $most, $places
                    )
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Decimal::new(self.0, $places).normalize().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        /// From text (`"7.5"`) or a number (`7.5`).
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                let text = match value {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

exact! {
    /// Percent: `7.5` is 7.5 %. From 0 to 1,000, with at most 6 decimal places.
    Percent, 6, 1000, "percentage"
}

exact! {
    /// What a rate is multiplied by: `1.25`. From 0 to 100, with at most 4 decimal places.
    Factor, 4, 100, "factor"
}

impl Factor {
    /// Leaves a rate as it is.
    pub const NEUTRAL: Self = Self(Self::ONE);
}

impl Percent {
    /// The whole.
    pub const HUNDRED: Self = Self(100 * Self::ONE);

    /// From millionths of a percent.
    pub(super) fn from_steps(steps: i64) -> Self {
        Self(steps)
    }
}
