//! The same person twice: what identifies one, what a portal wants done about it, and how a later
//! lead completes an earlier one.

mod merge;
#[cfg(test)]
mod tests;

pub use merge::absorb;

use crate::{PortalId, StandardLead};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

const DAY: u64 = 24 * 3600;
/// A year: beyond that the person has long been somebody else's customer.
const LONGEST: u64 = 366 * DAY;

/// When a lead counts as one of a person who asked before, and what is done then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateRule {
    /// How long after the first lead a person counts as the same: `30d`, `12h`.
    #[serde(default = "month", with = "window")]
    pub window: Duration,
    /// By what a person is known; one of them is enough.
    #[serde(default = "both")]
    pub by: BTreeSet<PersonField>,
    /// Among whose leads the person is looked for.
    #[serde(default)]
    pub per: DuplicateScope,
    /// Only leads that ask for the same thing (`interest`, whatever its case and blanks).
    #[serde(default)]
    pub product: bool,
    /// What is done.
    pub policy: DuplicatePolicy,
}

/// By what a person is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonField {
    /// The normalised e-mail address.
    Email,
    /// The phone number in E.164.
    Phone,
}

/// Among whose leads a person is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateScope {
    /// The same portal's.
    #[default]
    Portal,
    /// Those of all portals that say `platform`.
    Platform,
}

/// What is done with a lead of a person who asked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicatePolicy {
    /// It is a lead like any other, with the warning `duplicate_person`.
    Accept,
    /// It is a lead that names the first one, and is given out.
    Link,
    /// The first lead gets what it lacked; there is no second.
    Merge,
    /// The event is refused, naming the first lead.
    Reject,
}

/// What identifies a person: SHA-256, because the table needs to find it and nobody to read it.
pub type PersonKey = [u8; 32];

impl DuplicateRule {
    /// What is wrong with the rule, as a sentence.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if self.by.is_empty() {
            return Some("Say by what a person is known: `email`, `phone`, or both.");
        }
        None
    }

    /// The keys of a lead's person, sorted. None for a test lead, which is nobody's.
    #[must_use]
    pub fn keys(&self, portal: PortalId, lead: &StandardLead) -> Vec<PersonKey> {
        if lead.is_test {
            return Vec::new();
        }
        let product = self.product.then(|| folded(lead.interest.as_deref().unwrap_or_default()));
        let key = |field: &PersonField| {
            let (name, value) = match field {
                PersonField::Email => ("email", lead.email.as_deref()?.to_lowercase()),
                PersonField::Phone => ("phone", lead.phone.clone()?),
            };
            let mut hash = Sha256::new();
            match self.per {
                DuplicateScope::Portal => hash.update(portal.0.as_bytes()),
                DuplicateScope::Platform => hash.update([0; 16]),
            }
            // Lengths before texts: two different persons never make one text.
            for part in [name, product.as_deref().unwrap_or_default(), value.trim()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
            Some(hash.finalize().into())
        };
        let mut keys: Vec<PersonKey> = self.by.iter().filter_map(key).collect();
        // One order for everybody, so that two transactions never wait for each other in a circle.
        keys.sort_unstable();
        keys
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

fn month() -> Duration {
    Duration::from_secs(30 * DAY)
}

fn both() -> BTreeSet<PersonField> {
    BTreeSet::from([PersonField::Email, PersonField::Phone])
}

mod window {
    //! Spans of time in hours, days or weeks.
    use super::{DAY, Deserialize, Deserializer, Duration, LONGEST, Serializer};
    use serde::de::Error as _;

    pub fn serialize<S: Serializer>(window: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = window.as_secs();
        let text = match seconds {
            s if s % DAY == 0 => format!("{}d", s / DAY),
            s => format!("{}h", s / 3600),
        };
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fault = || {
            D::Error::custom(format!(
                "`{text}` is no window; write hours, days or weeks such as 12h, 30d or 4w, at most 366d"
            ))
        };
        let unit = match text.chars().last() {
            Some('h') => 3600,
            Some('d') => DAY,
            Some('w') => 7 * DAY,
            _ => return Err(fault()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| fault())?;
        let seconds = number.checked_mul(unit).filter(|s| (1..=LONGEST).contains(s));
        seconds.map(Duration::from_secs).ok_or_else(fault)
    }
}
