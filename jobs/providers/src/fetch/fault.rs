//! What a failed fetch means: try again, or stop and tell somebody.

use reqwest::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchClass {
    /// Another try may succeed, after this long if the provider said so.
    Retry {
        /// The least wait.
        after: Option<Duration>,
    },
    /// The provider does not have it.
    Gone,
    /// The token is missing, wrong, too old, or may not see it.
    Denied,
    /// Neither the address nor the answer can be used.
    Refused,
}

/// Why nothing was fetched. Holds neither the token nor the address nor the lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct FetchFault {
    /// What to do.
    pub class: FetchClass,
    /// Stable word or the provider's number.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl FetchFault {
    pub(super) fn refused(code: &str, message: String) -> Self {
        Self { class: FetchClass::Refused, code: code.to_owned(), message }
    }

    /// A request without an answer. A GET may be sent again, whatever became of it.
    pub(super) fn broken(e: &reqwest::Error) -> Self {
        let (code, message) = if e.is_builder() {
            return Self::refused("request", format!("the request could not be built: {e}"));
        } else if e.is_connect() {
            ("connect", "the provider cannot be reached")
        } else if e.is_timeout() {
            ("timeout", "the provider did not answer in time")
        } else {
            ("reset", "the connection broke before the answer was whole")
        };
        let class = FetchClass::Retry { after: None };
        Self { class, code: code.to_owned(), message: message.to_owned() }
    }

    /// What an answer that is no success says: by its status, or by its code where the provider is
    /// known to answer 400 for everything (Meta's Graph API).
    pub(super) fn of_answer(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if let Some(fault) = parsed.get("error").and_then(|e| graph(e, wait)) {
            return fault;
        }
        let number = status.as_u16();
        let (class, message) = match number {
            404 | 410 => (FetchClass::Gone, "the provider does not have this lead (any more)"),
            401 | 403 | 407 => (
                FetchClass::Denied,
                "the provider refuses the token; set a new one (`secrets.enrich_token`) and retry the job",
            ),
            408 | 425 | 429 | 500..=599 => {
                (FetchClass::Retry { after: wait }, "the provider asks to come again later")
            }
            300..=399 => (
                FetchClass::Refused,
                "the provider redirects, which is not followed; mend `enrich.url`",
            ),
            _ => (FetchClass::Refused, "the provider refuses the request; look at `enrich.url`"),
        };
        Self { class, code: format!("http_{number}"), message: message.to_owned() }
    }
}

/// Meta's Graph API: <https://developers.facebook.com/docs/graph-api/guides/error-handling> and
/// <https://developers.facebook.com/docs/graph-api/overview/rate-limiting>.
fn graph(error: &Value, wait: Option<Duration>) -> Option<FetchFault> {
    let code = error.get("code")?.as_i64()?;
    error.get("type")?;
    let subcode = error.get("error_subcode").and_then(Value::as_i64);
    let transient = error.get("is_transient").and_then(Value::as_bool).unwrap_or(false);
    let (class, message) = match (code, subcode) {
        // Unknown, temporarily unavailable, and the limits on calls.
        (1 | 2 | 4 | 17 | 32 | 341 | 368 | 613 | 80_000..=80_014, _) => {
            (FetchClass::Retry { after: wait }, "the provider asks to come again later")
        }
        _ if transient => {
            (FetchClass::Retry { after: wait }, "the provider says that this will pass")
        }
        (102 | 190, _) => (
            FetchClass::Denied,
            "the portal's token has ended or was withdrawn; set a new one (`secrets.enrich_token`) \
             and retry the job",
        ),
        (3 | 10 | 200..=299, _) => (
            FetchClass::Denied,
            "the portal's token may not read leads (`leads_retrieval`); allow it and retry the job",
        ),
        // "Object does not exist, cannot be loaded due to missing permissions, ..."
        (100, Some(33)) => (
            FetchClass::Gone,
            "the provider does not have this lead, or hides it from the portal's token",
        ),
        _ => (FetchClass::Refused, "the provider refuses the request; look at `enrich.url`"),
    };
    let code = subcode.map_or_else(|| code.to_string(), |sub| format!("{code}/{sub}"));
    Some(FetchFault { class, code, message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn class(status: u16, body: Value) -> FetchClass {
        let status = StatusCode::from_u16(status).unwrap();
        let wait = Some(Duration::from_secs(7));
        FetchFault::of_answer(status, wait, &serde_json::to_vec(&body).unwrap()).class
    }

    #[test]
    fn a_status_says_whether_to_come_again() {
        let later = FetchClass::Retry { after: Some(Duration::from_secs(7)) };
        for (status, expected) in [
            (404, FetchClass::Gone),
            (401, FetchClass::Denied),
            (403, FetchClass::Denied),
            (429, later),
            (503, later),
            (302, FetchClass::Refused),
            (400, FetchClass::Refused),
        ] {
            assert_eq!(class(status, json!({"error": "words"})), expected, "{status}");
        }
    }

    #[test]
    fn meta_says_it_by_its_own_code() {
        let error = |code: i64, more: Value| {
            let mut error = json!({"message": "m", "type": "OAuthException", "code": code});
            error.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "error": error })
        };
        let later = FetchClass::Retry { after: Some(Duration::from_secs(7)) };
        for (code, more, expected) in [
            (190, json!({"error_subcode": 463}), FetchClass::Denied),
            (100, json!({"error_subcode": 33}), FetchClass::Gone),
            (100, json!({}), FetchClass::Refused),
            (10, json!({}), FetchClass::Denied),
            (4, json!({}), later),
            (80_001, json!({}), later),
            (9_999, json!({"is_transient": true}), later),
        ] {
            assert_eq!(class(400, error(code, more)), expected, "{code}");
        }
    }
}
