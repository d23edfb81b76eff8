//! The tree of RFC 9162, section 2.1: SHA-256 with 0x00 before a leaf and 0x01 before a node.
//! <https://www.rfc-editor.org/rfc/rfc9162#section-2.1>

use sha2::{Digest, Sha256};

/// A node's hash.
pub type Hash = [u8; 32];

/// The root of a full subtree: it covers the 2^level leaves from index · 2^level on. Level 0 is a leaf.
pub type NodeId = (u8, u64);

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of a node over two others.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of a growing tree: all that is needed to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the full subtrees that the leaves fall into, the largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The nodes that a tree of this size is continued from, the largest subtree first.
    #[must_use]
    pub fn needs(size: u64) -> Vec<NodeId> {
        cover(0, size)
    }

    /// The tree of this size, from the hashes of [`Frontier::needs`]; `None` if there are more or fewer.
    #[must_use]
    pub fn resume(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; gives the nodes above the leaves that are complete now, the lowest first.
    pub fn push(&mut self, leaf: Hash) -> Vec<(NodeId, Hash)> {
        let mut made = Vec::new();
        let (mut hash, mut level, mut index) = (leaf, 0_u8, self.size);
        while index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            (hash, level, index) = (node_hash(&left, &hash), level + 1, index >> 1);
            made.push(((level, index), hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        made
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.peaks).unwrap_or_else(empty_root)
    }
}

/// The full subtrees that the leaves from `start` to `end` fall into, the largest first. `start` is a
/// multiple of the least power of two that is not below their number, as in all splits of the RFC.
pub(super) fn cover(start: u64, end: u64) -> Vec<NodeId> {
    let (mut at, mut left) = (start, end.saturating_sub(start));
    let mut nodes = Vec::new();
    while left > 0 {
        let level = left.ilog2();
        nodes.push((level as u8, at >> level));
        (at, left) = (at + (1 << level), left - (1 << level));
    }
    nodes
}

/// The root over neighbouring subtrees, the largest first.
pub(super) fn fold(peaks: &[Hash]) -> Option<Hash> {
    let (last, rest) = peaks.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}
