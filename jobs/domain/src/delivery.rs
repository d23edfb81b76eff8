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
    let id = match &settings.delivery_id {
        None => None,
        Some(DeliveryId::Header(name)) => headers.get(name).map(str::to_owned),
        Some(DeliveryId::Path(path)) => path.find(body).and_then(scalar_id),
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
        _ => None,
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
