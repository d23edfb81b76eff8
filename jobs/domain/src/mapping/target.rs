//! What a rule fills: a field of the standard lead.

use std::fmt;
use std::str::FromStr;

/// A field of the standard lead, or one entry of a field that holds many.
///
/// The order is the order in which rules run: the country first, because it helps to read the
/// phone number and the postal code; a whole `utm` before its single entries, which win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// ISO 3166-1 alpha-2.
    Country,
    /// One of the plain text fields.
    Text(TextField),
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
    /// Postal code.
    PostalCode,
    /// Amount.
    Budget,
    /// ISO 4217.
    Currency,
    /// Instant.
    SubmittedAt,
    /// Test mark.
    IsTest,
    /// What was agreed to, by its name.
    Consent(String),
    /// What shows that it was agreed to.
    ConsentProof(String, ProofField),
    /// All utm parameters at once.
    Utm,
    /// One of them, without `utm_`.
    UtmEntry(String),
    /// What is asked for, line by line.
    LineItems,
    /// One entry of `campaign`.
    Campaign(String),
    /// One entry of `custom`.
    Custom(String),
}

/// The text fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextField {
    /// The sender's id.
    ExternalId,
    /// Given name.
    FirstName,
    /// Family name.
    LastName,
    /// Company.
    Company,
    /// Town.
    City,
    /// What is asked for.
    Interest,
    /// Free text.
    Message,
    /// Where it came from.
    Source,
}

/// What shows that somebody agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofField {
    /// The text that was shown.
    Text,
    /// When it was agreed to.
    At,
    /// From which network address.
    Address,
    /// On which page.
    Url,
}

const PROOF: [(&str, ProofField); 4] = [
    ("text", ProofField::Text),
    ("at", ProofField::At),
    ("address", ProofField::Address),
    ("url", ProofField::Url),
];

/// `utm_` parameters that have a place in the lead.
pub(super) const UTM: [&str; 5] = ["source", "medium", "campaign", "term", "content"];
/// Entries of `custom` and `campaign` are columns to people: short names.
const LONGEST_NAME: usize = 64;

const PLAIN: [(&str, Target); 18] = [
    ("country", Target::Country),
    ("external_id", Target::Text(TextField::ExternalId)),
    ("first_name", Target::Text(TextField::FirstName)),
    ("last_name", Target::Text(TextField::LastName)),
    ("company", Target::Text(TextField::Company)),
    ("city", Target::Text(TextField::City)),
    ("interest", Target::Text(TextField::Interest)),
    ("message", Target::Text(TextField::Message)),
    ("source", Target::Text(TextField::Source)),
    ("email", Target::Email),
    ("phone", Target::Phone),
    ("postal_code", Target::PostalCode),
    ("budget", Target::Budget),
    ("currency", Target::Currency),
    ("submitted_at", Target::SubmittedAt),
    ("is_test", Target::IsTest),
    ("utm", Target::Utm),
    ("line_items", Target::LineItems),
];

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Some((_, target)) = PLAIN.iter().find(|(n, _)| *n == name) {
            return Ok(target.clone());
        }
        match name.split_once('.') {
            Some(("utm", entry)) if UTM.contains(&entry) => Ok(Self::UtmEntry(entry.to_owned())),
            Some(("custom", entry)) if is_entry(entry) => Ok(Self::Custom(entry.to_owned())),
            Some(("campaign", entry)) if is_entry(entry) => Ok(Self::Campaign(entry.to_owned())),
            Some(("consent", entry)) if is_entry(entry) => Ok(Self::Consent(entry.to_owned())),
            Some(("consent_proof", entry)) => proof(entry)
                .ok_or_else(|| "write consent_proof.<name>.text, .at, .address or .url".to_owned()),
            _ => {
                let plain: Vec<_> = PLAIN.iter().map(|(n, _)| *n).collect();
                Err(format!(
                    "`{name}` is no field of a lead; the fields are {}, consent.<name>, \
                     consent_proof.<name>.<text|at|address|url>, utm.<{}>, campaign.<name> and \
                     custom.<name>",
                    plain.join(", "),
                    UTM.join("|"),
                ))
            }
        }
    }
}

fn proof(entry: &str) -> Option<Target> {
    let (name, field) = entry.rsplit_once('.')?;
    let (_, field) = PROOF.iter().find(|(n, _)| *n == field)?;
    is_entry(name).then(|| Target::ConsentProof(name.to_owned(), *field))
}

pub(super) fn is_entry(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consent(entry) => write!(f, "consent.{entry}"),
            Self::ConsentProof(entry, field) => {
                let name = PROOF.iter().find(|(_, p)| p == field).map_or("", |(n, _)| n);
                write!(f, "consent_proof.{entry}.{name}")
            }
            Self::UtmEntry(entry) => write!(f, "utm.{entry}"),
            Self::Campaign(entry) => write!(f, "campaign.{entry}"),
            Self::Custom(entry) => write!(f, "custom.{entry}"),
            plain => match PLAIN.iter().find(|(_, target)| target == plain) {
                Some((name, _)) => f.write_str(name),
                None => Ok(()),
            },
        }
    }
}
