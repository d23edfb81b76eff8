//! Path and query parameters, and the idempotency key.

use crate::ApiError;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

/// Path parameters; 400 if they do not fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(e) => Err(ApiError::bad_request("invalid_path", e.body_text())),
        }
    }
}

/// Query parameters; 400 if they do not fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiQuery<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(e) => Err(ApiError::bad_request("invalid_query", e.body_text())),
        }
    }
}

/// The `Idempotency-Key` of a request, if it has one; 400 if it is not 1 to 200 visible ASCII
/// characters.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// The same request with the same key has its effect once and the same answer for a day: send
    /// it again after a broken connection.
    #[serde(rename = "Idempotency-Key")]
    #[param(min_length = 1, max_length = 200)]
    pub(crate) idempotency_key: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self { idempotency_key: None });
        };
        let sane =
            |k: &&str| (1..=200).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_graphic());
        let key = value.to_str().ok().filter(sane).ok_or_else(|| {
            let message = "`Idempotency-Key` is 1 to 200 visible ASCII characters, without blanks";
            ApiError::bad_request("invalid_idempotency_key", message)
        })?;
        Ok(Self { idempotency_key: Some(key.to_owned()) })
    }
}
