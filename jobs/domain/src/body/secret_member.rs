//! A credential inside a body, as Google's lead forms send it: it is taken out for comparing, and
//! neither what is stored nor what mappings see holds it.

use super::{BodyFault, BodySettings, BodyType, inflate, kind, read};
use crate::Headers;
use serde_json::Value;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// What mappings see in its place.
const MASK: &str = "********";

/// A member of the decoded body: a name, or a JSON pointer (RFC 6901) such as `/auth/key`; in XML it
/// begins with the root, `/lead/key` or `/lead/@key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member(Vec<String>);

/// A body, decoded, its credential taken out.
pub struct Opened {
    /// The decoded body, masked.
    pub value: Value,
    /// The credential that it held.
    pub credential: Option<Zeroizing<String>>,
    /// What is to be stored instead of the body as it came; `None`: the body itself.
    pub stored: Option<Vec<u8>>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl Member {
    /// Reads a name or a pointer; `None` if it is empty.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let steps: Vec<String> = match written.strip_prefix('/') {
            Some(pointer) => {
                pointer.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect()
            }
            None => vec![written.to_owned()],
        };
        let whole = !written.is_empty() && steps.iter().all(|s| !s.is_empty());
        whole.then_some(Self(steps))
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }

    /// Is this how a form names it: `key`, `auth[key]`, or the same with `[]`?
    pub(super) fn is_field(&self, name: &str) -> bool {
        let name = name.strip_suffix("[]").unwrap_or(name);
        let (first, inner) = self.0.split_first().map_or(("", &[][..]), |(f, i)| (f.as_str(), i));
        let brackets = inner.iter().map(|step| format!("[{step}]"));
        name == first.to_owned() + &brackets.collect::<String>()
    }

    fn is_list(&self, body: &Value) -> bool {
        let found = self.0.iter().try_fold(body, |at, step| at.as_object()?.get(step));
        found.is_some_and(Value::is_array)
    }

    /// Takes the credential out of a decoded body and puts the mask there.
    pub fn take(&self, body: &mut Value) -> Option<Zeroizing<String>> {
        let mut at = body;
        for step in &self.0 {
            at = at.as_object_mut()?.get_mut(step)?;
        }
        taken(at)
    }
}

fn taken(at: &mut Value) -> Option<Zeroizing<String>> {
    let found = match at {
        Value::String(text) => {
            let found = Zeroizing::new(text.clone());
            text.zeroize();
            found
        }
        Value::Number(n) => Zeroizing::new(n.to_string()),
        // A form that repeats the field: the first counts, all are masked.
        Value::Array(items) => {
            let mut all = items.iter_mut().map(taken).collect::<Vec<_>>().into_iter().flatten();
            return all.next();
        }
        _ => return None,
    };
    *at = Value::String(MASK.to_owned());
    Some(found)
}

/// Decodes a body of at most `limit` bytes (inflated) whose `member` is the sender's credential.
///
/// What is to be stored is the body with asterisks for every byte of the credential: the same
/// length, the same everything else. A compressed body is stored inflated.
///
/// # Errors
/// [`BodyFault`]. 415 if the body is of a kind that has no place for one credential, or in which it cannot
/// be found byte by byte.
pub(crate) fn open(
    settings: &BodySettings,
    headers: &Headers,
    body: &[u8],
    limit: usize,
    member: &Member,
) -> Result<Opened, BodyFault> {
    let plain = inflate::inflate(headers.get("content-encoding"), body, limit)?;
    let kind = kind::of(settings, headers.get("content-type"))?;
    if !kind.body_type.has_one_member() {
        return Err(unfit());
    }
    let (mut value, places) = read(settings, &kind, &plain, Some(member))?;
    // A form may repeat the field; a list in JSON is something else than a key.
    let list = kind.body_type == BodyType::Json && member.is_list(&value);
    let credential = member.take(&mut value).filter(|_| !list);
    if credential.is_some() && places.is_empty() {
        return Err(unfit());
    }
    let mut stored = plain.into_owned();
    for place in places.into_iter().filter(|_| credential.is_some()) {
        // A key that is a JSON number stays one.
        let number = kind.body_type == BodyType::Json
            && place.start.checked_sub(1).is_some_and(|n| stored.get(n) != Some(&b'"'));
        if let Some(bytes) = stored.get_mut(place) {
            bytes.fill(if number { b'1' } else { b'*' });
        }
    }
    Ok(Opened { value, credential, stored: Some(stored) })
}

fn unfit() -> BodyFault {
    let message =
        "this portal's requests carry a key in their body: send JSON or XML in UTF-8, or a form";
    BodyFault::unsupported("unsupported_media_type", message)
}

/// The same without a credential.
///
/// # Errors
/// [`BodyFault`].
pub(crate) fn open_plain(
    settings: &BodySettings,
    headers: &Headers,
    body: &[u8],
    limit: usize,
) -> Result<Opened, BodyFault> {
    let plain = inflate::inflate(headers.get("content-encoding"), body, limit)?;
    let kind = kind::of(settings, headers.get("content-type"))?;
    let (value, _) = read(settings, &kind, &plain, None)?;
    Ok(Opened { value, credential: None, stored: None })
}
