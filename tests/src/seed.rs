//! The portals that ship, as their files in `ops/seed/portals` say.

use serde_json::Value;
use std::path::{Path, PathBuf};
use switchyard::portal_file::PortalFile;

/// The file of a portal that ships.
#[must_use]
pub fn portal_file(code: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/seed/portals");
    folder.join(format!("{code}.json"))
}

/// Its settings as they are stored: what belongs to the file alone is left out.
///
/// # Panics
/// If there is no such file, or it has faults.
#[must_use]
pub fn portal_settings(code: &str) -> Value {
    let read = PortalFile::read(&portal_file(code), false);
    read.unwrap_or_else(|faults| panic!("{code}: {faults:#?}")).raw
}
