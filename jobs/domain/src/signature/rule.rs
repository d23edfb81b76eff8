//! One way to sign, complete: what the verifier reads.

use super::template::Template;
use super::{SignatureFault, SignedRequest, required};
use crate::body::PartPath;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// With what a message is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA256 (RFC 2104).
    #[default]
    Sha256,
    /// HMAC-SHA1. SHA-1's collisions do not touch HMAC (RFC 6151 says so of MD5 already).
    Sha1,
    /// HMAC-SHA512.
    Sha512,
    /// Ed25519 (RFC 8032); the secret is the sender's public key.
    Ed25519,
    /// ECDSA over P-256 and SHA-256, signatures in DER (RFC 3279, 2.2.3); the secret is the
    /// sender's public key.
    #[serde(alias = "ecdsa-p256")]
    EcdsaP256,
}

impl Algorithm {
    /// The sender keeps a private key, we know the public one.
    pub(super) fn is_asymmetric(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256)
    }
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal in either case.
    #[default]
    Hex,
    /// Base64 (RFC 4648, 4), with or without padding.
    Base64,
    /// Base64 for addresses (RFC 4648, 5), with or without padding.
    #[serde(rename = "base64url")]
    Base64Url,
}

/// In what a time stamp counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeUnit {
    /// Whole seconds since 1970.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Whole milliseconds since 1970.
    #[serde(rename = "ms")]
    Millis,
    /// A date and a time with a zone (RFC 3339).
    #[serde(rename = "rfc3339")]
    Rfc3339,
}

/// Where in a request something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this header.
    Header(String),
    /// In the address, as this parameter.
    Query(String),
    /// In the body, at this member.
    Body(PartPath),
}

impl Place {
    /// The header's name, if it is one.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Query(_) | Self::Body(_) => None,
        }
    }

    /// What stands there.
    ///
    /// # Errors
    /// If it is absent or empty.
    pub(super) fn read<'a>(
        &self,
        request: &SignedRequest<'a>,
    ) -> Result<Cow<'a, str>, SignatureFault> {
        match self {
            Self::Header(name) => required(request.headers, name).map(Cow::Borrowed),
            Self::Query(name) => request
                .parameter(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
                .map(Cow::Owned)
                .ok_or_else(|| SignatureFault::Missing(self.to_string())),
            Self::Body(path) => request
                .part(path)
                .filter(|value| !value.trim().is_empty())
                .ok_or_else(|| SignatureFault::Missing(self.to_string())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Query(name) => write!(f, "query parameter `{name}`"),
            Self::Body(path) => write!(f, "body's member `{path}`"),
        }
    }
}

/// Where a time stamp stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timestamp {
    pub(super) place: Place,
    /// The place is the signature's: a list of `key=value`, the time stamp stands under this key.
    pub(super) key: Option<String>,
    pub(super) unit: TimeUnit,
    /// How far the sender's clock may be off, both ways.
    pub(super) tolerance_seconds: u32,
}

/// How a signing secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretEncoding {
    /// The secret's characters are the key.
    #[default]
    Utf8,
    /// Base64.
    Base64,
    /// Hexadecimal.
    Hex,
}

/// One way to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// What holds the signature, or several.
    pub(super) place: Place,
    /// What stands between several; `None`: there is one.
    pub(super) separator: Option<String>,
    /// There is a list of `key=value`; signatures stand under this key.
    pub(super) key: Option<String>,
    /// What stands before a signature. A candidate without it belongs to another version.
    pub(super) prefix: String,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: Encoding,
    /// The string to sign.
    pub(super) message: Template,
    /// The header that `{id}` stands for.
    pub(super) id_header: Option<String>,
    pub(super) timestamp: Option<Timestamp>,
    /// A parameter of the address that holds the body's SHA-256 in hexadecimal.
    pub(super) body_digest_parameter: Option<String>,
    pub(super) secret_encoding: SecretEncoding,
    /// What may stand before the secret, such as `whsec_`.
    pub(super) secret_prefix: String,
}
