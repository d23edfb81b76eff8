//! The leads line on a real database: what comes in, who gets it, who is told.
#![allow(clippy::unwrap_used)]

mod catch_up;
mod fetched;
mod flow;
mod follow_ups;
mod ingest;
mod kept_together;
mod locks;
mod notify;
mod notify_together;
mod old_events;
mod paused;
mod payout_files;
mod payouts;
mod persons;
mod replays;
mod sales;
mod statements;
pub mod support;
mod tenants;
mod turns;
mod versions;
