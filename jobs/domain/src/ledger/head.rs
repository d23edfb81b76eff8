//! Heads of the log: its size and root at a moment, signed, so that nobody who has the database but
//! not the master key can rewrite history and its root together.

use super::merkle::Hash;
use crate::secrets::MasterKey;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;

/// Signs heads with ed25519 (RFC 8032); derived from the master key, wiped when dropped.
#[derive(Clone)]
pub struct HeadKey(SigningKey);

impl HeadKey {
    /// The key of this platform.
    #[must_use]
    pub fn of(master: &MasterKey) -> Self {
        Self(SigningKey::from_bytes(&master.ledger_seed()))
    }

    /// What heads are verified with. No secret.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs the head of a log.
    #[must_use]
    pub fn sign(&self, size: u64, root: Hash, at: DateTime<Utc>) -> SignedHead {
        let public_key = self.public();
        let signature = self.0.sign(text(size, &root, at).as_bytes()).to_bytes();
        SignedHead { size, root, at, public_key, signature }
    }
}

impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadKey(..)")
    }
}

/// A head with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed, to the microsecond.
    pub at: DateTime<Utc>,
    /// Who signed.
    pub public_key: [u8; 32],
    /// Over [`SignedHead::text`].
    pub signature: [u8; 64],
}

impl SignedHead {
    /// Names the key: the first 8 hexadecimal digits of its hash.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(&super::sha256(&self.public_key)[..4])
    }

    /// What is signed: four lines, the root in base64.
    #[must_use]
    pub fn text(&self) -> String {
        text(self.size, &self.root, self.at)
    }

    /// What a backup's manifest keeps of it: the text that is signed, then the public key and the
    /// signature in hexadecimal digits, a line each.
    #[must_use]
    pub fn to_note(&self) -> String {
        let text = self.text();
        let (key, signature) = (hex::encode(self.public_key), hex::encode(self.signature));
        format!("{}\n{key}\n{signature}", text.trim_end())
    }

    /// Whether the signature is of its key. Whether the key is the right one, its owner knows.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        VerifyingKey::from_bytes(&self.public_key).is_ok_and(|key| {
            key.verify_strict(self.text().as_bytes(), &Signature::from_bytes(&self.signature))
                .is_ok()
        })
    }
}

fn text(size: u64, root: &Hash, at: DateTime<Utc>) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("switchyard ledger head v1\n{size}\n{}\n{at}\n", BASE64_STANDARD.encode(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_bound_to_all_it_says_and_to_its_key() {
        let key = HeadKey::of(&MasterKey::new([1; 32]));
        let head = key.sign(7, [3; 32], DateTime::UNIX_EPOCH);
        assert!(head.is_signed());
        assert_ne!(HeadKey::of(&MasterKey::new([2; 32])).public(), key.public());
        for bent in [
            SignedHead { size: 8, ..head.clone() },
            SignedHead { root: [4; 32], ..head.clone() },
            SignedHead { at: head.at + chrono::Duration::microseconds(1), ..head.clone() },
            SignedHead {
                public_key: HeadKey::of(&MasterKey::new([2; 32])).public(),
                ..head.clone()
            },
            SignedHead { signature: [0; 64], ..head.clone() },
        ] {
            assert!(!bent.is_signed(), "{bent:?}");
        }
        assert_eq!(format!("{key:?}"), "HeadKey(..)");
    }
}
