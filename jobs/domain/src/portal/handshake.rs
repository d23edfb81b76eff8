//! What a sender asks before it sends: "is this really yours?", or only "is anybody there?"
//!
//! It gives a value, in the query (Meta, Microsoft Graph, X, LinkedIn), in the body (Slack, Zoom) or
//! in a header (Smartsheet, Asana), and wants it back: bare, in a JSON object or in a header, as it is
//! or as an HMAC under the signing secret. A ping (Mailchimp, WooCommerce) gives nothing and wants
//! a 200.

mod faults;
#[cfg(test)]
mod tests;

use crate::Headers;
use crate::signature::{Encoding, SigningSecrets, is_challenge};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A value longer than this is no challenge.
const LONGEST: usize = 1024;
/// The same for one that goes into a header.
const LONGEST_IN_HEADER: usize = 256;
/// A ping's body says which webhook it is of, and hardly more.
const LONGEST_PING: usize = 1024;
/// In `when`: whatever stands there.
const ANYTHING: &str = "*";

/// How a sender's question is recognised and answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// The query parameter that holds the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The body's member that holds the value: a name or a JSON pointer. The request must be
    /// authentic like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The header that holds the value. It may be the signing secret itself (Asana): it is neither
    /// stored nor logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// There is no value: the sender wants a 200.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ping: bool,
    /// The query parameter that must hold the portal's verify token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Parameters, headers or members of the body, wherever the value is, that must have these
    /// values (`*`: any) for it to be a question. The body of a ping has these members and no other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, String>,
    /// Methods by which it is asked; without them `GET` for the query and for a ping without `when`,
    /// `POST` for everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A JSON object to answer with, `{value}` and `{hmac}` filled in; without it the bare value as
    /// text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<BTreeMap<String, String>>,
    /// The header in which a value from `header` is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_header: Option<String>,
    /// How the HMAC is written.
    #[serde(default)]
    pub encoding: Encoding,
}

/// What a request is, seen as a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// It is none.
    NoQuestion,
    /// Somebody else asks: status, code, sentence.
    Refused(u16, &'static str, &'static str),
    /// The answer, status 200.
    Answer {
        /// Its type.
        content_type: &'static str,
        /// Its text.
        body: String,
        /// A header: its name and its value, visible ASCII.
        header: Option<(String, String)>,
    },
}

impl Handshake {
    /// Is this request a question that stands in its query or its headers, or a ping without a
    /// body? `is_token` compares with the verify token.
    #[must_use]
    pub fn in_head(
        &self,
        method: &str,
        query: Option<&str>,
        headers: &Headers,
        secrets: Option<&SigningSecrets>,
        is_token: impl FnOnce(&str) -> bool,
    ) -> Shaken {
        if let Some(name) = &self.header {
            return self.in_headers(name, method, headers, secrets);
        }
        let parameter = |wanted: &str| {
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .find(|(k, _)| k == wanted)
                .map(|(_, v)| v.into_owned())
        };
        let meant = self.is_meant(parameter);
        if self.ping && method == "GET" && meant && self.is_asked_by(method) {
            return Shaken::text("", None);
        }
        let Some(name) = &self.query else { return Shaken::NoQuestion };
        let value = parameter(name).filter(|_| meant && self.is_asked_by(method));
        let Some(value) = value else { return Shaken::NoQuestion };
        if let Some(token) = &self.token
            && !parameter(token).is_some_and(|t| is_token(&t))
        {
            let message = "the verify token is missing or not this portal's";
            return Shaken::Refused(403, "verify_token_invalid", message);
        }
        self.answer(&value, secrets)
    }

    fn in_headers(
        &self,
        name: &str,
        method: &str,
        headers: &Headers,
        secrets: Option<&SigningSecrets>,
    ) -> Shaken {
        let meant = self.is_meant(|name| headers.get(name).map(str::to_owned));
        let value = headers.get(name).filter(|_| meant && self.is_asked_by(method));
        let Some(value) = value else { return Shaken::NoQuestion };
        let fits = (1..=LONGEST_IN_HEADER).contains(&value.len());
        if !fits || !value.bytes().all(|b| b.is_ascii_graphic()) {
            let message = "the value to be given back must be 1 to 256 visible ASCII characters";
            return Shaken::Refused(400, "handshake_invalid", message);
        }
        self.answer(value, secrets)
    }

