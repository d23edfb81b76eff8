//! A scheme as it is written in a portal's settings.

use super::preset;
use super::rule::{Algorithm, Encoding, Place, Rule, SecretEncoding, TimeUnit};
use crate::FieldFault;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a portal signs: as it is written, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureScheme {
    written: Written,
    /// Empty if the scheme has faults: then nothing passes.
    rules: Vec<Rule>,
}

/// A scheme by name. `tolerance_seconds` is how far the sender's clock may be off, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Written {
    StandardWebhooks {
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    Stripe {
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    Github {},
    Meta {},
    Linkedin {},
    Shopify {},
    Typeform {},
    HubspotV3 {
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    Twilio {},
    Sendgrid {
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    Mailgun {
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    /// HMAC-SHA256 over the body alone: the short form of `hmac`.
    HmacSha256 {
        header: String,
        #[serde(default)]
        encoding: Encoding,
        #[serde(default)]
        prefix: String,
    },
    /// Everything said by the operator.
    #[serde(alias = "custom")]
    Hmac(Box<Custom>),
}

/// A way to sign that has no name here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The header that holds the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Instead: the query parameter that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Instead: the member of the body that holds it, such as `signature.value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What stands before the signature, such as `sha256=`; candidates without it are passed over.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What stands between several signatures, such as a comma or a blank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The header is a list of `key=value`; signatures stand under this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With what is signed.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed, such as `{ts}.{body}`.
    #[serde(default = "body_alone")]
    pub string_to_sign: String,
    /// The header that `{id}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// Where the time stamp is, which `{ts}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampPlace>,
    /// How far the sender's clock may be off, both ways.
    #[serde(default = "five_minutes")]
    pub tolerance_seconds: u32,
    /// How the secret is written.
    #[serde(default)]
    pub secret: SecretForm,
}

/// Where a time stamp stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum TimestampPlace {
    /// In a header of its own.
    Header {
        /// Its name.
        name: String,
        /// In what it counts.
        #[serde(default)]
        unit: TimeUnit,
    },
    /// In the address, as a parameter.
    Query {
        /// Its name.
        name: String,
        /// In what it counts.
        #[serde(default)]
        unit: TimeUnit,
    },
    /// In the body.
    Body {
        /// The member, such as `signature.timestamp`.
        #[serde(alias = "name")]
        path: String,
        /// In what it counts.
        #[serde(default)]
        unit: TimeUnit,
    },
    /// Where the signature is, in a list of `key=value`.
    Signature {
        /// Its key there.
        key: String,
        /// In what it counts.
        #[serde(default)]
        unit: TimeUnit,
    },
}

/// How a signing secret is written. Public keys are recognised by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretForm {
    /// What the secret's text stands for.
    pub encoding: SecretEncoding,
    /// What may stand before it and is not part of the key, such as `whsec_`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl SignatureScheme {
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Does it look at members of the body?
    #[must_use]
    pub fn reads_parts(&self) -> bool {
        let is_part = |place: &Place| matches!(place, Place::Body(_));
        self.rules.iter().any(|rule| {
            is_part(&rule.place)
                || rule.timestamp.as_ref().is_some_and(|t| is_part(&t.place))
                || rule.message.has_parts()
        })
    }

    /// Is less than the whole body signed, and nothing that says when? Then what was seen once can be
    /// sent again for ever.
    pub(crate) fn can_be_replayed(&self) -> bool {
        self.rules.iter().any(|rule| !rule.message.covers_body() && rule.timestamp.is_none())
    }

    /// Headers that hold signatures: not worth storing with the event.
    #[must_use]
    pub fn headers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rules.iter().filter_map(|r| r.place.header()).collect();
        names.dedup();
        names
    }

    /// What is wrong with the scheme's settings; `at` is its JSON pointer.
    pub(crate) fn faults(&self, at: &str) -> Vec<FieldFault> {
        match preset::expand(&self.written) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.below(at)).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for SignatureScheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let rules = preset::expand(&written).unwrap_or_default();
        Ok(Self { written, rules })
    }
}

impl Serialize for SignatureScheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

fn five_minutes() -> u32 {
    300
}

fn body_alone() -> String {
    "{body}".to_owned()
}
