//! `application/x-www-form-urlencoded`, as the WHATWG URL standard reads it.

use super::fields::Fields;
use super::{BodyFault, BodyLimits, Member, charset};
use percent_encoding::percent_decode;
use serde_json::{Value, json};
use std::ops::Range;

/// A form's fields. With `watched`, also where the values of that field stand, as they are written.
///
/// # Errors
/// 400 where a field is not text, 413 for too many of them.
pub(super) fn parse(
    body: &[u8],
    label: Option<&str>,
    limits: &BodyLimits,
    watched: Option<&Member>,
) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
    // An unknown label is told as such, not as a field's fault.
    charset::text(b"", label)?;
    let mut fields = Fields::new(limits.fields);
    let mut places = Vec::new();
    for (number, (name, value)) in places_of(body).enumerate() {
        let text = |place: Range<usize>| {
            charset::part(&decoded(&body[place]), label).map(|t| t.replace('\0', "")).ok_or_else(
                || {
                    let message = format!(
                        "the form's field {} is not text in the character set of the form",
                        number + 1
                    );
                    BodyFault::malformed("invalid_utf8", message, json!({ "field": number + 1 }))
                },
            )
        };
        let name = text(name)?;
        if watched.is_some_and(|m| m.is_field(&name)) {
            places.push(value.clone());
        }
        fields.put(&name, Value::String(text(value)?))?;
    }
    Ok((fields.finish(), places))
}

/// Names and values as bytes, in their order.
pub(crate) fn pairs(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    places_of(body).map(|(name, value)| (decoded(&body[name]), decoded(&body[value]))).collect()
}

/// Where names and values stand.
fn places_of(body: &[u8]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < body.len() {
            let begin = at;
            let end = memchr::memchr(b'&', &body[begin..]).map_or(body.len(), |n| begin + n);
            at = end + 1;
            if begin < end {
                let equals = memchr::memchr(b'=', &body[begin..end]).map(|n| begin + n);
                let name_end = equals.unwrap_or(end);
                return Some((begin..name_end, equals.map_or(end, |n| n + 1)..end));
            }
        }
        None
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let blanks: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_decode(&blanks).collect()
}
