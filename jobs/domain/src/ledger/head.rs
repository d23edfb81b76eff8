//! Heads of the log: its size and root at a moment, signed, so that nobody who has the database but
//! not the master key can rewrite history and its root together.

use super::hexed;
use super::merkle::Hash;
use crate::secrets::MasterKey;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    #[serde(with = "hexed")]
    pub root: Hash,
    /// When it was signed, to the microsecond.
    pub at: DateTime<Utc>,
    /// Who signed.
    #[serde(with = "hexed")]
    pub public_key: [u8; 32],
    /// Over [`SignedHead::text`].
    #[serde(with = "hexed")]
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

    /// A head from its note, also where the line ends were written as `\n`, as in JSON. Whether it is
    /// signed is another question, [`Self::is_signed`].
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_note(note: &str) -> Result<Self, String> {
        let note = note.trim().trim_matches('"').replace("\\n", "\n");
        let lines: Vec<&str> = note.lines().map(str::trim).collect();
        let read = || {
            let [TITLE, size, root, at, key, signature] = lines[..] else { return None };
            Some(Self {
                size: size.parse().ok()?,
                root: BASE64_STANDARD.decode(root).ok()?.try_into().ok()?,
                at: at.parse().ok()?,
                public_key: hex::decode(key).ok()?.try_into().ok()?,
                signature: hex::decode(signature).ok()?.try_into().ok()?,
            })
        };
        read().ok_or_else(|| {
            "it is no head of the ledger; copy all six lines of the note `ledger.root`".to_owned()
        })
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

/// The first line of what is signed.
const TITLE: &str = "switchyard ledger head v1";

fn text(size: u64, root: &Hash, at: DateTime<Utc>) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("{TITLE}\n{size}\n{}\n{at}\n", BASE64_STANDARD.encode(root))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_bound_to_all_it_says_and_to_its_key() {
        let key = HeadKey::of(&MasterKey::new([1; 32]));
        let head = key.sign(7, [3; 32], DateTime::UNIX_EPOCH);
        assert!(head.is_signed());
        let note = head.to_note();
        for shown in [note.clone(), format!("\"{}\"\n", note.replace('\n', "\\n"))] {
            assert_eq!(SignedHead::from_note(&shown), Ok(head.clone()), "{shown}");
        }
        assert!(SignedHead::from_note(&note.replace("v1", "v2")).is_err());
        assert!(SignedHead::from_note(note.rsplit_once('\n').unwrap().0).is_err());
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
