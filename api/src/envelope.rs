//! The one shape of every success: `{"success":true,"message","data","timestamp"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// A successful answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Always `true` here; `false` in [`crate::error::ErrorEnvelope`].
    #[schema(example = true)]
    pub success: bool,
    /// One sentence for people.
    pub message: String,
    /// What was asked for.
    pub data: T,
    /// When the answer was made.
    pub timestamp: DateTime<Utc>,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    pub next: Option<String>,
}

/// An [`Envelope`] with its status.
#[derive(Clone, Debug)]
pub struct Reply<T> {
    status: StatusCode,
    message: String,
    data: T,
}

/// What a handler gives back.
pub type Answer<T> = Result<Reply<T>, crate::ApiError>;

impl<T> Reply<T> {
    /// 200.
    pub fn ok(message: impl Into<String>, data: T) -> Self {
        Self { status: StatusCode::OK, message: message.into(), data }
    }

    /// 201.
    pub fn created(message: impl Into<String>, data: T) -> Self {
        Self { status: StatusCode::CREATED, ..Self::ok(message, data) }
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        // The wall clock, not the injected one: it says when the answer left and decides nothing.
        let body = Envelope {
            success: true,
            message: self.message,
            data: self.data,
            timestamp: Utc::now(),
        };
        (self.status, Json(body)).into_response()
    }
}
