//! Bytes to text.

use super::BodyFault;
use encoding_rs::{Encoding, UTF_8};
use serde_json::json;
use std::borrow::Cow;

/// Is this the label of a character set (WHATWG Encoding)?
pub(super) fn is_known(label: &str) -> bool {
    find(label).is_some()
}

/// The text that bytes stand for. A byte order mark wins over what is declared; without either it
/// is UTF-8. The mark itself is dropped.
///
/// # Errors
/// 415 for an unknown character set, 400 where bytes stand for nothing.
pub(super) fn text<'a>(bytes: &'a [u8], label: Option<&str>) -> Result<Cow<'a, str>, BodyFault> {
    let declared = match label {
        Some(label) => find(label).ok_or_else(|| unknown(label))?,
        None => UTF_8,
    };
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or((declared, 0));
    let bytes = &bytes[mark..];
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| {
            let offset = e.valid_up_to() + mark;
            let message = format!(
                "the body is not UTF-8: see byte {offset}; if it is meant to be written in another \
                 character set, name it in the content type"
            );
            BodyFault::malformed("invalid_utf8", message, json!({ "byte": offset }))
        });
    }
    encoding.decode_without_bom_handling_and_without_replacement(bytes).ok_or_else(|| {
        let message = format!("the body is not written in {}, as it claims", encoding.name());
        BodyFault::malformed("invalid_charset", message, serde_json::Value::Null)
    })
}

/// The same for a part of a body; gives `None` where bytes stand for nothing.
pub(super) fn part(bytes: &[u8], label: Option<&str>) -> Option<String> {
    text(bytes, label).ok().map(Cow::into_owned)
}

/// The encoding that an XML declaration names, if the body begins with one.
pub(super) fn declared_in_xml(body: &[u8]) -> Option<String> {
    let head = &body[..body.len().min(200)];
    let start = head.strip_prefix(b"<?xml")?;
    let end = memchr::memmem::find(start, b"?>")?;
    let declaration = std::str::from_utf8(&start[..end]).ok()?;
    let (_, after) = declaration.split_once("encoding")?;
    let quoted = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    quoted[1..].split(quote).next().map(str::to_owned)
}

fn find(label: &str) -> Option<&'static Encoding> {
    // `utf8mb4` and the like are written by people who mean UTF-8.
    let label = label.trim();
    let label = if label.eq_ignore_ascii_case("utf8mb4") { "utf-8" } else { label };
    // The "replacement" encoding stands for those that must never be decoded.
    Encoding::for_label_no_replacement(label.as_bytes())
}

fn unknown(label: &str) -> BodyFault {
    let shown: String = label.chars().filter(char::is_ascii_graphic).take(40).collect();
    let message = format!("the character set `{shown}` is not known; send UTF-8");
    BodyFault::unsupported("unsupported_charset", message)
}
