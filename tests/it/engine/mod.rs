//! The queue on a real PostgreSQL.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod enqueue;
mod support;
