//! Which key in the archive each file has.
//!
//! ```text
//! full/<id>/manifest.json
//! full/<id>/schema-before.sql.gz.age
//! full/<id>/schema-after.sql.gz.age
//! full/<id>/data/<schema>.<table>/0000.copy.gz.age
//! log/<slot>-<number>/<from as 16 hexadecimal digits>.json
//! log/<slot>-<number>/<id>/0000.changes.gz.age
//! diff/<id>/manifest.json
//! diff/<id>/000/0000.changes.gz.age
//! keys/passphrase.age
//! ```

use crate::model::{BackupId, Kind, Lsn, Manifest};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A part of a key longer than this is cut: file systems take 255 bytes.
const LONGEST: usize = 200;

/// Where everything of full backups is.
pub const FULLS: &str = "full/";
/// Where everything of increments is.
pub const LOGS: &str = "log/";
/// Where everything of differentials is.
pub const DIFFERENTIALS: &str = "diff/";

/// A name as a part of a key. Letters in lower case, digits, `-` and `_` stay; every other byte becomes
/// `=` and two hexadecimal digits. Letters in upper case are among those, because there are file
/// systems that do not tell them apart. What would be too long is cut and its hash put behind.
#[must_use]
pub fn part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => part.push(char::from(byte)),
            _ => {
                let _ = write!(part, "={byte:02x}"); // to a String: cannot fail
            }
        }
    }
    part
}

/// The folder of a full backup.
#[must_use]
pub fn full(id: &BackupId) -> String {
    format!("{FULLS}{id}/")
}

/// What is run before the rows are loaded.
#[must_use]
pub fn schema_before(id: &BackupId) -> String {
    format!("{FULLS}{id}/schema-before.sql.gz.age")
}

/// What is run after.
#[must_use]
pub fn schema_after(id: &BackupId) -> String {
    format!("{FULLS}{id}/schema-after.sql.gz.age")
}

/// The folder of a table's rows, for a [`super::ChunkWriter`].
#[must_use]
pub fn table(id: &BackupId, schema: &str, name: &str) -> String {
    let mut folder = format!("{}.{}", part(schema), part(name));
    if folder.len() > LONGEST {
        let hash = hex::encode(Sha256::digest(format!("{schema}\0{name}").as_bytes()));
        folder.truncate(LONGEST - 33);
        let _ = write!(folder, "={}", &hash[..32]);
    }
    format!("{FULLS}{id}/data/{folder}")
}

/// The folder of a slot's increments. `slot` is `name/number`.
#[must_use]
pub fn log(slot: &str) -> String {
    let (name, number) = slot.split_once('/').unwrap_or((slot, "0"));
    format!("{LOGS}{}-{}/", part(name), part(number))
}

/// The manifest of the increment that goes on from a position. Of two that go on from the same, only
/// one can be written.
#[must_use]
pub fn increment_manifest(slot: &str, from: Lsn) -> String {
    format!("{}{:016x}.json", log(slot), from.0)
}

/// The folder of an increment's changes, for a [`super::ChangeWriter`].
#[must_use]
pub fn increment(slot: &str, id: &BackupId) -> String {
    format!("{}{id}", log(slot))
}

/// The folder of a differential's segment, for a [`super::ChangeWriter`].
#[must_use]
pub fn segment(id: &BackupId, number: usize) -> String {
    format!("{DIFFERENTIALS}{id}/{number:03}")
}

/// The key of a backup's manifest.
#[must_use]
pub fn manifest(manifest: &Manifest) -> String {
    match &manifest.kind {
        Kind::Full { .. } => format!("{FULLS}{}/manifest.json", manifest.id),
        Kind::Incremental { slot, from, .. } => increment_manifest(slot, *from),
        Kind::Differential { .. } => format!("{DIFFERENTIALS}{}/manifest.json", manifest.id),
    }
}

/// The folder in which every file of a backup is, with a slash behind it.
#[must_use]
pub fn folder(manifest: &Manifest) -> String {
    match &manifest.kind {
        Kind::Full { .. } => full(&manifest.id),
        Kind::Incremental { slot, .. } => format!("{}/", increment(slot, &manifest.id)),
        Kind::Differential { .. } => format!("{DIFFERENTIALS}{}/", manifest.id),
    }
}

/// Whether a key has the form of a manifest's.
#[must_use]
pub fn is_manifest(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["full" | "diff", _, "manifest.json"] => true,
        ["log", _, name] => name.strip_suffix(".json").is_some_and(|digits| {
            digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn no_two_tables_share_a_folder_and_no_name_leaves_it() {
        let id = BackupId::new(DateTime::UNIX_EPOCH, 1);
        let long = "ü".repeat(31);
        let names =
            [("a", "b.c"), ("a.b", "c"), ("A", "b.c"), ("..", "/.."), ("x", "=2e"), ("x", ".")];
        let folders: std::collections::BTreeSet<_> =
            names.iter().map(|(s, n)| table(&id, s, n)).collect();
        assert_eq!(folders.len(), names.len());
        for folder in folders.iter().chain([&table(&id, &long, &long)]) {
            let last = folder.strip_prefix(&format!("full/{id}/data/")).expect("a name");
            assert!(!last.contains('/') && !last.starts_with('.') && last.len() <= 255, "{last}");
        }
        assert_ne!(table(&id, &long, &long), table(&id, &long, &format!("{long}ü")));
    }

    #[test]
    fn manifests_are_told_from_data() {
        assert!(is_manifest("full/20261123T051500Z-9f3a61c2/manifest.json"));
        assert!(is_manifest(&increment_manifest("switchyard/42", Lsn(0x16_B374_D848))));
        assert_eq!(increment_manifest("a/1", Lsn(255)), "log/a-1/00000000000000ff.json");
        assert!(!is_manifest("log/a-1/20261123T051500Z-9f3a61c2/0000.changes.gz.age"));
        assert!(!is_manifest("full/x/data/manifest.json") && !is_manifest("keys/passphrase.age"));
    }
}
