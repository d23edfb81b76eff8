//! Members of a body for those who sign in it: where the signature stands, and what is signed. Of JSON
//! they are what the sender wrote, digit by digit, since that is what it signed.

use super::{BodyFault, BodySettings, BodyType, charset, inflate, kind, read};
use crate::Headers;
use crate::mapping::Path;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The way to one member of a body: `signature.token`, `items[0].id`, or a JSON pointer (RFC 6901)
/// such as `/signature/token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPath {
    text: String,
    steps: Vec<PartStep>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PartStep {
    /// A member of an object; in a list the element with this number.
    Key(String),
    /// An element of a list, from 0. What is no list counts as a list of one.
    Index(usize),
}

/// A body of which members are wanted as they are written.
pub struct Parts<'a>(Inner<'a>);

enum Inner<'a> {
    /// Well-formed JSON.
    Json(Cow<'a, str>),
    /// Forms and XML, decoded.
    Decoded(Value),
}

impl PartPath {
    /// Reads a path.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let steps = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|step| PartStep::Key(step.replace("~1", "/").replace("~0", "~")))
                .collect(),
            None => text.parse::<Path>()?.plain_steps().ok_or_else(|| {
                format!(
                    "`{text}` may lead to several values; write keys and indexes such as \
                     `signature.token` or `items[0].id`"
                )
            })?,
        };
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The field of a form that this is, if it is one of the form itself.
    pub(crate) fn field(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [PartStep::Key(name)] => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for PartPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The parts of a body of at most `limit` bytes (inflated). It is read whole, so that what is wrong
/// with it is told before anything of it is believed.
///
/// # Errors
/// [`BodyFault`]. 415 for rows: there is no member that would be there once.
pub(crate) fn of<'a>(
    settings: &BodySettings,
    headers: &Headers,
    body: &'a [u8],
    limit: usize,
) -> Result<Parts<'a>, BodyFault> {
    let kind = kind::of(settings, headers.get("content-type"))?;
    if !kind.body_type.has_one_member() {
        let message = "this portal's requests are signed in their body: send JSON, XML or a form";
        return Err(BodyFault::unsupported("unsupported_media_type", message));
    }
    let plain = inflate::inflate(headers.get("content-encoding"), body, limit)?;
    let (value, _) = read(settings, &kind, &plain, None)?;
    if kind.body_type != BodyType::Json {
        return Ok(Parts(Inner::Decoded(value)));
    }
    let label = kind.charset.as_deref();
    let text = match plain {
        Cow::Borrowed(bytes) => charset::text(bytes, label)?,
        Cow::Owned(bytes) => Cow::Owned(charset::text(&bytes, label)?.into_owned()),
    };
    Ok(Parts(Inner::Json(text)))
}

impl Parts<'_> {
    /// What stands there: a text's characters, anything else in JSON as it is written; `None` if
    /// nothing does, or null.
    #[must_use]
    pub fn get(&self, path: &PartPath) -> Option<Cow<'_, str>> {
        match &self.0 {
            Inner::Json(text) => written(text, &path.steps),
            Inner::Decoded(value) => decoded(value, &path.steps),
        }
    }
}

fn written<'a>(text: &'a str, steps: &[PartStep]) -> Option<Cow<'a, str>> {
    let mut at: &'a str = text.trim_matches([' ', '\t', '\n', '\r']);
    for step in steps {
        let mut reader = serde_json::Deserializer::from_str(at);
        at = match at.as_bytes().first()? {
            b'{' if *step != PartStep::Index(0) => Find(step).deserialize(&mut reader).ok()??.get(),
            b'[' => Find(step).deserialize(&mut reader).ok()??.get(),
            _ if *step == PartStep::Index(0) => at,
            _ => return None,
        };
    }
    match at.as_bytes().first()? {
        b'"' => serde_json::from_str(at).ok().map(Cow::Owned),
        b'n' => None,
        _ => Some(Cow::Borrowed(at)),
    }
}

