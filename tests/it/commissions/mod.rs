//! Commissions: the ledger that the database keeps, its log, and the booking of events.
#![allow(clippy::unwrap_used)]

mod archived;
mod as_jobs;
mod behind;
mod booking;
mod by_hand;
mod decisions;
mod guarded;
mod log;
mod order;
mod periods;
mod recomputed;
mod support;
mod told;
mod versions;
