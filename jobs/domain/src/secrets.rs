//! The master key, what is derived from it, and API keys.
//!
//! One key of 32 bytes is all an operator has to keep. HKDF-SHA256 (RFC 5869) derives a key of its
//! own for every purpose; what is sealed for one purpose does not open for another.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Purpose under which portals' signing secrets are sealed.
pub const PORTAL_SIGNING: &str = "portal.signing_secret";
/// Purpose under which the tokens are sealed that are shown where the rest of a lead is fetched.
pub const PORTAL_ENRICH: &str = "portal.enrich_token";

/// First byte of what [`MasterKey::seal`] gives: format 1, a 24-byte nonce, then the ciphertext.
const SEALED_V1: u8 = 1;
const NONCE: usize = 24;

/// The platform's master key. It neither prints nor compares, and is wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// Why a master key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the master key must be 32 bytes, in base64 or hexadecimal")]
pub struct BadMasterKey;

/// Why sealed bytes did not open. Deliberately one word for all causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sealed secret does not open: it was sealed with another master key or purpose, or damaged"
)]
pub struct OpenError;

impl MasterKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// Reads a key written in base64 (44 characters) or hexadecimal (64).
    ///
    /// # Errors
    /// If the text is not exactly 32 bytes.
    pub fn parse(text: &str) -> Result<Self, BadMasterKey> {
        let text = text.trim();
        let bytes = Zeroizing::new(
            hex::decode(text)
                .or_else(|_| BASE64_STANDARD.decode(text))
                .map_err(|_| BadMasterKey)?,
        );
        bytes.as_slice().try_into().map(Self).map_err(|_| BadMasterKey)
    }

    /// The key in base64, for writing it to its file. The only way to get it out.
    #[must_use]
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.0))
    }

    /// The seed of the ed25519 key that signs session tokens.
    #[must_use]
    pub fn jwt_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive("switchyard/v1/jwt-ed25519")
    }

    /// The seed of the ed25519 key that signs heads of the ledger's log.
    #[must_use]
    pub fn ledger_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive("switchyard/v1/ledger-ed25519")
    }

    /// Names the key and tells nothing of it: 8 hexadecimal digits that are derived from it.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&self.derive("switchyard/v1/key-id")[..4])
    }

    /// HMAC-SHA256 under a key that is derived for this purpose: equal texts have equal hashes, and
    /// without the key nobody can tell which text it was.
    #[must_use]
    pub fn keyed_hash(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let key = self.derive(&format!("switchyard/v1/hash/{purpose}"));
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*key);
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// Encrypts and authenticates (XChaCha20-Poly1305, random nonce).
    ///
    /// # Panics
    /// Never for texts under 256 GiB.
    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = random();
        let sealed = self
            .cipher(purpose)
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: purpose.as_bytes() })
            .expect("the plaintext is far below the cipher's limit of 256 GiB");
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(SEALED_V1);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`MasterKey::seal`] made for the same purpose.
    ///
    /// # Errors
    /// If the key or the purpose is another one, or the bytes were changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let rest = sealed.strip_prefix(&[SEALED_V1]).ok_or(OpenError)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(OpenError)?;
        self.cipher(purpose)
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: purpose.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| OpenError)
    }

    fn cipher(&self, purpose: &str) -> XChaCha20Poly1305 {
        let key = self.derive(&format!("switchyard/v1/seal/{purpose}"));
        XChaCha20Poly1305::new((&*key).into())
    }

    fn derive(&self, info: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(info.as_bytes(), &mut *out)
            .expect("32 bytes are a valid length for HKDF-SHA256");
        out
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// A new API key: `sk_` and 43 characters of base 62, over 256 bits. Shown once, stored as a hash.
#[must_use]
pub fn new_api_key() -> Zeroizing<String> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 3 + 43; // 62^43 > 2^256
    let mut key = Zeroizing::new(String::with_capacity(LENGTH));
    key.push_str("sk_");
    while key.len() < LENGTH {
        // Six bits at a time; the two values beyond the alphabet are thrown away, not folded,
        // so that every character is equally likely.
        for byte in random::<32>() {
            if let Some(c) = ALPHABET.get(usize::from(byte >> 2))
                && key.len() < LENGTH
            {
                key.push(char::from(*c));
            }
        }
    }
    key
}

/// What is stored of an API key: SHA-256. A slow hash would add nothing, the key is random.
#[must_use]
pub fn hash_api_key(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Is this the key of which `stored` is the hash? Takes the same time wherever they differ.
#[must_use]
pub fn api_key_matches(stored: &[u8], presented: &str) -> bool {
    hash_api_key(presented).ct_eq(stored).into()
}

/// The shortest password or token that a sender may have chosen, in characters. Real senders issue
/// such; what is tried out at the door is throttled by their portals' audit, not by length.
const SHORTEST_CREDENTIAL: usize = 5;
const LONGEST_CREDENTIAL: usize = 1024;
/// First byte of a stored credential that was not made by us: HMAC under the master key follows.
const KEYED: u8 = 1;

/// Why a password or token is refused. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// Easily guessed.
    #[error("the password or token has fewer than 5 characters")]
    TooShort,
    /// Probably a whole file.
    #[error("the password or token has more than 1024 bytes")]
    TooLong,
    /// It would not arrive as it is.
    #[error("the password or token begins or ends with a blank, or holds a control character")]
    Blanks,
}

