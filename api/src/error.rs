//! The one error of the HTTP front. What the client sees and what the log says are separate: the
//! cause is logged once, here at the boundary, and never sent.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;
use switchyard_queue::{SealFault, WorkflowFault, causes};
use switchyard_store::StoreFault;
use utoipa::ToSchema;

type Cause = Box<dyn Error + Send + Sync>;

/// A failed answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// Always `false`.
    #[schema(example = false)]
    pub success: bool,
    /// One sentence for people: what is wrong and what to do.
    pub message: String,
    /// Always `null`.
    #[schema(value_type = Option<Object>)]
    pub data: Option<()>,
    /// When the answer was made.
    pub timestamp: DateTime<Utc>,
    /// For programs.
    pub error: ErrorBody,
}

/// The part of a failed answer that is meant for programs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word in `snake_case`.
    pub code: &'static str,
    /// More, where there is more: a list of fields, a place in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// Why a request was not served. Boxed: results that carry it stay small.
#[derive(Debug)]
pub struct ApiError(Box<Fault>);

#[derive(Debug)]
struct Fault {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    details: Option<Value>,
    retry_after: Option<Duration>,
    cause: Option<Cause>,
}

impl ApiError {
    /// Any status with its stable code and a sentence.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let message = message.into();
        let (details, retry_after, cause) = (None, None, None);
        Self(Box::new(Fault { status, code, message, details, retry_after, cause }))
    }

    /// 400: the request cannot be read.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401: nobody, or not who it says it is.
    pub fn unauthorized(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// 403: known, but not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 409: the request is fine, the state of things is not.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422: it can be read but does not make sense.
    pub fn unprocessable(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 429: too often; come back after `wait`.
    pub fn too_many(wait: Duration, message: impl Into<Cow<'static, str>>) -> Self {
        let mut e = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        e.0.retry_after = Some(wait);
        e
    }

    /// 503: not now; come back after `wait`. Nothing was stored that the client must know of.
    pub fn unavailable(
        code: &'static str,
        wait: Duration,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut e = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        e.0.retry_after = Some(wait);
        e
    }

    /// 500: our fault. The cause goes to the log, the client gets none of it.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let message = "something went wrong on our side; the request id leads to the reason";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).caused_by(cause)
    }

    /// 503 because the database is away.
    #[must_use]
    pub fn database_away() -> Self {
        let message = "the database is not available; nothing was stored, please send again";
        Self::unavailable("database_unavailable", Duration::from_secs(2), message)
    }

    /// Adds what a program can use.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The status that it will be answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    fn log(&self) {
        let chain = self.0.cause.as_deref().map(|e| causes(e).join(": ")).unwrap_or_default();
        if self.0.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = self.0.code, cause = chain, "request failed");
        } else if self.0.status.is_server_error() {
            tracing::warn!(code = self.0.code, cause = chain, "request not served");
        } else {
            tracing::debug!(code = self.0.code, cause = chain, status = %self.0.status, "refused");
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.message)
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|c| c as _)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let body = ErrorEnvelope {
            success: false,
            message: self.0.message.into_owned(),
            data: None,
            timestamp: Utc::now(),
            error: ErrorBody { code: self.0.code, details: self.0.details },
        };
        let mut response = (self.0.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.0.retry_after {
            // Whole seconds, rounded up: RFC 9110, 10.2.3.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 15.5.2: a 401 names the scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreFault> for ApiError {
    fn from(fault: StoreFault) -> Self {
        match &fault {
            StoreFault::Unavailable(_) => Self::database_away().caused_by(fault),
            StoreFault::NotFound => Self::not_found("there is no such thing, or it is not yours"),
            StoreFault::Sealed(SealFault::Reserved) => {
                Self::unprocessable("reserved_arguments", fault.to_string())
            }
            StoreFault::Sealed(_) => {
                Self::conflict("sealed_arguments", fault.to_string()).caused_by(fault)
            }
            StoreFault::Constraint { constraint, .. } => match refused_by(constraint) {
                Some(e) => e.caused_by(fault),
                None => Self::internal(fault),
            },
            StoreFault::Workflow(why @ WorkflowFault::KeyHeld { .. }) => {
                Self::conflict("unique_key_held", why.to_string()).caused_by(fault)
            }
            StoreFault::Workflow(why) => {
                Self::unprocessable("invalid_workflow", why.to_string()).caused_by(fault)
            }
            // A text or a JSON string with a zero byte, which PostgreSQL does not keep.
            _ if matches!(fault.sqlstate().as_deref(), Some("22021" | "22P05")) => {
                Self::unprocessable("zero_byte", "a text holds a zero byte, which cannot be kept")
                    .caused_by(fault)
            }
            _ => Self::internal(fault),
        }
    }
}

/// What a constraint of the migrations means to a client. A constraint that is not listed here
/// guards against our own mistakes.
fn refused_by(constraint: &str) -> Option<ApiError> {
    Some(match constraint {
        "agencies_email" | "administrators_email" => {
            ApiError::conflict("email_taken", "somebody has registered with this e-mail address")
        }
        "territories_pkey" => {
            ApiError::conflict("territory_exists", "this postal code is already yours")
        }
        "released_first" => ApiError::conflict(
            "not_released",
            "this system was restored and is not released: run `switchyard release`, which lets all \
             queues go on",
        ),
        "portals_code_key" => ApiError::conflict("portal_exists", "this portal code is taken"),
        "portals_authenticated" => ApiError::unprocessable(
            "portal_unauthenticated",
            "a portal needs an API key, a signing secret or a list of addresses",
        ),
        "lead_assignments_one_open" => {
            ApiError::conflict("lead_taken", "the lead has been given to another agency")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_never_sent() {
        let e = ApiError::internal("password=hunter2 at /srv");
        assert!(!e.message().contains("hunter2"));
        assert_eq!(e.into_response().status(), 500);
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let wait = Duration::from_millis(1_200);
        let r = ApiError::too_many(wait, "slow down").into_response();
        assert_eq!(r.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn a_database_that_is_away_is_not_our_fault() {
        let e = ApiError::from(StoreFault::NotFound);
        assert_eq!(e.status(), 404);
        assert_eq!(refused_by("agencies_email").map(|e| e.status().as_u16()), Some(409));
        assert!(refused_by("leads_event").is_none());
    }
}
