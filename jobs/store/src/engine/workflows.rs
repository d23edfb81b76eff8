//! Workflows: jobs that wait for each other. Starting one, what the end of a job means for the others,
//! looking at one, cancelling one.
//!
//! Whatever ends a job of a workflow appends an event in the same statement; [`advance`] takes events
//! up in a transaction of its own, under the lock of the workflow's row. Nothing else takes that lock
//! but an operator's cancellation, so settling never waits for another job's workflow.

mod advance;
mod read;
mod start;
mod steer;
mod upkeep;

pub(super) use advance::left;
pub(crate) use advance::{advance, advance_soon};
pub(super) use read::waits_for;
pub use read::{
    Fan, NodeRow, Parent, Tally, WorkflowDetail, WorkflowFilter, WorkflowRow, find, list, parents,
    show, tally,
};
pub(crate) use start::start;
pub use steer::{Refusal, cancel};
pub use upkeep::{advance_left, end_cancelled, forget};
