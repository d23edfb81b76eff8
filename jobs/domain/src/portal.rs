//! Everything about a portal except its secrets: who may send, how, and what its fields mean.

use crate::body::{self, BodyFault, LARGEST_BODY, Member, Opened, Parts};
use crate::duplicates::DuplicateRule;
use crate::headers::is_field_name;
use crate::mapping::{Enrich, Mapping, Path};
use crate::normalise;
use crate::normalise::NumberLocale;
use crate::signature::SignatureScheme;
use crate::{FieldFault, Headers};
use chrono_tz::Tz;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

mod credential;
mod door;
mod handshake;
mod leads;
mod limits;
#[cfg(test)]
mod tests;

pub use credential::ApiKeyPlace;
pub use door::Door;
pub use handshake::{Handshake, Shaken};
pub use limits::{Limits, Per, Rate};

/// The format of settings that this program writes and reads.
const FORMAT: u32 = 1;
/// A reply is a receipt, not a page.
const LONGEST_REPLY: usize = 16 * 1024;

/// A portal's settings, as they stand in `portals.settings`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortalSettings {
    /// Version of the format; 1.
    pub format: u32,
    /// Where the sender puts its API key.
    pub api_key: ApiKeyPlace,
    /// How the sender signs, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureScheme>,
    /// Where the sender puts the delivery's id; without it the body's hash stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<DeliveryId>,
    /// What holds where the sender does not say.
    pub defaults: Defaults,
    /// What the sender's fields mean.
    pub mapping: Mapping,
    /// Where the rest of a lead is fetched, if the sender sends an id only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrich: Option<Enrich>,
    /// What an accepted delivery is answered.
    pub reply: Reply,
    /// What is done about a person who asked before; without it nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<DuplicateRule>,
    /// Addresses, handshakes, limits, and how bodies are read.
    #[serde(flatten)]
    pub door: Door,
}

/// Where a sender puts the id of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryId {
    /// In this header.
    Header(String),
    /// In the body, at this path.
    Path(Path),
    /// In the URL's query, as this parameter.
    Query(String),
}

/// What holds where the sender does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// ISO 3166-1 alpha-2: reads national phone numbers, and completes a postal code.
    #[serde(deserialize_with = "country", skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// IANA name: reads dates without a zone; UTC without it.
    #[serde(with = "zone", skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Tz>,
    /// ISO 4217: the currency of a budget that names none.
    #[serde(deserialize_with = "currency", skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// How numbers are written, such as `pl-PL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_locale: Option<NumberLocale>,
}

/// What an accepted delivery is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// 200 to 299.
    pub status: u16,
    /// Of `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Exactly what is sent; without it, the platform's envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Default for Reply {
    fn default() -> Self {
        Self { status: 202, content_type: None, body: None }
    }
}

