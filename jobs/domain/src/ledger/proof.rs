//! Inclusion and consistency proofs of RFC 9162, sections 2.1.3 and 2.1.4.

use super::hexed;
use super::merkle::{Hash, NodeId, cover, fold, node_hash};
use serde::{Deserialize, Serialize};

/// Why a proof does not prove what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// There is no such leaf in a tree of that size, or the older tree is the larger one.
    #[error("the place is outside the tree; ask for one below its size")]
    OutOfRange,
    /// Hashes are missing or left over.
    #[error("the proof has not as many hashes as such a tree needs; fetch it again")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root: the log was changed, or the proof is of another log")]
    OtherRoot,
}

/// Proves that a leaf stands in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// The leaf's place, from 0.
    pub index: u64,
    /// Of a tree of so many leaves.
    pub size: u64,
    /// From the leaf to the root.
    #[serde(with = "hexed::list")]
    pub path: Vec<Hash>,
}

/// Proves that a tree only grew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyProof {
    /// Leaves of the older tree.
    pub old: u64,
    /// Leaves of the younger one.
    pub new: u64,
    /// As the RFC orders them.
    #[serde(with = "hexed::list")]
    pub path: Vec<Hash>,
}

/// What an inclusion proof is made of: for each of its hashes the subtrees that [`fold_range`] makes
/// it from.
///
/// # Errors
/// [`ProofFault::OutOfRange`].
pub fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Vec<NodeId>>, ProofFault> {
    if index >= size {
        return Err(ProofFault::OutOfRange);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(cover(middle, end));
            end = middle;
        } else {
            path.push(cover(start, middle));
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The same for a consistency proof.
///
/// # Errors
/// [`ProofFault::OutOfRange`]; also from an empty tree, with which everything is consistent.
pub fn consistency_ranges(old: u64, new: u64) -> Result<Vec<Vec<NodeId>>, ProofFault> {
    if old == 0 || old > new {
        return Err(ProofFault::OutOfRange);
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end > old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(cover(middle, end));
            end = middle;
        } else {
            path.push(cover(start, middle));
            start = middle;
        }
    }
    // The older tree itself is known to whoever checks; a part of it is not.
    if start > 0 {
        path.push(cover(start, end));
    }
    path.reverse();
    Ok(path)
}

/// The hash over a range's subtrees; `None` if there are none.
#[must_use]
pub fn fold_range(hashes: &[Hash]) -> Option<Hash> {
    fold(hashes)
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

impl InclusionProof {
    /// Checks it (RFC 9162, 2.1.3.2).
    ///
    /// # Errors
    /// [`ProofFault`].
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofFault> {
        if self.index >= self.size {
            return Err(ProofFault::OutOfRange);
        }
        let (mut at, mut last, mut hash) = (self.index, self.size - 1, *leaf);
        for sibling in &self.path {
            if last == 0 {
                return Err(ProofFault::Length);
            }
            if at & 1 == 1 || at == last {
                hash = node_hash(sibling, &hash);
                while at & 1 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        match (last, hash == *root) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofFault::OtherRoot),
            _ => Err(ProofFault::Length),
        }
    }
}

impl ConsistencyProof {
    /// Checks it (RFC 9162, 2.1.4.2).
    ///
    /// # Errors
    /// [`ProofFault`].
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofFault> {
        if self.old == 0 || self.old > self.new {
            return Err(ProofFault::OutOfRange);
        }
        if self.old == self.new {
            let same = old_root == new_root;
            let fault =
                if self.path.is_empty() { ProofFault::OtherRoot } else { ProofFault::Length };
            return if same && self.path.is_empty() { Ok(()) } else { Err(fault) };
        }
        let mut rest = self.path.iter();
        let first = if self.old.is_power_of_two() { Some(old_root) } else { rest.next() };
        let first = *first.ok_or(ProofFault::Length)?;
        let (mut at, mut last) = (self.old - 1, self.new - 1);
        while at & 1 == 1 {
            (at, last) = (at >> 1, last >> 1);
        }
        let (mut old, mut new) = (first, first);
        for hash in rest {
            if last == 0 {
                return Err(ProofFault::Length);
            }
            if at & 1 == 1 || at == last {
                old = node_hash(hash, &old);
                new = node_hash(hash, &new);
                while at & 1 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                new = node_hash(&new, hash);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        match (last, old == *old_root && new == *new_root) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofFault::OtherRoot),
            _ => Err(ProofFault::Length),
        }
    }
}

#[cfg(test)]
mod tests;
