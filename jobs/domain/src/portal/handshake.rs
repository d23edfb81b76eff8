//! What a sender asks before it sends: "is this really yours?"
//!
//! It gives a value, in the query (Meta, Microsoft Graph, X) or in the body (Slack, Zoom), and wants
//! it back, bare or in a JSON object, as it is or as an HMAC under the signing secret.

use crate::FieldFault;
use crate::signature::{Encoding, SigningSecrets};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A value longer than this is no challenge.
const LONGEST: usize = 1024;

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
    /// The query parameter that must hold the portal's verify token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Parameters, or members of the body, that must have these values for it to be a question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, String>,
    /// Methods by which it is asked; without them `GET`, and `POST` for a value in the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A JSON object to answer with, `{value}` and `{hmac}` filled in; without it the bare value as
    /// text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<BTreeMap<String, String>>,
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
    },
}

impl Handshake {
    /// Is this request a question in the query? `is_token` compares with the verify token.
    #[must_use]
    pub fn in_query(
        &self,
        method: &str,
        query: Option<&str>,
        secrets: Option<&SigningSecrets>,
        is_token: impl FnOnce(&str) -> bool,
    ) -> Shaken {
        let (Some(name), Some(query)) = (&self.query, query) else { return Shaken::NoQuestion };
        let parameter = |wanted: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(k, _)| k == wanted)
                .map(|(_, v)| v.into_owned())
        };
        let meant = self.when.iter().all(|(k, v)| parameter(k).as_ref() == Some(v));
        let value = parameter(name).filter(|_| meant && self.is_asked_by(method, "GET"));
        let Some(value) = value else { return Shaken::NoQuestion };
        if let Some(token) = &self.token
            && !parameter(token).is_some_and(|t| is_token(&t))
        {
            let message = "the verify token is missing or not this portal's";
            return Shaken::Refused(403, "verify_token_invalid", message);
        }
        self.answer(&value, secrets)
    }

    /// Is this decoded body a question? Ask only once the request is known to be authentic.
    #[must_use]
    pub fn in_body(&self, method: &str, body: &Value, secrets: Option<&SigningSecrets>) -> Shaken {
        let Some(place) = &self.body else { return Shaken::NoQuestion };
        let text = |place: &str| match place.starts_with('/') {
            true => body.pointer(place).and_then(Value::as_str),
            false => body.get(place).and_then(Value::as_str),
        };
        let meant = self.when.iter().all(|(k, v)| text(k) == Some(v));
        match text(place).filter(|_| meant && self.is_asked_by(method, "POST")) {
            Some(value) => self.answer(value, secrets),
            None => Shaken::NoQuestion,
        }
    }

    fn is_asked_by(&self, method: &str, usual: &str) -> bool {
        match self.methods.as_slice() {
            [] => method == usual,
            methods => methods.iter().any(|m| m == method),
        }
    }

    fn answer(&self, value: &str, secrets: Option<&SigningSecrets>) -> Shaken {
        if value.len() > LONGEST || value.chars().any(char::is_control) {
            let message = "the value to be given back is longer than 1024 bytes, or not plain text";
            return Shaken::Refused(400, "handshake_invalid", message);
        }
        let Some(reply) = &self.reply else {
            return Shaken::Answer {
                content_type: "text/plain; charset=utf-8",
                body: value.to_owned(),
            };
        };
        let proof =
            secrets.and_then(|s| s.prove(value.as_bytes())).map(|proof| match self.encoding {
                Encoding::Hex => hex::encode(proof),
                Encoding::Base64 => BASE64_STANDARD.encode(proof),
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
        Shaken::Answer {
            content_type: "application/json",
            body: Value::Object(members).to_string(),
        }
    }

    pub(super) fn faults(&self, is_signed: bool) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |at: &str, code: &str, message: &str| {
            faults.push(FieldFault::new(format!("/handshake{at}"), code, message));
        };
        let named = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
        if named(&self.query) == named(&self.body) {
            let message = "Say where the value is: in `query` or in `body`, one of them.";
            fault("", "required", message);
        }
        if self.token.is_some() && !(named(&self.token) && named(&self.query)) {
            fault("/token", "invalid", "A verify token is a query parameter beside the value's.");
        }
        const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
        if self.methods.iter().any(|m| !METHODS.contains(&m.as_str())) {
            fault("/methods", "invalid", "The methods are GET, POST and PUT.");
        }
        let proves = self.reply.iter().flatten().any(|(_, t)| t.contains("{hmac}"));
        if proves && !is_signed {
            let message = "{hmac} is made with the signing secret: add `signature`.";
            fault("/reply", "signature_missing", message);
        }
        faults
    }
}
