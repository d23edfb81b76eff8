//! What makes a ledger's history provable: the bytes of an entry, the Merkle tree over all entries
//! (RFC 9162, the same tree as RFC 6962), and heads that are signed. No I/O.

mod entry;
mod head;
mod hexed;
mod merkle;
mod proof;
mod proven;

pub use entry::{Sealed, content_hash, sha256};
pub use head::{HeadKey, SignedHead};
pub use merkle::{Frontier, Hash, NodeId, empty_root, leaf_hash, node_hash};
pub use proof::{
    ConsistencyProof, InclusionProof, ProofFault, consistency_ranges, fold_range, inclusion_ranges,
};
pub use proven::{EntryProof, EntryProofFault, PROOF_FORMAT};