/// Finds one member without keeping any other: a body may have a million of them.
struct Find<'s>(&'s PartStep);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            if matches!(self.0, PartStep::Key(wanted) if *wanted == *key) {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.number();
        let mut at = 0;
        let mut found = None;
        loop {
            if wanted == Some(at) {
                found = items.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }
}

impl PartStep {
    fn number(&self) -> Option<usize> {
        match self {
            Self::Key(key) => key.parse().ok(),
            Self::Index(index) => Some(*index),
        }
    }
}

fn decoded<'a>(value: &'a Value, steps: &[PartStep]) -> Option<Cow<'a, str>> {
    let mut at = value;
    for step in steps {
        at = match (at, step) {
            (Value::Array(items), step) => items.get(step.number()?)?,
            (Value::Object(members), PartStep::Key(key)) => members.get(key)?,
            (one, PartStep::Index(0)) => one,
            _ => return None,
        };
    }
    match at {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        // An element of XML that has attributes.
        Value::Object(members) => match members.get("#text") {
            Some(Value::String(text)) => Some(Cow::Borrowed(text)),
            _ => None,
        },
        Value::Null | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn get(content_type: &str, body: &[u8], path: &str) -> Option<String> {
        let headers = [("content-type", content_type)].into_iter().collect();
        let parts = of(&BodySettings::default(), &headers, body, 1 << 20).unwrap();
        parts.get(&PartPath::parse(path).unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn members_of_json_are_what_was_written() {
        let body = r#" {"a": {"b": "ż\u017c\n", "n": 1.10, "o": {"x" : [1,2]}, "z": null, "k.é": true},
            "l": [{"id": "first"}, {"id": 12345678901234567890123}], "esc\u0061pe": "key"} "#;
        let got = |path| get("application/json", body.as_bytes(), path);
        let is = |path, text: &str| assert_eq!(got(path).as_deref(), Some(text), "{path}");
        is("a.b", "żż\n");
        is("/a/b", "żż\n");
        is("a.n", "1.10");
        is("a.o", r#"{"x" : [1,2]}"#);
        is("a.o.x[1]", "2");
        is("a.\"k.é\"", "true");
        is("/a/k.é", "true");
        is("l[0].id", "first");
        is("/l/0/id", "first");
        is("l[1].id", "12345678901234567890123");
        is("a[0].n", "1.10");
        is("escape", "key");
        for path in ["a.z", "a.nothing", "l[2].id", "a.b.c", "l.id", "/l/x/id"] {
            assert_eq!(got(path), None, "{path}");
        }
        assert_eq!(get("application/json", b"\xEF\xBB\xBF[\"x\"]", "[0]").as_deref(), Some("x"));
    }

    #[test]
    fn forms_and_xml_have_members_too() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(get(form, b"token=a%2Bb&x=1", "token").as_deref(), Some("a+b"));
        assert_eq!(get(form, b"sig[token]=a&x=1", "sig.token").as_deref(), Some("a"));
        assert_eq!(get(form, b"token=a&token=b", "token"), None);
        assert_eq!(get(form, b"token=a&token=b", "token[1]").as_deref(), Some("b"));
        let multipart =
            b"--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nabc\r\n--b--\r\n";
        let kind = "multipart/form-data; boundary=b";
        assert_eq!(get(kind, multipart, "token").as_deref(), Some("abc"));
        let xml = b"<lead><sig v=\"1\">abc</sig><t>7</t></lead>";
        assert_eq!(get("text/xml", xml, "lead.sig").as_deref(), Some("abc"));
        assert_eq!(get("text/xml", xml, "lead.sig.@v").as_deref(), Some("1"));
    }

    #[test]
    fn paths_that_lead_to_several_values_are_none() {
        for path in ["a[*]", "a[x=1]", "a*", "^.a", "$name", ".", "", "a[-1]", "a.(b)"] {
            assert!(PartPath::parse(path).is_err(), "{path}");
        }
        assert!(PartPath::parse("$.a").is_ok());
    }

    #[test]
    fn broken_and_deep_bodies_are_told_before_anything_is_believed() {
        let judge = |kind: &str, body: &[u8]| {
            let headers = [("content-type", kind)].into_iter().collect();
            of(&BodySettings::default(), &headers, body, 1 << 20).map(|_| ()).map_err(|f| f.code)
        };
        let deep = "[".repeat(5_000);
        assert_eq!(judge("application/json", deep.as_bytes()), Err("json_too_deep"));
        assert_eq!(judge("application/json", br#"{"a":1,"a":2}"#), Err("duplicate_key"));
        assert_eq!(judge("application/json", b"{\"a\":"), Err("invalid_json"));
        assert_eq!(judge("text/csv", b"a,b\n1,2"), Err("unsupported_media_type"));
    }
}
