//! Portals as the webhooks need them: settings read, secrets opened, remembered for a few seconds.

use crate::config::ApiConfig;
use crate::{Api, ApiError};
use axum::http::StatusCode;
use moka::future::Cache;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::portal::{ApiKeyPlace, Limits, PortalSettings, Rate};
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING, credential_matches};
use switchyard_domain::signature::{self, SignedRequest, SigningSecrets};
use switchyard_domain::{FieldFault, PortalId};
use switchyard_queue::{Allowance, Refill};
use switchyard_store::portals::{self, Portal};
use switchyard_store::{Db, Scope};

/// What one address may ask of one portal: senders ask once, or every few hours.
const QUESTIONS: Refill = Refill { count: 60, period: Duration::from_secs(60) };

/// A portal whose webhooks are taken.
pub(crate) struct Sender {
    pub(crate) id: PortalId,
    pub(crate) code: String,
    pub(crate) settings: PortalSettings,
    /// Hashes of the live keys: the newest, and the former one during a rotation.
    keys: Vec<Vec<u8>>,
    verify_token: Option<Vec<u8>>,
    pub(crate) secrets: Option<SigningSecrets>,
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
#[must_use]
pub fn is_code(code: &str) -> bool {
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
    let takes_key = settings.api_key != ApiKeyPlace::None;
    if portal.api_key_hash.is_none() && secrets.is_none() && takes_key {
        return Err("it has neither an API key nor a signature".to_owned());
    }
    if secrets.is_none() && !takes_key && settings.door.ip_allow.is_empty() {
        return Err("nothing says who may send".to_owned());
    }
    let token = settings.door.handshake.as_ref().is_some_and(|h| h.token.is_some());
    if token && portal.verify_token_hash.is_none() {
        return Err("it answers to a verify token, but has none".to_owned());
    }
    Ok(Sender {
        id: portal.id,
        code: portal.code,
        settings,
        keys: portal.api_key_hash.into_iter().chain(portal.former_key_hash).collect(),
        verify_token: portal.verify_token_hash,
        secrets,
    })
}

impl Sender {
    /// Compares the presented key with the live ones, in constant time. A portal without a key is
    /// known by its signature or its addresses.
    ///
    /// # Errors
    /// 401, the same for a missing and for a wrong key.
    pub(crate) fn check_key(&self, api: &Api, presented: Option<&str>) -> Result<(), ApiError> {
        // A portal that has a key, but whose settings say it is sent nowhere, signs.
        if self.keys.is_empty() || self.settings.api_key == ApiKeyPlace::None {
            return Ok(());
        }
        let right = presented.is_some_and(|key| {
            self.keys.iter().any(|hash| credential_matches(&api.keys, hash, key))
        });
        let message = "the API key of this portal is missing or wrong";
        right.then_some(()).ok_or_else(|| ApiError::unauthorized("invalid_api_key", message))
    }

    /// Is this the token that the portal's owner gave to the sender for its question?
    pub(crate) fn is_verify_token(&self, api: &Api, text: &str) -> bool {
        self.verify_token.as_ref().is_some_and(|hash| credential_matches(&api.keys, hash, text))
    }

    /// Checks the signature over the request as it came, if this portal signs.
    ///
    /// # Errors
    /// 401 with the reason, for the portal's owner.
    pub(crate) fn check_signature(
        &self,
        api: &Api,
        request: &SignedRequest<'_>,
    ) -> Result<(), ApiError> {
        let (Some(scheme), Some(secrets)) = (&self.settings.signature, &self.secrets) else {
            return Ok(());
        };
        signature::verify(scheme, secrets, request, api.clock.now())
            .map_err(|e| ApiError::unauthorized(e.code(), e.to_string()))
    }

    /// Takes one of what the portal may send.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(crate) async fn check_limits(&self, api: &Api) -> Result<(), ApiError> {
        let limits = &self.settings.door.limits;
        if limits.is_unlimited() {
            return Ok(());
        }
        let key = format!("portal:{}", self.id);
        let taken = api.counters.take(&key, allowance(limits), api.clock.now());
        let message = "this portal sends more than was agreed; please send again later";
        taken.await.map_err(|wait| ApiError::too_many(wait, message))
    }

    /// Takes one of the questions that one address may ask before it is known who it is. They count
    /// apart from deliveries and by address, so that no stranger uses up what the portal may send.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(crate) async fn check_questions(&self, api: &Api, who: IpAddr) -> Result<(), ApiError> {
        let key = format!("asks:{}:{}", self.id, network_of(who));
        let allowance = Allowance { rate: Some((QUESTIONS, QUESTIONS.count)), quota: None };
        let taken = api.counters.take(&key, allowance, api.clock.now());
        let message = "your address asks this portal too often whether it is there";
        taken.await.map_err(|wait| ApiError::too_many(wait, message))
    }

    /// Must the body be read before it is known who sends?
    pub(crate) fn is_known_by_body(&self) -> bool {
        self.settings.api_key.is_in_body() || self.secrets.is_some()
    }
}

/// A subscriber has 2^64 addresses of IPv6, which count as one.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

fn allowance(limits: &Limits) -> Allowance {
    let refill = |rate: Rate| Refill { count: rate.count, period: rate.per.length() };
    Allowance {
        rate: limits.rate.map(|rate| (refill(rate), limits.burst())),
        quota: limits.quota.map(refill),
    }
}
