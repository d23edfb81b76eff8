//! The HTTP front, through real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod agency;
mod bodies;
mod bulk;
mod documented;
mod doors;
mod flow;
mod health;
mod ingest;
mod jobs_enqueue;
mod limits;
mod replays;
mod senders;
mod sign_in;
mod slow;
pub mod support;
mod webhooks;
mod workflows;
