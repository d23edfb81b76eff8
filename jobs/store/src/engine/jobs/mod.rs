//! What operators see of the jobs, and what they can do with one. Everything here runs under the
//! engine's role, over its small pool.

mod act;
pub mod bulk;
mod counts;
mod drain;
mod effects;
pub mod errors;
mod filter;
mod kinds;
mod read;
mod reason;
mod search;
pub(in crate::engine) mod sets;
mod steer;
mod stuck;
mod why;

pub use act::{Refusal, cancel, discard, retry};
pub use counts::{LaneCount, QueueSummary, counts, queues};
pub use drain::{Drained, drain, running};
pub use effects::{EffectRow, EffectShown};
pub use filter::{ArgMatch, Filter, filter_of, instant};
pub use kinds::{KindRules, KindSummary, kinds};
pub use read::{
    AttemptRow, JobDetail, JobFilter, JobRow, WorkerRow, by_request, find, list, show, workers,
};
pub use reason::{Ahead, HeldBy, Reason};
pub use search::{Cursor, Found, search};
pub use steer::{MOST_WEIGHT, pause, pause_kind, pause_partition, quiet, weigh};
pub use stuck::{StuckKind, stuck};
pub use why::{Verdict, Why, why};
