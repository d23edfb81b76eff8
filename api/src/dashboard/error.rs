//! Failures as pages.

use super::assets::Asset;
use crate::ApiError;
use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use switchyard_store::StoreFault;

/// The result of a screen.
pub(super) type Screen<T = Response> = Result<T, OpsError>;

/// Why a screen cannot be shown. The cause is logged by [`ApiError`], the page names the remedy.
pub(super) struct OpsError(ApiError);

impl OpsError {
    /// There is no such thing.
    pub(super) fn not_found(what: &'static str) -> Self {
        Self(ApiError::not_found(what))
    }
}

impl From<ApiError> for OpsError {
    fn from(e: ApiError) -> Self {
        Self(e)
    }
}

impl From<StoreFault> for OpsError {
    fn from(fault: StoreFault) -> Self {
        Self(fault.into())
    }
}

impl From<askama::Error> for OpsError {
    fn from(e: askama::Error) -> Self {
        Self(ApiError::internal(e))
    }
}

/// A page without the frame: sign-in, and errors.
#[derive(Template)]
#[template(path = "gate.html")]
pub(super) struct Gate<'a> {
    pub title: &'a str,
    pub message: &'a str,
    /// Where to go after signing in; `None`: there is nothing to sign in to.
    pub sign_in: Option<&'a str>,
    pub email: &'a str,
}

impl Gate<'_> {
    pub(super) fn page(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(e) => ApiError::internal(e).into_response(),
        }
    }
}

impl IntoResponse for OpsError {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let (title, message) = match status {
            StatusCode::NOT_FOUND => ("Not found", self.0.message().to_owned()),
            StatusCode::SERVICE_UNAVAILABLE => {
                let text = "The database is not available. Jobs and leads are safe; this page comes back with it.";
                ("Not now", text.to_owned())
            }
            s if s.is_server_error() => (
                "Something went wrong",
                "The log names the reason under this request's id.".to_owned(),
            ),
            _ => ("This does not work", self.0.message().to_owned()),
        };
        let page = Gate { title, message: &message, sign_in: None, email: "" }.page(status);
        // The envelope's headers (Retry-After) and its logging, with our body.
        let (parts, _) = self.0.into_response().into_parts();
        let (mut ours, body) = page.into_parts();
        for (name, value) in &parts.headers {
            if name == axum::http::header::RETRY_AFTER {
                ours.headers.insert(name, value.clone());
            }
        }
        Response::from_parts(ours, body)
    }
}
