//! Which delivery is this? The key by which a repeated webhook is recognised.

use crate::Headers;
use crate::portal::{DeliveryId, PortalSettings};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt;

/// Longer ids are hashed: an index row of PostgreSQL holds at most 2,704 bytes.
const LONGEST_ID: usize = 255;

/// Recognises a delivery that was seen before, within one portal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryKey {
    /// The sender's own id; remembered for good.
    Sender(String),
    /// SHA-256 of the body in hexadecimal; remembered for a day.
    Body(String),
}

impl DeliveryKey {
    /// Is it remembered for good?
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Sender(_))
    }
}

/// The stored form: `id:...`, `idhash:...` (an id over 255 bytes) or `sha256:...`.
impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(id) if id.len() > LONGEST_ID => {
                write!(f, "idhash:{}", sha256_hex(id.as_bytes()))
            }
            Self::Sender(id) => write!(f, "id:{id}"),
            Self::Body(hash) => write!(f, "sha256:{hash}"),
        }
    }
}

/// The key of a delivery: the id at the place the portal's settings name, else the body's hash.
///
/// An id that is absent, empty, not a scalar, or a number beyond what JSON readers keep exactly
/// falls back to the hash: two senders' ids must never be taken for one.
#[must_use]
pub fn key(
    settings: &PortalSettings,
    headers: &Headers,
    body: &Value,
    raw_body: &[u8],
) -> DeliveryKey {
    key_at(settings, headers, None, body, raw_body)
}

/// The same where the query of the delivery's address is known: an id may stand there.
#[must_use]
pub fn key_at(
    settings: &PortalSettings,
    headers: &Headers,
    query: Option<&str>,
    body: &Value,
    raw_body: &[u8],
) -> DeliveryKey {
    let id = match &settings.delivery_id {
        None => None,
        Some(DeliveryId::Header(name)) => headers.get(name).map(str::to_owned),
        Some(DeliveryId::Path(path)) => path.find(body).and_then(scalar_id),
        Some(DeliveryId::Query(name)) => query.and_then(|query| {
            let mut parameters = url::form_urlencoded::parse(query.as_bytes());
            parameters.find(|(k, _)| k == name).map(|(_, v)| v.into_owned())
        }),
    };
    // NUL is what a text column cannot hold.
    match id.map(|id| id.trim().replace('\0', "")).filter(|id| !id.is_empty()) {
        Some(id) => DeliveryKey::Sender(id),
        None => DeliveryKey::Body(sha256_hex(raw_body)),
    }
}

fn scalar_id(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Some(n.to_string()),
        // An element of XML that has attributes.
        Value::Object(members) => {
            members.get("#text").filter(|t| t.is_string()).and_then(scalar_id)
        }
        _ => None,
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn settings(delivery_id: Value) -> PortalSettings {
        let mut settings = json!({"mapping": {"fields": {"email": "email"}}});
        settings["delivery_id"] = delivery_id;
        PortalSettings::parse(&settings).unwrap()
    }

    fn stored(delivery_id: Value, body: &Value) -> String {
        let headers = [("X-Id", " h1 ")].into_iter().collect();
        key(&settings(delivery_id), &headers, body, b"raw").to_string()
    }

    /// SHA-256 of `raw`, by `sha256sum`.
    const HASH: &str = "sha256:d7439bee24773bcbfa2d0a97947ee36227b10d1022b1a55847e928965bb6bfde";

    #[test]
    fn the_senders_id_stands_in_a_header_or_in_the_body() {
        let path = || json!({"path": "meta.id"});
        assert_eq!(stored(json!({"header": "x-id"}), &json!({})), "id:h1");
        assert_eq!(stored(path(), &json!({"meta": {"id": "a"}})), "id:a");
        assert_eq!(stored(path(), &json!({"meta": {"id": u64::MAX}})), "id:18446744073709551615");
        assert_eq!(stored(path(), &json!({"meta": {"id": "a\u{0}b"}})), "id:ab");
        let element = json!({"meta": {"id": {"@source": "AutoPortal", "#text": "ADF-1"}}});
        assert_eq!(stored(path(), &element), "id:ADF-1");
    }

    #[test]
    fn what_is_no_id_falls_back_to_the_bodys_hash() {
        assert_eq!(stored(Value::Null, &json!({"id": 1})), HASH);
        assert_eq!(stored(json!({"header": "x-other"}), &json!({})), HASH);
        // A number that is none of 64 bits: another event's id may read the same.
        let inexact: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
        let element = json!({"@source": "AutoPortal", "#text": {}});
        for id in [
            json!(null),
            json!(""),
            json!(" "),
            json!({}),
            json!([1]),
            json!(true),
            inexact,
            element,
        ] {
            assert_eq!(stored(json!({"path": "id"}), &json!({"id": id})), HASH, "{id}");
        }
    }

    #[test]
    fn an_id_too_long_for_an_index_is_hashed_and_cannot_be_forged_by_a_short_one() {
        let long = "x".repeat(256);
        let key = stored(json!({"path": "id"}), &json!({ "id": long }));
        assert!(key.starts_with("idhash:") && key.len() == 71, "{key}");
        assert_ne!(stored(json!({"path": "id"}), &json!({ "id": key })), key);
        let body = DeliveryKey::Body("a".to_owned());
        assert!(!body.is_permanent());
    }
}
