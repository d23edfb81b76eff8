//! The mapping language: what a sender's fields mean, as data.
//!
//! ```json
//! { "fields": {
//!     "email": "E-mail",
//!     "first_name": { "from": "name", "then": [{ "split_name": "first" }] },
//!     "budget": { "from": ["offer", "price.max"], "when": { "path": "type", "equals": "BUY" } },
//!     "custom.listing": { "from": "listing.id" },
//!     "source": { "const": "zapier" } } }
//! ```
//!
//! A field's rule is a path, or an object: where the value stands (`from`, one place or several of
//! which the first that holds a usable value wins, or `const`), when it counts (`when`), what is
//! done to it (`then`), what stands in for it (`default`), whether it must be there (`required`)
//! and what an unusable value leads to (`on_error`: `null`, the default, leaves the field empty and
//! notes a warning; `reject` refuses the event). Whatever the steps give is at last read as what
//! the field is: an e-mail address, a phone number, an amount; so most rules need no steps.
//!
//! Around the fields a mapping may say which events count (`events`), where the leads stand in one
//! that holds several (`foreach`, `where`, `group_by`, `pivot`, `having`) and which values have a
//! name (`let`). The reference page is `docs/mapping.md`.
//!
//! Reading (`read`) is apart from finding values (`path`, `eval`), from the steps (`steps`), from
//! writing the lead (`fill`, `lines`) and from judging the event (`judge`): a new step is a variant
//! of [`step::Step`] and its arm in `steps`.

mod args;
mod date;
mod enrich;
mod enrich_headers;
mod eval;
mod fill;
mod fuel;
mod group;
mod judge;
mod judgement;
mod lines;
mod path;
mod pattern;
mod plan;
mod read;
mod rule;
mod run;
mod step;
mod steps;
mod target;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_enrich;
#[cfg(test)]
mod tests_events;
#[cfg(test)]
mod tests_faults;
#[cfg(test)]
mod tests_reading;
mod value;
mod words;

pub use enrich::{Enrich, TokenPlace};
pub use judgement::{Fetch, Judged, Judgement};
pub use path::Path;
pub use target::{ProofField, Target, TextField};

use crate::portal::Defaults;
use crate::{FieldFault, Headers};
use chrono::{DateTime, Utc};
use plan::Plan;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A checked mapping: a JSON document that says for every field of a lead where it comes from.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// As it was written: what is stored and shown.
    source: Value,
    plan: Plan,
}

/// What a mapping is applied to.
#[derive(Clone, Copy, Debug)]
pub struct MappingInput<'a> {
    /// The decoded body.
    pub body: &'a Value,
    /// The stored headers.
    pub headers: &'a Headers,
    /// The public URL with its query, as far as it is stored.
    pub url: Option<&'a str>,
    /// What holds where the sender does not say.
    pub defaults: &'a Defaults,
    /// When the delivery came.
    pub received_at: Option<DateTime<Utc>>,
}

impl Mapping {
    /// Reads and checks a mapping. `field` of a fault is a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(source: &Value) -> Result<Self, Vec<FieldFault>> {
        Ok(Self { plan: read::plan(source, true)?, source: source.clone() })
    }

    /// The same for a portal that fetches the rest of its leads: they need no contact yet.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse_incomplete(source: &Value) -> Result<Self, Vec<FieldFault>> {
        Ok(Self { plan: read::plan(source, false)?, source: source.clone() })
    }

    /// What is wrong with a mapping: empty if it can be used.
    #[must_use]
    pub fn validate(source: &Value) -> Vec<FieldFault> {
        read::plan(source, true).err().unwrap_or_default()
    }

    /// The names that its `let` gives.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.plan.named.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// What an event stands for. Never panics, whatever the body. What keeps an item from being a
    /// lead is told per field: what is required and missing, what is unusable under
    /// `on_error: reject`, and that there is neither an e-mail address nor a phone number.
    #[must_use]
    pub fn judge(&self, input: &MappingInput<'_>, enrich: Option<&Enrich>) -> Judgement {
        judge::event(&self.plan, input, enrich)
    }
}

/// Mappings are equal if they are written the same.
impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Mapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?)
            .map_err(|faults| serde::de::Error::custom(FieldFault::sentences(&faults)))
    }
}
