//! Signing in: throttle, look up, verify, issue. The same path, and the same time, for accounts
//! that do not exist.

use super::Claims;
use crate::{Api, ApiError};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use std::net::IpAddr;
use switchyard_domain::AgencyId;
use switchyard_store::{Scope, administrators, agencies};
use uuid::Uuid;

/// Somebody has signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// The token.
    pub token: String,
    /// What it says.
    pub claims: Claims,
    /// The administrator's or the agency's name.
    pub name: String,
}

impl Session {
    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.claims.exp, 0).unwrap_or_default()
    }
}

/// What sign-in needs to know of an account.
struct Account {
    id: Uuid,
    name: String,
    password_hash: String,
    disabled: bool,
}

impl Api {
    /// Signs an administrator in.
    ///
    /// # Errors
    /// 401 for a wrong pair, 403 for a disabled account, 429 after too many attempts, 503 while
    /// the database is away.
    pub async fn sign_in_administrator(
        &self,
        email: &str,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Session, ApiError> {
        let attempt = self.throttle.begin(&throttle_key("admin", email), from, self.clock.now())?;
        let mut tx = self.db.begin(Scope::Platform).await?;
        let found = administrators::by_email(&mut tx, email.trim()).await?.map(|a| Account {
            id: a.id.0,
            name: a.name,
            password_hash: a.password_hash,
            disabled: a.disabled,
        });
        tx.rollback().await?;
        let account = self.checked(found, password).await?;
        self.throttle.succeeded(&attempt);
        let life = self.config.admin_token_life;
        let (token, claims) = self
            .tokens
            .administrator(account.id, self.clock.now(), life)
            .map_err(ApiError::internal)?;
        Ok(Session { token, claims, name: account.name })
    }

    /// Signs an agency in.
    ///
    /// # Errors
    /// As [`Api::sign_in_administrator`].
    pub async fn sign_in_agency(
        &self,
        email: &str,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Session, ApiError> {
        let key = throttle_key("agency", email);
        let attempt = self.throttle.begin(&key, from, self.clock.now())?;
        let mut tx = self.db.begin(Scope::Platform).await?;
        let found = agencies::by_email(&mut tx, email.trim()).await?.map(|(a, hash)| Account {
            id: a.id.0,
            name: a.name,
            password_hash: hash,
            disabled: !a.active,
        });
        tx.rollback().await?;
        let account = self.checked(found, password).await?;
        self.throttle.succeeded(&attempt);
        self.agency_session(AgencyId(account.id), account.name)
    }

    /// A session for an agency whose identity is beyond doubt.
    pub(crate) fn agency_session(&self, id: AgencyId, name: String) -> Result<Session, ApiError> {
        let life = self.config.agency_token_life;
        let (token, claims) =
            self.tokens.agency(id, self.clock.now(), life).map_err(ApiError::internal)?;
        Ok(Session { token, claims, name })
    }

    /// Who a token belongs to, if it is valid and the account still stands.
    ///
    /// # Errors
    /// 401 if not, 503 while the database is away.
    pub async fn authenticate(&self, token: &str) -> Result<Claims, ApiError> {
        let refused = || {
            ApiError::unauthorized(
                "unauthenticated",
                "the token is not valid (any more); sign in again",
            )
        };
        let claims =
            self.tokens.verify(token, self.clock.now()).map_err(|e| refused().caused_by(e))?;
        match self.accounts.stands(&self.db, &claims).await {
            Ok(true) => Ok(claims),
            Ok(false) => Err(refused()),
            Err(fault) if fault.is_transient() => Err(ApiError::database_away().caused_by(fault)),
            Err(fault) => Err(ApiError::internal(fault)),
        }
    }

    async fn checked(
        &self,
        found: Option<Account>,
        password: &SecretString,
    ) -> Result<Account, ApiError> {
        let hash = found.as_ref().map(|a| a.password_hash.as_str());
        let right = self.passwords.verify(password, hash).await?;
        let wrong = || {
            ApiError::unauthorized(
                "invalid_credentials",
                "the e-mail address and the password do not belong together",
            )
        };
        match found {
            Some(account) if right && !account.disabled => Ok(account),
            // Only somebody who knows the password hears that the account is disabled.
            Some(_) if right => Err(ApiError::new(
                axum::http::StatusCode::FORBIDDEN,
                "account_disabled",
                "this account is disabled; ask the operator of the platform",
            )),
            _ => Err(wrong()),
        }
    }
}

fn throttle_key(role: &str, email: &str) -> String {
    format!("{role} {}", email.trim().to_lowercase())
}
