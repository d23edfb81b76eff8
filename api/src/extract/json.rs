//! JSON bodies.

use super::read_body;
use crate::{Api, ApiError};
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::json;

/// A JSON body of type `T`: 415 if it is something else, 400 if it is not JSON, 422 if it does not
/// fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        read(request, api, api.config.body_limit).await.map(Self)
    }
}

/// The same for what comes in bulk: up to 32 MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchJson<T>(pub(crate) T);

/// 10,000 jobs with arguments of some 3 KB.
const BATCH_LIMIT: usize = 32 << 20;

impl<T: DeserializeOwned> FromRequest<Api> for BatchJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        read(request, api, BATCH_LIMIT.max(api.config.body_limit)).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(
    request: Request,
    api: &Api,
    limit: usize,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    json_only(&parts.headers)?;
    let body = read_body(&parts.headers, body, limit, api.config.body_timeout).await?;
    serde_json::from_slice(&body).map_err(|e| match e.classify() {
        Category::Data => ApiError::unprocessable("invalid_body", e.to_string()),
        _ => syntax_fault(&e),
    })
}

/// `None` for a request without a body.
impl<T: DeserializeOwned> OptionalFromRequest<Api> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Option<Self>, ApiError> {
        let headers = request.headers();
        let length = headers.get(header::CONTENT_LENGTH);
        let empty = length.map_or(!headers.contains_key(header::TRANSFER_ENCODING), |n| n == "0");
        if empty {
            return Ok(None);
        }
        <Self as FromRequest<Api>>::from_request(request, api).await.map(Some)
    }
}

/// 415 unless the body is `application/json` or `application/...+json`, in UTF-8, not compressed.
///
/// # Errors
/// 415.
fn json_only(headers: &HeaderMap) -> Result<(), ApiError> {
    let refuse = |message: &'static str| {
        Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let mut parts = content_type.unwrap_or_default().split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence
        .strip_prefix("application/")
        .is_some_and(|s| s == "json" || (s.len() > 5 && s.ends_with("+json")));
    if !json {
        return refuse("send JSON, with `Content-Type: application/json`");
    }
    let charset = parts
        .filter_map(|p| p.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let utf8 = |value: &str| {
        let value = value.trim().trim_matches('"');
        value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
    };
    if charset.is_some_and(|(_, value)| !utf8(value)) {
        return refuse("send JSON in UTF-8 (RFC 8259, 8.1)");
    }
    let coded = headers.get(header::CONTENT_ENCODING);
    if coded.is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refuse("send the body uncompressed, without `Content-Encoding`");
    }
    Ok(())
}

/// 400 that says what is wrong and where, without repeating the body.
fn syntax_fault(e: &serde_json::Error) -> ApiError {
    let (line, column) = (e.line(), e.column());
    let text = e.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let (code, what) = if what.contains("recursion limit") {
        ("json_too_deep", "it is nested deeper than 127 levels")
    } else {
        ("invalid_json", what)
    };
    ApiError::bad_request(
        code,
        format!("the body is not JSON that we can read: {what}, at line {line}, column {column}"),
    )
    .details(json!({ "line": line, "column": column }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &str)]) -> u16 {
        let headers = pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        json_only(&headers).map_or_else(|e| e.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_json_in_utf8_passes() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/vnd.portal.lead+json",
            "application/json; charset=\"utf-8\"; v=2",
        ] {
            assert_eq!(check(&[("content-type", good)]), 200, "{good}");
        }
        for bad in [
            "text/plain",
            "text/json",
            "application/+json",
            "application/jsonp",
            "application/json; charset=iso-8859-1",
            "",
        ] {
            assert_eq!(check(&[("content-type", bad)]), 415, "{bad}");
        }
        assert_eq!(check(&[]), 415);
        let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert_eq!(check(&gzip), 415);
    }

    #[test]
    fn a_fault_names_its_place_and_not_the_content() {
        let e = serde_json::from_str::<serde_json::Value>("{\"a\": secret}").unwrap_err();
        let e = syntax_fault(&e);
        assert_eq!(e.code(), "invalid_json");
        assert!(e.message().contains("line 1") && !e.message().contains("secret"), "{e}");
        let deep = "[".repeat(200);
        let e = serde_json::from_str::<serde_json::Value>(&deep).unwrap_err();
        assert_eq!(syntax_fault(&e).code(), "json_too_deep");
    }
}
