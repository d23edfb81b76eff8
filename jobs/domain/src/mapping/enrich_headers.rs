//! Fixed header fields of a fetch: some providers want the version of their API there.

use super::enrich::TokenPlace;
use super::read::Reader;
use crate::headers::is_field_name;
use crate::portal::pointer;
use serde_json::Value;
use std::collections::BTreeMap;

/// More than any provider asks for.
const MOST: usize = 10;
/// Of a value, bytes.
const LONGEST: usize = 500;
/// Where credentials would stand in clear, and what is the connection's own (RFC 9110, 7.6.1).
const REFUSED: [&str; 17] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `headers`, checked.
pub(super) fn read(
    value: Option<&Value>,
    token: Option<&TokenPlace>,
    reader: &mut Reader,
) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let members = match value {
        None | Some(Value::Null) => return headers,
        Some(Value::Object(members)) => members,
        Some(_) => {
            let message = "Write an object: names of headers and their texts.";
            reader.fault("/headers", "invalid", message.to_owned());
            return headers;
        }
    };
    if members.len() > MOST {
        let message = format!("At most {MOST} headers are sent with a fetch.");
        reader.fault("/headers", "too_many", message);
    }
    for (name, value) in members {
        let at = format!("/headers{}", pointer(name));
        if let Err((code, message)) = check_name(name, token) {
            reader.fault(&at, code, message);
        }
        let plain = |text: &&str| {
            (1..=LONGEST).contains(&text.len())
                && text.trim() == *text
                && text.bytes().all(|b| (0x20..0x7f).contains(&b))
        };
        match value.as_str().filter(plain) {
            Some(text) => {
                headers.insert(name.to_ascii_lowercase(), text.to_owned());
            }
            None => {
                let message = format!(
                    "A header's value is a text of 1 to {LONGEST} printable ASCII characters, \
                     without blanks at its ends; numbers stand in quotes."
                );
                reader.fault(&at, "invalid_value", message);
            }
        }
    }
    headers
}

fn check_name(name: &str, token: Option<&TokenPlace>) -> Result<(), (&'static str, String)> {
    if !is_field_name(name) {
        let message = format!("`{name}` is no header name; write one such as `Api-Version`.");
        return Err(("invalid_header_name", message));
    }
    if REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused)) {
        let message = format!(
            "`{name}` cannot be set here; the portal's token is a secret (`token` says where it \
             goes), and the connection's headers are ours."
        );
        return Err(("header_refused", message));
    }
    match token {
        Some(TokenPlace::Header { name: taken, .. }) if name.eq_ignore_ascii_case(taken) => {
            Err(("header_refused", format!("`{name}` holds the portal's token.")))
        }
        _ => Ok(()),
    }
}
