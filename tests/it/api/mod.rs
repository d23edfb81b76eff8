//! The HTTP front, through real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod agency;
mod bulk;
mod documented;
mod health;
mod ingest;
mod jobs_enqueue;
mod limits;
mod sign_in;
mod slow;
pub mod support;
mod webhooks;
mod workflows;
