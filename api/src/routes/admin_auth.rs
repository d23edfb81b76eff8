//! Administrators sign in.

use crate::auth::Session;
use crate::envelope::Envelope;
use crate::extract::ApiJson;
use crate::{Answer, Api, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(login))
}

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Credentials {
    /// The e-mail address of the account, in any case.
    #[schema(example = "ops@example.com")]
    pub(crate) email: String,
    /// The password.
    #[schema(value_type = String, format = Password, example = "correct horse battery staple")]
    pub(crate) password: SecretString,
}

/// A token and how to use it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SignedIn {
    /// Send it as `Authorization: Bearer <token>`.
    #[schema(example = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl")]
    token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// When the token ends.
    expires_at: DateTime<Utc>,
    /// `admin` or `agency`.
    #[schema(example = "admin")]
    role: String,
    /// The account.
    id: uuid::Uuid,
    /// Its name.
    #[schema(example = "Anna Operator")]
    name: String,
}

impl From<Session> for SignedIn {
    fn from(session: Session) -> Self {
        Self {
            expires_at: session.expires_at(),
            role: session.claims.role.to_string(),
            id: session.claims.sub,
            token: session.token,
            token_type: "Bearer",
            name: session.name,
        }
    }
}

/// Sign in as an administrator
///
/// The token lasts 12 hours. After 5 failed attempts on one account from one address the answer is
/// 429 for up to 15 minutes.
#[utoipa::path(post, path = "/api/admin/auth/login", tag = "sign-in",
    operation_id = "admin_login", request_body = Credentials,
    responses(
        (status = 200, description = "Signed in.", body = Envelope<SignedIn>),
        (status = 401, description = "The pair is wrong.", body = ErrorEnvelope),
        (status = 403, description = "The account is disabled.", body = ErrorEnvelope),
        (status = 429, description = "Too many attempts.", body = ErrorEnvelope)))]
async fn login(
    State(api): State<Api>,
    context: RequestContext,
    ApiJson(who): ApiJson<Credentials>,
) -> Answer<SignedIn> {
    let session = api.sign_in_administrator(&who.email, &who.password, context.client).await?;
    Ok(Reply::ok("signed in", session.into()))
}
