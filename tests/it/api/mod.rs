//! The HTTP front, through real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod agency;
mod bodies;
mod bulk;
mod commissions;
mod documented;
mod doors;
mod flow;
mod health;
mod ingest;
mod jobs_enqueue;
mod leads;
mod leads_work;
mod limits;
mod replays;
mod senders;
mod sign_in;
mod slow;
pub mod support;
mod webhooks;
mod workflows;
