//! Where a sender puts the key, password or token that it shares with us.

use super::check_header;
use crate::body::Member;
use crate::{FieldFault, Headers};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// Where a sender puts its API key, password or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum ApiKeyPlace {
    /// In a header.
    Header {
        /// Its name.
        name: String,
        /// What stands before the key, such as `Bearer `; upper or lower case.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// In the URL's path, after the portal's code.
    Path,
    /// In the URL's query.
    Query {
        /// The parameter's name.
        name: String,
    },
    /// The password of HTTP basic authentication (RFC 7617); it may hold colons.
    Basic {
        /// The user's name.
        user: String,
    },
    /// In the body, JSON, XML or a form: it is masked in what is stored and in what mappings see.
    Body {
        /// The member's name, or a JSON pointer such as `/auth/key`; in XML from the root on, such as
        /// `/lead/key` or `/lead/@key`.
        name: String,
    },
    /// Nowhere: signature or address alone say who it is.
    None,
}

impl Default for ApiKeyPlace {
    fn default() -> Self {
        Self::Header { name: "X-API-Key".to_owned(), prefix: String::new() }
    }
}

impl ApiKeyPlace {
    /// The key as presented: from the headers, from the path segment after the code, or from the
    /// raw query string, wherever this portal's key belongs. A key in the body is not looked for
    /// here (`PortalSettings::open`).
    #[must_use]
    pub fn presented(
        &self,
        headers: &Headers,
        path: Option<&str>,
        query: Option<&str>,
    ) -> Option<String> {
        let key = match self {
            Self::Header { name, prefix } => after(headers.get(name)?, prefix)?.to_owned(),
            Self::Path => path?.to_owned(),
            Self::Query { name } => url::form_urlencoded::parse(query?.as_bytes())
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.into_owned())?,
            Self::Basic { user } => basic_password(headers.get("authorization")?, user)?,
            Self::Body { .. } | Self::None => return None,
        };
        Some(key).filter(|k| !k.is_empty())
    }

    /// Must the body be read before it is known who sends?
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        matches!(self, Self::Body { .. })
    }

    /// Does whoever knows the address know the key, so that even a question must show it?
    #[must_use]
    pub fn is_in_address(&self) -> bool {
        matches!(self, Self::Path | Self::Query { .. })
    }

    /// A query string with this place's parameter masked, for keeping.
    #[must_use]
    pub fn masked_query(&self, query: &str) -> String {
        let Self::Query { name } = self else { return query.to_owned() };
        let masked = query.split('&').map(|pair| {
            let (key, _) = pair.split_once('=').unwrap_or((pair, ""));
            let found = url::form_urlencoded::parse(key.as_bytes()).next();
            match found.is_some_and(|(k, _)| k == *name) {
                true => format!("{key}=***"),
                false => pair.to_owned(),
            }
        });
        masked.collect::<Vec<_>>().join("&")
    }

    pub(super) fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |at: &str, code: &str, message: &str| {
            faults.push(FieldFault::new(at, code, message));
        };
        match self {
            Self::Query { name } if name.is_empty() => {
                fault("/api_key/name", "required", "Name the query parameter that holds the key.");
            }
            Self::Basic { user } if user.is_empty() || user.contains(':') => {
                let message = "Name the user; a user's name holds no colon (RFC 7617, 2).";
                fault("/api_key/user", "invalid_user", message);
            }
            Self::Body { name } if Member::parse(name).is_none() => {
                let message = "Name the body's member that holds the key, or give a JSON pointer.";
                fault("/api_key/name", "required", message);
            }
            Self::Header { name, .. } => check_header("/api_key/name", name, &mut faults),
            _ => {}
        }
        faults
    }
}

/// What follows a prefix whose case does not count (RFC 9110, 11.1, of authentication schemes).
fn after<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    let head = value.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &value[prefix.len()..])
}

fn basic_password(header: &str, user: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(after(header, "Basic ")?.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    bool::from(name.as_bytes().ct_eq(user.as_bytes())).then(|| password.to_owned())
}
