//! What operators see of the jobs, and what they can do with one. Everything here runs under the
//! engine's role, over its small pool.

pub(in crate::engine) mod act;
mod counts;
pub mod errors;
mod read;
mod reason;
mod steer;
mod stuck;
mod why;

pub use act::{Refusal, cancel, discard, retry};
pub use counts::{LaneCount, QueueSummary, counts, queues};
pub use read::{
    AttemptRow, JobDetail, JobFilter, JobRow, WorkerRow, by_request, find, list, show, workers,
};
pub use reason::{Ahead, Reason};
pub use steer::{pause, pause_partition, quiet};
pub use stuck::{StuckKind, stuck};
pub use why::{Verdict, Why, why};
