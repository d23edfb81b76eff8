//! The tree against the test vectors of Certificate Transparency's reference implementation, and the
//! proofs against the RFC's recursive definitions.

use super::*;
use crate::ledger::{Frontier, empty_root, leaf_hash};
use proptest::prelude::*;
use std::collections::HashMap;

/// The leaves of the vectors of google/certificate-transparency, in hexadecimal.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
/// The roots over the first one, two, ... of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// MTH of RFC 9162, 2.1.1, as it stands there.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len() as u64) as usize);
            node_hash(&mth(left), &mth(right))
        }
    }
}

/// A tree with all its full subtrees, as it is stored.
fn stored(leaves: &[Hash]) -> (HashMap<NodeId, Hash>, Hash) {
    let (mut tree, mut nodes) = (Frontier::default(), HashMap::new());
    for (i, leaf) in (0..).zip(leaves) {
        nodes.insert((0, i), *leaf);
        nodes.extend(tree.push(*leaf));
    }
    (nodes, tree.root())
}

fn hashes(ranges: &[Vec<NodeId>], nodes: &HashMap<NodeId, Hash>) -> Vec<Hash> {
    let fold = |range: &Vec<NodeId>| {
        let parts: Vec<Hash> = range.iter().map(|id| nodes[id]).collect();
        fold_range(&parts).expect("a range is never empty")
    };
    ranges.iter().map(fold).collect()
}

#[test]
fn roots_are_those_of_the_published_vectors() {
    assert_eq!(
        hex::encode(empty_root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut tree = Frontier::default();
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        tree.push(leaf_hash(&hex::decode(leaf).expect("hexadecimal")));
        assert_eq!(hex::encode(tree.root()), root, "{} leaves", tree.size());
    }
}

#[test]
fn proofs_are_those_of_the_published_vectors() {
    let leaves: Vec<Hash> =
        LEAVES.iter().map(|l| leaf_hash(&hex::decode(l).expect("hexadecimal"))).collect();
    let path = |index, size: usize| {
        let (nodes, _) = stored(&leaves[..size]);
        let ranges = inclusion_ranges(index, size as u64).expect("in range");
        hashes(&ranges, &nodes).iter().map(hex::encode).collect::<Vec<_>>()
    };
    assert_eq!(path(0, 1), Vec::<String>::new());
    assert_eq!(
        path(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        path(1, 5),
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]
    );
}

proptest! {
    #[test]
    fn a_tree_that_grows_has_the_root_of_the_definition(n in 0_usize..300) {
        prop_assert_eq!(stored(&leaves(n)).1, mth(&leaves(n)));
    }

    #[test]
    fn a_tree_goes_on_where_it_was_left(n in 0_usize..200, more in 0_usize..100) {
        let all = leaves(n + more);
        let (nodes, _) = stored(&all[..n]);
        let peaks = Frontier::needs(n as u64).iter().map(|id| nodes[id]).collect();
        let mut tree = Frontier::resume(n as u64, peaks).expect("as many as it needs");
        all[n..].iter().for_each(|leaf| { tree.push(*leaf); });
        prop_assert_eq!(tree.root(), mth(&all));
    }

    #[test]
    fn every_leaf_is_proven_in_its_place_and_nowhere_else(n in 1_usize..200, at in 0_usize..200, bad in 0_usize..64) {
        let (all, at) = (leaves(n), at % n);
        let (nodes, root) = stored(&all);
        let ranges = inclusion_ranges(at as u64, n as u64).expect("in range");
        let proof = InclusionProof { index: at as u64, size: n as u64, path: hashes(&ranges, &nodes) };
        prop_assert_eq!(proof.verify(&all[at], &root), Ok(()));
        prop_assert_eq!(proof.verify(&leaf_hash(b"other"), &root), Err(ProofFault::OtherRoot));
        if n > 1 {
            let elsewhere = InclusionProof { index: ((at + 1) % n) as u64, ..proof.clone() };
            prop_assert!(elsewhere.verify(&all[at], &root).is_err());
            let mut bent = proof.clone();
            let place = bad % bent.path.len();
            bent.path[place][bad % 32] ^= 1;
            prop_assert_eq!(bent.verify(&all[at], &root), Err(ProofFault::OtherRoot));
        }
        let mut longer = proof.clone();
        longer.path.push([0; 32]);
        prop_assert!(longer.verify(&all[at], &root).is_err());
    }

    #[test]
    fn a_tree_that_only_grew_is_proven_and_no_other(new in 1_usize..200, old in 1_usize..200, bad in 0_usize..64) {
        let old = 1 + old % new;
        let all = leaves(new);
        let (nodes, new_root) = stored(&all);
        let old_root = mth(&all[..old]);
        let ranges = consistency_ranges(old as u64, new as u64).expect("in range");
        let proof = ConsistencyProof { old: old as u64, new: new as u64, path: hashes(&ranges, &nodes) };
        prop_assert_eq!(proof.verify(&old_root, &new_root), Ok(()));
        let mut rewritten = all.clone();
        rewritten[bad % old] = leaf_hash(b"rewritten");
        prop_assert!(proof.verify(&old_root, &mth(&rewritten)).is_err());
        prop_assert!(proof.verify(&mth(&rewritten[..old]), &new_root).is_err());
        let mut shorter = proof.clone();
        if shorter.path.pop().is_some() {
            prop_assert!(shorter.verify(&old_root, &new_root).is_err());
        }
    }
}

#[test]
fn what_is_outside_the_tree_is_refused() {
    assert_eq!(inclusion_ranges(3, 3), Err(ProofFault::OutOfRange));
    assert_eq!(consistency_ranges(0, 3), Err(ProofFault::OutOfRange));
    assert_eq!(consistency_ranges(4, 3), Err(ProofFault::OutOfRange));
    let proof = InclusionProof { index: 0, size: 0, path: Vec::new() };
    assert_eq!(proof.verify(&[0; 32], &[0; 32]), Err(ProofFault::OutOfRange));
}
