//! Heads of the ledger that the archive keeps: whoever rewrites the database does not have them.

use super::{Backups, LEDGER_NOTE};
use std::collections::BTreeSet;
use switchyard_backup::model::Manifest;
use switchyard_backup::{BackupFault, Shelf};
use switchyard_domain::ledger::SignedHead;
use switchyard_store::backups::restored::Restored;
use switchyard_store::ledger::HeadSeen;

/// The heads in the manifests of every backup that the database as it is now must go on from, each once.
/// `restored` is the mark of the database: of one that was restored to an earlier moment, backups of
/// what came after it are of a history that it does not have.
///
/// # Errors
/// The archive does not answer, or no key is set by which manifests could be checked.
pub async fn kept_heads(
    backups: &Backups,
    restored: Option<&Restored>,
) -> Result<Vec<HeadSeen>, BackupFault> {
    let shelf = Shelf::load(&backups.vault).await?;
    let ours = shelf.all().iter().filter(|m| is_before(m, restored));
    let notes = ours.filter_map(|m| {
        let note = m.notes.get(LEDGER_NOTE)?;
        let head = SignedHead::from_note(note);
        head.inspect_err(|why| tracing::warn!(backup = %m.id, why, "a manifest's note")).ok()
    });
    let heads: BTreeSet<_> = notes.map(|head| (head.size, head.root)).collect();
    Ok(heads.into_iter().map(|(size, root)| HeadSeen { size, root }).collect())
}

fn is_before(manifest: &Manifest, restored: Option<&Restored>) -> bool {
    restored.is_none_or(|mark| {
        let since = mark.released_at;
        manifest.began <= mark.covers || since.is_some_and(|since| manifest.began >= since)
    })
}
