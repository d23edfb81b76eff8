//! An entry with everything that proves its place in the log: a document that is checked without the
//! database, by anybody.

use super::{Hash, InclusionProof, ProofFault, Sealed, SignedHead, hexed};
use serde::{Deserialize, Serialize};

/// The only format there is.
pub const PROOF_FORMAT: u32 = 1;

/// Proves that an entry, word for word, stands in the log under a signed head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryProof {
    /// [`PROOF_FORMAT`].
    pub format: u32,
    /// The entry as it is stored.
    pub entry: Sealed,
    /// Its hash.
    #[serde(with = "hexed")]
    pub leaf: Hash,
    /// From the leaf to the root.
    pub inclusion: InclusionProof,
    /// The head that the path leads to.
    pub head: SignedHead,
}

/// Why a document proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProofFault {
    /// Made by another version.
    #[error("it is of format {0}, and this program reads format 1")]
    Format(u32),
    /// The entry was changed.
    #[error("the entry is not the one that was logged: its hash is another than the leaf's")]
    OtherEntry,
    /// The head was changed.
    #[error("the head's signature does not fit it")]
    BadSignature,
    /// The path and the head are of trees of different sizes.
    #[error("the path is of a log of {path} entries and the head of one of {head}")]
    OtherSize {
        /// Leaves of the path's tree.
        path: u64,
        /// Leaves of the head's.
        head: u64,
    },
    /// The path.
    #[error(transparent)]
    Path(#[from] ProofFault),
    /// Everything fits, but not what was kept elsewhere.
    #[error(
        "it is proven under another root than the one that was given; prove it under the head of \
         that size (`--size`)"
    )]
    OtherRoot,
}

impl EntryProof {
    /// Checks it; `root` is one that was kept elsewhere, in a backup's manifest say. Without it whoever
    /// checks has to know the head's key, [`SignedHead::key_id`].
    ///
    /// # Errors
    /// [`EntryProofFault`].
    pub fn verify(&self, root: Option<&Hash>) -> Result<(), EntryProofFault> {
        if self.format != PROOF_FORMAT {
            return Err(EntryProofFault::Format(self.format));
        }
        if self.entry.leaf() != self.leaf {
            return Err(EntryProofFault::OtherEntry);
        }
        if !self.head.is_signed() {
            return Err(EntryProofFault::BadSignature);
        }
        let (path, head) = (self.inclusion.size, self.head.size);
        if path != head {
            return Err(EntryProofFault::OtherSize { path, head });
        }
        self.inclusion.verify(&self.leaf, &self.head.root)?;
        match root {
            Some(root) if *root != self.head.root => Err(EntryProofFault::OtherRoot),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Frontier, HeadKey};
    use super::*;
    use crate::secrets::MasterKey;
    use chrono::{DateTime, NaiveDate};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn entry() -> Sealed {
        Sealed {
            id: Uuid::from_u128(1),
            key: "commission:1:1".into(),
            content_hash: vec![7; 32],
            agency: Uuid::from_u128(2),
            period: NaiveDate::default(),
            kind: "commission".into(),
            agent: None,
            event: Some(Uuid::from_u128(3)),
            lead: None,
            occurred_at: DateTime::UNIX_EPOCH,
            booked_at: DateTime::UNIX_EPOCH + chrono::Duration::microseconds(1),
            explanation: "{\"why\": \"so\"}".into(),
            postings: vec![
                (0, Uuid::from_u128(4), "EUR".into(), 5),
                (1, Uuid::from_u128(5), "EUR".into(), -5),
            ],
        }
    }

    /// The second of two leaves.
    fn proof() -> EntryProof {
        let (first, leaf) = ([9; 32], entry().leaf());
        let mut tree = Frontier::default();
        tree.push(first);
        tree.push(leaf);
        let head = HeadKey::of(&MasterKey::new([1; 32])).sign(2, tree.root(), DateTime::UNIX_EPOCH);
        let inclusion = InclusionProof { index: 1, size: 2, path: vec![first] };
        EntryProof { format: PROOF_FORMAT, entry: entry(), leaf, inclusion, head }
    }

    #[test]
    fn a_document_is_read_as_it_was_written_and_holds() {
        let written = serde_json::to_string_pretty(&proof()).unwrap();
        let read: EntryProof = serde_json::from_str(&written).unwrap();
        assert_eq!(read, proof());
        assert_eq!(read.verify(None), Ok(()));
        assert_eq!(read.verify(Some(&read.head.root)), Ok(()));
        assert_eq!(read.verify(Some(&[0; 32])), Err(EntryProofFault::OtherRoot));
    }

    #[test]
    fn whatever_is_changed_in_it_proves_nothing() {
        let changes: [(&str, Value); 9] = [
            ("/format", json!(2)),
            ("/entry/postings/0/3", json!(6)),
            ("/entry/explanation", json!("{}")),
            ("/leaf", json!("00".repeat(32))),
            ("/inclusion/index", json!(0)),
            ("/inclusion/size", json!(3)),
            ("/inclusion/path/0", json!("00".repeat(32))),
            ("/head/root", json!("00".repeat(32))),
            ("/head/at", json!("1970-01-02T00:00:00Z")),
        ];
        for (at, to) in changes {
            let mut document = serde_json::to_value(proof()).unwrap();
            *document.pointer_mut(at).unwrap() = to;
            let bent: EntryProof = serde_json::from_value(document).unwrap();
            assert!(bent.verify(None).is_err(), "{at}");
        }
    }
}
