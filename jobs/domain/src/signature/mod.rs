//! Did the sender sign this request? HMAC-SHA256 over the raw body, and Standard Webhooks.
//!
//! A new scheme is a variant of [`SignatureScheme`], a line in each `match` here, and test vectors.

mod secret;
#[cfg(test)]
mod tests;

pub use secret::{SecretFault, SigningSecrets};

use crate::{FieldFault, Headers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How a portal signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "snake_case", deny_unknown_fields)]
pub enum SignatureScheme {
    /// <https://www.standardwebhooks.com>, symmetric signatures (`v1`): base64 of HMAC-SHA256 over
    /// `webhook-id.webhook-timestamp.body`, key = base64 after `whsec_`.
    StandardWebhooks {
        /// How far the sender's clock may be off, both ways; the reference libraries allow 300.
        #[serde(default = "five_minutes")]
        tolerance_seconds: u32,
    },
    /// HMAC-SHA256 over the raw body, key = the secret's bytes. Without a time stamp: a request
    /// that was overheard can be sent again, only its delivery key stops it.
    HmacSha256 {
        /// The header that holds the signature.
        header: String,
        /// How the signature is written.
        #[serde(default)]
        encoding: Encoding,
        /// What stands before the signature, such as `sha256=`.
        #[serde(default)]
        prefix: String,
    },
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal in either case.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648, 4).
    Base64,
}

/// What signatures are computed over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive] // other schemes sign the method and the URL too
pub struct SignedRequest<'a> {
    /// The header fields.
    pub headers: &'a Headers,
    /// The body, exactly as it came.
    pub body: &'a [u8],
}

impl<'a> SignedRequest<'a> {
    /// A request.
    #[must_use]
    pub fn new(headers: &'a Headers, body: &'a [u8]) -> Self {
        Self { headers, body }
    }
}

/// Why a signature was refused. The sentences are for the portal's owner and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// A header is absent or empty.
    #[error("the header `{0}` is missing; this portal's requests must be signed")]
    MissingHeader(String),
    /// The time stamp is no number of seconds.
    #[error("the header `{0}` is not a time in whole seconds since 1970")]
    BadTimestamp(String),
    /// Signed too long ago: replayed, or delayed on the way.
    #[error(
        "the request was signed {late_seconds} s ago, at most {tolerance_seconds} s are allowed; \
         if it was not replayed, check the clocks"
    )]
    TooOld {
        /// Age in seconds.
        late_seconds: i64,
        /// What is allowed.
        tolerance_seconds: u32,
    },
    /// Signed in the future.
    #[error(
        "the request was signed {early_seconds} s in the future, at most {tolerance_seconds} s \
         are allowed; check the clocks"
    )]
    TooNew {
        /// How far ahead, in seconds.
        early_seconds: i64,
        /// What is allowed.
        tolerance_seconds: u32,
    },
    /// The header holds nothing that could be a signature of this scheme.
    #[error("the header `{header}` holds no signature of the form {expected}")]
    Malformed {
        /// Its name.
        header: String,
        /// The form, by example.
        expected: String,
    },
    /// Made with another secret, or the body was changed.
    #[error(
        "the signature does not match: the secret differs, or the body was changed after signing"
    )]
    Mismatch,
}

impl SignatureFault {
    /// Stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader(_) => "signature_missing",
            Self::BadTimestamp(_) => "signature_bad_timestamp",
            Self::TooOld { .. } => "signature_too_old",
            Self::TooNew { .. } => "signature_too_new",
            Self::Malformed { .. } => "signature_malformed",
            Self::Mismatch => "signature_mismatch",
        }
    }
}

/// Checks a request against every live secret, in constant time for each.
///
/// # Errors
/// What is wrong with the signature.
pub fn verify(
    scheme: &SignatureScheme,
    secrets: &SigningSecrets,
    request: &SignedRequest<'_>,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    match scheme {
        SignatureScheme::StandardWebhooks { tolerance_seconds } => {
            standard_webhooks(*tolerance_seconds, secrets, request, now)
        }
        SignatureScheme::HmacSha256 { header, encoding, prefix } => {
            body_hmac(header, *encoding, prefix, secrets, request)
        }
    }
}

