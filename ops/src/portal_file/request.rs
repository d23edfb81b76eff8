//! Deliveries as files: a raw body, or a recorded request as JSON.
//!
//! A recorded request has `method`, `url`, `headers`, and one of `body` (a text), `body_base64` (bytes)
//! or `body_gen` (`prefix`, `fill` repeated `count` times, `suffix`); `content_type` stands in for the
//! header. `sequence` holds several, in order.

use super::FileFault;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use std::path::Path;
use switchyard_catalog::samples::Delivery;

/// The largest body that is generated.
const MOST_BYTES: usize = 64 << 20;

/// The deliveries in a file; `raw` is what a raw body comes with.
///
/// # Errors
/// If the file cannot be read, or is half a recorded request.
pub fn deliveries(path: &Path, raw: &Delivery) -> Result<Vec<Delivery>, FileFault> {
    let bytes = std::fs::read(path).map_err(|e| {
        FileFault::at("", "unreadable", format!("{} cannot be read: {e}.", path.display()))
    })?;
    let recorded = serde_json::from_slice::<Map<String, Value>>(&bytes).ok();
    let Some(recorded) = recorded.filter(is_recorded) else {
        return Ok(vec![Delivery { body: bytes, ..raw.clone() }]);
    };
    match recorded.get("sequence") {
        Some(Value::Array(all)) if !all.is_empty() => all
            .iter()
            .enumerate()
            .map(|(n, one)| {
                let at = format!("/sequence/{n}");
                let members = one.as_object().ok_or_else(|| {
                    FileFault::at(&at, "invalid", "A recorded request is an object.")
                })?;
                recorded_one(members, &at, raw)
            })
            .collect(),
        _ => Ok(vec![recorded_one(&recorded, "", raw)?]),
    }
}

/// A body of a sender might be an object too: a recorded request says by what method it came.
fn is_recorded(members: &Map<String, Value>) -> bool {
    let has = |name: &str| members.contains_key(name);
    has("method")
        && (has("url") || has("headers"))
        && ["body", "body_base64", "body_gen", "sequence"].into_iter().any(has)
}

fn recorded_one(
    members: &Map<String, Value>,
    at: &str,
    raw: &Delivery,
) -> Result<Delivery, FileFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in members.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fields.push((name.clone(), value));
        }
    }
    let typed = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let (false, Some(kind)) = (typed, text("content_type")) {
        fields.push(("Content-Type".to_owned(), kind.to_owned()));
    }
    // What the command line says comes on top.
    fields.retain(|(name, _)| raw.headers.get(name).is_none());
    fields.extend(raw.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let url = raw.url.clone().or_else(|| text("url").map(str::to_owned));
    Ok(Delivery { headers: fields.into_iter().collect(), body: body(members, at)?, url })
}

fn body(members: &Map<String, Value>, at: &str) -> Result<Vec<u8>, FileFault> {
    if let Some(text) = members.get("body").and_then(Value::as_str) {
        return Ok(text.as_bytes().to_vec());
    }
    if let Some(text) = members.get("body_base64").and_then(Value::as_str) {
        return BASE64_STANDARD.decode(text).map_err(|e| {
            FileFault::at(format!("{at}/body_base64"), "invalid", format!("It is no base64: {e}."))
        });
    }
    let Some(made) = members.get("body_gen").and_then(Value::as_object) else {
        // A GET has none.
        return Ok(Vec::new());
    };
    let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
    let count = made.get("count").and_then(Value::as_u64).unwrap_or_default();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let size = text("fill").len().saturating_mul(count);
    if size > MOST_BYTES {
        let message = format!("The body would have {size} bytes, at most {MOST_BYTES}.");
        return Err(FileFault::at(format!("{at}/body_gen"), "too_long", message));
    }
    Ok([text("prefix"), &text("fill").repeat(count), text("suffix")].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Vec<Delivery>, FileFault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value.to_string()).unwrap();
        let headers = [("Content-Type", "application/json")].into_iter().collect();
        deliveries(file.path(), &Delivery { headers, body: Vec::new(), url: None })
    }

    #[test]
    fn an_object_of_a_sender_is_a_raw_body() {
        let body = json!({"method": "call", "headers": "none", "email": "a@b.co"});
        let read = read(&body).unwrap();
        assert_eq!(read[0].body, body.to_string().as_bytes());
    }

    #[test]
    fn bodies_are_texts_bytes_or_made() {
        let request = |name: &str, body: Value| json!({"method": "POST", "url": "https://h/x?a=1", "headers": {"X-A": ["1", "2"]}, name: body});
        let one = |value: Value| read(&value).unwrap().remove(0);
        let text = one(request("body", json!("żółw")));
        assert_eq!(text.body, "żółw".as_bytes());
        assert_eq!(text.headers.get("x-a"), Some("1, 2"));
        assert_eq!(text.url.as_deref(), Some("https://h/x?a=1"));
        assert_eq!(one(request("body_base64", json!("/w=="))).body, [0xff]);
        let made = json!({"prefix": "[", "fill": "a", "count": 3, "suffix": "]"});
        assert_eq!(one(request("body_gen", made)).body, b"[aaa]");
        let huge = request("body_gen", json!({"fill": "a", "count": u64::MAX}));
        assert_eq!(read(&huge).unwrap_err().code, "too_long");
        assert_eq!(read(&request("body_base64", json!("!"))).unwrap_err().pointer, "/body_base64");
        let several = json!({"method": "POST", "url": "u", "sequence": [request("body", json!("1")), request("body", json!("2"))]});
        assert_eq!(read(&several).unwrap().len(), 2);
    }
}
