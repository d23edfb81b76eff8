//! How much work one event may cause.

use serde_json::Value;
use std::cell::Cell;

/// A unit is a value looked at or 32 bytes of text read: about a second, and far more than the
/// mappings of real senders need for a body of a megabyte. Tests need not wait as long.
const UNITS: u64 = if cfg!(test) { 300_000 } else { 5_000_000 };
const BYTES_A_UNIT: usize = 32;

/// Bounds the work that a hostile body can make of a mapping that looks at everything often.
#[derive(Debug)]
pub(super) struct Fuel(Cell<u64>);

impl Fuel {
    pub fn full() -> Self {
        Self(Cell::new(UNITS))
    }

    /// Takes units. `false`: there are none left, and what is under way must come to its end.
    pub fn spend(&self, units: u64) -> bool {
        let left = self.0.get().saturating_sub(units);
        self.0.set(left);
        left > 0
    }

    pub fn spend_text(&self, text: &str) -> bool {
        self.spend(1 + (text.len() / BYTES_A_UNIT) as u64)
    }

    /// Takes what it costs to copy a value.
    pub fn spend_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.spend_text(text),
            Value::Array(items) => self.spend(1) && items.iter().all(|v| self.spend_value(v)),
            Value::Object(members) => {
                self.spend(1)
                    && members.iter().all(|(k, v)| self.spend_text(k) && self.spend_value(v))
            }
            _ => self.spend(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.get() == 0
    }
}
