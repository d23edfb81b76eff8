//! Outbound webhooks: what comes at the socket of a real receiver, whatever happens on the way.
#![allow(clippy::unwrap_used)]

mod api;
mod docs;
mod guard;
mod order;
mod program;
mod retry;
mod send;
pub mod support;
