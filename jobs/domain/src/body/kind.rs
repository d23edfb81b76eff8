//! What a body is, by its content type or by the portal's settings.

use super::{BodyFault, BodySettings};
use serde::{Deserialize, Serialize};

/// The kinds of body that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyType {
    /// JSON (RFC 8259).
    Json,
    /// One JSON value a line.
    Ndjson,
    /// `application/x-www-form-urlencoded` (WHATWG URL).
    Form,
    /// `multipart/form-data` (RFC 7578).
    Multipart,
    /// XML 1.0 without a document type.
    Xml,
    /// CSV (RFC 4180), with any delimiter.
    Csv,
}

impl BodyType {
    /// Whether a member of the body is there once: tables and lines of JSON have one a row, and nobody
    /// could say whose key counts.
    pub(crate) fn has_one_member(self) -> bool {
        !matches!(self, Self::Ndjson | Self::Csv)
    }
}

/// What is said of one body.
pub(super) struct Kind {
    pub(super) body_type: BodyType,
    pub(super) charset: Option<String>,
    pub(super) boundary: Option<String>,
    /// A delimiter that the content type implies.
    pub(super) delimiter: Option<u8>,
}

/// What a body is. Without a content type it is taken for JSON: most senders that forget it send that.
///
/// # Errors
/// 415 if neither the content type nor the settings say anything that can be read.
pub(super) fn of(settings: &BodySettings, content_type: Option<&str>) -> Result<Kind, BodyFault> {
    let mut parts = content_type.unwrap_or_default().split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameter = |wanted: &str| {
        let (_, parameters) = content_type?.split_once(';')?;
        parameter(parameters, wanted)
    };
    let Some(body_type) = settings.body_type.or_else(|| by_essence(&essence)) else {
        return Err(BodyFault::unsupported("unsupported_media_type", UNSUPPORTED));
    };
    Ok(Kind {
        body_type,
        charset: settings.charset.clone().or_else(|| parameter("charset")),
        boundary: parameter("boundary"),
        delimiter: (essence == "text/tab-separated-values").then_some(b'\t'),
    })
}

const UNSUPPORTED: &str = "this content type is not read here; send JSON with `Content-Type: application/json`, or \
     application/x-ndjson, application/x-www-form-urlencoded, multipart/form-data, \
     application/xml, text/csv";

fn by_essence(essence: &str) -> Option<BodyType> {
    let suffixed = |suffix: &str| {
        let (kind, name) = essence.split_once('/')?;
        let known = matches!(kind, "application" | "text");
        name.strip_suffix(suffix).filter(|stem| known && !stem.is_empty())
    };
    Some(match essence {
        "" | "application/json" | "text/json" => BodyType::Json,
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/json-lines" => BodyType::Ndjson,
        "application/x-www-form-urlencoded" => BodyType::Form,
        "multipart/form-data" => BodyType::Multipart,
        "application/xml" | "text/xml" => BodyType::Xml,
        "text/csv" | "application/csv" | "text/tab-separated-values" => BodyType::Csv,
        _ if suffixed("+json").is_some() => BodyType::Json,
        _ if suffixed("+xml").is_some() => BodyType::Xml,
        _ => return None,
    })
}

/// A parameter of a content type, its quotes taken off (RFC 9110, 5.6.6).
pub(super) fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value[..end].trim().to_owned(), &value[end..])
            }
        };
        if name.trim_matches([' ', '\t', ';']).eq_ignore_ascii_case(wanted) {
            return Some(value).filter(|v| !v.is_empty());
        }
        rest = after;
    }
    None
}

fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return (value, &text[at + 1..]),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            c => value.push(c),
        }
        escaped = false;
    }
    (value, "")
}
