//! A key, ready for use.

use super::SecretFault;
use super::candidates::BASE64;
use super::rule::{Algorithm, Rule, SecretEncoding};
use base64::Engine;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::borrow::Cow;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Fewer bytes can be tried out. Senders exist whose shortest secrets are as short as this.
const SHORTEST_HMAC: usize = 8;
/// Longer is no secret but a file.
const LONGEST_HMAC: usize = 1024;

/// A key of one algorithm.
#[derive(Clone)]
pub(super) enum Key {
    Hmac(Zeroizing<Vec<u8>>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    EcdsaP256(Box<p256::ecdsa::VerifyingKey>),
}

impl Key {
    /// Reads a secret as the rule says that it is written.
    pub(super) fn read(rule: &Rule, text: &str) -> Result<Self, SecretFault> {
        let text = text.strip_prefix(rule.secret_prefix.as_str()).unwrap_or(text);
        if text.is_empty() {
            return Err(SecretFault::Empty);
        }
        match rule.algorithm {
            Algorithm::Ed25519 => ed25519(&public_key(text)?),
            Algorithm::EcdsaP256 => ecdsa(&public_key(text)?),
            Algorithm::Sha256 | Algorithm::Sha1 | Algorithm::Sha512 => hmac(rule, text),
        }
    }

    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Hmac(_) => !algorithm.is_asymmetric(),
            Self::Ed25519(_) => algorithm == Algorithm::Ed25519,
            Self::EcdsaP256(_) => algorithm == Algorithm::EcdsaP256,
        }
    }

    /// Is one of these a signature of the message?
    pub(super) fn signed(
        &self,
        algorithm: Algorithm,
        message: &[Cow<'_, [u8]>],
        candidates: &[Vec<u8>],
    ) -> bool {
        match (self, algorithm) {
            (Self::Hmac(key), Algorithm::Sha256) => {
                same(&tag::<Hmac<Sha256>>(key, message), candidates)
            }
            (Self::Hmac(key), Algorithm::Sha1) => {
                same(&tag::<Hmac<Sha1>>(key, message), candidates)
            }
            (Self::Hmac(key), Algorithm::Sha512) => {
                same(&tag::<Hmac<Sha512>>(key, message), candidates)
            }
            (Self::Ed25519(key), Algorithm::Ed25519) => {
                let message = message.concat();
                candidates.iter().any(|c| {
                    let signature = ed25519_dalek::Signature::from_slice(c);
                    signature.is_ok_and(|s| key.verify_strict(&message, &s).is_ok())
                })
            }
            (Self::EcdsaP256(key), Algorithm::EcdsaP256) => {
                let mut digest = Sha256::new();
                message.iter().for_each(|part| digest.update(part));
                let digest = digest.finalize();
                candidates.iter().any(|c| {
                    let signature = p256::ecdsa::Signature::from_der(c);
                    signature.is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
                })
            }
            _ => false,
        }
    }

    /// HMAC-SHA256 of a text, for handshakes; `None` for a public key.
    pub(super) fn hmac_sha256(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hmac(key) => Some(tag::<Hmac<Sha256>>(key, &[Cow::Borrowed(text)])),
            Self::Ed25519(_) | Self::EcdsaP256(_) => None,
        }
    }
}

fn tag<M: Mac + KeyInit>(key: &[u8], message: &[Cow<'_, [u8]>]) -> Vec<u8> {
    // HMAC takes keys of any length; a failure would only mean that nothing matches.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    message.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Compares in constant time; texts of different lengths differ.
fn same(tag: &[u8], candidates: &[Vec<u8>]) -> bool {
    !tag.is_empty() && candidates.iter().any(|c| bool::from(tag.ct_eq(c)))
}

fn hmac(rule: &Rule, text: &str) -> Result<Key, SecretFault> {
    let bytes = Zeroizing::new(match rule.secret_encoding {
        SecretEncoding::Utf8 => text.as_bytes().to_vec(),
        SecretEncoding::Base64 => BASE64.decode(text).map_err(|_| SecretFault::NotBase64)?,
        SecretEncoding::Hex => hex::decode(text).map_err(|_| SecretFault::NotHex)?,
    });
    match bytes.len() {
        0 => Err(SecretFault::Empty),
        got if got < SHORTEST_HMAC => Err(SecretFault::TooShort { got, least: SHORTEST_HMAC }),
        got if got > LONGEST_HMAC => Err(SecretFault::TooLong { got, most: LONGEST_HMAC }),
        _ => Ok(Key::Hmac(bytes)),
    }
}

/// Public keys come as base64 of DER or of the bare key, or in hexadecimal.
fn public_key(text: &str) -> Result<Vec<u8>, SecretFault> {
    let hexadecimal = text.len() >= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = match hexadecimal {
        true => hex::decode(text).ok(),
        false => BASE64.decode(text).ok(),
    };
    bytes.ok_or(SecretFault::NotPublicKey)
}

fn ed25519(bytes: &[u8]) -> Result<Key, SecretFault> {
    use ed25519_dalek::VerifyingKey;
    let bare = <&[u8; 32]>::try_from(bytes).ok().and_then(|b| VerifyingKey::from_bytes(b).ok());
    let key = bare.or_else(|| VerifyingKey::from_public_key_der(bytes).ok());
    // A weak key is one for which signatures can be made without the private key.
    let key = key.filter(|k| !k.is_weak()).ok_or(SecretFault::NotPublicKey)?;
    Ok(Key::Ed25519(Box::new(key)))
}

fn ecdsa(bytes: &[u8]) -> Result<Key, SecretFault> {
    use p256::ecdsa::VerifyingKey;
    use p256::pkcs8::DecodePublicKey as _;
    let key = VerifyingKey::from_public_key_der(bytes).ok();
    let key = key.or_else(|| VerifyingKey::from_sec1_bytes(bytes).ok());
    key.map(|k| Key::EcdsaP256(Box::new(k))).ok_or(SecretFault::NotPublicKey)
}
