//! What a portal must have beside its settings before they are saved, whichever door they come by: the
//! command line's file or HTTP.

use switchyard_domain::portal::{ApiKeyPlace, PortalSettings};
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING};
use switchyard_domain::signature::{SignatureScheme, SigningSecrets};
use switchyard_store::portals::Portal;

/// What is sent along with the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// An API key.
    pub api_key: bool,
    /// What the sender signs with.
    pub signing: bool,
    /// What the sender shows when it asks.
    pub verify_token: bool,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The settings say how the sender signs, and there is no secret.
    SigningSecret,
    /// There is one, and it is none of this scheme.
    SecretUnfit,
    /// The sender's question holds a verify token, and none is known.
    VerifyToken,
}

/// Everything that is missing.
#[must_use]
pub fn lacks(
    settings: &PortalSettings,
    stands: Option<&Portal>,
    given: Given,
    keys: &MasterKey,
) -> Vec<Lack> {
    let mut lacks = Vec::new();
    if let (Some(scheme), false) = (&settings.signature, given.signing) {
        match stands.and_then(|p| p.signing_secret.as_deref()) {
            None => lacks.push(Lack::SigningSecret),
            // The scheme may be another one than the secret was stored for.
            Some(sealed) if !fits(scheme, sealed, keys) => lacks.push(Lack::SecretUnfit),
            Some(_) => {}
        }
    }
    let asks = settings.door.handshake.as_ref().is_some_and(|h| h.token.is_some());
    let known = stands.is_some_and(|p| p.verify_token_hash.is_some());
    if asks && !known && !given.verify_token {
        lacks.push(Lack::VerifyToken);
    }
    lacks
}

/// Must a key be made, because the sender is to show one and there is none? Who signs needs one only
/// if the settings say where it stands (`named`): then both must hold.
#[must_use]
pub fn needs_key(
    settings: &PortalSettings,
    named: bool,
    stands: Option<&Portal>,
    given: Given,
) -> bool {
    let takes = settings.api_key != ApiKeyPlace::None;
    let has = given.api_key || stands.is_some_and(|p| p.api_key_hash.is_some());
    takes && !has && (settings.signature.is_none() || named)
}

fn fits(scheme: &SignatureScheme, sealed: &[u8], keys: &MasterKey) -> bool {
    let plain = keys.open(PORTAL_SIGNING, sealed).ok();
    let text = plain.as_deref().and_then(|plain| std::str::from_utf8(plain).ok());
    text.is_some_and(|text| SigningSecrets::parse(scheme, text).is_ok())
}
