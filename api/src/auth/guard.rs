//! Deny by default: whatever is not on the public list needs a valid token, even if its handler
//! forgot to ask for one.

use super::bearer;
use crate::{Api, ApiError};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Routes that anybody may call. Webhooks bring the portal's key, `/metrics` has a rule of its own.
const PUBLIC: &[&str] = &[
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/api/webhooks/{portal_code}",
    "/api/webhooks/{portal_code}/",
    "/api/webhooks/{portal_code}/{*rest}",
    "/api/admin/auth/login",
    "/api/v1/agencies/register",
    "/api/v1/agencies/login",
    "/api/openapi.json",
];

/// Whether a route (as it is declared) is on the public list.
#[must_use]
pub fn is_public(route: &str) -> bool {
    PUBLIC.contains(&route) || route == "/api/docs" || route.starts_with("/api/docs/")
}

/// Lets a request to a route that is not public pass only with a valid token, which it leaves for
/// [`super::Caller`].
///
/// # Errors
/// 401 without one.
pub async fn require_token(
    State(api): State<Api>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // Without a matched route the answer is 404, whoever asks.
    if route.is_some_and(|r| !is_public(r.as_str())) {
        let claims = api.authenticate(bearer(request.headers())?).await?;
        request.extensions_mut().insert(claims);
    }
    Ok(next.run(request).await)
}
