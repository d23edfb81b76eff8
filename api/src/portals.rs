//! Portals as the webhooks need them: settings read, secrets opened, remembered for a few seconds.

use crate::config::ApiConfig;
use crate::{Api, ApiError};
use axum::http::StatusCode;
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING, api_key_matches};
use switchyard_domain::signature::{self, SignedRequest, SigningSecrets};
use switchyard_domain::{FieldFault, Headers, PortalId};
use switchyard_store::portals::{self, Portal};
use switchyard_store::{Db, Scope};

/// A portal whose webhooks are taken.
pub(crate) struct Sender {
    pub(crate) id: PortalId,
    pub(crate) code: String,
    pub(crate) settings: PortalSettings,
    key_hash: Option<Vec<u8>>,
    secrets: Option<SigningSecrets>,
}

/// What is remembered of a code. Unknown and inactive are one: nobody is to tell them apart.
#[derive(Clone)]
enum Known {
    Nobody,
    Broken(Arc<str>),
    Portal(Arc<Sender>),
}

/// Remembers portals by code, found or not, bounded.
pub(crate) struct Portals {
    known: Cache<String, Known>,
}

impl Portals {
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let known = Cache::builder()
            .max_capacity(config.portal_cache_entries)
            .time_to_live(config.portal_cache_ttl)
            .build();
        Self { known }
    }

    /// The portal with this code.
    ///
    /// # Errors
    /// 404 if there is none or it is inactive, 503 if its settings cannot be read or the database
    /// is away.
    pub(crate) async fn find(&self, api: &Api, code: &str) -> Result<Arc<Sender>, ApiError> {
        if !is_code(code) {
            return Err(unknown());
        }
        let known = self.known.try_get_with_by_ref(code, look_up(&api.db, &api.keys, code)).await;
        match known {
            Ok(Known::Portal(sender)) => Ok(sender),
            Ok(Known::Nobody) => Err(unknown()),
            Ok(Known::Broken(why)) => Err(broken(&why)),
            Err(fault) if fault.is_transient() => Err(ApiError::database_away().caused_by(fault)),
            Err(fault) => Err(ApiError::internal(fault)),
        }
    }

    /// The next request sees the portal as it is now.
    pub(crate) async fn forget(&self, code: &str) {
        self.known.invalidate(code).await;
    }
}

/// Lower-case letters, digits, `_` and `-`; 1 to 64 of them.
pub(crate) fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_portal", "there is no such portal")
}

/// The sender did nothing wrong and will have its event taken once an operator has mended it.
fn broken(why: &str) -> ApiError {
    let message = "this portal is not set up correctly; its operator has to mend it";
    ApiError::unavailable("portal_misconfigured", Duration::from_secs(60), message)
        .caused_by(why.to_owned())
}

async fn look_up(db: &Db, keys: &MasterKey, code: &str) -> switchyard_store::Result<Known> {
    let mut tx = db.begin(Scope::Platform).await?;
    let found = portals::by_code(&mut tx, code).await?;
    tx.rollback().await?;
    Ok(match found.filter(|p| p.active) {
        None => Known::Nobody,
        Some(portal) => match sender(portal, keys) {
            Ok(sender) => Known::Portal(Arc::new(sender)),
            Err(why) => {
                tracing::error!(portal = code, why, "a portal cannot be used");
                Known::Broken(why.into())
            }
        },
    })
}

/// Reads the settings and opens the secrets, or says why that cannot be done.
fn sender(portal: Portal, keys: &MasterKey) -> Result<Sender, String> {
    let settings =
        PortalSettings::parse(&portal.settings).map_err(|f| FieldFault::sentences(&f))?;
    let secrets = match (&settings.signature, &portal.signing_secret) {
        (None, _) => None,
        (Some(_), None) => return Err("it must sign, but has no signing secret".to_owned()),
        (Some(scheme), Some(sealed)) => {
            let text = keys.open(PORTAL_SIGNING, sealed).map_err(|e| e.to_string())?;
            let text = std::str::from_utf8(&text).map_err(|e| e.to_string())?;
            Some(SigningSecrets::parse(scheme, text).map_err(|e| e.to_string())?)
        }
    };
    if portal.api_key_hash.is_none() && secrets.is_none() {
        return Err("it has neither an API key nor a signature".to_owned());
    }
    Ok(Sender {
        id: portal.id,
        code: portal.code,
        settings,
        key_hash: portal.api_key_hash,
        secrets,
    })
}

impl Sender {
    /// Compares the presented key with the stored hash, in constant time. A portal without a key
    /// is known by its signature.
    ///
    /// # Errors
    /// 401, the same for a missing and for a wrong key.
    pub(crate) fn check_key(
        &self,
        headers: &Headers,
        path: Option<&str>,
        query: Option<&str>,
    ) -> Result<(), ApiError> {
        let Some(hash) = &self.key_hash else { return Ok(()) };
        let presented = self.settings.api_key.presented(headers, path, query);
        let right = match &presented {
            Some(key) => api_key_matches(hash, key),
            // A portal that has a key, but whose settings say it is sent nowhere, signs.
            None => self.settings.api_key == switchyard_domain::portal::ApiKeyPlace::None,
        };
        let message = "the API key of this portal is missing or wrong";
        right.then_some(()).ok_or_else(|| ApiError::unauthorized("invalid_api_key", message))
    }

    /// Checks the signature over the raw body, if this portal signs.
    ///
    /// # Errors
    /// 401 with the reason, for the portal's owner.
    pub(crate) fn check_signature(
        &self,
        api: &Api,
        headers: &Headers,
        body: &[u8],
    ) -> Result<(), ApiError> {
        let (Some(scheme), Some(secrets)) = (&self.settings.signature, &self.secrets) else {
            return Ok(());
        };
        let request = SignedRequest::new(headers, body);
        signature::verify(scheme, secrets, &request, api.clock.now())
            .map_err(|e| ApiError::unauthorized(e.code(), e.to_string()))
    }
}
