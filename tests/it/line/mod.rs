//! The leads line on a real database: what comes in, who gets it, who is told.
#![allow(clippy::unwrap_used)]

mod fetched;
mod flow;
mod ingest;
mod notify;
mod old_events;
mod paused;
mod persons;
mod replays;
pub mod support;
mod tenants;
mod turns;
mod versions;
