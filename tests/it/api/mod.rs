//! The HTTP front, through real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod agency;
mod bodies;
mod bulk;
mod commissions;
mod commissions_record;
mod documented;
mod doors;
mod flow;
mod health;
mod ingest;
mod jobs_enqueue;
mod leads;
mod leads_work;
mod limits;
mod questions;
mod replays;
mod senders;
mod shipped;
mod sign_in;
mod slow;
mod steer;
pub mod support;
mod webhooks;
mod workflows;