/// What is stored of a credential that the sender chose. Unlike one of [`new_api_key`] it may be
/// guessable, so its hash is keyed: who reads the database alone can try nothing out.
///
/// # Errors
/// If it is too short or too long, or cannot be sent as it is.
pub fn hash_credential(keys: &MasterKey, text: &str) -> Result<Vec<u8>, CredentialFault> {
    if text.chars().count() < SHORTEST_CREDENTIAL {
        return Err(CredentialFault::TooShort);
    }
    if text.len() > LONGEST_CREDENTIAL {
        return Err(CredentialFault::TooLong);
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(CredentialFault::Blanks);
    }
    Ok(keyed(keys, text))
}

/// Is this the credential that `stored` stands for, by [`hash_credential`] or [`hash_api_key`]?
/// Takes the same time wherever they differ.
#[must_use]
pub fn credential_matches(keys: &MasterKey, stored: &[u8], presented: &str) -> bool {
    match stored.first() {
        Some(&KEYED) if stored.len() == 33 => keyed(keys, presented).ct_eq(stored).into(),
        _ => api_key_matches(stored, presented),
    }
}

fn keyed(keys: &MasterKey, text: &str) -> Vec<u8> {
    let hash = keys.keyed_hash("portal.credential", text.as_bytes());
    [&[KEYED][..], &hash].concat()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes); // a CSPRNG, seeded by the operating system
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(fill: u8) -> MasterKey {
        MasterKey::new([fill; 32])
    }

    #[test]
    fn what_is_sealed_opens_and_never_looks_the_same_twice() {
        let (a, b) = (key(1).seal("p", b"secret"), key(1).seal("p", b"secret"));
        assert_ne!(a, b);
        assert_eq!(key(1).open("p", &a).unwrap().as_slice(), b"secret");
        assert!(!a.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn another_key_or_purpose_or_a_changed_byte_does_not_open() {
        let sealed = key(1).seal("p", b"secret");
        assert_eq!(key(2).open("p", &sealed), Err(OpenError));
        assert_eq!(key(1).open("q", &sealed), Err(OpenError));
        for i in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[i] ^= 1;
            assert_eq!(key(1).open("p", &broken), Err(OpenError), "byte {i}");
            assert_eq!(key(1).open("p", &sealed[..i]), Err(OpenError), "cut at {i}");
        }
    }

    #[test]
    fn derived_keys_differ_from_the_key_and_stay_the_same_for_ever() {
        let seed = key(7).jwt_seed();
        assert_ne!(*seed, [7; 32]);
        assert_ne!(*seed, *key(8).jwt_seed());
        // Python: HKDF-SHA256 by hmac/hashlib over 32 bytes of 0x07. A change here logs everybody
        // out and makes every stored secret unreadable.
        assert_eq!(
            hex::encode(*seed),
            "df53b1c3da44986072eee674920fa8d2e1f32db57023ba642d0508b78abc9db8"
        );
    }

    #[test]
    fn ids_and_hashes_follow_from_the_key_and_the_purpose() {
        // Python: hkdf over 32 bytes of 0x07, as above; hmac.new(derived, b"x", "sha256").
        assert_eq!(key(7).id(), "72350ed0");
        assert_eq!(
            hex::encode(key(7).keyed_hash("p", b"x")),
            "017ba49994828bfb2f98863e4e72692de1b4363d4cd952d37c784ae3c7d38bf1"
        );
        assert_ne!(key(7).id(), key(8).id());
        assert_ne!(key(7).keyed_hash("p", b"x"), key(8).keyed_hash("p", b"x"));
        assert_ne!(key(7).keyed_hash("p", b"x"), key(7).keyed_hash("q", b"x"));
    }

    #[test]
    fn keys_are_read_in_both_spellings_and_never_printed() {
        let text = key(9).expose_base64();
        assert_eq!(MasterKey::parse(&text).unwrap().0, [9; 32]);
        assert_eq!(MasterKey::parse(&"09".repeat(32)).unwrap().0, [9; 32]);
        assert!(MasterKey::parse("c2hvcnQ=").is_err());
        assert!(MasterKey::parse("").is_err());
        assert_eq!(format!("{:?}", key(9)), "MasterKey(..)");
    }

    #[test]
    fn api_keys_are_long_distinct_and_match_only_themselves() {
        let (a, b) = (new_api_key(), new_api_key());
        assert_ne!(*a, *b);
        assert_eq!(a.len(), 46);
        assert!(a.starts_with("sk_") && a[3..].bytes().all(|c| c.is_ascii_alphanumeric()));
        assert!(api_key_matches(&hash_api_key(&a), &a));
        assert!(!api_key_matches(&hash_api_key(&a), &b));
        assert!(!api_key_matches(&hash_api_key(&a)[..31], &a));
        assert!(!api_key_matches(&[], ""));
    }

    #[test]
    fn chosen_credentials_match_themselves_under_one_master_key() {
        let stored = hash_credential(&key(1), "pa:ss").unwrap();
        assert!(credential_matches(&key(1), &stored, "pa:ss"));
        assert!(!credential_matches(&key(1), &stored, "pa:sS"));
        assert!(!credential_matches(&key(2), &stored, "pa:ss"), "useless without the master key");
        assert!(credential_matches(&key(1), &hash_api_key("sk_x"), "sk_x"));
        assert!(!credential_matches(&key(1), &[], ""));
        assert_eq!(hash_credential(&key(1), "four"), Err(CredentialFault::TooShort));
        assert_eq!(hash_credential(&key(1), &"x".repeat(1025)), Err(CredentialFault::TooLong));
        for bad in [" token", "token\n", "to\0ken"] {
            assert_eq!(hash_credential(&key(1), bad), Err(CredentialFault::Blanks), "{bad:?}");
        }
    }
}
