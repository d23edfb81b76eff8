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
    /// `consent.privacy`.
    ConsentPrivacy,
    /// `consent.marketing`.
    ConsentMarketing,
    /// All utm parameters at once.
    Utm,
    /// One of them, without `utm_`.
    UtmEntry(String),
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

/// `utm_` parameters that have a place in the lead.
pub(super) const UTM: [&str; 5] = ["source", "medium", "campaign", "term", "content"];
/// Entries of `custom` and `campaign` are columns to people: short names.
const LONGEST_NAME: usize = 64;

const PLAIN: [(&str, Target); 19] = [
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
    ("consent.privacy", Target::ConsentPrivacy),
    ("consent.marketing", Target::ConsentMarketing),
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
            _ => {
                let plain: Vec<_> = PLAIN.iter().map(|(n, _)| *n).collect();
                Err(format!(
                    "`{name}` is no field of a lead; the fields are {}, utm.<{}>, campaign.<name> and custom.<name>",
                    plain.join(", "),
                    UTM.join("|"),
                ))
            }
        }
    }
}

fn is_entry(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
