//! Portals for operators: see them, make one, mend a mapping.

use super::views::FaultView;
use crate::auth::{Caller, PortalsManage, PortalsRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::portals::is_code;
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_catalog::portal_rules::{self, Given, Lack};
use switchyard_catalog::samples;
use switchyard_domain::FieldFault;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::secrets::{
    MasterKey, PORTAL_ENRICH, PORTAL_SIGNING, hash_api_key, hash_credential, new_api_key,
};
use switchyard_domain::signature::SigningSecrets;
use switchyard_store::portals::{self, NewPortal, Portal};
use switchyard_store::{Scope, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put))
}

/// A portal. Its key and secret are never shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PortalView {
    id: Uuid,
    /// The word in its webhook URL.
    #[schema(example = "demo")]
    code: String,
    #[schema(example = "Demo portal")]
    name: String,
    /// Whether its webhooks are taken.
    active: bool,
    /// Authentication, mapping, defaults, reply.
    #[schema(value_type = Object)]
    settings: Value,
    /// Rises with every change of the settings.
    version: i32,
    has_api_key: bool,
    /// The key before the last rotation is still live.
    has_former_api_key: bool,
    has_signing_secret: bool,
    has_verify_token: bool,
    has_enrich_token: bool,
    /// Since when its deliveries are taken and held, not judged.
    paused_at: Option<DateTime<Utc>>,
    /// A new key. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Portal> for PortalView {
    fn from(p: Portal) -> Self {
        Self {
            id: p.id.0,
            code: p.code,
            name: p.name,
            active: p.active,
            settings: p.settings,
            version: p.version,
            has_api_key: p.api_key_hash.is_some(),
            has_former_api_key: p.former_key_hash.is_some(),
            has_signing_secret: p.signing_secret.is_some(),
            has_verify_token: p.verify_token_hash.is_some(),
            has_enrich_token: p.enrich_token.is_some(),
            paused_at: p.paused_at,
            api_key: None,
            created_at: p.created_at,
            updated_at: p.updated_at,
        }
    }
}

/// List portals
#[utoipa::path(get, path = "/api/admin/portals", tag = "line", operation_id = "portals",
    responses((status = 200, description = "Every portal, by code.",
        body = Envelope<Vec<PortalView>>)))]
async fn list(State(api): State<Api>, _: Caller<PortalsRead>) -> Answer<Vec<PortalView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let all = portals::list(&mut tx).await?;
    Ok(Reply::ok("portals", all.into_iter().map(PortalView::from).collect()))
}

/// A portal as it shall be. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortalChange {
    /// For people; needed for a new portal.
    #[schema(example = "Demo portal")]
    name: Option<String>,
    /// Whether its webhooks are taken; a new portal's are.
    #[schema(example = true)]
    active: Option<bool>,
    /// Authentication, mapping, defaults, reply; needed for a new portal. Replaced whole.
    #[schema(value_type = Option<Object>, example = json!({
        "api_key": {"in": "header", "name": "X-API-Key"},
        "mapping": {"fields": {"external_id": "id", "email": "email"}}}))]
    settings: Option<Value>,
    /// Make a new API key; the old one stops at once. A new portal that takes a key gets one.
    #[serde(default)]
    #[schema(example = false)]
    new_api_key: bool,
    /// A key, password or token that the sender has chosen; 5 to 1024 characters.
    #[schema(value_type = Option<String>, format = Password)]
    api_key: Option<SecretString>,
    /// With a new key: the old one stays live beside it until this is sent as `false`.
    #[schema(example = true)]
    keep_former_api_key: Option<bool>,
    /// What the sender names when it asks whether the address is ours; see `handshake.token`.
    #[schema(value_type = Option<String>, format = Password)]
    verify_token: Option<SecretString>,
    /// The signing secret, or two on a line each while the sender changes over.
    #[schema(value_type = Option<String>, format = Password)]
    signing_secret: Option<SecretString>,
    /// What is shown where the rest of a lead is fetched; see `enrich`.
    #[schema(value_type = Option<String>, format = Password)]
    enrich_token: Option<SecretString>,
    /// Deliveries with what is to come of them, as in a portal's file: they are run through the
    /// settings before these are saved, and are not stored.
    #[schema(value_type = Option<Vec<Object>>, example = json!([
        {"body": {"id": 7, "email": "Jan@example.com"}, "expect": {"email": "jan@example.com"}}]))]
    samples: Option<Value>,
}

