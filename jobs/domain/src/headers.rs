//! The header fields of a request, as the rules need them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Never stored, whatever a portal says: they hold credentials.
const ALWAYS_SECRET: [&str; 6] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key", "x-auth-token"];

/// Header fields, names in lower case. Repeated fields are joined by `, ` (RFC 9110, 5.3).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, String>);

impl Headers {
    /// The value of a field, whatever the case of its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// All fields in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A copy that may be stored: without credentials and without the fields named.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let secret =
            |k: &str| ALWAYS_SECRET.contains(&k) || names.iter().any(|n| n.eq_ignore_ascii_case(k));
        Self(
            self.0
                .iter()
                .filter(|(k, _)| !secret(k))
                // PostgreSQL's jsonb cannot hold a NUL.
                .map(|(k, v)| (k.clone(), v.replace('\0', "")))
                .collect(),
        )
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut map: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in fields {
            let value = value.into();
            map.entry(name.as_ref().to_ascii_lowercase())
                .and_modify(|have| {
                    have.push_str(", ");
                    have.push_str(&value);
                })
                .or_insert(value);
        }
        Self(map)
    }
}

/// Prints the names only: values may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Is this a field name (RFC 9110, 5.6.2: a token)?
pub(crate) fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_in_any_case_and_repeats_are_joined() {
        let headers: Headers = [("X-A", "1"), ("x-a", "2")].into_iter().collect();
        assert_eq!(headers.get("X-a"), Some("1, 2"));
        assert_eq!(headers.get("x-b"), None);
    }

    #[test]
    fn credentials_are_neither_stored_nor_printed() {
        let headers: Headers =
            [("Authorization", "Bearer s3cret"), ("X-Key", "s3cret"), ("Accept", "a\0b")]
                .into_iter()
                .collect();
        assert!(!format!("{headers:?}").contains("s3cret"));
        let kept = headers.without(&["x-key"]);
        assert_eq!(kept.iter().collect::<Vec<_>>(), [("accept", "ab")]);
    }
}
