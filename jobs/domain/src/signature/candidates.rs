//! What the request holds: signatures, as many as there may be, and the time stamp.

use super::rule::{Encoding, Rule, TimeUnit, Timestamp};
use super::{SignatureFault, SignedRequest};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, Utc};
use std::borrow::Cow;

/// A header must not buy endless work.
const MOST_CANDIDATES: usize = 16;

/// Base64 as senders write it: padded or not. Bits that stand for nothing must be zero, so that a
/// signature has one spelling.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, AS_WRITTEN);
/// The same with the other alphabet.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, AS_WRITTEN);

const AS_WRITTEN: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The signatures that a request carries. Candidates of other versions, and what cannot be read,
/// are passed over.
pub(super) fn signatures(
    rule: &Rule,
    request: &SignedRequest<'_>,
) -> Result<Vec<Vec<u8>>, SignatureFault> {
    let value = rule.place.read(request)?;
    let found: Vec<Vec<u8>> = items(rule, &value)
        .filter_map(|item| match &rule.key {
            Some(key) => item.strip_prefix(key.as_str())?.strip_prefix('='),
            None => Some(item),
        })
        .filter_map(|item| item.strip_prefix(rule.prefix.as_str()))
        .filter_map(|text| match rule.encoding {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => BASE64.decode(text).ok(),
            Encoding::Base64Url => BASE64_URL.decode(text).ok(),
        })
        .take(MOST_CANDIDATES)
        .collect();
    if found.is_empty() {
        let place = rule.place.to_string();
        return Err(SignatureFault::Malformed { place, expected: form(rule) });
    }
    Ok(found)
}

fn items<'a>(rule: &'a Rule, value: &'a str) -> impl Iterator<Item = &'a str> {
    let several = rule.separator.as_deref();
    let parts: Box<dyn Iterator<Item = &'a str>> = match several {
        Some(separator) => Box::new(value.split(separator)),
        None => Box::new(std::iter::once(value)),
    };
    parts.map(str::trim)
}

/// The form of a signature, by example.
fn form(rule: &Rule) -> String {
    let kind = match rule.encoding {
        Encoding::Hex => "hexadecimal",
        Encoding::Base64 => "base64",
        Encoding::Base64Url => "base64url",
    };
    let key = rule.key.as_ref().map(|k| format!("{k}=")).unwrap_or_default();
    format!("`{key}{}<{kind}>`", rule.prefix)
}

/// The time stamp as it is written, if the rule has one.
pub(super) fn timestamp<'a>(
    rule: &Rule,
    request: &SignedRequest<'a>,
) -> Result<Option<Cow<'a, str>>, SignatureFault> {
    let Some(place) = &rule.timestamp else { return Ok(None) };
    let value = place.place.read(request)?;
    let Some(key) = &place.key else { return Ok(Some(value)) };
    let separator = rule.separator.as_deref().unwrap_or(",");
    value
        .split(separator)
        .filter_map(|item| item.trim().strip_prefix(key.as_str())?.strip_prefix('='))
        .next()
        .map(|text| Some(Cow::Owned(text.to_owned())))
        .ok_or_else(|| SignatureFault::Malformed {
            place: rule.place.to_string(),
            expected: format!("`{key}=<time>{separator}{}`", form(rule).trim_matches('`')),
        })
}

/// Is the time stamp within the window?
pub(super) fn check_time(
    place: &Timestamp,
    text: &str,
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    let expected = match place.unit {
        TimeUnit::Seconds => "a time in whole seconds since 1970",
        TimeUnit::Millis => "a time in whole milliseconds since 1970",
        TimeUnit::Rfc3339 => "a time such as 2026-01-31T12:00:00Z",
    };
    let bad = || SignatureFault::BadTimestamp { place: place.place.to_string(), expected };
    let whole = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten().ok_or_else(bad)
    };
    let tolerance_seconds = place.tolerance_seconds;
    let tolerance = i64::from(tolerance_seconds);
    let (late, tolerance, second) = match place.unit {
        TimeUnit::Seconds => (now.timestamp().saturating_sub(whole(text)?), tolerance, 1),
        TimeUnit::Millis => {
            (now.timestamp_millis().saturating_sub(whole(text)?), tolerance * 1000, 1000)
        }
        TimeUnit::Rfc3339 => {
            let at = DateTime::parse_from_rfc3339(text).map_err(|_| bad())?;
            let late = now.timestamp_millis().saturating_sub(at.timestamp_millis());
            (late, tolerance * 1000, 1000)
        }
    };
    if late > tolerance {
        return Err(SignatureFault::TooOld { late_seconds: late / second, tolerance_seconds });
    }
    if late < -tolerance {
        let early_seconds = late.saturating_neg() / second;
        return Err(SignatureFault::TooNew { early_seconds, tolerance_seconds });
    }
    Ok(())
}
