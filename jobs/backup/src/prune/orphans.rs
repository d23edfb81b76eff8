//! Files that no backup names.

use crate::format::layout;
use crate::format::parts::NOTE;
use crate::model::BackupId;
use crate::shelf::Shelf;
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use switchyard_providers::archive::Entry;

/// The files that runs which were stopped have left behind: in a backup's folder, named by no manifest, and
/// the youngest file of the folder older than a moment. Beside a manifest that cannot be trusted nothing is an
/// orphan: whether it is a backup's is not known.
pub(super) fn find(shelf: &Shelf, older_than: DateTime<Utc>) -> Vec<&Entry> {
    let named: HashSet<&str> =
        shelf.all().iter().flat_map(|m| m.objects()).map(|o| o.key.as_str()).collect();
    let spared: Vec<String> = shelf
        .problems()
        .iter()
        .filter_map(|p| p.key.rsplit_once('/'))
        .map(|(folder, _)| format!("{folder}/"))
        .collect();
    let mut youngest: HashMap<&str, DateTime<Utc>> = HashMap::new();
    let mut candidates = Vec::new();
    for entry in shelf.entries() {
        let Some(folder) = folder_of(&entry.key) else { continue };
        let at = youngest.entry(folder).or_insert(entry.modified);
        *at = entry.modified.max(*at);
        let stray = !named.contains(entry.key.as_str()) && !layout::is_manifest(&entry.key);
        if stray && spared.iter().all(|spared| !entry.key.starts_with(spared)) {
            candidates.push((folder, entry));
        }
    }
    let old = |folder: &str| youngest.get(folder).is_some_and(|at| *at < older_than);
    candidates.into_iter().filter(|(folder, _)| old(folder)).map(|(_, entry)| entry).collect()
}

/// The folder of the backup that a file would belong to; none if it is no file of ours.
fn folder_of(key: &str) -> Option<&str> {
    if !key.ends_with(".age") && !key.ends_with(NOTE) {
        return None;
    }
    let above = match key.split('/').next()? {
        "log" => 2,
        "full" | "diff" => 1,
        _ => return None,
    };
    let id = key.split('/').nth(above)?;
    id.parse::<BackupId>().ok()?;
    let end: usize = key.split('/').take(above + 1).map(|part| part.len() + 1).sum();
    key.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_in_the_folder_of_a_backup_are_ours() {
        let id = "20261123T051500Z-9f3a61c2";
        let ours = [
            (format!("full/{id}/data/a.b/0000.copy.gz.age"), format!("full/{id}/")),
            (format!("log/a-1/{id}/0000.changes.gz.age"), format!("log/a-1/{id}/")),
            (format!("diff/{id}/000/0000.changes.gz.age"), format!("diff/{id}/")),
            (format!("diff/{id}/000/0000.changes.gz.age.part.json"), format!("diff/{id}/")),
        ];
        for (key, folder) in &ours {
            assert_eq!(folder_of(key), Some(folder.as_str()));
        }
        for key in ["keys/passphrase.age", "full/readme.age", "full/x/y.age"] {
            assert_eq!(folder_of(key), None);
        }
        assert_eq!(folder_of(&format!("full/{id}/notes.txt")), None);
    }
}
