//! The one extractor that lets anybody in: a handler names the permission it needs.

use super::{Claims, Permission, may};
use crate::{Api, ApiError};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::marker::PhantomData;
use switchyard_domain::AgencyId;
use switchyard_store::Scope;

/// Somebody who signed in and has the permission `P`.
#[derive(Clone, Debug)]
pub struct Caller<P> {
    /// What their token says.
    pub claims: Claims,
    permission: PhantomData<P>,
}

impl<P: Permission> Caller<P> {
    /// The tenant.
    ///
    /// # Errors
    /// 403 for somebody who is no agency. Cannot happen while only agencies have `P`.
    pub fn agency(&self) -> Result<AgencyId, ApiError> {
        self.claims.agency.ok_or_else(|| ApiError::forbidden("this is for agencies"))
    }

    /// The scope of the transactions made in their name.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.claims.agency.map_or(Scope::Platform, Scope::Tenant)
    }
}

impl<P: Permission> FromRequestParts<Api> for Caller<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let claims = match parts.extensions.get::<Claims>() {
            Some(claims) => claims.clone(),
            None => api.authenticate(bearer(&parts.headers)?).await?,
        };
        if !may(claims.role, P::NAME) {
            let message = format!("the role `{}` may not do this ({})", claims.role, P::NAME);
            return Err(ApiError::forbidden(message));
        }
        Ok(Self { claims, permission: PhantomData })
    }
}

/// The bearer token of a request (RFC 6750, 2.1).
///
/// # Errors
/// 401 if there is none.
pub fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = || {
        ApiError::unauthorized(
            "unauthenticated",
            "sign in, then send the token as `Authorization: Bearer <token>`",
        )
    };
    let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) =
        value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}