/// Make a portal, or change its settings
///
/// The settings are checked whole; every fault is reported at once. Their version rises. Events
/// that were rejected can then be run again.
#[utoipa::path(put, path = "/api/admin/portals/{code}", tag = "line", operation_id = "portal_put",
    params(("code" = String, Path, example = "demo",
        description = "Lower-case letters, digits, `_` and `-`; up to 64.")),
    request_body = PortalChange,
    responses(
        (status = 200, description = "Changed.", body = Envelope<PortalView>),
        (status = 201, description = "Made.", body = Envelope<PortalView>),
        (status = 422, description = "The settings are wrong; the details list the faults.",
            body = ErrorEnvelope)))]
async fn put(
    State(api): State<Api>,
    caller: Caller<PortalsManage>,
    ApiPath(code): ApiPath<String>,
    ApiJson(change): ApiJson<PortalChange>,
) -> Answer<PortalView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let stands = portals::by_code(&mut tx, &code).await?;
    let token = verify_token(&change, &api.keys)?;
    let enrich = enrich_token(&change, &api.keys)?;
    let keep = change.keep_former_api_key;
    let (new, api_key) = merged(&code, stands.as_ref(), change, &api.keys)?;
    portals::acting(&mut tx, &format!("admin:{}", caller.claims.sub)).await?;
    let portal = portals::upsert(&mut tx, &new).await?;
    if let Some(token) = &token {
        portals::set_verify_token(&mut tx, portal.id, Some(token)).await?;
    }
    if let Some(sealed) = &enrich {
        portals::set_enrich_token(&mut tx, portal.id, sealed).await?;
    }
    former_key(&mut tx, stands.as_ref(), &new, keep).await?;
    let mut view = PortalView::from(portals::get(&mut tx, portal.id).await?);
    tx.commit().await?;
    api.portals.forget(&code).await;
    view.api_key = api_key;
    Ok(match stands {
        Some(_) => Reply::ok("changed", view),
        None => Reply::created("made", view),
    })
}

/// Keeps the key that was replaced live, or retires it.
async fn former_key(
    tx: &mut Tx,
    stands: Option<&Portal>,
    new: &NewPortal,
    keep: Option<bool>,
) -> Result<(), ApiError> {
    let (Some(stands), Some(keep)) = (stands, keep) else { return Ok(()) };
    let former = stands.api_key_hash.as_deref().filter(|_| keep && new.api_key_hash.is_some());
    if former.is_some() || !keep {
        portals::set_former_key(tx, stands.id, former).await?;
    }
    Ok(())
}

fn verify_token(change: &PortalChange, keys: &MasterKey) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(token) = &change.verify_token else { return Ok(None) };
    hash_credential(keys, token.expose_secret())
        .map(Some)
        .map_err(|e| ApiError::unprocessable("invalid_verify_token", e.to_string()))
}

