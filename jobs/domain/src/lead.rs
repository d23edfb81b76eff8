//! The standard lead: what every portal's event is mapped to.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What the person agreed to. `None`: was not asked. As JSON one flat object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consent {
    /// Processing of the personal data.
    pub privacy: Option<bool>,
    /// Marketing messages.
    pub marketing: Option<bool>,
    /// Anything else that was asked: `sms`, `third_party`, ...
    #[serde(flatten)]
    pub other: BTreeMap<String, Option<bool>>,
}

impl Consent {
    /// What was answered, by the name under which it was asked.
    pub fn answers(&self) -> impl Iterator<Item = (&str, bool)> {
        let named = [("privacy", self.privacy), ("marketing", self.marketing)];
        let other = self.other.iter().map(|(name, answer)| (name.as_str(), *answer));
        named.into_iter().chain(other).filter_map(|(name, answer)| Some((name, answer?)))
    }

    /// The answer to what is asked under this name.
    pub fn entry(&mut self, name: &str) -> &mut Option<bool> {
        match name {
            "privacy" => &mut self.privacy,
            "marketing" => &mut self.marketing,
            other => self.other.entry(other.to_owned()).or_default(),
        }
    }
}

/// What shows that somebody was asked and what the answer was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsentProof {
    /// The text that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// From which network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// On which page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A lead in the platform's own form. Text is NFC, trimmed at the ends, never empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StandardLead {
    /// The sender's own id of the lead; unique within a portal.
    pub external_id: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Company.
    pub company: Option<String>,
    /// Lower case.
    pub email: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Upper case.
    pub postal_code: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// The product, object or service asked for.
    pub interest: Option<String>,
    /// Free text of the person.
    pub message: Option<String>,
    /// An amount in units of `currency` (not cents), as exact as it was sent.
    pub budget: Option<Decimal>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Where the lead came from, in the portal's words.
    pub source: Option<String>,
    /// What the person agreed to.
    pub consent: Option<Consent>,
    /// What shows it, by the consent's name.
    pub consent_proof: Option<BTreeMap<String, ConsentProof>>,
    /// `source`, `medium`, `campaign`, `term`, `content`.
    pub utm: Option<BTreeMap<String, String>>,
    /// The advertising campaign, as the sender describes it.
    pub campaign: Option<Map<String, Value>>,
    /// What is asked for, line by line: `product`, `quantity`, `unit`, `target_price`, ...
    pub line_items: Option<Vec<Map<String, Value>>>,
    /// When the person sent it.
    pub submitted_at: Option<DateTime<Utc>>,
    /// The sender marked it as a test.
    pub is_test: bool,
    /// Everything else worth keeping.
    pub custom: Option<Map<String, Value>>,
    /// Classes of things that were mended or dropped on the way in.
    pub warnings: Vec<String>,
}

/// One thing that is wrong with one field of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldFault {
    /// The standard lead's field, or `body`.
    pub field: String,
    /// Stable word for programs: `required`, `invalid_email`, ...
    pub code: String,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
}

impl FieldFault {
    /// A fault of one field.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }

    /// The same fault seen from outside: `at` is put before the field's JSON pointer.
    #[must_use]
    pub(crate) fn below(mut self, at: &str) -> Self {
        self.field.insert_str(0, at);
        self
    }

    /// All faults as one line of text.
    #[must_use]
    pub fn sentences(faults: &[Self]) -> String {
        let each: Vec<_> = faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
        each.join(" ")
    }
}

/// Where a lead stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadState {
    /// Stored, not given out yet.
    New,
    /// Offered to an agency.
    Assigned,
    /// Taken by the agency.
    Accepted,
    /// Nobody covers its place.
    Unassigned,
    /// Its sender sent an id only; the rest is being fetched.
    Pending,
    /// It was fetched, and its person asked before: its portal wants no second lead. It is never given
    /// out.
    Duplicate,
}

impl LeadState {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Unassigned => "unassigned",
            Self::Pending => "pending",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for LeadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LeadState {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        use LeadState::{Accepted, Assigned, Duplicate, New, Pending, Unassigned};
        [New, Assigned, Accepted, Unassigned, Pending, Duplicate]
            .into_iter()
            .find(|x| x.as_str() == s)
            .ok_or_else(|| {
                format!(
                    "`{s}` is no lead state; the states are new, assigned, accepted, \
                     unassigned, pending, duplicate"
                )
            })
    }
}