fn standard_webhooks(
    tolerance_seconds: u32,
    secrets: &SigningSecrets,
    request: &SignedRequest<'_>,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    const SIGNATURE: &str = "webhook-signature";
    const TIMESTAMP: &str = "webhook-timestamp";
    let id = required(request.headers, "webhook-id")?;
    let timestamp = required(request.headers, TIMESTAMP)?;
    let signatures = required(request.headers, SIGNATURE)?;
    check_time(timestamp, TIMESTAMP, tolerance_seconds, now)?;

    // A list for key rotation; versions we do not know are skipped, as the specification says.
    // The number of candidates is bounded so that a header cannot buy endless work.
    let candidates: Vec<Vec<u8>> = signatures
        .split(' ')
        .filter_map(|s| s.strip_prefix("v1,"))
        .filter_map(|s| STANDARD.decode(s).ok())
        .take(16)
        .collect();
    if candidates.is_empty() {
        return Err(SignatureFault::Malformed {
            header: SIGNATURE.to_owned(),
            expected: "`v1,<base64>`".to_owned(),
        });
    }
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", request.body];
    matches_any(secrets, &parts, &candidates)
}

fn body_hmac(
    header: &str,
    encoding: Encoding,
    prefix: &str,
    secrets: &SigningSecrets,
    request: &SignedRequest<'_>,
) -> Result<(), SignatureFault> {
    let value = required(request.headers, header)?;
    let signature = value.strip_prefix(prefix).and_then(|s| match encoding {
        Encoding::Hex => hex::decode(s).ok(),
        Encoding::Base64 => STANDARD.decode(s).ok(),
    });
    let Some(signature) = signature else {
        let kind = match encoding {
            Encoding::Hex => "hexadecimal",
            Encoding::Base64 => "base64",
        };
        return Err(SignatureFault::Malformed {
            header: header.to_owned(),
            expected: format!("`{prefix}<{kind}>`"),
        });
    };
    matches_any(secrets, &[request.body], &[signature])
}

fn required<'a>(headers: &'a Headers, name: &str) -> Result<&'a str, SignatureFault> {
    headers
        .get(name)
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .ok_or_else(|| SignatureFault::MissingHeader(name.to_owned()))
}

fn check_time(
    text: &str,
    header: &str,
    tolerance_seconds: u32,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let signed_at: i64 = digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| SignatureFault::BadTimestamp(header.to_owned()))?;
    let late_seconds = now.timestamp().saturating_sub(signed_at);
    if late_seconds > i64::from(tolerance_seconds) {
        return Err(SignatureFault::TooOld { late_seconds, tolerance_seconds });
    }
    if late_seconds < -i64::from(tolerance_seconds) {
        return Err(SignatureFault::TooNew {
            early_seconds: late_seconds.saturating_neg(),
            tolerance_seconds,
        });
    }
    Ok(())
}

/// `verify_slice` compares in constant time.
fn matches_any(
    secrets: &SigningSecrets,
    message: &[&[u8]],
    candidates: &[Vec<u8>],
) -> Result<(), SignatureFault> {
    for key in secrets.keys() {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        for part in message {
            mac.update(part);
        }
        if candidates.iter().any(|c| mac.clone().verify_slice(c).is_ok()) {
            return Ok(());
        }
    }
    Err(SignatureFault::Mismatch)
}

impl SignatureScheme {
    /// Headers that hold signatures: not worth storing with the event.
    #[must_use]
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::StandardWebhooks { .. } => vec!["webhook-signature"],
            Self::HmacSha256 { header, .. } => vec![header],
        }
    }

    /// What is wrong with the scheme's settings; `at` is its JSON pointer.
    pub(crate) fn faults(&self, at: &str) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |name: &str, code: &str, message: String| {
            faults.push(FieldFault::new(format!("{at}/{name}"), code, message));
        };
        match self {
            Self::StandardWebhooks { tolerance_seconds } => {
                if !(1..=86_400).contains(tolerance_seconds) {
                    fault(
                        "tolerance_seconds",
                        "out_of_range",
                        format!(
                            "The tolerance must be between 1 and 86400 seconds, not \
                             {tolerance_seconds}; 300 is usual."
                        ),
                    );
                }
            }
            Self::HmacSha256 { header, prefix, .. } => {
                if !crate::headers::is_field_name(header) {
                    fault(
                        "header",
                        "invalid_header_name",
                        format!("`{header}` is no header name; write one such as `X-Signature`."),
                    );
                }
                if prefix.len() > 64 || !prefix.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                    fault(
                        "prefix",
                        "invalid_prefix",
                        "The prefix must be at most 64 printable ASCII characters.".to_owned(),
                    );
                }
            }
        }
        faults
    }
}

fn five_minutes() -> u32 {
    300
}