/// The portal as it shall be, checked, and its new API key in clear if it gets one.
fn merged(
    code: &str,
    stands: Option<&Portal>,
    change: PortalChange,
    keys: &MasterKey,
) -> Result<(NewPortal, Option<String>), ApiError> {
    let refuse = |code, message: String| ApiError::unprocessable(code, message);
    let needed = |what: &str| refuse("required", format!("a new portal needs `{what}`"));
    if !is_code(code) {
        let message = "a portal's code has 1 to 64 lower-case letters, digits, `_` and `-`";
        return Err(refuse("invalid_code", message.to_owned()));
    }
    let name = change.name.or(stands.map(|p| p.name.clone())).ok_or_else(|| needed("name"))?;
    let raw = change.settings.or(stands.map(|p| p.settings.clone()));
    let raw = raw.ok_or_else(|| needed("settings"))?;
    let settings = PortalSettings::parse(&raw).map_err(|faults| {
        refused_all("invalid_settings", "the settings cannot be used; see the details", faults)
    })?;
    let samples = checked_samples(change.samples.as_ref(), &settings);
    samples.map_err(|faults| {
        refused_all("samples_differ", "the samples do not come out; see the details", faults)
    })?;
    let given = Given {
        api_key: change.api_key.is_some(),
        signing: change.signing_secret.is_some(),
        verify_token: change.verify_token.is_some(),
    };
    let chosen = change.api_key.as_ref().map(|key| hash_credential(keys, key.expose_secret()));
    let chosen = chosen.transpose().map_err(|e| refuse("invalid_api_key", e.to_string()))?;
    if chosen.is_some() && change.new_api_key {
        let message = "send `api_key` or `new_api_key`, not both".to_owned();
        return Err(refuse("contradiction", message));
    }
    let named = raw.get("api_key").is_some();
    let fresh = change.new_api_key || portal_rules::needs_key(&settings, named, stands, given);
    let api_key = fresh.then(|| new_api_key().to_string());
    let sealed = change.signing_secret.map(|s| seal(&settings, &s, keys)).transpose()?;
    if let Some(lack) = portal_rules::lacks(&settings, stands, given, keys).into_iter().next() {
        let (code, message) = lacking(lack);
        return Err(refuse(code, message.to_owned()));
    }
    let new = NewPortal {
        code: code.to_owned(),
        name,
        active: change.active.or(stands.map(|p| p.active)).unwrap_or(true),
        settings: raw,
        api_key_hash: api_key.as_deref().map(|k| hash_api_key(k).to_vec()).or(chosen),
        signing_secret: sealed,
    };
    Ok((new, api_key))
}

fn lacking(lack: Lack) -> (&'static str, &'static str) {
    match lack {
        Lack::SigningSecret => ("required", "a portal that signs needs `signing_secret`"),
        Lack::SecretUnfit => (
            "secret_unfit",
            "the signing secret that is stored does not fit this scheme: send `signing_secret` \
             with it",
        ),
        Lack::VerifyToken => {
            ("required", "a portal whose `handshake` has a token needs `verify_token`")
        }
    }
}

fn refused_all(code: &'static str, message: &'static str, faults: Vec<FieldFault>) -> ApiError {
    let faults: Vec<_> = faults.into_iter().map(FaultView::from).collect();
    ApiError::unprocessable(code, message).details(serde_json::json!({ "faults": faults }))
}

/// What proves the mapping comes out as it should, before anything is saved.
fn checked_samples(
    samples: Option<&Value>,
    settings: &PortalSettings,
) -> Result<(), Vec<FieldFault>> {
    let mut faults = Vec::new();
    let samples = samples::read(samples, None, &mut faults);
    if faults.is_empty() { samples::check(&samples, settings) } else { Err(faults) }
}

fn enrich_token(change: &PortalChange, keys: &MasterKey) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(token) = &change.enrich_token else { return Ok(None) };
    let token = token.expose_secret();
    // As long as any other credential that somebody else chose.
    hash_credential(keys, token)
        .map_err(|e| ApiError::unprocessable("invalid_enrich_token", e.to_string()))?;
    Ok(Some(keys.seal(PORTAL_ENRICH, token.as_bytes())))
}

fn seal(
    settings: &PortalSettings,
    secret: &SecretString,
    keys: &MasterKey,
) -> Result<Vec<u8>, ApiError> {
    let refuse = |message| ApiError::unprocessable("invalid_signing_secret", message);
    let Some(scheme) = &settings.signature else {
        return Err(refuse("the settings say nothing about a signature".to_owned()));
    };
    let secrets =
        SigningSecrets::parse(scheme, secret.expose_secret()).map_err(|e| refuse(e.to_string()))?;
    Ok(keys.seal(PORTAL_SIGNING, secrets.text().as_bytes()))
}
