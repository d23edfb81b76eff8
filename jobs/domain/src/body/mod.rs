//! Bodies as they come, decoded to the one form that mappings read: a JSON value.
//!
//! | what is sent | what mappings see |
//! |---|---|
//! | JSON | the same; integers beyond 64 bits, and decimals that a double would change, as text |
//! | lines of JSON | an array |
//! | a form (URL-encoded or multipart) | an object of texts; files as `{filename, content_type, size}` |
//! | XML | objects: `@attribute`, `#text`, children |
//! | CSV | an array of objects, named by the header row |
//!
//! Nothing here panics, whatever the bytes. NUL characters are dropped (PostgreSQL keeps none), half
//! surrogates become U+FFFD; everything else that is wrong is a [`BodyFault`] for the sender.

mod charset;
mod csv;
mod fault;
mod fields;
mod form;
mod inflate;
mod json;
mod kind;
mod multipart;
mod number;
mod parts;
mod secret_member;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_hostile;
#[cfg(test)]
mod tests_made;
mod xml;
mod zstd;

pub use fault::BodyFault;
pub(crate) use form::pairs as form_pairs;
pub use kind::BodyType;
pub(crate) use parts::PartStep;
pub(crate) use parts::of as parts_of;
pub use parts::{PartPath, Parts};
pub use secret_member::{Member, Opened};
pub(crate) use secret_member::{open, open_plain};
pub use settings::{BodyLimits, BodySettings, CsvSettings, LARGEST_BODY, XmlSettings};

use crate::Headers;
use kind::Kind;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Range;

/// Refuses what cannot be read by its headers alone, before the body is.
///
/// # Errors
/// 415.
pub fn check_headers(settings: &BodySettings, headers: &Headers) -> Result<(), BodyFault> {
    inflate::check(headers.get("content-encoding"))?;
    kind::of(settings, headers.get("content-type")).map(|_| ())
}

/// The value that a text of JSON within a body stands for.
pub(crate) fn inner_json(text: &str) -> Result<Value, BodyFault> {
    json::parse(text, &BodyLimits::default(), None).map(|(value, _)| value)
}

/// The same for XML.
pub(crate) fn inner_xml(text: &str, settings: &XmlSettings) -> Result<Value, BodyFault> {
    xml::parse(text, settings, &BodyLimits::default(), None).map(|(value, _)| value)
}

/// The same for a table.
pub(crate) fn inner_csv(text: &str, settings: &CsvSettings) -> Result<Value, BodyFault> {
    csv::parse(text, None, settings, &BodyLimits::default())
}

/// The same for a form.
pub(crate) fn inner_form(text: &str) -> Result<Value, BodyFault> {
    form::parse(text.as_bytes(), None, &BodyLimits::default(), None).map(|(value, _)| value)
}

/// Reads a body that is not compressed. With `watched`, also where in it the texts of that member
/// stand.
fn read(
    settings: &BodySettings,
    kind: &Kind,
    body: &[u8],
    watched: Option<&Member>,
) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
    let limits = &settings.limits;
    let alone = |value| (value, Vec::new());
    match kind.body_type {
        BodyType::Json => {
            let text = charset::text(body, kind.charset.as_deref())?;
            // A place in a text that was converted is no place in the body.
            let watched = watched.filter(|_| matches!(text, Cow::Borrowed(_)));
            let skipped = body.len() - text.len().min(body.len());
            let (value, places) = json::parse(&text, limits, watched)?;
            let moved = places.into_iter().map(|p| p.start + skipped..p.end + skipped);
            Ok((value, moved.collect()))
        }
        BodyType::Ndjson => {
            let text = charset::text(body, kind.charset.as_deref())?;
            json::parse_lines(&text, limits).map(alone)
        }
        BodyType::Form => form::parse(body, kind.charset.as_deref(), limits, watched),
        BodyType::Multipart => multipart::parse(body, kind, limits, watched),
        BodyType::Xml => {
            let declared = kind.charset.clone().or_else(|| charset::declared_in_xml(body));
            let text = charset::text(body, declared.as_deref())?;
            let watched = watched.filter(|_| matches!(text, Cow::Borrowed(_)));
            let skipped = body.len() - text.len().min(body.len());
            let (value, places) = xml::parse(&text, &settings.xml, limits, watched)?;
            let moved = places.into_iter().map(|p| p.start + skipped..p.end + skipped);
            Ok((value, moved.collect()))
        }
        BodyType::Csv => {
            let text = charset::text(body, kind.charset.as_deref())?;
            csv::parse(&text, kind.delimiter, &settings.csv, limits).map(alone)
        }
    }
}
