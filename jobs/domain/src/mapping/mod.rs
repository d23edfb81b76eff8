//! The mapping language: what a sender's fields mean, as data.

mod path;
mod target;

pub use path::Path;
pub use target::{Target, TextField};

use crate::portal::{Defaults, pointer};
use crate::{FieldFault, Headers, StandardLead, normalise};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// A checked mapping: a JSON document that says for every field of a lead where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    source: Value,
    rules: BTreeMap<Target, Path>,
}

/// What a mapping is applied to.
#[derive(Clone, Copy, Debug)]
pub struct MappingInput<'a> {
    /// The decoded body.
    pub body: &'a Value,
    /// The stored headers.
    pub headers: &'a Headers,
    /// What holds where the sender does not say.
    pub defaults: &'a Defaults,
}

impl Mapping {
    /// Reads and checks a mapping. `field` of a fault is a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(source: &Value) -> Result<Self, Vec<FieldFault>> {
        let Some(Value::Object(fields)) = source.get("fields") else {
            return Err(vec![FieldFault::new("/fields", "required", "Say where the fields are.")]);
        };
        let mut faults = Vec::new();
        let mut rules = BTreeMap::new();
        for (name, rule) in fields {
            let at = format!("/fields{}", pointer(name));
            let target = name.parse::<Target>().map_err(|e| ("unknown_field", e));
            let path = rule
                .as_str()
                .ok_or_else(|| "a rule is a path".to_owned())
                .and_then(str::parse::<Path>)
                .map_err(|e| ("invalid_path", e));
            match target.and_then(|t| path.map(|p| (t, p))) {
                Ok((target, path)) => _ = rules.insert(target, path),
                Err((code, message)) => faults.push(FieldFault::new(at, code, message)),
            }
        }
        if faults.is_empty() { Ok(Self { source: source.clone(), rules }) } else { Err(faults) }
    }

    /// The lead that an event stands for.
    ///
    /// # Errors
    /// Everything that keeps the event from being a lead, per field.
    pub fn apply(&self, input: &MappingInput<'_>) -> Result<StandardLead, Vec<FieldFault>> {
        let mut lead = StandardLead::default();
        let mut faults = Vec::new();
        let countries: Vec<&str> = input.defaults.country.as_deref().into_iter().collect();
        for (target, path) in &self.rules {
            let Some(text) = path.find(input.body).and_then(Value::as_str) else { continue };
            let read = match target {
                Target::Email => normalise::email(text).map(|v| lead.email = Some(v)),
                Target::Phone => {
                    normalise::phone(text, &countries).map(|v| lead.phone = Some(v.e164))
                }
                _ => Ok(()),
            };
            if let Err(e) = read {
                faults.push(FieldFault::new(target.to_string(), e.code, e.message));
            }
        }
        if faults.is_empty() { Ok(lead) } else { Err(faults) }
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