    /// Is this decoded body a question? Ask only once the request is known to be authentic.
    #[must_use]
    pub fn in_body(&self, method: &str, body: &Value, secrets: Option<&SigningSecrets>) -> Shaken {
        let Some(place) = &self.body else { return Shaken::NoQuestion };
        let text = |place: &str| match place.starts_with('/') {
            true => body.pointer(place).and_then(Value::as_str),
            false => body.get(place).and_then(Value::as_str),
        };
        let meant = self.is_meant(|name| text(name).map(str::to_owned));
        match text(place).filter(|_| meant && self.is_asked_by(method)) {
            Some(value) => self.answer(value, secrets),
            None => Shaken::NoQuestion,
        }
    }

    /// May a body of so many bytes be a ping's? Only then is it worth reading before it is known who
    /// sent it.
    #[must_use]
    pub fn may_be_ping(&self, method: &str, bytes: usize) -> bool {
        let in_body = self.ping && method != "GET" && !self.when.is_empty();
        in_body && bytes <= LONGEST_PING && self.is_asked_by(method)
    }

    /// Is this the body of a ping: these members, and nothing that would be lost?
    #[must_use]
    pub fn is_ping(&self, body: &Value) -> bool {
        let Value::Object(members) = body else { return false };
        let text = |name: &str| match members.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        members.len() == self.when.len() && self.is_meant(text)
    }

    /// Does it sign what it is asked?
    #[must_use]
    pub fn proves(&self) -> bool {
        self.reply.iter().flatten().any(|(_, template)| template.contains("{hmac}"))
    }

    fn is_meant(&self, found: impl Fn(&str) -> Option<String>) -> bool {
        self.when.iter().all(|(name, wanted)| match found(name) {
            Some(text) => wanted == ANYTHING || text == *wanted,
            None => false,
        })
    }

    fn is_asked_by(&self, method: &str) -> bool {
        let by_get = self.query.is_some() || (self.ping && self.when.is_empty());
        match self.methods.as_slice() {
            [] => method == if by_get { "GET" } else { "POST" },
            methods => methods.iter().any(|m| m == method),
        }
    }

    fn answer(&self, value: &str, secrets: Option<&SigningSecrets>) -> Shaken {
        if value.len() > LONGEST || value.chars().any(char::is_control) {
            let message = "the value to be given back is longer than 1024 bytes, or not plain text";
            return Shaken::Refused(400, "handshake_invalid", message);
        }
        // Who asks is not known: what is signed here must be no delivery.
        if self.proves() && !is_challenge([value.as_bytes()]) {
            let message = "the value to be signed must be one word of at most 256 letters, digits \
                           and ._~+/-, with = at its end alone";
            return Shaken::Refused(400, "handshake_invalid", message);
        }
        let header = self.reply_header.clone().map(|name| (name, value.to_owned()));
        let Some(reply) = &self.reply else {
            let body = if self.header.is_some() { "" } else { value };
            return Shaken::text(body, header);
        };
        let proof =
            secrets.and_then(|s| s.prove(value.as_bytes())).map(|proof| match self.encoding {
                Encoding::Hex => hex::encode(proof),
                Encoding::Base64 => BASE64_STANDARD.encode(proof),
                Encoding::Base64Url => BASE64_URL_SAFE_NO_PAD.encode(proof),
            });
        let mut members = Map::new();
        for (name, template) in reply {
            let filled = match (&proof, template.contains("{hmac}")) {
                (Some(proof), true) => template.replace("{hmac}", proof),
                (None, true) => {
                    let message = "this portal has no signing secret to prove itself with";
                    return Shaken::Refused(503, "portal_misconfigured", message);
                }
                (_, false) => template.clone(),
            };
            // After the proof, so that nobody can ask for one by the value.
            members.insert(name.clone(), Value::String(filled.replace("{value}", value)));
        }
        let body = Value::Object(members).to_string();
        Shaken::Answer { content_type: "application/json", body, header }
    }
}

impl Shaken {
    /// An answer in plain text.
    #[must_use]
    pub fn text(body: &str, header: Option<(String, String)>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self::Answer { content_type, body: body.to_owned(), header }
    }
}
