//! The leads line on a real database: what comes in, who gets it, who is told.
#![allow(clippy::unwrap_used)]

mod flow;
mod ingest;
mod notify;
mod paused;
pub mod support;
mod tenants;
mod turns;
