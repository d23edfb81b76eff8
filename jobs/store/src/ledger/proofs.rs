//! Proofs from the stored nodes: a few rows whatever the log's size.

use super::EntryId;
use super::log::{broken, hashes, head_of, head_under, sealed, size};
use crate::{Result, StoreFault, Tx};
use switchyard_domain::ledger::{
    ConsistencyProof, EntryProof, Hash, InclusionProof, NodeId, PROOF_FORMAT, consistency_ranges,
    fold_range, inclusion_ranges,
};

/// Proves that an entry stands in the log of `of` leaves (or of all). Platform scope.
///
/// # Errors
/// [`StoreFault::NotFound`] if it has no place in that log (yet).
pub async fn inclusion(tx: &mut Tx, entry: EntryId, of: Option<u64>) -> Result<InclusionProof> {
    let index = head_of(tx, entry).await?.ok_or(StoreFault::NotFound)?;
    let all = size(tx).await?;
    let size = of.unwrap_or(all);
    if size > all {
        return Err(StoreFault::NotFound);
    }
    let ranges = inclusion_ranges(index, size).map_err(|_| StoreFault::NotFound)?;
    Ok(InclusionProof { index, size, path: path(tx, &ranges).await? })
}

/// An entry with all that proves its place, under the newest signed head or the one of `of` leaves.
/// `None`: no such head covers it (yet). Platform scope.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such entry.
pub async fn prove(tx: &mut Tx, entry: EntryId, of: Option<u64>) -> Result<Option<EntryProof>> {
    let stored = sealed(tx, &[entry.0]).await?.pop().ok_or(StoreFault::NotFound)?;
    let Some(place) = head_of(tx, entry).await? else { return Ok(None) };
    let Some(head) = head_under(tx, of).await?.filter(|head| head.size > place) else {
        return Ok(None);
    };
    let inclusion = inclusion(tx, entry, Some(head.size)).await?;
    let leaf = stored.leaf();
    let proof = EntryProof { format: PROOF_FORMAT, entry: stored, leaf, inclusion, head };
    // One that whoever gets it would reject is no proof.
    proof.verify(None).map_err(|why| broken(&why.to_string()))?;
    Ok(Some(proof))
}

/// Proves that the log of `new` leaves begins with the one of `old`. Platform scope.
///
/// # Errors
/// [`StoreFault::NotFound`] if the log never had as many, or `old` is zero or above `new`.
pub async fn consistency(tx: &mut Tx, old: u64, new: u64) -> Result<ConsistencyProof> {
    if new > size(tx).await? {
        return Err(StoreFault::NotFound);
    }
    let ranges = consistency_ranges(old, new).map_err(|_| StoreFault::NotFound)?;
    Ok(ConsistencyProof { old, new, path: path(tx, &ranges).await? })
}

async fn path(tx: &mut Tx, ranges: &[Vec<NodeId>]) -> Result<Vec<Hash>> {
    let wanted: Vec<NodeId> = ranges.iter().flatten().copied().collect();
    let known = hashes(tx, &wanted).await?;
    let fold = |range: &Vec<NodeId>| {
        let parts: Option<Vec<Hash>> = range.iter().map(|id| known.get(id).copied()).collect();
        parts.and_then(|parts| fold_range(&parts))
    };
    let path: Option<Vec<Hash>> = ranges.iter().map(fold).collect();
    path.ok_or_else(|| broken("nodes of the ledger's log are missing"))
}
