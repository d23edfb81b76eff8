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
//! Reading (`read`) is apart from running (`run`, `steps`) and from writing the lead (`fill`):
//! a new operator is a variant of [`step::Step`] and its arm in `steps`.

mod date;
mod fill;
mod judgement;
mod path;
mod read;
mod rule;
mod run;
mod step;
mod steps;
mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_faults;
mod value;

pub use judgement::{Fetch, Judged, Judgement};
pub use path::Path;
pub use target::{Target, TextField};

use crate::portal::Defaults;
use crate::{FieldFault, Headers, StandardLead};
use rule::Rule;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// A checked mapping: a JSON document that says for every field of a lead where it comes from.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// As it was written: what is stored and shown.
    source: Value,
    rules: BTreeMap<Target, Rule>,
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
}

impl Mapping {
    /// Reads and checks a mapping. `field` of a fault is a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(source: &Value) -> Result<Self, Vec<FieldFault>> {
        Ok(Self { rules: read::rules(source)?, source: source.clone() })
    }

    /// What is wrong with a mapping: empty if it can be used.
    #[must_use]
    pub fn validate(source: &Value) -> Vec<FieldFault> {
        read::rules(source).err().unwrap_or_default()
    }

    /// The lead that an event stands for. Never panics, whatever the body.
    ///
    /// # Errors
    /// Everything that keeps the event from being a lead, per field: what is required and missing,
    /// what is unusable under `on_error: reject`, and that there is neither an e-mail address nor a
    /// phone number.
    pub fn apply(&self, input: &MappingInput<'_>) -> Result<StandardLead, Vec<FieldFault>> {
        run::lead(&self.rules, input)
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
