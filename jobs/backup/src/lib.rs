//! Logical backups over the network: full, incremental and differential; encrypted, signed, and
//! proven by restoring them.
//!
//! Nothing here needs more than SQL: it works on a managed PostgreSQL. `docs/backups.md` describes the
//! format, so that a backup can be read with `age`, `gunzip` and `psql` alone.

pub mod apply;
pub mod change;
pub mod copy;
mod differential;
pub mod drill;
mod fault;
pub mod format;
mod full;
mod incremental;
pub mod keys;
mod leftovers;
pub mod model;
pub mod prune;
pub mod recovery;
pub mod restore;
pub mod shelf;
pub mod source;
mod sql;
mod sums;
pub mod verify;

pub use differential::differential;
pub use drill::{compare_with_full, drill};
pub use fault::BackupFault;
pub use full::{FILES_NOTE, SLOT_NOTE, full};
pub use incremental::{SCHEMA_MARK, incremental, slot_health};
pub use keys::{Keys, Vault};
pub use recovery::disaster_recovery;
pub use restore::{AfterRestore, RestorePlan, Restored, restore};
pub use shelf::{Chain, Shelf, Target};
pub use source::{SlotHealth, SourceConfig};

/// Who wants to know how far a run is. Calls are cheap and come often; the receiver thins them out.
pub trait Progress: Send + Sync {
    /// A new step begins, such as "copying app.leads".
    fn step(&self, what: &str);
    /// How many bytes of this run are done, and of how many if that is known.
    fn bytes(&self, done: u64, of: Option<u64>);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str) {}
    fn bytes(&self, _: u64, _: Option<u64>) {}
}
