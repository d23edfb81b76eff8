//! Commissions: the ledger that the database keeps, its log, and the booking of events.
#![allow(clippy::unwrap_used)]

mod booking;
mod decisions;
mod guarded;
mod log;
mod order;
mod periods;
mod support;