impl PortalSettings {
    /// Reads and checks settings. `field` of a fault is a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(settings: &Value) -> Result<Self, Vec<FieldFault>> {
        let Value::Object(members) = settings else {
            return Err(vec![FieldFault::new("", "not_an_object", "Settings are a JSON object.")]);
        };
        let mut faults = Vec::new();
        for name in members.keys() {
            const KNOWN: [&str; 9] = [
                "format",
                "api_key",
                "signature",
                "delivery_id",
                "defaults",
                "mapping",
                "enrich",
                "reply",
                "duplicates",
            ];
            if !KNOWN.contains(&name.as_str()) && !Door::KNOWN.contains(&name.as_str()) {
                let known = [&KNOWN[..], &Door::KNOWN[..]].concat().join(", ");
                let message = format!("`{name}` is no setting; the settings are {known}.");
                faults.push(FieldFault::new(pointer(name), "unknown_setting", message));
            }
        }
        let format = member(members, "format", &mut faults).unwrap_or(FORMAT);
        let api_key = member(members, "api_key", &mut faults).unwrap_or_default();
        let signature = member(members, "signature", &mut faults);
        let delivery_id = member(members, "delivery_id", &mut faults);
        let defaults = member(members, "defaults", &mut faults).unwrap_or_default();
        let reply = member(members, "reply", &mut faults).unwrap_or_default();
        let duplicates = member(members, "duplicates", &mut faults);
        let door = Door::read(members, &mut faults);
        let (mapping, enrich) = leads::read_mapping(members, &mut faults);
        let Some(mapping) = mapping else { return Err(faults) };
        let settings = Self {
            format,
            api_key,
            signature,
            delivery_id,
            defaults,
            mapping,
            enrich,
            reply,
            duplicates,
            door,
        };
        faults.extend(settings.validate());
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    /// What is wrong with these settings: empty if they can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        if self.format != FORMAT {
            let message = format!(
                "Settings of format {} cannot be read; this program reads format {FORMAT}.",
                self.format
            );
            faults.push(FieldFault::new("/format", "unknown_format", message));
        }
        self.check_api_key(&mut faults);
        if let Some(scheme) = &self.signature {
            faults.extend(scheme.faults("/signature"));
            self.check_signed_parts(scheme, &mut faults);
        }
        match &self.delivery_id {
            Some(DeliveryId::Header(name)) => {
                check_header("/delivery_id/header", name, &mut faults);
            }
            Some(DeliveryId::Query(name)) if name.is_empty() => faults.push(FieldFault::new(
                "/delivery_id/query",
                "required",
                "Name the query parameter that holds the delivery's id.",
            )),
            _ => {}
        }
        faults.extend(self.door.faults(self.signature.is_some()));
        faults.extend(self.reply.faults());
        if let Some(what) = self.duplicates.as_ref().and_then(DuplicateRule::fault) {
            faults.push(FieldFault::new("/duplicates/by", "required", what));
        }
        faults
    }

    fn check_api_key(&self, faults: &mut Vec<FieldFault>) {
        faults.extend(self.api_key.faults());
        let rows = self.door.body.body_type.is_some_and(|kind| !kind.has_one_member());
        if rows && self.api_key.is_in_body() {
            let message = "A body of rows has no single place for a key: let the sender put it into a \
                           header, the path or the query, or send JSON, XML or a form.";
            faults.push(FieldFault::new("/api_key/in", "no_place_for_key", message));
        }
        let known_otherwise = self.signature.is_some() || !self.door.ip_allow.is_empty();
        if self.api_key == ApiKeyPlace::None && !known_otherwise {
            faults.push(FieldFault::new(
                "/api_key",
                "unauthenticated",
                "Anybody could send: without an API key the requests must be signed, or come from \
                 known addresses. Say where the key is (header, path, query, basic or body), or add \
                 `signature` or `ip_allow`.",
            ));
        }
    }

    fn check_signed_parts(&self, scheme: &SignatureScheme, faults: &mut Vec<FieldFault>) {
        if scheme.can_be_replayed() && self.delivery_id.is_none() {
            let message = "Only members of the body are signed, and nothing says when: whoever saw one \
                           delivery could send others with it for ever. Say where the time stamp \
                           stands (`timestamp`), or name what is used once as `delivery_id`.";
            faults.push(FieldFault::new("/signature", "can_be_replayed", message));
        }
        let rows = self.door.body.body_type.is_some_and(|kind| !kind.has_one_member());
        if rows && scheme.reads_parts() {
            let message = "A body of rows has no single place for a signature: let the sender put it \
                           into a header or the query, or send JSON, XML or a form.";
            faults.push(FieldFault::new("/signature/body", "no_place_for_signature", message));
        }
    }

    /// The members of a body, where the signature looks at them.
    ///
    /// # Errors
    /// [`BodyFault`].
    pub fn parts<'a>(
        &self,
        headers: &Headers,
        body: &'a [u8],
        limit: usize,
    ) -> Result<Option<Parts<'a>>, BodyFault> {
        let wanted = self.signature.as_ref().is_some_and(SignatureScheme::reads_parts);
        wanted.then(|| body::parts_of(&self.door.body, headers, body, limit)).transpose()
    }

    /// Headers that hold credentials and must not be stored.
    #[must_use]
    pub fn credential_headers(&self) -> Vec<&str> {
        let mut names = self.signature.as_ref().map_or_else(Vec::new, SignatureScheme::headers);
        if let ApiKeyPlace::Header { name, .. } = &self.api_key {
            names.push(name);
        }
        // A sender may choose its signing secret and say it as the challenge.
        names.extend(self.door.handshake.as_ref().and_then(|h| h.header.as_deref()));
        names
    }

    /// The decoded body of a delivery: what mappings and delivery ids look at. A key inside of it
    /// is masked.
    ///
    /// # Errors
    /// [`BodyFault`]: what is wrong with the body, for the sender.
    pub fn decode(&self, headers: &Headers, body: &[u8]) -> Result<Value, BodyFault> {
        let limit = self.door.body.limits.bytes_or(LARGEST_BODY);
        self.open(headers, body, limit).map(|opened| opened.value)
    }

    /// The same for the front: with the key that stood in the body, and with what is to be stored.
    /// `limit` bounds the inflated body, in bytes.
    ///
    /// # Errors
    /// [`BodyFault`].
    pub fn open(&self, headers: &Headers, body: &[u8], limit: usize) -> Result<Opened, BodyFault> {
        let settings = &self.door.body;
        match &self.api_key {
            ApiKeyPlace::Body { name } => {
                let member = Member::parse(name).ok_or_else(BodyFault::no_key)?;
                body::open(settings, headers, body, limit, &member)
            }
            _ => body::open_plain(settings, headers, body, limit),
        }
    }
}

