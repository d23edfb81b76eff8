//! Backups as the platform runs them: by schedule, by API and by hand; proven, confirmed, told when they
//! fail; and a restored system that keeps still until it is released. How a backup is made and read is
//! tested in the crate.
#![allow(clippy::unwrap_used)]

mod alarms;
mod api;
mod figures;
mod keys;
mod killed;
mod program;
mod proof;
mod released;
mod runbook;
#[allow(dead_code)] // the archives' own tests use the rest
#[path = "../../../jobs/providers/tests/archive/servers.rs"]
mod s3_server;
mod schedule;
pub mod support;
