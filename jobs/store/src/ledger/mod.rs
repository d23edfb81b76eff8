//! The double-entry ledger: accounts, entries with their postings, closed months, and the Merkle log
//! that proves nothing was rewritten. It knows nothing of plans.
//!
//! Money moves by [`post`] alone, in the caller's transaction. The database keeps every entry at zero
//! and refuses any change, whoever asks; [`audit()`] finds what was done behind its back.

mod accounts;
mod audit;
mod balances;
mod beside;
mod entries;
mod log;
mod months;
mod periods;
mod post;
mod proofs;

pub(crate) use accounts::derived;
pub use accounts::{Account, AccountId, AccountKind, Owner};
pub use audit::{AuditReport, Finding, HeadSeen, audit};
pub use balances::{Balance, balance, balances, fold, out_of_balance};
pub use entries::{Entry, EntryFilter, Held, Posting, entries, entry, held};
pub use log::{Sequenced, head_of, heads, root, sequence, sign};
pub use months::{Month, MonthTotal, months};
pub use periods::{ClosedPeriod, Figure, close, close_once, closed, figures, open_events};
pub use post::{EntryId, EntryKind, NewEntry, PostFault, Posted, post};
pub use proofs::{consistency, inclusion, prove};