impl<'de> Deserialize<'de> for PortalSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?)
            .map_err(|faults| D::Error::custom(FieldFault::sentences(&faults)))
    }
}

impl Reply {
    fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |name: &str, code: &str, message: &str| {
            faults.push(FieldFault::new(format!("/reply/{name}"), code, message));
        };
        if !(200..=299).contains(&self.status) {
            fault("status", "out_of_range", "An accepted delivery is answered 200 to 299.");
        }
        if matches!(self.status, 204 | 205) && self.body.is_some() {
            fault("body", "body_not_allowed", "An answer with status 204 or 205 has no body.");
        }
        if self.body.as_ref().is_some_and(|b| b.len() > LONGEST_REPLY) {
            fault("body", "too_long", "The reply's body may have at most 16 KiB.");
        }
        match (&self.content_type, &self.body) {
            (None, Some(_)) => {
                fault("content_type", "required", "Say what type the reply's body is.");
            }
            (Some(kind), _)
                if !kind.contains('/') || !kind.bytes().all(|b| (0x20..0x7f).contains(&b)) =>
            {
                fault("content_type", "invalid_type", "Write a type such as application/json.");
            }
            _ => {}
        }
        faults
    }
}

fn check_header(at: &str, name: &str, faults: &mut Vec<FieldFault>) {
    if !is_field_name(name) {
        let message = format!("`{name}` is no header name; write one such as `X-API-Key`.");
        faults.push(FieldFault::new(at, "invalid_header_name", message));
    }
}

/// One member, its faults put in with its pointer. Null counts as absent.
fn member<T: DeserializeOwned>(
    members: &Map<String, Value>,
    name: &str,
    faults: &mut Vec<FieldFault>,
) -> Option<T> {
    let value = members.get(name).filter(|v| !v.is_null())?;
    T::deserialize(value)
        .map_err(|e| {
            let message = format!("`{name}` cannot be read: {e}.");
            faults.push(FieldFault::new(pointer(name), "invalid", message));
        })
        .ok()
}

/// A member's JSON pointer (RFC 6901, 3).
pub(crate) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn country<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    normalise::country(&text)
        .map(|code| Some(code.to_owned()))
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no country; write a code such as PL")))
}

fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    normalise::currency(&text).map(|code| Some(code.to_owned())).ok_or_else(|| {
        D::Error::custom(format!("`{text}` is no currency; write a code such as EUR"))
    })
}

mod zone {
    //! Time zones by their IANA name.
    use super::{Deserialize, Deserializer, Serializer, Tz};
    use serde::de::Error as _;

    #[allow(clippy::ref_option)] // the shape that serde's `with` demands
    pub fn serialize<S: Serializer>(zone: &Option<Tz>, serializer: S) -> Result<S::Ok, S::Error> {
        match zone {
            Some(zone) => serializer.serialize_str(zone.name()),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tz>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        name.parse().map(Some).map_err(|_| {
            D::Error::custom(format!("`{name}` is no time zone; write one such as Europe/Warsaw"))
        })
    }
}
