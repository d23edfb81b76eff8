//! `multipart/form-data` (RFC 7578).

use super::fields::Fields;
use super::kind::{Kind, parameter};
use super::{BodyFault, BodyLimits, Member, charset};
use futures::FutureExt;
use futures::stream;
use memchr::memmem;
use multer::{Field, Multipart};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::ops::Range;

/// A form's fields; files are described, not kept apart: their bytes are in the event's body.
///
/// # Errors
/// 400 if the parts cannot be told apart or break off, 413 for too many of them.
pub(super) fn parse(
    body: &[u8],
    kind: &Kind,
    limits: &BodyLimits,
    watched: Option<&Member>,
) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
    // 70 is the most that RFC 2046, 5.1.1, allows.
    let boundary = kind.boundary.as_deref().filter(|b| (1..=70).contains(&b.len()));
    let Some(boundary) = boundary else {
        let message = "the content type names no boundary (1 to 70 characters) between the parts";
        return Err(BodyFault::malformed("multipart_no_boundary", message, Value::Null));
    };
    let label = kind.charset.as_deref();
    charset::text(b"", label)?;
    // The whole body is there, so nothing ever waits and every future is ready at once.
    let whole = stream::iter([Ok::<_, Infallible>(body.to_vec())]);
    let mut parts = Multipart::new(whole, boundary);
    let mut fields = Fields::new(limits.fields);
    let mut places = Vec::new();
    for number in 1.. {
        let next = parts.next_field().now_or_never().ok_or_else(|| broken(number))?;
        let Some(part) = next.map_err(|_| broken(number))? else { break };
        let name = part.name().unwrap_or_default().replace('\0', "");
        let value = read(part, label, number)?;
        if let (true, Value::String(text)) = (watched.is_some_and(|m| m.is_field(&name)), &value) {
            places.extend(find(body, text));
        }
        fields.put(&name, value)?;
    }
    Ok((fields.finish(), places))
}

fn read(part: Field<'_>, label: Option<&str>, number: usize) -> Result<Value, BodyFault> {
    let filename = part.file_name().map(|n| n.replace('\0', ""));
    let content_type = part.content_type().map(ToString::to_string);
    let bytes = part.bytes().now_or_never().ok_or_else(|| broken(number))?;
    let bytes = bytes.map_err(|_| broken(number))?;
    if let Some(filename) = filename {
        let file = json!({
            "filename": filename, "content_type": content_type, "size": bytes.len(),
        });
        return Ok(file);
    }
    let own = content_type.as_deref().and_then(|t| t.split_once(';'));
    let own = own.and_then(|(_, parameters)| parameter(parameters, "charset"));
    let text = charset::part(&bytes, own.as_deref().or(label)).ok_or_else(|| {
        let message = format!("part {number} of the form is not text in its character set");
        BodyFault::malformed("invalid_utf8", message, json!({ "field": number }))
    })?;
    Ok(Value::String(text.replace('\0', "")))
}

/// Where a part with exactly this content stands. A value is written as it is, between the empty
/// line and the next boundary.
fn find(body: &[u8], text: &str) -> Vec<Range<usize>> {
    let wanted = format!("\r\n\r\n{text}\r\n--");
    memmem::find_iter(body, wanted.as_bytes()).map(|at| at + 4..at + 4 + text.len()).collect()
}

fn broken(number: usize) -> BodyFault {
    let message = format!(
        "the body is not multipart/form-data that we can read: part {number} has no proper head, \
         or the body breaks off before the last boundary"
    );
    BodyFault::malformed("invalid_multipart", message, json!({ "field": number }))
}
